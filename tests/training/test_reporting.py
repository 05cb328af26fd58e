from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from osnet.errors import DependencyError
from osnet.training import reporting
from osnet.training.config import TrainConfig
from osnet.training.reporting import Reporter
from osnet.training.run import Run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=0.0)
    monkeypatch.setattr(reporting.time, "monotonic", lambda: found.now)
    return found


def steps(reporter: Reporter, clock: SimpleNamespace, numbers: range, seconds: float) -> None:
    for number in numbers:
        clock.now += seconds
        reporter.step(number, 0, images=8, loss=1.0, accuracy=0.5, norm=2.0, rate=0.1)


def test_speed_is_that_of_the_last_steps_without_the_first_of_an_epoch(tmp_path: Path, clock: SimpleNamespace) -> None:
    run = Run.create(tmp_path / "run", TrainConfig(log_every=5), {})
    with Reporter(run, run.config, total=40, done=0, speaks=True) as reporter:
        steps(reporter, clock, range(1, 2), 60)  # compiled
        steps(reporter, clock, range(2, 6), 2)
        steps(reporter, clock, range(6, 36), 1)
        clock.now += 100  # an evaluation
        reporter.epoch()
        steps(reporter, clock, range(36, 41), 4)
    found = {line["step"]: line.get("images_per_second") for line in run.metrics()}
    assert list(found) == [1, 5, 10, 15, 20, 25, 30, 35, 40]
    assert (found[1], found[5], found[35], found[40]) == (None, 4, 8, 2)


def test_only_the_first_process_speaks(tmp_path: Path, clock: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    run = Run.create(tmp_path / "run", TrainConfig(log_every=1), {})
    with Reporter(run, run.config, total=2, done=0, speaks=False) as reporter:
        steps(reporter, clock, range(1, 3), 1)
        reporter.say("hello")
    assert run.metrics() == []
    assert capsys.readouterr().err == ""


def test_without_a_package_that_writes_them_tensorboard_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'osnet\[tensorboard\]'"):
        reporting.summary_writer()
