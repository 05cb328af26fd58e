"""Kill a training run at random moments, resume it, and compare its final checkpoint with an undisturbed run's.

python -m benchmarks.kills [--kills 20] [--seed 0] [--epochs 3] [--compiled]

`--compiled` trains as `osnet train` does by default, which takes
a minute more for each run.
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

from osnet.drawn.dataset import draw_dataset
from osnet.training.config import TrainConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_dataset(root / "data", identities=8, cameras=2, images_per_camera=2, seed=1)
        TrainConfig(
            data=str(root / "data"), model="osnet_x0_25", height=32, width=32, epochs=options.epochs, batch_size=8,
            images_per_identity=2, crop_padding=2, color_jitter=0.2, erasing=0.5, log_every=1, save_every=1,
            compiled=options.compiled,
        ).save(root / "config.yaml")  # fmt: skip
        start = time.monotonic()
        train = ("--config", str(root / "config.yaml"), "--out")
        finish(*train, str(root / "undisturbed"))
        seconds = time.monotonic() - start
        expected = (root / "undisturbed/last.ckpt").read_bytes()
        equal = 0
        for number in range(1, options.kills + 1):
            run = root / f"run{number}"
            moment = rng.uniform(0, seconds)
            process = spawn(*train, str(run))
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            began = (run / "config.yaml").is_file()
            saved = (run / "last.ckpt").is_file()
            finish(*(("--resume", str(run)) if began else (*train, str(run))))
            same = (run / "last.ckpt").read_bytes() == expected
            equal += same
            at = "after a save" if saved else "before the first save" if began else "before the run began"
            print(
                f"kill {number} at {moment:.1f} s, {at}: final checkpoint {'equal' if same else 'DIFFERENT'}",
                flush=True,
            )
        print(f"{equal} of {options.kills} final checkpoints have the bytes of the undisturbed run")
    sys.exit(equal != options.kills)


def spawn(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "osnet", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(*arguments: str) -> None:
    process = spawn(*arguments)
    if process.wait():
        sys.exit(f"osnet train {' '.join(arguments)} failed with {process.returncode}")


if __name__ == "__main__":
    main()
