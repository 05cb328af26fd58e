from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from osnet.errors import DependencyError
from osnet.training import reporting
from osnet.training.config import TrainConfig
from osnet.training.reporting import Reporter, draw_curves
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


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "run", TrainConfig(), {})
    for step in (1, 2, 3, 4):
        line = {"step": step, "epoch": 1}
        run.log({**line, "kind": "step", "loss": 5.0 / step, "accuracy": step / 10, "learning_rate": 0.1})
        if step % 2 == 0:
            names = {"protocol": "market1501", "held_out": "people"}
            found = {"mAP": step / 8, "rank1": step / 5, "mINP": 0.1, "valid_queries": 4}
            run.log({**line, "kind": "evaluation", **names, **found})
    return run


def test_each_panel_shows_its_figures(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: drawn.append(self) or save(self, *args, **more))
    draw_curves(run)
    (figure,) = drawn
    found = [[line.get_xydata().tolist() for line in axes.lines] for axes in figure.axes]
    assert found == [
        [[[1, 5.0], [2, 2.5], [3, 5 / 3], [4, 1.25]]],
        [[[1, 0.1], [2, 0.2], [3, 0.3], [4, 0.4]]],
        [[[1, 0.1], [2, 0.1], [3, 0.1], [4, 0.1]]],
        [[[2, 0.25], [4, 0.5]], [[2, 0.4], [4, 0.8]]],
    ]
    with Image.open(run.root / "curves.png") as picture:
        assert np.ptp(np.asarray(picture)) > 0


def test_a_run_without_evaluations_has_curves_too(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", TrainConfig(), {})
    draw_curves(run)
    assert (run.root / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_error_names_the_figures(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match=r'osnet\[eval\]"; the figures are in metrics\.jsonl'):
        draw_curves(run)
    assert not (run.root / "curves.png").exists()
