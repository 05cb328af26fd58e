"""The bytes of an upload → a picture as the network takes it, within limits, by few threads."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osnet.errors import ImageError
from osnet.image_files import decoded
from osnet.inference.images import whole_pixels

Box = tuple[float, float, float, float]


class Picture(NamedTuple):
    """What is left of an upload: uint8 (height, width, 3) RGB for the network, and a thumbnail where one is kept."""

    pixels: NDArray[np.uint8]
    thumbnail: Image.Image | None


def read_picture(
    content: bytes,
    *,
    size: tuple[int, int],
    max_pixels: int,
    box: Box | None = None,
    thumbnail: tuple[int, int] | None = None,
) -> Picture:
    """Decode an image file, or a box of it.

    Args:
        content: the file.
        size: height and width that the network takes.
        max_pixels: of the whole file; more are refused before they are decoded.
        box: x1, y1, x2, y2 in pixels of the upright picture; None for all of it.
        thumbnail: height and width; None for none.

    Raises:
        ImageError: not such a file, too large, or the box is outside it.
    """
    try:
        with decoded("the picture", content, max_pixels=max_pixels) as whole:
            part = whole if box is None else whole.crop(_corners(box, whole.size))
            small = None if thumbnail is None else _resized(part, thumbnail)
            return Picture(np.asarray(_resized(part, size)), small)
    except ImageError as error:
        raise ImageError(_without_details(str(error))) from None


def _corners(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    good, corners = whole_pixels(np.array([box], np.float64), *size)
    if not good[0]:
        shown = ", ".join(f"{value:g}" for value in box)
        raise ImageError(f"the box {shown} holds no pixel of the {size[0]}x{size[1]} picture")
    x1, y1, x2, y2 = corners[0].tolist()
    return x1, y1, x2, y2


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _without_details(message: str) -> str:
    """A message without what a decoder says in brackets: it may name addresses and files of this machine."""
    return re.sub(r"cannot be decoded \(.*\)", "cannot be decoded", message)
