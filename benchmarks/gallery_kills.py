"""Kill a process that adds to and removes from a gallery at random moments, and look at what is left.

python -m benchmarks.gallery_kills [--kills 200] [--seed 0]

After each kill: what was acknowledged as added is there with its feature; what was acknowledged as removed is not, and
no byte of its name is in the files; what was under way is there whole or not at all; every checksum is right.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osnet.gallery.gallery import Gallery
from osnet.inference.embedder import Signature

SIGNATURE = Signature("osnet_x0_25", "5" * 64, "fp32", 256, 128, True, False, "0")
BATCH = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, random.Random(options.seed))
    with tempfile.TemporaryDirectory() as folder:
        told = kill_often(Path(folder) / "people.gallery", options.kills, options.seed)
    print(told)


def features_of(batch: str) -> npt.NDArray[np.float32]:
    """1 to `BATCH` features that follow from the name of a batch."""
    rng = np.random.default_rng(zlib.crc32(batch.encode()))
    rows = rng.standard_normal((int(rng.integers(1, BATCH)), 512)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def work(where: str, rng: random.Random) -> None:
    """Add and remove batches until killed, and print before and after each."""
    gallery = Gallery(where)
    there = sorted({entry.identity for entry in gallery.list() if entry.identity})
    while True:
        remove = len(there) > 20 and rng.random() < 0.5
        batch = there.pop(rng.randrange(len(there))) if remove else f"batch-{rng.getrandbits(64):016x}"
        print("remove" if remove else "add", batch, flush=True)
        if remove:
            gallery.remove(identity=batch)
        else:
            gallery.add(features_of(batch), identity=batch, attributes={"note": f"{batch}-note"})
            there.append(batch)
        print("done", batch, flush=True)


def kill_often(where: Path, kills: int, seed: int) -> str:
    """Kill a worker `kills` times and check each time what is left; an AssertionError says what is wrong."""
    Gallery.create(where, SIGNATURE).close()
    rng = random.Random(seed)
    there: set[str] = set()
    gone: set[str] = set()
    adding = removing = done = 0
    for number in range(kills):
        command = [sys.executable, "-m", "benchmarks.gallery_kills", "--work", str(where), "--seed", str(seed + number)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1], env=environment
        )
        assert process.stdout
        first = process.stdout.readline()
        assert first, "the worker ended by itself"
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        lines = [first, *process.stdout.read().splitlines(keepends=True)]
        assert process.wait() == -signal.SIGKILL
        under_way = None
        for line in lines:
            if not line.endswith("\n"):
                break  # killed while it printed: what it was about is told by the line before
            action, batch = line.split()
            if action != "done":
                under_way = (action, batch)
            elif under_way and under_way[0] == "add":
                there.add(batch)
                under_way, done = None, done + 1
            else:
                there.discard(batch)
                gone.add(batch)
                under_way, done = None, done + 1
        if under_way:
            adding, removing = adding + (under_way[0] == "add"), removing + (under_way[0] == "remove")
        there, gone = _check(where, there, gone, under_way)
    return (
        f"{kills} kills, {adding} while adding and {removing} while removing, after {done} acknowledged changes: "
        "every acknowledged entry was there, none half, nothing removed came back"
    )


def _check(
    where: Path, there: set[str], gone: set[str], under_way: tuple[str, str] | None
) -> tuple[set[str], set[str]]:
    with contextlib.closing(Gallery(where)) as gallery:
        assert gallery.check() == []
        found: dict[str, list[str]] = {}
        for entry in gallery.list():
            assert entry.identity
            assert entry.attributes == {"note": f"{entry.identity}-note"}
            found.setdefault(entry.identity, []).append(entry.id)
        if under_way and under_way[1] in found:
            there.add(under_way[1])  # added though it was not acknowledged, or not removed yet
        elif under_way:
            there.discard(under_way[1])
        assert set(found) == there, "an acknowledged entry is missing, or a removed one came back"
        for batch, ids in found.items():
            assert np.array_equal(gallery.features(ids), features_of(batch)), f"{batch} is not whole"
        if found:
            some = next(iter(found))
            assert gallery.search(features_of(some)[:1], limit=1)[0].matches[0].entry.identity == some
    data = b"".join(path.read_bytes() for path in where.parent.glob(where.name + "*"))
    for batch in gone:
        assert batch.encode() not in data, f"the name of {batch} is still in the file"
    return there, gone


if __name__ == "__main__":
    main()
