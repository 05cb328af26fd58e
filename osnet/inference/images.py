"""Anything that holds a picture → the uint8 RGB array that a network takes.

Resizing is Pillow's bilinear filter, antialiased when shrinking, which is what torchreid's transforms do and what the
published features were made with. JPEG files are decoded whole: a reduced decode would give other features.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from PIL import Image

from osnet.errors import ImageError, OptionError
from osnet.image_files import decoded
from osnet.variants import INPUT_HEIGHT, INPUT_WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

ImageLike = Union[str, "os.PathLike[str]", Image.Image, "NDArray[Any]"]

COLORS = ("rgb", "bgr")


def load_image(image: ImageLike, *, color: str = "rgb") -> Image.Image:
    """`image` as a Pillow image in RGB, 8 bits a channel, upright; files and Pillow images as
    `osnet.image_files.decoded` gives them.

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
    if isinstance(image, (str, os.PathLike, Image.Image)):
        with decoded(image) as picture:
            return picture
    raise ImageError(
        f"expected a path, a PIL image or a uint8 array (H, W, 3), got {type(image).__name__}; convert it to one "
        "(a tensor: .cpu().numpy(), with the channels last)"
    )


def prepare(
    image: ImageLike, *, color: str = "rgb", height: int = INPUT_HEIGHT, width: int = INPUT_WIDTH
) -> NDArray[Any]:
    """`image` as the network takes it: uint8 (height, width, 3), RGB. Arguments and errors as for `load_image`."""
    if isinstance(image, (str, os.PathLike, Image.Image)):
        check_color(color)
        with decoded(image) as picture:  # resized while its pixels count
            return _resized(picture, height, width)
    return _resized(load_image(image, color=color), height, width)


def prepare_boxes(
    path: str | os.PathLike[str],
    boxes: Sequence[Sequence[float] | None],
    *,
    height: int,
    width: int,
    content: bytes | None = None,
) -> list[NDArray[Any] | ImageError]:
    """Parts of one image file as the network takes them; the file is decoded once.

    Args:
        path: of the file; only its name where `content` is given.
        boxes: x1, y1, x2, y2 in pixels each, as for `crop_boxes`; None for the whole image.
        height, width: of the results.
        content: the file's bytes.

    Returns:
        For each box uint8 (height, width, 3), RGB; an `ImageError` for a box that holds no pixel.

    Raises:
        ImageError: the file cannot be read.
    """
    with decoded(path, content) as picture:
        return cut_boxes(picture, boxes, name=os.fspath(path), height=height, width=width)


def cut_boxes(
    picture: Image.Image, boxes: Sequence[Sequence[float] | None], *, name: str, height: int, width: int
) -> list[NDArray[Any] | ImageError]:
    """Parts of `picture`, called `name` in errors; arguments and results as `prepare_boxes`."""
    found: list[NDArray[Any] | ImageError] = []
    for box in boxes:
        if box is None:
            found.append(_resized(picture, height, width))
            continue
        good, corners = whole_pixels(np.array([box], np.float64), *picture.size)
        if good[0]:
            x1, y1, x2, y2 = corners[0].tolist()
            found.append(_resized(picture.crop((x1, y1, x2, y2)), height, width))
        else:
            shown = ", ".join(f"{value:g}" for value in box)
            size = f"{picture.width}x{picture.height}"
            found.append(ImageError(f"{name}: the box {shown} holds no pixel of the {size} image"))
    return found


def _resized(picture: Image.Image, height: int, width: int) -> NDArray[Any]:
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def crop_boxes(
    frame: NDArray[Any], boxes: Any, *, color: str = "rgb", on_bad_box: str = "raise"
) -> list[NDArray[Any] | None]:
    """The parts of a video frame inside `boxes`, as views.

    Args:
        frame: uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), channels in the order `color`.
        boxes: (N, 4) of x1, y1, x2, y2 in pixels, whole or fractional, end exclusive; empty gives an empty list. Each
            corner is cut down to whole pixels (10.9 becomes 10), then what sticks out of the frame is cut off.
        color: order of the channels, ``rgb`` or ``bgr``.
        on_bad_box: ``raise``, or ``nan``: None in the place of a box that is not finite, or holds no pixel.

    Raises:
        ImageError: wrong shapes, or, under ``raise``, bad boxes: all are named.
    """
    check_color(color)
    channels = frame.shape[2:] if isinstance(frame, np.ndarray) else None
    if not isinstance(frame, np.ndarray) or frame.ndim not in (2, 3) or channels not in ((), (1,), (3,), (4,)):
        raise ImageError(f"boxes need one frame, a uint8 array (H, W, 3), got {_describe(frame)}")
    if frame.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"boxes need one frame, a uint8 array (H, W, 3), got {_describe(frame)}")
    try:
        corners = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError):
        raise ImageError(f"boxes: expected numbers of shape (N, 4), x1, y1, x2, y2, got {boxes!r:.80}") from None
    if corners.size == 0:
        return []
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ImageError(f"boxes: expected shape (N, 4) of x1, y1, x2, y2, got {corners.shape}")
    if frame.dtype == np.uint16:
        frame = _to_8_bits(frame)  # all of it: a dark part alone would look like 8 bits
    height, width = frame.shape[:2]
    good, whole = whole_pixels(corners, width, height)
    bad = np.flatnonzero(~good)
    if bad.size and on_bad_box == "raise":
        shown = "; ".join(f"box {i}: {', '.join(f'{v:g}' for v in corners[i])}" for i in bad[:3])
        more = f" and {bad.size - 3} more" if bad.size > 3 else ""
        raise ImageError(
            f"{bad.size} of {len(corners)} boxes hold no pixel of the {width}x{height} frame ({shown}{more}); corners "
            "are cut down to whole pixels, then x1 < x2 and y1 < y2 must hold within the frame: leave these boxes out, "
            "or set on_bad_box='nan'"
        )
    return [frame[y1:y2, x1:x2] if fits else None for fits, (x1, y1, x2, y2) in zip(good, whole)]


def whole_pixels(corners: NDArray[np.float64], width: int, height: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Boxes (N, 4) cut down to whole pixels of a frame of this size, int64 (N, 4), and which of them hold a pixel."""
    finite = np.isfinite(corners).all(axis=1)
    whole = np.trunc(np.clip(np.where(finite[:, None], corners, 0), -1e9, 1e9)).astype(np.int64)
    whole[:, :2] = np.maximum(whole[:, :2], 0)
    whole[:, 2:] = np.minimum(whole[:, 2:], (width, height))
    return finite & (whole[:, 2] > whole[:, 0]) & (whole[:, 3] > whole[:, 1]), whole


def check_color(color: str) -> None:
    """Raises:
    OptionError: `color` is neither ``rgb`` nor ``bgr``.
    """
    if color not in COLORS:
        raise OptionError(f"color: expected 'rgb' or 'bgr' (OpenCV's order), got {color!r}")


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
