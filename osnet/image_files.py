"""Image files: which names are images, finding them in a folder, and decoding one safely. All commands share it.

A file is decoded by the formats named here only, whatever its name says: Pillow would start Ghostscript for an EPS, and
some of its other formats decode far more pixels than their header promises.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union, cast

from osnet.errors import ImageError
from osnet.fast_jpeg import MAX_BYTES as FAST_BYTES
from osnet.fast_jpeg import PlainJpeg, agrees_with_pillow, plain_jpeg
from osnet.files import open_regular
from osnet.locations import Remote, walk

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
"""Pillow's names of the formats that are decoded; JPEG includes MPO, what many phones write."""

MAX_PIXELS = 100_000_000
"""A larger image is refused before it is decoded. All threads together hold no more decoded pixels than this."""

MAX_BYTES = 4 * MAX_PIXELS
"""A larger file is refused: WebP is read whole before its size is known."""

_LARGE = 4_000_000
"""Pixels that fill one of the pieces in which Pillow takes memory."""

_SYSTEM_FILES = ("thumbs.db", "desktop.ini")
_TIFF_TILE_WIDTH = 322
_WIDE_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")

PathLike = Union[str, "os.PathLike[str]"]


class Listing(NamedTuple):
    """What a folder holds: image files, and what is not used: other files, folders that cannot be read, and links to
    folders that are listed already."""

    images: list[Path]
    others: list[Path]


def is_image_name(name: str) -> bool:
    """Whether a file of this name in a folder is taken for an image. Hidden files are not."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def list_images(folder: PathLike) -> Listing:
    """The files in `folder` and all folders below it, sorted by path.

    Links are followed, each folder is listed once. Hidden files and folders, and those that Windows leaves behind
    (Thumbs.db), are not mentioned.

    Raises:
        OSError: `folder` itself cannot be read.
    """
    found = Listing([], [])
    for path, is_image in walk_images(folder):
        (found.images if is_image else found.others).append(Path(path))
    found.images.sort()
    found.others.sort()
    return found


def walk_images(folder: PathLike | Remote, known: set[Any] | None = None) -> Iterator[tuple[str, bool]]:
    """Yield what `list_images` lists, as path and whether it is an image, without holding more than one folder.

    Args:
        folder: is walked in sorted order: the files of a folder, then its subfolders. It may be in an object store.
        known: device and inode, or address, of folders that are left out; those that were walked are added.

    Raises:
        OSError: `folder` itself cannot be read.
        StoreError: the object store does not answer, or refuses.
    """
    known = set() if known is None else known
    if isinstance(folder, Remote):
        yield from _walk_store(folder, known)
        return
    listed: set[tuple[int, int]] = set()
    unreadable: list[OSError] = []
    for here, folders, names in os.walk(folder, onerror=unreadable.append, followlinks=True):
        while unreadable:
            yield unreadable.pop().filename, False
        state = os.stat(here)  # noqa: PTH116 - speed
        place = (state.st_dev, state.st_ino)
        if place in listed or place in known:
            if place in listed:
                yield here, False
            folders.clear()
            continue
        listed.add(place)
        folders[:] = sorted(filter(_is_shown, folders))
        for name in sorted(filter(_is_shown, names)):
            yield os.path.join(here, name), is_image_name(name)  # noqa: PTH118 - speed
    if unreadable and not listed:
        raise unreadable[0]
    for error in unreadable:
        yield error.filename, False
    known |= listed


def _walk_store(folder: Remote, known: set[Any]) -> Iterator[tuple[str, bool]]:
    for here, folders, names in walk(folder):
        folders[:] = [] if here in known else sorted(filter(_is_shown, folders))
        for name in sorted(filter(_is_shown, names)) if here not in known else ():
            yield f"{here}/{name}", is_image_name(name)
        known.add(here)


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _SYSTEM_FILES


def find_images(inputs: Iterable[PathLike]) -> Listing:
    """The image files that `inputs` (files and folders) name; folders as `list_images` lists them.

    A file that is named outright is taken whatever its suffix, except a video's.

    Raises:
        ImageError: a path does not exist, a folder has no image or cannot be read, or a file is a video.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            try:
                inside = list_images(path)
            except OSError as error:
                raise ImageError(f"{path}: the folder cannot be read ({error.strerror or error})") from None
            if not inside.images:
                raise ImageError(
                    f"{path}: no images in this folder or below it (looked for {' '.join(IMAGE_SUFFIXES)})"
                )
            images.extend(inside.images)
            others.extend(inside.others)
        elif not path.exists():
            raise ImageError(f"{path}: no such file or folder")
        else:
            refuse_video(path)
            images.append(path)
    found = dict.fromkeys(images)  # a folder and a folder inside it name some files twice
    return Listing(list(found), [path for path in dict.fromkeys(others) if path not in found])


def unused(others: Sequence[Path]) -> str:
    """What a user is told about the `others` of a listing: how many, and the first few."""
    shown = ", ".join(map(str, others[:3])) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    what = "1 file is" if len(others) == 1 else f"{len(others)} files are"
    return f"{what} not used: {shown}; image files end in {' '.join(IMAGE_SUFFIXES)}"


