"""Damaged feature files against `read_features`: each is read or refused with OptionError, in little memory.
`python -m tests.inference.fuzz_features --seconds 30 --seed 0`, or `--count 1000000`.

The same seed gives the same files; a failure keeps the file and names it.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import json
import random
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from osnet.errors import OptionError
from osnet.inference import feature_files
from osnet.inference.feature_files import FORMATS, feature_writer, read_features
from tests.fuzzing import damaged

ALWAYS = 64 << 10
"""Instead of the 64 MiB that any file may hold: small files must show what large ones would do."""
MEMORY_PLUS = 2 << 20
"""What Python itself needs for an error, and numpy to parse a header of up to 10,000 characters, in bytes."""
HANG_SECONDS = 60

_NUMBERS = (0, 1, 2, 127, 128, 255, 511, 512, 513, 2**16, 2**31 - 1, 2**32 - 1, 2**63 - 1)
_PIECES = [
    *(struct.pack("<Q", number)[:width] for number in _NUMBERS for width in (1, 2, 4, 8)),
    *(str(number).encode() for number in (*_NUMBERS, -1, 10**30)),
    *(
        b"PK\x01\x02",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"PAR1",
        b"\x93NUMPY\x01\x00",
        b"\x08\x00",
        b"\x0c\x00",
    ),
    *(b"'<U99999'", b"'<U0'", b"'<f4'", b"'|O'", b"'>f4'", b"True", b"(,)", b"[[", b"{", b"\\N{", b"lambda:0"),
    *(b",", b'"', b"\n", b"\r", b"# ", b"nan", b"1e999", b"\xff", b"\xed\xb3\xbf", b"'=", b"\\udcff", b"\0"),
]


def seeds() -> dict[str, list[bytes]]:
    """Small whole files by their ending: none, one and a few names, as we write them and as others might."""
    draw = np.random.default_rng(0)
    about = {"model": "osnet_x0_25", "sha256": "ab" * 32, "precision": "fp32"}
    found: dict[str, list[bytes]] = {ending: [] for ending in FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        for ending in FORMATS:
            for names in ([], ["=a.jpg"], ["a/b\udce9.jpg", "行人.png", "c" * 40]):
                path = Path(folder) / f"seed{ending}"
                with feature_writer(path, about) as writer:
                    if names:
                        writer.write(names, draw.standard_normal((len(names), 512)).astype(np.float32))
                found[ending].append(path.read_bytes())
    zeros = np.zeros((3, 512), np.float32)
    packed = io.BytesIO()
    np.savez_compressed(packed, features=zeros, files=np.array(["a", "b", "c"]), model=np.array("osnet"))
    found[".npz"].append(packed.getvalue())
    column = pa.FixedSizeListArray.from_arrays(pa.array(zeros.ravel()), 512)
    table = pa.Table.from_arrays([pa.array(["x" * 300] * 3), column], ["file", "feature"])
    for options in (
        {"use_dictionary": False, "compression": "none"},
        {"data_page_version": "2.0"},
        {"compression": "zstd"},
    ):
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        found[".parquet"].append(sink.getvalue())
    return found


def mutated(count: int | None, seed: int) -> Iterator[tuple[str, bytes]]:
    """Ending and content of damaged files."""
    choose = random.Random(seed)
    known = seeds()
    number = 0
    while count is None or number < count:
        number += 1
        ending = choose.choice(FORMATS)
        raw = choose.choice(known[ending])
        if ending == ".npz" and choose.randrange(2):
            yield ending, _members_damaged(raw, choose)
        else:
            yield ending, damaged(raw, choose, _PIECES)


def _members_damaged(raw: bytes, choose: random.Random) -> bytes:
    """Damage within the members of a zip file, which itself is whole and has the checksums that belong to it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            content, name = old.read(member), member.filename
            action = choose.randrange(6)
            if action < 2:
                head = content.find(b"\n") + 1  # the header decides most
                content = damaged(content[:head], choose, _PIECES) + content[head:]
            elif action == 2:
                content = damaged(content, choose, _PIECES)
            elif action == 3 and not choose.randrange(4):
                name = choose.choice(("features.npy", "files.npy", "x", "../x.npy", "é.npy"))
            packing = choose.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            with mock.patch("warnings.warn"):  # zipfile's, of two members of one name
                new.writestr(name, content, packing if not choose.randrange(3) else member.compress_type)
    return out.getvalue()


def run(count: int | None, seconds: float | None, seed: int) -> dict[str, float]:
    """Feed the reader until `count` files or `seconds` are over; raises AssertionError at the first fault."""
    figures: dict[str, float] = {"files": 0, "read": 0, "refused": 0, "most_memory": 0}
    folder = Path(tempfile.mkdtemp(prefix="fuzz-features-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    path = folder / "none"
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    with mock.patch.object(feature_files, "_ALWAYS", ALWAYS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of a header that Python 2 might have written
        for ending, data in mutated(len(FORMATS) * 20, seed):  # imports and caches are no memory of a file's
            _outcome(folder / f"first{ending}", data)
        tracemalloc.start()
        try:
            for ending, data in mutated(count, seed):
                if time.monotonic() > end:
                    break
                if figures["files"] % 100 == 0:
                    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.__stderr__)
                path = folder / f"case{ending}"
                tracemalloc.reset_peak()
                before, arrow = tracemalloc.get_traced_memory()[0], pa.default_memory_pool().max_memory() or 0
                message = _outcome(path, data)
                memory = tracemalloc.get_traced_memory()[1] - before
                allowed = 3 * (feature_files._MOST_TIMES * len(data) + ALWAYS) + MEMORY_PLUS
                assert memory <= allowed, f"{memory:,} bytes for {path}"
                grown = (pa.default_memory_pool().max_memory() or 0) - arrow
                assert grown <= allowed, f"{grown:,} bytes of pyarrow for {path}"
                assert message.isprintable(), f"{message!r} for {path}"
                assert len(message) < 1000, f"{message!r} for {path}"
                figures["files"] += 1
                figures["refused" if message else "read"] += 1
                figures["most_memory"] = max(figures["most_memory"], memory)
        finally:
            faulthandler.cancel_dump_traceback_later()
            tracemalloc.stop()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return figures


def _outcome(path: Path, data: bytes) -> str:
    """The refusal of `data` as the file `path`, or nothing."""
    path.write_bytes(data)
    try:
        names, features, about = read_features(path)
    except OptionError as error:
        return str(error)
    except BaseException as error:
        raise AssertionError(f"{error!r} from {path}") from error
    assert features.shape == (len(names), 512), f"{features.shape} for {len(names)} names from {path}"
    assert features.dtype == np.float32, f"{features.dtype} from {path}"
    assert all(isinstance(text, str) for text in (*names, *about, *about.values())), f"no texts from {path}"
    json.dumps(about)
    return ""


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
        f"{figures['files']:,.0f} damaged feature files in {took:.0f} s: {figures['read']:,.0f} read, "
        f"{figures['refused']:,.0f} refused, most memory {figures['most_memory']:,.0f} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
