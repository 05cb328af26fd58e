"""What the three readers share: from bytes to arrays, readable names, and limits on what a file may ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from osnet.errors import CheckpointError

Array = NDArray[Any]

MAX_DIMS = 8
MAX_NAME_BYTES = 512

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""The bits of bfloat16, a type that numpy does not have."""


def array_from(raw: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> Array:
    """Return the read-only array `name` over `raw`, whose length fits; bfloat16 is widened to float32 in new memory.

    Raises:
        CheckpointError: a Bool with bytes other than 0 and 1.
    """
    array: Array = np.ndarray(shape, dtype, raw.toreadonly())
    if dtype.names:
        wide = array["bfloat16"].astype("<u4")
        wide <<= 16
        array = wide.view("<f4")
        array.flags.writeable = False
    elif dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise CheckpointError(f"{name} is Bool and holds bytes other than 0 and 1")
    return array


def most_entries(file_bytes: int) -> int:
    """Return how many tensors a file of `file_bytes` may hold.

    An entry of 30 bytes costs about 700 bytes of memory: without a cap, a small file of such entries takes 25 times its
    size; with it, at most 7 MB and 3 times its size. OSNet files hold up to 2,000 entries of 2,000 bytes on average.
    """
    return 10_000 + file_bytes // 256


def readable_name(raw: bytes | memoryview, where: str) -> str:
    """Decode the name of a tensor.

    Raises:
        CheckpointError: empty, overlong, or not printable UTF-8 text.
    """
    if not raw:
        raise CheckpointError(f"{where} has an empty name")
    if len(raw) > MAX_NAME_BYTES:
        raise CheckpointError(
            f"{where} has a name of {len(raw):,} bytes, at most {MAX_NAME_BYTES} are read: {shown(raw)}"
        )
    try:
        name = str(raw, "utf-8")
    except UnicodeDecodeError:
        name = "\0"
    if not name.isprintable():
        raise CheckpointError(f"{where} has a name that is not printable UTF-8 text: {shown(raw)}")
    return name


def shown(raw: bytes | memoryview) -> str:
    """`raw` for a message: short, and escaped so that it cannot break the line or control a terminal."""
    text = ascii(bytes(raw[:64]).decode("utf-8", "backslashreplace"))
    return text if len(raw) <= 64 else f"{text}..."
