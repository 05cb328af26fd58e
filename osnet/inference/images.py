"""Anything that holds a picture → the uint8 RGB array that a network takes.

Resizing is Pillow's bilinear filter, antialiased when shrinking, which is what torchreid's transforms do and what the
published features were made with. JPEG files are decoded whole: a reduced decode would give other features.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from osnet.errors import ImageError, OptionError
from osnet.variants import INPUT_HEIGHT, INPUT_WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

ImageLike = Union[str, "os.PathLike[str]", Image.Image, "NDArray[Any]"]

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"))
VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"))

MAX_PIXELS = 100_000_000
"""A larger picture is refused before it is decoded: no crop of a person has more, a decompression bomb has."""

COLORS = ("rgb", "bgr")
_WIDE_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def load_image(image: ImageLike, *, color: str = "rgb") -> Image.Image:
    """`image` as a Pillow image in RGB, 8 bits a channel, upright.

    Files and Pillow images are turned as their EXIF orientation says; their own colour order is known. Grey becomes
    three equal channels, an alpha channel is left out (as torchreid does), a palette is looked up, 16-bit greys are
    scaled to 8 bits.

    Args:
        image: a path, a Pillow image, or an array: uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).
        color: order of an array's channels, ``rgb`` or ``bgr`` (OpenCV's).

    Raises:
        ImageError: it cannot be read as one picture; the message names the file.
        OptionError: `color` is neither.
    """
    check_color(color)
    if isinstance(image, np.ndarray):
        return _from_array(image, color)
    if isinstance(image, Image.Image):
        return _upright_rgb(image, "the image")
    if isinstance(image, (str, os.PathLike)):
        return _from_file(Path(image))
    raise ImageError(
        f"expected a path, a PIL image or a uint8 array (H, W, 3), got {type(image).__name__}; convert it to one "
        "(a tensor: .cpu().numpy(), with the channels last)"
    )


def prepare(
    image: ImageLike, *, color: str = "rgb", height: int = INPUT_HEIGHT, width: int = INPUT_WIDTH
) -> NDArray[Any]:
    """`image` as the network takes it: uint8 (height, width, 3), RGB. Arguments and errors as for `load_image`."""
    loaded = load_image(image, color=color)
    if loaded.size != (width, height):
        loaded = loaded.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(loaded)


def crop_boxes(frame: NDArray[Any], boxes: Any, *, color: str = "rgb") -> list[NDArray[Any]]:
    """The parts of a video frame inside `boxes`, as views.

    Args:
        frame: uint8 (H, W, 3), channels in the order `color`.
        boxes: (N, 4) of x1, y1, x2, y2 in pixels, whole or fractional, end exclusive; empty gives an empty list. What
            sticks out of the frame is cut off; fractions are cut down to whole pixels.

    Raises:
        ImageError: wrong shapes, or boxes that are not finite, empty, or outside the frame: all are named.
    """
    check_color(color)
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ImageError(f"boxes want one frame, a uint8 array (H, W, 3), got {_describe(frame)}")
    try:
        corners = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError):
        raise ImageError(f"boxes: expected numbers of shape (N, 4), x1, y1, x2, y2, got {boxes!r:.80}") from None
    if corners.size == 0:
        return []
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ImageError(f"boxes: expected shape (N, 4) of x1, y1, x2, y2, got {corners.shape}")
    height, width = frame.shape[:2]
    finite = np.isfinite(corners).all(axis=1)
    whole = np.trunc(np.clip(np.where(finite[:, None], corners, 0), -1e9, 1e9)).astype(np.int64)
    left, top = np.maximum(whole[:, 0], 0), np.maximum(whole[:, 1], 0)
    right, bottom = np.minimum(whole[:, 2], width), np.minimum(whole[:, 3], height)
    bad = np.flatnonzero(~finite | (right <= left) | (bottom <= top))
    if bad.size:
        shown = "; ".join(f"box {i}: {', '.join(f'{v:g}' for v in corners[i])}" for i in bad[:3])
        more = f" and {bad.size - 3} more" if bad.size > 3 else ""
        raise ImageError(
            f"{bad.size} of {len(corners)} boxes are empty or outside the {width}x{height} frame ({shown}{more}); "
            "expected x1 < x2, y1 < y2 in pixels that meet the frame: leave them out"
        )
    return [frame[y1:y2, x1:x2] for x1, y1, x2, y2 in zip(left, top, right, bottom)]


def find_images(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The image files that `inputs` (files and folders) name, folders searched to the bottom in sorted order.

    A file named outright is taken whatever its suffix, save a video's.

    Raises:
        ImageError: a path does not exist, a folder holds no image, or a file is a video.
    """
    found: list[Path] = []
    for item in inputs:
        path = Path(item)
        if path.is_dir():
            inside = sorted(_walk(path))
            if not inside:
                known = " ".join(sorted(IMAGE_SUFFIXES))
                raise ImageError(f"{path}: no images in this folder or below it (looked for {known})")
            found.extend(inside)
        elif not path.exists():
            raise ImageError(f"{path}: no such file or folder")
        else:
            _refuse_video(path)
            found.append(path)
    return list(dict.fromkeys(found))  # a folder and a folder inside it name some files twice


