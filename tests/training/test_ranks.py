"""Two CPU processes of msrun against one, with the statistics of batch norm frozen so that batches may be compared."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from osnet.checkpoint.weights import read_weights_file
from osnet.errors import DiskError
from osnet.training.config import TrainConfig
from osnet.training.ranks import Ranks
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
    # The scheduler waits for a dead worker for 10 s, not 30; idle threads of OpenMP do not spin.
    faster = {"MS_NODE_TIMEOUT": "10", "MS_RETRY_INTERVAL_LOWER": "1", "MS_RETRY_INTERVAL_UPPER": "1"}
    faster |= {"OMP_NUM_THREADS": "1"}
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2]), **faster}
    return subprocess.Popen(
        [*command, str(script), "train", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(900)
def test_two_ranks_are_one_with_the_same_global_batch_even_if_one_dies(config: TrainConfig, tmp_path: Path) -> None:
    """One job shows both, since msrun takes so long to start and to end: one of its processes is killed after the first
    save, and what the resumed job gives is compared with one process."""
    alone = config.replace(
        sampler="random", supervised_contrastive=0, batch_size=8, epochs=2, freeze_norm=True, optimizer="sgd",
        learning_rate=0.01, eval_every=0,
    )  # fmt: skip
    expected = train(alone, tmp_path / "alone")
    alone.replace(batch_size=4).save(tmp_path / "config.yaml")
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
    done = int(read_weights_file(tmp_path / "both/last.ckpt").extras["step_num"])
    assert 1 <= done < 4
    for rank in (0, 1):
        (tmp_path / f"digests{rank}").unlink()

    process = start_two(tmp_path, "--resume", "both")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]
    digests = [(tmp_path / f"digests{rank}").read_text().split() for rank in (0, 1)]
    assert digests[0] == digests[1]  # the same parameters after every step
    assert len(set(digests[0])) == 4 - done
    one, two = read_weights_file(expected.last), read_weights_file(tmp_path / "both/last.ckpt")
    assert int(two.extras["step_num"]) == 4
    apart = max(float(np.abs(one.arrays[name] - two.arrays[name]).max()) for name in one.arrays)
    assert apart < 1e-5
    losses = [[line["loss"] for line in _steps(folder)] for folder in (tmp_path / "alone", tmp_path / "both")]
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def _steps(folder: Path) -> list[dict[str, float]]:
    from osnet.training.run import Run

    return [line for line in Run.open(folder).metrics() if line["kind"] == "step"]


class Pair(Ranks):
    """One of two ranks that are threads of this process."""

    def __init__(self, rank: int, meeting: threading.Barrier, flags: list[bool]) -> None:
        super().__init__()
        self.rank, self.size, self._meeting, self._flags, self.exchanges = rank, 2, meeting, flags, 0

    def any(self, flag: bool) -> bool:
        self.exchanges += 1
        self._flags[self.rank] = flag
        self._meeting.wait(10)
        found = True in self._flags
        self._meeting.wait(10)
        return found


@pytest.mark.parametrize("fails", [False, True])
def test_ranks_exchange_values_while_the_first_works_alone(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osnet.training.ranks._PAUSE", 0.01)
    meeting, flags = threading.Barrier(2), [False, False]
    ranks = [Pair(rank, meeting, flags) for rank in (0, 1)]

    def work() -> str:
        while ranks[1].exchanges < 3:
            time.sleep(0.01)
        if fails:
            raise DiskError("full")
        return "done"

    with ThreadPoolExecutor(2) as threads:
        first, second = (threads.submit(r.first_alone, work) for r in ranks)
        assert second.result() is None
        if fails:
            with pytest.raises(DiskError, match="full"):
                first.result()
        else:
            assert first.result() == "done"
    assert Ranks().first_alone(lambda: "alone") == "alone"
