"""Mutated small checkpoints against the three readers: each is read or refused with CheckpointError, soon and in little
memory. `python -m tests.checkpoint.fuzz --seconds 30 --seed 0`, or `--count 1000000`; `--format torch` for one of them.

The same seed gives the same files; a failure prints the file in hexadecimal.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import random
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.checkpoint.safetensors import read_safetensors, write_safetensors
from osnet.checkpoint.torch import find_state_dict, read_torch, write_torch
from osnet.errors import CheckpointError
from tests.fuzzing import damaged
from tests.oracles.ckpt import dim, entry, field, floats, varint

MEMORY_TIMES = 4
"""Allowed: this many times the file ..."""
MEMORY_PLUS = {"mindspore": 8_192, "torch": 100_000, "safetensors": 30_000}
"""... and what Python itself needs for a few arrays, a pickle's steps and an error, in bytes."""
SLOWEST_SECONDS = 1.0
HANG_SECONDS = 60

_TORCH = Path(__file__).parents[1] / "fixtures" / "torch"
READERS: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "mindspore": lambda data: dict(read_ckpt(data)),
    "torch": lambda data: find_state_dict(read_torch(data), len(data))[0],
    "safetensors": lambda data: dict(read_safetensors(data)),
}

_INTERESTING = [varint(n) for n in (0, 1, 2, 3, 7, 8, 9, 10, 18, 26, 127, 128, 255, 2**16, 2**31, 2**32, 2**63, -1)]
_PIECES = {
    "mindspore": [
        *_INTERESTING,
        *(bytes([byte]) for byte in (0x08, 0x0A, 0x12, 0x1A, 0x22, 0x80, 0xFF)),
        *(field(2, word) for word in (b"Float32", b"Float16", b"Int64", b"Bool", b"BFloat16", b"str", b"Int4")),
        dim(0),
        dim(-1),
        dim(10**8),
        b"crc_num" + bytes(10),
        entry(b"a.b", (2,), content=floats(1, 2)),
        entry(b"a.b", (4,), content=floats(1, 2)),
    ],
    "torch": [
        *(bytes([opcode]) for opcode in range(256)),
        *(b"h" + bytes([index]) for index in range(16)),
        *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\xff\xff\xff\xff", bytes(4), b"c_codecs\nencode\n"),
        *(b"ccollections\nOrderedDict\n", b"ctorch\ndevice\n", b"ctorch\nBFloat16Storage\n", b"cos\nsystem\n"),
        *(b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"q\0h\0\x86", b"]" * 64),
    ],
    "safetensors": [
        *(str(number).encode() for number in (-1, 0, 1, 2, 4, 8, 127, 2**31, 2**32, 2**63, 2**64, 1e99)),
        *(b'"F16"', b'"BF16"', b'"BOOL"', b'"F8_E4M3"', b'"__metadata__"', b'"dtype"', b'"shape"', b'"data_offsets"'),
        *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u001b", b"\\ud800", b"\x1b", b"\n", b"null", b"[" * 64),
        *(b'"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},', b'{"__metadata__":{"a":"b"},', b"0," * 64),
    ],
}


def seeds(kind: str) -> list[bytes]:
    """Small whole checkpoints: all types, scalars, bfloat16; MindSpore's slices, crc, old scalars; torch's files."""
    draw = np.random.default_rng(0)
    network = {"conv.weight": draw.random((4, 2, 3, 3), np.float32), "bn.gamma": draw.random(4, np.float32)}
    types = {
        f"t.{code}": draw.integers(0, 2, (2, 3)).astype(code) for code in ("?", "i1", "u2", "i4", "i8", "f2", "f8")
    }
    counters = {"global_step": np.array([3], np.int32), "beta1_power": np.float32(0.9).reshape(())}
    if kind == "torch":
        return [
            *[write_torch(network)] * 8,  # the others take ten times as long
            write_torch({name: array for name, array in types.items() if array.dtype != np.uint16}),
            (_TORCH / "zip.pth").read_bytes(),
            (_TORCH / "stream.pth").read_bytes(),
        ]
    if kind == "safetensors":
        half = b'{"h":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
        return [
            write_safetensors({**network, **counters}),
            write_safetensors(types),
            len(half).to_bytes(8, "little") + half + b"abcdef",
        ]
    return [
        write_ckpt(network),
        write_ckpt({**network, **counters}),
        write_ckpt(types),
        write_ckpt(network, slice_bytes=48),
        write_ckpt(counters, crc=True),
        entry(b"h", (3,), b"BFloat16", b"abcdef") + entry(b"s", (0,), content=floats(1)),
    ]


def mutated(kind: str, count: int | None, seed: int) -> Iterator[bytes]:
    choose = random.Random(seed)
    known, pieces = [*map(_whole, seeds(kind))], _PIECES[kind]
    # A change inside of a container would mostly end at the container's own sizes and checks.
    if kind == "torch":
        known += [_pickle_of(data) for data in seeds(kind) if data.startswith(b"PK")]
    elif kind == "safetensors":
        known += [_header_of(data) for data in seeds(kind)] * 3
    number = 0
    while count is None or number < count:
        number += 1
        original, wrap = choose.choice(known)
        yield wrap(damaged(original, choose, pieces))


_Wrapped = tuple[bytes, Callable[[bytes], bytes]]
"""Bytes to be changed, and what makes the file of them."""


def _whole(data: bytes) -> _Wrapped:
    return data, bytes


def _pickle_of(data: bytes) -> _Wrapped:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    pickle = next(name for name in records if name.endswith("data.pkl"))

    def wrap(changed: bytes) -> bytes:
        output = io.BytesIO()
        with zipfile.ZipFile(output, "w") as archive:
            for name, record in records.items():
                archive.writestr(zipfile.ZipInfo(name), changed if name == pickle else record)
        return output.getvalue()

    return records[pickle], wrap


def _header_of(data: bytes) -> _Wrapped:
    end = 8 + int.from_bytes(data[:8], "little")
    return data[8:end], lambda changed: len(changed).to_bytes(8, "little") + changed + data[end:]


def run(kind: str, count: int | None, seconds: float | None, seed: int) -> dict[str, float]:
    """Feed the reader of `kind` until `count` files or `seconds` are over; raises AssertionError at the first fault."""
    figures: dict[str, float] = {"files": 0, "read": 0, "refused": 0, "slowest_ms": 0, "most_memory": 0}
    read = READERS[kind]
    for data in seeds(kind):
        read(data)
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    tracemalloc.start()
    try:
        for data in mutated(kind, count, seed):
            if time.monotonic() > end:
                break
            if figures["files"] % 100 == 0:
                faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.__stderr__)
            tracemalloc.reset_peak()
            before, start = tracemalloc.get_traced_memory()[0], time.process_time()
            total, message = 0, ""
            try:
                total = sum(array.nbytes for array in read(data).values() if isinstance(array, np.ndarray))
            except CheckpointError as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(f"{error!r} from {data.hex()}") from error
            took = time.process_time() - start
            memory = tracemalloc.get_traced_memory()[1] - before
            assert took < SLOWEST_SECONDS, f"{took:.1f} s for {data.hex()}"
            assert memory <= MEMORY_TIMES * len(data) + MEMORY_PLUS[kind], f"{memory} bytes for {data.hex()}"
            assert total <= (8 if kind == "torch" else 2) * len(data), f"arrays of {total} bytes from {data.hex()}"
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
    parser.add_argument("--format", choices=READERS, action="append", help="of the checkpoints; all three by default")
    given = parser.parse_args(arguments)
    kinds = given.format or list(READERS)
    seconds = 30.0 if given.seconds is None and given.count is None else given.seconds
    for kind in kinds:
        start = time.monotonic()
        figures = run(kind, given.count, seconds and seconds / len(kinds), given.seed)
        took = time.monotonic() - start
        print(
            f"{figures['files']:,.0f} mutated {kind} checkpoints in {took:.0f} s: {figures['read']:,.0f} read, "
            f"{figures['refused']:,.0f} refused, slowest {figures['slowest_ms']:.1f} ms, "
            f"most memory {figures['most_memory']:,.0f} bytes",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
