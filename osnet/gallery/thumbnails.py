"""Pictures → thumbnails: small JPEG files, made within the limits of `osnet.image_files`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from osnet.errors import ImageError
from osnet.image_files import decoded
from osnet.inference.images import ImageLike, load_image

MAX_BYTES = 32 << 20
"""Of a file that is given as a thumbnail."""

_QUALITY = 92


def make_thumbnail(image: ImageLike | bytes, size: tuple[int, int], *, color: str = "rgb") -> bytes:
    """`image` as a JPEG file of `size`.

    Args:
        image: what `osnet.inference.images.load_image` takes, or the bytes of an image file.
        size: height and width; nothing is added, so another shape is stretched, as the network sees it.
        color: channel order of an array.

    Raises:
        ImageError: it cannot be decoded, or is too large.
    """
    height, width = size
    if isinstance(image, (bytes, bytearray, memoryview)):
        content = bytes(image)
        if len(content) > MAX_BYTES:
            raise ImageError(
                f"a thumbnail of {len(content):,} bytes is over {MAX_BYTES:,}; expected a crop of a person"
            )
        with decoded("the thumbnail", content) as picture:
            return _jpeg(picture, height, width)
    if isinstance(image, np.ndarray):
        return _jpeg(load_image(image, color=color), height, width)
    with decoded(image) as picture:
        return _jpeg(picture, height, width)


def _jpeg(picture: Any, height: int, width: int) -> bytes:
    small = picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)  # of pixels alone: what EXIF says of place and time is left out
    return file.getvalue()
