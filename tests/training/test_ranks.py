"""Two CPU processes of msrun against one, with the statistics of batch norm frozen so that batches may be compared."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from osnet.checkpoint.weights import read_weights_file
from osnet.training.config import TrainConfig
from osnet.training.trainer import train

pytestmark = pytest.mark.slow
pytest.importorskip("mindspore")

MSRUN = Path(sys.executable).with_name("msrun")

WORKER = """
import os, sys, zlib
from osnet.cli.app import main
from osnet.training.step import Stepper

step = Stepper.__call__

def recorded(self, *arguments):
    found = step(self, *arguments)
    digest = 0
    for p in self.params:
        digest = zlib.crc32(p.asnumpy().tobytes(), digest)
    with open(f"digests{os.environ['RANK_ID']}", "a") as file:
        print(digest, file=file)
    return found

Stepper.__call__ = recorded
main()
"""


def start_two(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(MSRUN), "--worker_num=2", "--local_worker_num=2", "--master_addr=127.0.0.1", f"--master_port={port}",
        "--bind_core=False", "--join=True", f"--log_dir={folder / 'log'}", "--cluster_time_out=120",
    ]  # fmt: skip
    script = folder / "worker.py"
    script.write_text(WORKER)
    path = os.pathsep.join((str(MSRUN.parent), os.environ["PATH"]))  # msrun starts whatever `python` is
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [*command, str(script), "train", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(900)
def test_two_ranks_are_one_with_the_same_global_batch(config: TrainConfig, crops: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()  # without query and gallery: nothing to evaluate
    (tmp_path / "data/bounding_box_train").symlink_to(crops / "bounding_box_train")
    alone = config.replace(
        data=str(tmp_path / "data"), sampler="random", triplet=0, batch_size=8, epochs=1, freeze_norm=True,
        optimizer="sgd", learning_rate=0.01, eval_every=0, save_every=0,
    )  # fmt: skip
    expected = train(alone, tmp_path / "alone")
    alone.replace(batch_size=4).save(tmp_path / "config.yaml")
    process = start_two(tmp_path, "--config", "config.yaml", "--out", "both")
    output, _ = process.communicate(timeout=800)
    assert process.returncode == 0, output[-3000:]
    digests = [(tmp_path / f"digests{rank}").read_text().split() for rank in (0, 1)]
    assert digests[0] == digests[1]  # the same parameters after every step
    assert len(set(digests[0])) == 2
    one, two = read_weights_file(expected.last), read_weights_file(tmp_path / "both/last.ckpt")
    apart = max(float(np.abs(one.arrays[name] - two.arrays[name]).max()) for name in one.arrays)
    assert apart < 1e-5
    losses = [[line["loss"] for line in _steps(folder)] for folder in (tmp_path / "alone", tmp_path / "both")]
    assert len(losses[0]) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def _steps(folder: Path) -> list[dict[str, float]]:
    from osnet.training.run import Run

    return [line for line in Run.open(folder).metrics() if line["kind"] == "step"]


@pytest.mark.timeout(900)
def test_a_dead_rank_ends_the_job_with_a_message_and_it_resumes(config: TrainConfig, tmp_path: Path) -> None:
    longer = config.replace(epochs=3, batch_size=4, eval_every=0, images_per_identity=2)
    longer.save(tmp_path / "config.yaml")
    process = start_two(tmp_path, "--config", "config.yaml", "--out", "both")
    while not (tmp_path / "both/last.ckpt").is_file():
        assert process.poll() is None, process.stdout and process.stdout.read()[-3000:]
        time.sleep(0.1)
    victims = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    ours = [int(pid) for pid in victims.stdout.split() if "worker.py" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(ours[-1], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "exit" in output.lower()
    assert 1 <= int(read_weights_file(tmp_path / "both/last.ckpt").extras["step_num"]) < 6
    process = start_two(tmp_path, "--resume", "both")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]
    assert int(read_weights_file(tmp_path / "both/last.ckpt").extras["step_num"]) == 6
