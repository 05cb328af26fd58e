"""Kill a training run at random moments, resume it, and compare its final checkpoint with an undisturbed run's.

python -m benchmarks.kills [--kills 20] [--seed 0] [--epochs 3] [--compiled] [--after-save]

`--compiled` trains as `osnet train` does by default, at 64x32. Each run then takes half a minute more, most of it
before the first save. With `--after-save` every kill comes after it, at a random moment of the rest of the run
(`--epochs 10` leaves more of it).
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
from osnet.training.state import read_state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--after-save", action="store_true")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_dataset(root / "data", identities=8, cameras=2, images_per_camera=2, seed=1)
        TrainConfig(
            data=str(root / "data"), model="osnet_x0_25", height=64 if options.compiled else 32, width=32,
            epochs=options.epochs, batch_size=8,
            images_per_identity=2, crop_padding=2, color_jitter=0.2, erasing=0.5, log_every=1, save_every=1,
            compiled=options.compiled,
        ).save(root / "config.yaml")  # fmt: skip
        train = ("--config", str(root / "config.yaml"), "--out")
        undisturbed = spawn(*train, str(root / "undisturbed"))
        start = time.monotonic()
        if options.after_save:
            await_save(undisturbed, root / "undisturbed")
            start = time.monotonic()
        if undisturbed.wait():
            sys.exit(f"the undisturbed run failed with {undisturbed.returncode}")
        seconds = time.monotonic() - start
        expected = (root / "undisturbed/last.ckpt").read_bytes()
        steps = read_state(root / "undisturbed/last.ckpt")[1].step
        equal = 0
        for number in range(1, options.kills + 1):
            run = root / f"run{number}"
            moment = rng.uniform(0, seconds)
            process = spawn(*train, str(run))
            if options.after_save:
                await_save(process, run)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            began = (run / "config.yaml").is_file()
            saved = (run / "last.ckpt").is_file()
            step = read_state(run / "last.ckpt")[1].step if saved else 0
            finish(*(("--resume", str(run)) if began else (*train, str(run))))
            same = (run / "last.ckpt").read_bytes() == expected
            equal += same
            at = "before the first save" if began else "before the run began"
            if saved:
                at = f"after the save of step {step} of {steps}"
            print(
                f"kill {number} at {moment:.1f} s, {at}: final checkpoint {'equal' if same else 'DIFFERENT'}",
                flush=True,
            )
        print(f"{equal} of {options.kills} final checkpoints have the bytes of the undisturbed run")
    sys.exit(equal != options.kills)


def spawn(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "osnet", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def await_save(process: subprocess.Popen[bytes], run: Path) -> None:
    while not (run / "last.ckpt").is_file():
        if process.poll() is not None:
            sys.exit(f"osnet train ended with {process.returncode} before its first save")
        time.sleep(0.01)


def finish(*arguments: str) -> None:
    process = spawn(*arguments)
    if process.wait():
        sys.exit(f"osnet train {' '.join(arguments)} failed with {process.returncode}")


if __name__ == "__main__":
    main()
