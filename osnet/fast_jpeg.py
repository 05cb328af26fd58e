"""Ordinary JPEG files decoded by simplejpeg where it is installed (extra ``[fast]``), in about half of Pillow's time.

Features must not depend on what is installed. So only the plainest files are taken here: three channels, 8 bits,
baseline or progressive, without EXIF or XMP, and only if simplejpeg reports no problem at all; Pillow decodes the rest.
For these, both give the same pixels, as both use libjpeg-turbo with its exact settings. A Pillow that was built with
another JPEG library may differ: the first use compares the two, and simplejpeg is not used if one pixel is different.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 4_000_000
"""Larger files are left to Pillow: they are read whole here."""

MAX_PIXELS = 1_000_000
"""Larger images are left to Pillow: the pixels are held twice here, for a moment."""

_SOF_BASELINE, _SOF_PROGRESSIVE, _DHT, _SOS, _DQT, _DRI, _APP0, _COM = 0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xFE


class PlainJpeg(NamedTuple):
    """A JPEG file of the plainest kind.

    Attributes:
        content: the whole file.
        size: width and height in pixels.
    """

    content: bytes
    size: tuple[int, int]

    def decode(self) -> Image.Image | None:
        """The picture in RGB; None if anything at all is wrong with the file."""
        from PIL import Image

        try:
            pixels = _simplejpeg().decode_jpeg(self.content, strict=True)
        except Exception:  # noqa: BLE001 - whatever it is, Pillow decides
            return None
        return Image.fromarray(pixels) if pixels.shape == (self.size[1], self.size[0], 3) else None


def plain_jpeg(content: bytes) -> PlainJpeg | None:
    """The file `content` if simplejpeg may decode it, else None.

    The segments up to the first scan are checked one by one; any that is not expected, or not of the expected form,
    leaves the file to Pillow.
    """
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    size = None
    place = 2
    try:
        while True:
            if content[place] != 0xFF:
                return None
            kind, length = content[place + 1], content[place + 2] << 8 | content[place + 3]
            data, place = place + 4, place + 2 + length
            if kind == _SOS:
                return PlainJpeg(content, size) if size and content[data] in (1, 3) else None
            if kind in (_SOF_BASELINE, _SOF_PROGRESSIVE):
                head = content[data : data + 6]
                if size or length != 17 or head[0] != 8:  # 17: three channels
                    return None
                size = head[3] << 8 | head[4], head[1] << 8 | head[2]
                if not 0 < size[0] * size[1] <= MAX_PIXELS:
                    return None
            elif kind == _APP0:
                if length != 16 or content[data : data + 5] != b"JFIF\0":
                    return None
            elif kind == _DQT:
                if (length - 2) % 65 or length == 2 or any(content[at] > 3 for at in range(data, place, 65)):
                    return None
            elif kind not in (_DHT, _DRI, _COM) or length < 4:
                return None
    except IndexError:
        return None


@lru_cache(maxsize=1)
def agrees_with_pillow() -> bool:
    """Whether simplejpeg can be imported, and gives Pillow's pixels for some pictures; found out once."""
    try:
        import numpy as np
        from PIL import Image

        decode = _simplejpeg().decode_jpeg
        noise = np.random.default_rng(0).integers(0, 256, (61, 43, 3)).astype(np.uint8)
        picture = Image.fromarray(noise).resize((75, 109), Image.Resampling.BICUBIC)
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            for progressive in (False, True):
                file = io.BytesIO()
                picture.save(file, "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
                with Image.open(file) as expected:
                    if not np.array_equal(decode(file.getvalue(), strict=True), np.asarray(expected)):
                        return False
    except Exception:  # noqa: BLE001 - an incomplete installation is one that is not used
        return False
    return True


@lru_cache(maxsize=1)
def _simplejpeg() -> Any:
    import simplejpeg

    return simplejpeg
