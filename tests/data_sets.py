"""Tiny data sets on disk in every layout, with real image files where a test decodes them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def image(path: Path, seed: int = 0, size: tuple[int, int] = (32, 64)) -> Path:
    """A small JPEG or PNG of noise, another for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def touch(root: Path, *names: str) -> Path:
    """Empty files: nothing may be decoded to list a data set."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s1_000451_03.jpg",
    "bounding_box_train/0007_c3s3_077419_03.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg",
    "bounding_box_test/0001_c1s1_001051_02.jpg",
    "bounding_box_test/0001_c6s1_002051_02.jpg",
    "bounding_box_test/Thumbs.db",
)


def good_market(root: Path) -> Path:
    """Market-1501 in small, with readable images and nothing to complain of."""
    number = 0
    for folder, people in (("bounding_box_train", (1, 2)), ("query", (3, 4)), ("bounding_box_test", (3, 4))):
        for person in people:
            for camera in (1, 2):
                number += 1
                image(root / folder / f"{person:04d}_c{camera}s1_{number:06d}_00.jpg", seed=number)
    return root


def huge_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