def refuse_video(path: Path | Remote) -> None:
    """Check that `path` is not named like a video.

    Raises:
        ImageError: it is.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise ImageError(
            f"{path}: this is a video; expected images: osnet embed --boxes FILE takes a video with the boxes of its "
            "people, and osnet.Embedder()(frame, boxes=...) one frame"
        )


@contextlib.contextmanager
def decoded(
    source: PathLike | Image.Image, content: bytes | None = None, *, max_pixels: int | None = None
) -> Iterator[Image.Image]:
    """Yield an image file, or a Pillow image, as RGB, 8 bits a channel, upright.

    Its pixels count against `MAX_PIXELS` until the block ends: a thread waits while there is no room for its own, so
    shrink it inside, and decode nothing else there. EXIF's orientation is undone. Grey becomes three equal channels, an
    alpha channel is left out (as torchreid does), a palette is looked up, 16-bit greys are scaled to 8 bits. Of several
    pictures in a file, the first is taken. Where `content` is given, it is the file's bytes, and `source` its name. An
    image of more than `max_pixels`, or of more than `MAX_PIXELS`, is refused before it is decoded.

    Raises:
        ImageError: it cannot be read as a picture, for whatever reason; the message names the file.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, (str, os.PathLike)):
            name = os.fspath(source)
            image = stack.enter_context(_opened(Path(source)) if content is None else _of_bytes(name, content))
        else:
            name, image = "the image", source
        pixels = _pixels(image, name, MAX_PIXELS if max_pixels is None else min(max_pixels, MAX_PIXELS))
        stack.enter_context(_budget.of(pixels))
        if pixels > _LARGE:
            _allocate_in_one_piece()
        try:
            picture = _upright_rgb(image, name)
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - Pillow's decoders raise whatever a damaged file leads them to
            raise _damaged(name, error) from None
        yield picture


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image | PlainJpeg]:
    refuse_video(path)
    try:
        file = BufferedReader(cast(Any, open_regular(path)))
    except (OSError, ValueError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: {what}; expected an image file") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ImageError(f"{path}: the file has {size:,} bytes, over {MAX_BYTES:,}; expected a crop of a person")
        with _image_in(file, str(path), size) as image:
            yield image


@contextlib.contextmanager
def _of_bytes(name: str, content: bytes) -> Iterator[Image.Image | PlainJpeg]:
    if len(content) > MAX_BYTES:
        raise ImageError(f"{name}: {len(content):,} bytes, over {MAX_BYTES:,}; expected a crop of a person")
    with _image_in(BytesIO(content), name, len(content)) as image:
        yield image


@contextlib.contextmanager
def _image_in(file: Any, name: str, size: int) -> Iterator[Image.Image | PlainJpeg]:
    if size <= FAST_BYTES and agrees_with_pillow():
        try:
            plain = plain_jpeg(file.read(size))
            file.seek(0)
        except OSError as error:
            raise _damaged(name, error) from None
        if plain:
            yield plain
            return
    with _pillow_image(file, name, size) as image:
        yield image


def _pillow_image(file: Any, name: str, size: int) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        what = "not an image format that is known here" if size else "the file is empty"
        raise ImageError(f"{name}: {what}; expected one of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: over {MAX_PIXELS} pixels, refused; expected a crop of a person") from None
    except Exception as error:  # noqa: BLE001 - as above
        raise _damaged(name, error) from None


def _damaged(name: str, error: Exception) -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name}: cannot be decoded ({reason:.200}); replace it or leave it out")


def _pixels(image: Image.Image | PlainJpeg, name: str, most: int) -> int:
    width, height = image.size
    if width * height > most:
        raise ImageError(
            f"{name}: {width}x{height} is over {most} pixels, refused before decoding; expected a crop of a person"
        )
    if width == 0 or height == 0:
        raise ImageError(f"{name}: {width}x{height} has no pixels; expected a crop of a person")
    if _TIFF_TILE_WIDTH in getattr(image, "tag_v2", ()):  # one tile can be far larger than the image: 1 MB took 1.2 GB
        raise ImageError(f"{name}: a TIFF in tiles is not read; save it in strips, or as PNG")
    return width * height


def _allocate_in_one_piece() -> None:
    """Have Pillow ask for the memory of a large image at once, so that malloc gives it back to the system.

    Of the pieces of 16 MB that are Pillow's way, glibc keeps one image's worth for each thread: 8 threads held 3 GB.
    """
    from PIL import Image

    cast(Any, Image).core.set_block_size(512 << 20)


def _upright_rgb(image: Image.Image | PlainJpeg, name: str) -> Image.Image:
    from PIL import ExifTags, ImageOps

    if isinstance(image, PlainJpeg):
        picture = image.decode()
        if picture:
            return picture
        image = _pillow_image(BytesIO(image.content), name, len(image.content))
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # exif_transpose alone would copy every image
        image = ImageOps.exif_transpose(image) or image
    if image.mode in _WIDE_MODES:
        wide = image.convert("I")
        low, high = cast("tuple[int, int]", wide.getextrema())
        if low < 0 or high > 65535:
            raise ImageError(f"{name}: 32-bit pixels have no agreed range; expected 8 or 16 bits a channel")
        image = wide.point(_to_8_bits(), "L")
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no agreed range; expected 8 or 16 bits a channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB warns and picks the key colour
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=1)
def _to_8_bits() -> list[int]:
    """For each of 0..65535 its 8 bits, rounded; 65535 / 257 is 255 exactly."""
    return [(value + 128) // 257 for value in range(65536)]


class _Budget:
    """How many pixels all threads may hold at once. First come, first served: a large image is not overtaken for ever.

    No image is over `MAX_PIXELS`, so each gets its turn.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._held = 0

    @contextlib.contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._held + pixels <= MAX_PIXELS)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify()


_budget = _Budget()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_budget.reset)  # the threads that held some are not in the child
