"""Mutated small checkpoints against the .ckpt reader: each is read or refused with CheckpointError, soon and in little
memory. `python -m tests.checkpoint.fuzz_ckpt --seconds 30 --seed 0`, or `--count 1000000`.

The same seed gives the same files; a failure prints the file in hexadecimal.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np

from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.errors import CheckpointError
from tests.oracles.ckpt import dim, entry, field, floats, varint

MEMORY_TIMES = 4
"""Allowed: this many times the file ..."""
MEMORY_PLUS = 8_192
"""... and what Python itself needs for a few arrays and an error, in bytes."""
SLOWEST_SECONDS = 1.0
HANG_SECONDS = 60

_INTERESTING = [varint(n) for n in (0, 1, 2, 3, 7, 8, 9, 10, 18, 26, 127, 128, 255, 2**16, 2**31, 2**32, 2**63, -1)]
_PIECES = [
    *_INTERESTING,
    *(bytes([byte]) for byte in (0x08, 0x0A, 0x12, 0x1A, 0x22, 0x80, 0xFF)),
    *(field(2, word) for word in (b"Float32", b"Float16", b"Int64", b"Bool", b"BFloat16", b"str", b"Int4")),
    dim(0),
    dim(-1),
    dim(10**8),
    b"crc_num" + bytes(10),
    entry(b"a.b", (2,), content=floats(1, 2)),
    entry(b"a.b", (4,), content=floats(1, 2)),
]


def seeds() -> list[bytes]:
    """Small whole checkpoints: all types, scalars, slices, a crc, MindSpore's bfloat16 and old scalars."""
    draw = np.random.default_rng(0)
    network = {"conv.weight": draw.random((4, 2, 3, 3), np.float32), "bn.gamma": draw.random(4, np.float32)}
    types = {
        f"t.{code}": draw.integers(0, 2, (2, 3)).astype(code) for code in ("?", "i1", "u2", "i4", "i8", "f2", "f8")
    }
    counters = {"global_step": np.array([3], np.int32), "beta1_power": np.float32(0.9).reshape(())}
    return [
        write_ckpt(network),
        write_ckpt({**network, **counters}),
        write_ckpt(types),
        write_ckpt(network, slice_bytes=48),
        write_ckpt(counters, crc=True),
        entry(b"h", (3,), b"BFloat16", b"abcdef") + entry(b"s", (0,), content=floats(1)),
    ]


def mutated(count: int | None, seed: int) -> Iterator[bytes]:
    choose = random.Random(seed)
    known = seeds()
    number = 0
    while count is None or number < count:
        number += 1
        raw = bytearray(choose.choice(known))
        for _ in range(choose.choice((1, 1, 1, 2, 3, 6))):
            place = choose.randrange(len(raw) + 1)
            action = choose.randrange(7)
            if action == 0 and place < len(raw):
                raw[place] ^= 1 << choose.randrange(8)
            elif action == 1 and place < len(raw):
                raw[place] = choose.randrange(256)
            elif action == 2:
                del raw[place : place + choose.choice((1, 1, 2, 4, 8, 30))]
            elif action == 3:
                raw[place:place] = choose.choice(_PIECES)
            elif action == 4:
                piece = choose.choice(_PIECES)
                raw[place : place + len(piece)] = piece
            elif action == 5:
                start = choose.randrange(len(raw) + 1)
                raw[place:place] = raw[start : start + choose.choice((1, 4, 16, 64))]
            elif choose.randrange(4) == 0:
                del raw[place:]
        yield bytes(raw)


def run(count: int | None, seconds: float | None, seed: int) -> dict[str, float]:
    """Feed the reader until `count` files or `seconds` are over; raises AssertionError at the first fault."""
    figures: dict[str, float] = {"files": 0, "read": 0, "refused": 0, "slowest_ms": 0, "most_memory": 0}
    read_ckpt(seeds()[0])
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    tracemalloc.start()
    try:
        for data in mutated(count, seed):
            if time.monotonic() > end:
                break
            if figures["files"] % 100 == 0:
                faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.__stderr__)
            tracemalloc.reset_peak()
            before, start = tracemalloc.get_traced_memory()[0], time.process_time()
            total, message = 0, ""
            try:
                total = sum(array.nbytes for array in read_ckpt(data).values())
            except CheckpointError as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(f"{error!r} from {data.hex()}") from error
            took = time.process_time() - start
            memory = tracemalloc.get_traced_memory()[1] - before
            assert took < SLOWEST_SECONDS, f"{took:.1f} s for {data.hex()}"
            assert memory <= MEMORY_TIMES * len(data) + MEMORY_PLUS, f"{memory} bytes for {data.hex()}"
            assert total <= 2 * len(data), f"arrays of {total} bytes from {data.hex()}"
            assert not message or (message.isprintable() and len(message) < 1000), f"{message!r} for {data.hex()}"
            figures["files"] += 1
            figures["refused" if message else "read"] += 1
            figures["slowest_ms"] = max(figures["slowest_ms"], took * 1e3)
            figures["most_memory"] = max(figures["most_memory"], memory)
    finally:
        faulthandler.cancel_dump_traceback_later()
        tracemalloc.stop()
    return figures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="stop after so long (default 30 without --count)")
    parser.add_argument("--count", type=int, help="stop after so many files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    seconds = 30.0 if given.seconds is None and given.count is None else given.seconds
    start = time.monotonic()
    figures = run(given.count, seconds, given.seed)
    took = time.monotonic() - start
    print(
        f"{figures['files']:,.0f} mutated checkpoints in {took:.0f} s: {figures['read']:,.0f} read, "
        f"{figures['refused']:,.0f} refused, slowest {figures['slowest_ms']:.1f} ms, "
        f"most memory {figures['most_memory']:,.0f} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
