"""Pictures → thumbnails: small JPEG files, made within the limits of `osnet.image_files`."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from PIL import Image

from osnet.checks import check_integer
from osnet.errors import ImageError, OptionError
from osnet.image_files import decoded
from osnet.inference.images import ImageLike, load_image

MAX_BYTES = 32 << 20
"""Of a file that is given as a thumbnail."""

_QUALITY = 92


def check_thumbnails(size: Any) -> tuple[int, int]:
    """Height and width of thumbnails, 8 to 1024 each.

    Raises:
        OptionError: anything else.
    """
    try:
        height, width = size
    except (TypeError, ValueError):
        raise OptionError(f"thumbnails: expected height and width, such as (128, 64), got {size!r:.80}") from None
    return (
        check_integer("thumbnails: height", height, least=8, most=1024),
        check_integer("thumbnails: width", width, least=8, most=1024),
    )


def parse_thumbnails(text: str, name: str) -> tuple[int, int]:
    """As `check_thumbnails`, of text such as ``128x64``; `name` is what gave it.

    Raises:
        OptionError: anything else.
    """
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not found:
        raise OptionError(f"{name}: expected height x width, such as 128x64, got {text!r:.80}")
    return check_thumbnails((int(found[1]), int(found[2])))


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
            return content if _is_thumbnail(content, width, height) else _jpeg(picture, height, width)
    if isinstance(image, np.ndarray):
        return _jpeg(load_image(image, color=color), height, width)
    with decoded(image) as picture:
        return _jpeg(picture, height, width)


def _is_thumbnail(content: bytes, width: int, height: int) -> bool:
    """Whether it can be kept as it is: a JPEG file of this size that holds pixels alone."""
    with Image.open(io.BytesIO(content)) as image:
        parts = {name for name, _ in getattr(image, "applist", [("", b"")])}
        return image.format == "JPEG" and image.size == (width, height) and parts <= {"APP0"}


def _jpeg(picture: Any, height: int, width: int) -> bytes:
    small = picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)  # of pixels alone: what EXIF says of place and time is left out
    return file.getvalue()
