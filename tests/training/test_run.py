from __future__ import annotations

from pathlib import Path

import pytest

from osnet.errors import LockError, OptionError
from osnet.training.config import TrainConfig
from osnet.training.run import Run


def test_a_folder_whose_run_had_not_begun_is_taken_and_one_with_a_run_is_not(tmp_path: Path) -> None:
    (tmp_path / "origin.json").write_text("{}")
    (tmp_path / ".0123456789abcdef.part").write_text("")
    (tmp_path / ".mine.part").write_text("not of a killed run")
    run = Run.create(tmp_path, TrainConfig(), {"data": "x"})
    assert run.origin == {"data": "x"}
    with pytest.raises(OptionError, match=r"holds config\.yaml.*--resume"):
        Run.create(tmp_path, TrainConfig(), {})
    with run.locked():
        assert [path.name for path in tmp_path.glob(".*.part")] == [".mine.part"]


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path, TrainConfig(), {})
    with run.locked(), pytest.raises(LockError, match="another process"), Run.open(tmp_path).locked():
        pass


def test_metrics_of_steps_to_be_done_again_are_dropped_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path, TrainConfig(), {})
    for step in range(1, 5):
        run.log({"step": step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')
    assert [line["step"] for line in run.metrics()] == [1, 2, 3, 4]
    run.forget_after(2)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
