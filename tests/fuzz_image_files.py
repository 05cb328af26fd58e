"""Damaged and foreign image files against `decoded`: each is an RGB image or refused with ImageError, in little memory,
and no program is started. `python -m tests.fuzz_image_files --seconds 30 --seed 0`, or `--count 1000000`.

The same seed gives the same files; a failure keeps the file and names it.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import logging
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from osnet import image_files
from osnet.errors import ImageError
from osnet.image_files import IMAGE_SUFFIXES, decoded
from tests.fuzzing import damaged

MAX_PIXELS = 1 << 20
"""Instead of 100 million: small files must show what large ones would do."""
MEMORY = 16 * MAX_PIXELS + (4 << 20)
"""Bytes that one file may take: four bytes a pixel, four copies under way, and what Python itself needs."""
HANG_SECONDS = 60
WARM_UP = 200

_NUMBERS = (0, 1, 2, 7, 8, 64, 255, 256, 1023, 1024, 1025, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_TIFF_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339)
_PIECES = [
    *(struct.pack(f"{order}I", n)[-width:] for order in "<>" for n in _NUMBERS for width in (1, 2, 4)),
    *(struct.pack("<HHII", tag, kind, 1, n) for tag in _TIFF_TAGS for kind in (3, 4) for n in (0, 1, 8, 5000, 2**31)),
    *(
        bytes((0xFF, marker))
        for marker in (0xC0, 0xC1, 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE)
    ),
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT"),
    *(b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"EXIF", b"Exif\0\0", b"MPF\0"),
    *(b"GIF89a", b"\x21\xf9\x04", b"\x2c", b"\x3b", b"II*\0", b"MM\0*", b"II+\0", b"BM", b"Adobe", b"JFIF\0"),
    *(f"{magic}\n".encode() for magic in ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "PF", "Pf")),
    *(b"99999 99999\n", b"-1", b"1e9", b"65535\n", b"#", b"%!PS", b"{} loop\n", b"\n"),
]


@lru_cache(maxsize=1)
def seeds() -> list[bytes]:
    """Small whole images of every format and mode that is decoded, and files of other kinds."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    wide = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274] = 6

    def animated() -> dict[str, object]:
        return {"save_all": True, "append_images": [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}

    wanted: list[tuple[Image.Image, str, dict[str, object]]] = [
        *((image.convert(mode), "JPEG", {}) for mode in ("RGB", "L", "CMYK")),
        (image, "JPEG", {"progressive": True, "exif": exif, "icc_profile": b"x" * 128}),
        (image, "MPO", animated()),
        *((image.convert(mode), "PNG", {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")),
        (wide, "PNG", {}),
        (image.convert("P"), "PNG", {"transparency": 3}),
        (image, "PNG", {**animated(), "exif": exif}),
        *((image.convert(mode), "BMP", {}) for mode in ("RGB", "L", "P", "1")),
        (image, "WEBP", {"exif": exif}),
        (image, "WEBP", {"lossless": True}),
        (image.convert("RGBA"), "WEBP", animated()),
        *((image.convert(mode), "TIFF", {}) for mode in ("RGB", "RGBA", "L", "P", "1", "CMYK", "LAB")),
        *((image, "TIFF", {"compression": f"tiff_{name}"}) for name in ("lzw", "adobe_deflate", "jpeg")),
        (image, "TIFF", {"compression": "packbits"}),
        (image.convert("1"), "TIFF", {"compression": "group4"}),
        (wide, "TIFF", {}),
        (image, "TIFF", {**animated(), "exif": exif}),
        (image.convert("P"), "GIF", {}),
        (image.convert("P"), "GIF", {**animated(), "transparency": 0}),
        *((image.convert(mode), "PPM", {}) for mode in ("RGB", "L", "1")),
        *((image, kind, {}) for kind in ("EPS", "PDF", "ICO", "TGA", "DDS", "PCX", "SGI", "JPEG2000")),
    ]
    found = []
    for picture, kind, options in wanted:
        content = io.BytesIO()
        with contextlib.suppress(OSError):  # a Pillow built without this encoder
            picture.copy().save(content, kind, **options)  # a copy, as an encoder leaves its settings behind
            found.append(content.getvalue())
    return [
        *found,
        b"P1\n4 2\n1 0 1 0 0 1 0 1\n",
        b"P3\n2 1\n255\n1 2 3 4 5 6\n",
        b"P2\n# grey\n2 1\n65535\n1 65535\n",
        _run_length_bmp(),
        _huge_tile(),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 128\n%%EndComments\n{} loop\n%%EOF\n",
        b"%!PS\n{} loop\n",
        b"BLP2" + struct.pack("<IBBBBII", 1, 1, 0, 0, 0, 16, 16) + bytes(3000),
        b"SIMPLE  =                    T".ljust(80) + b"NAXIS   = 2".ljust(80) + b"END".ljust(2720),
        b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="128"/>',
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
        b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(40),
        b"",
    ]


def _run_length_bmp() -> bytes:
    data = b"\x04\x01\0\0\x04\x02\0\0\0\x04\1\2\3\4\0\0\0\x02\1\1\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(data), 0, 0, 54 + 1024) + head + bytes(1024) + data


def _huge_tile() -> bytes:
    """A TIFF of 64 x 64 pixels in one tile of 4000 x 4000: glibc would keep what is under 32 MiB."""
    data = zlib.compress(bytes(4000 * 4000 * 3))
    tags = [(256, 64), (257, 64), (258, 8), (259, 8), (262, 2), (277, 3), (322, 4000), (323, 4000)]
    tags += [(324, 8 + 2 + 12 * (len(tags) + 2) + 4), (325, len(data))]
    ifd = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + ifd + bytes(4) + data


def mutated(count: int | None, seed: int) -> Iterator[tuple[str, bytes]]:
    """Suffix and content of damaged files; the suffix is any."""
    choose = random.Random(seed)
    known = seeds()
    number = 0
    while count is None or number < count:
        number += 1
        raw = choose.choice(known)
        if choose.randrange(40) == 0:
            content = raw
        elif raw.startswith(b"\x89PNG") and choose.randrange(4):
            content = _png_damaged(raw, choose)
        elif choose.randrange(3):  # the head decides most
            head = min(len(raw), choose.choice((16, 64, 200)))
            content = damaged(raw[:head], choose, _PIECES) + raw[head:]
        else:
            content = damaged(raw, choose, _PIECES)
        yield choose.choice(IMAGE_SUFFIXES), content


def _png_damaged(raw: bytes, choose: random.Random) -> bytes:
    """Damage within the chunks of a PNG, which have the checksums that belong to them."""
    out, place = [raw[:8]], 8
    while place < len(raw):
        (size,) = struct.unpack_from(">I", raw, place)
        kind, data = raw[place + 4 : place + 8], raw[place + 8 : place + 8 + size]
        place += size + 12
        if choose.randrange(3) == 0:
            if kind in (b"IDAT", b"zTXt", b"iCCP") and choose.randrange(2):
                data = zlib.compress(bytes(choose.choice((0, 10, 1000, 1 << 22))))
            else:
                data = damaged(data, choose, _PIECES)
        for _ in range(choose.choice((0, 1, 1, 1, 1, 1, 1, 1, 2))):
            out.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(out)


class _Started(BaseException):
    """A program was started; no `except Exception` hides it."""


def run(count: int | None, seconds: float | None, seed: int) -> dict[str, float]:
    """Feed the reader until `count` files or `seconds` are over; raises AssertionError at the first fault."""
    figures: dict[str, float] = {"files": 0, "read": 0, "refused": 0, "most_memory": 0}
    folder = Path(tempfile.mkdtemp(prefix="fuzz-images-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(image_files, "MAX_PIXELS", MAX_PIXELS))
        for module, name in ((subprocess, "Popen"), (os, "system"), (os, "fork"), (os, "posix_spawn")):
            if hasattr(module, name):
                stack.enter_context(mock.patch.object(module, name, side_effect=_Started(name)))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # Pillow's, of metadata that it leaves out
        stderr = stack.enter_context(_quiet())
        for suffix, data in mutated(WARM_UP, seed):  # imports and caches are no memory of a file's
            _outcome(folder / f"first{suffix}", data)
        stack.callback(faulthandler.cancel_dump_traceback_later)
        for suffix, data in mutated(count, seed):
            if time.monotonic() > end:
                break
            if figures["files"] % 100 == 0:
                faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=stderr)
            path = folder / f"case{suffix}"
            before = _peak_begins()
            message = _outcome(path, data)
            memory = max(0, _status("VmHWM") - before)
            assert memory <= MEMORY, f"{memory:,} bytes for {path}"
            assert "\n" not in message, f"{message!r} for {path}"
            assert len(message) < 1000, f"{message!r} for {path}"
            figures["files"] += 1
            figures["refused" if message else "read"] += 1
            figures["most_memory"] = max(figures["most_memory"], memory)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return figures


@contextlib.contextmanager
def _quiet() -> Iterator[int]:
    """Without what libtiff and Pillow's log write to standard error; yields a descriptor that still does."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    logging.disable()
    try:
        yield stderr
    finally:
        logging.disable(logging.NOTSET)
        os.dup2(stderr, 2)
        os.close(null)
        os.close(stderr)


def _outcome(path: Path, data: bytes) -> str:
    """The refusal of `data` as the file `path`, or nothing."""
    path.write_bytes(data)
    try:
        with decoded(path) as image:
            mode, pixels = image.mode, image.width * image.height
            image.resize((8, 16))
    except ImageError as error:
        return str(error)
    except BaseException as error:
        raise AssertionError(f"{error!r} from {path}") from error
    assert mode == "RGB", f"{mode} from {path}"
    assert 0 < pixels <= MAX_PIXELS, f"{pixels:,} pixels from {path}"
    return ""


def _peak_begins() -> int:
    """Bytes that the process has now; the peak in `_status` begins anew. 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))
    except (OSError, StopIteration):
        return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="stop after so long (default 30 without --count)")
    parser.add_argument("--count", type=int, help="stop after so many files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    seconds = 30.0 if given.seconds is None and given.count is None else given.seconds
    start = time.monotonic()
    figures = run(given.count, seconds, given.seed)
    print(
        f"{figures['files']:,.0f} damaged image files in {time.monotonic() - start:.0f} s: "
        f"{figures['read']:,.0f} read, {figures['refused']:,.0f} refused, "
        f"most memory {figures['most_memory']:,.0f} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
