"""Kill ``osnet embed`` at random moments, run it again, and compare its folder with an undisturbed run's.

    python -m benchmarks.embedding_at_scale [--rows 1000000] [--kills 20] [--part-size 10000] [--size 64x32]

The rows name a few hundred drawn images again and again. They are embedded at a small size, since what is looked at
are rows and memory. Both runs report their greatest memory, which a tenth of the rows, embedded first, is to be
compared with.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import print_machine
from osnet.drawn.dataset import draw_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--part-size", type=int, default=10_000)
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--size", default="64x32")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print_machine()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_dataset(root / "people", identities=30, cameras=3, images_per_camera=4, seed=1)
        images = sorted(str(path) for path in (root / "people").rglob("*.jpg"))
        command = ("-m", options.model, "--size", options.size, "--part-size", str(options.part_size))
        for name, rows in (("few", options.rows // 10), ("all", options.rows)):
            write_table(root / f"{name}.csv", images, rows)
            start = time.monotonic()
            code, peak = run(root / f"{name}.csv", root / name, *command)
            seconds = time.monotonic() - start
            if code:
                sys.exit(f"osnet embed failed with {code}")
            print(f"{rows:,} rows: {seconds:.0f} s, {rows / seconds:.0f} rows/s, at most {peak} MiB", flush=True)
        peaks, killed = [], 0
        for _ in range(options.kills):
            code, peak = run(
                root / "all.csv", root / "killed", *command, seconds=rng.uniform(0, 1.6 * seconds / options.kills)
            )
            killed += code == -signal.SIGKILL
            peaks.append(peak)
            print(f"killed with {len(list((root / 'killed').glob('part-*')))} parts there", flush=True)
        code, peak = run(root / "all.csv", root / "killed", *command)
        if code:
            sys.exit(f"osnet embed failed with {code} after {killed} kills")
        wrong = differences(root / "all", root / "killed")
        print(f"{killed} kills, at most {max(*peaks, peak)} MiB: {wrong} parts are missing, too many or different")
    sys.exit(wrong != 0)


def write_table(path: Path, images: list[str], rows: int) -> None:
    """A table of `rows` rows; each has its number, so that none can be exchanged for another."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("path,number\n")
        file.writelines(f"{images[i % len(images)]},{i}\n" for i in range(rows))


def run(table: Path, out: Path, *options: str, seconds: float | None = None) -> tuple[int, int]:
    """Exit code and greatest memory in MiB of ``osnet embed``, which is killed after `seconds`."""
    words = [sys.executable, "-m", "osnet", "embed", str(table), "-o", f"{out}/", *options]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss // 1024


def differences(one: Path, other: Path) -> int:
    """How many parts are not in both folders, or do not have the same bytes."""
    names = [{path.name for path in folder.glob("part-*")} for folder in (one, other)]
    both = names[0] & names[1]
    different = sum((one / name).read_bytes() != (other / name).read_bytes() for name in both)
    return len(names[0] ^ names[1]) + different


if __name__ == "__main__":
    main()