def _walk(folder: Path) -> list[Path]:
    return [
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")  # noqa: PTH122 (speed)
    ]


def check_color(color: str) -> None:
    """Raises:
    OptionError: `color` is neither ``rgb`` nor ``bgr``.
    """
    if color not in COLORS:
        raise OptionError(f"color: expected 'rgb' or 'bgr' (OpenCV's order), got {color!r}")


def _refuse_video(path: Path) -> None:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise ImageError(
            f"{path}: this is a video; expected images: cut the people out of its frames first, "
            "or call osnet.Embedder()(frame, boxes=...) for each frame"
        )


def _from_file(path: Path) -> Image.Image:
    _refuse_video(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "no such file"
        raise ImageError(f"{path}: {what}; expected an image file")
    try:
        with Image.open(path) as opened:
            return _upright_rgb(opened, str(path))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{path}: {_looks_like(path)}; expected an image (JPEG, PNG, ...)") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: over {MAX_PIXELS} pixels, refused; expected a crop of a person") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, IndexError, KeyError) as error:
        # Pillow's decoders raise any of these on damaged files
        raise ImageError(f"{path}: cannot be decoded ({error}); replace or leave out this file") from None


def _looks_like(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "the file is empty"
    return "not an image format that is known here"


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width}x{height} is over {MAX_PIXELS} pixels, refused before decoding; "
            "expected a crop of a person"
        )
    if width == 0 or height == 0:
        raise ImageError(f"{name}: {width}x{height} holds no pixels; expected a crop of a person")
    try:
        image.load()
    except ValueError as error:  # a closed image
        raise ImageError(f"{name}: its pixels cannot be had ({error}); open it again") from None
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # exif_transpose alone would copy every image
        image = ImageOps.exif_transpose(image) or image
    if image.mode in _WIDE_MODES:
        return _from_wide_grey(np.asarray(image), name)
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no agreed range; expected 8 or 16 bits a channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB warns and picks the key colour
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_wide_grey(pixels: NDArray[Any], name: str) -> Image.Image:
    if int(pixels.min()) < 0 or int(pixels.max()) > 65535:
        raise ImageError(f"{name}: 32-bit pixels have no agreed range; expected 8 or 16 bits a channel")
    return Image.fromarray(_to_8_bits(pixels)).convert("RGB")


def _to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """0..65535 → 0..255, rounded; 65535 / 257 is 255 exactly."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_array(array: NDArray[Any], color: str) -> Image.Image:
    if array.dtype == np.uint16:
        if array.size and int(array.max()) <= 255:
            raise ImageError(f"uint16 array with values up to {array.max()}: 8 bits, it seems; convert it to uint8")
        array = _to_8_bits(array)
    if array.dtype != np.uint8:
        raise ImageError(
            f"expected a uint8 array with values 0..255, got {_describe(array)}; scale and convert it to uint8 first"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        hint = "; it looks like (C, H, W): transpose it" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(f"expected an array (H, W), (H, W, 3) or (H, W, 4), got {_describe(array)}{hint}")
    if array.size == 0:
        raise ImageError(f"the array holds no pixels: {_describe(array)}; expected a crop of a person")
    if array.ndim == 3:
        array = array[:, :, :3]
        if color == "bgr":
            array = array[:, :, ::-1]
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")


def _describe(thing: Any) -> str:
    if isinstance(thing, np.ndarray):
        return f"{thing.dtype} {thing.shape}"
    return type(thing).__name__
