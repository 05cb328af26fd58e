from __future__ import annotations

import os
from pathlib import Path

import pytest

from osnet.errors import LockError, OptionError
from osnet.training.config import TrainConfig
from osnet.training.run import Run

ORIGIN = {"data": "x", "fingerprint": "0", "base": "b", "images": 4, "identities": 2, "ranks": 1, "base_sha256": None}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 5000, b'{"data": 3}', b"9" * 5000])
def test_an_origin_or_metrics_line_that_no_run_wrote_is_one_line(content: bytes, tmp_path: Path) -> None:
    run = Run.create(tmp_path, TrainConfig(), ORIGIN)
    (tmp_path / "origin.json").write_bytes(content)
    (tmp_path / "metrics.jsonl").write_bytes(content + b"\n")
    for read in (lambda: run.origin, run.metrics):
        with pytest.raises(OptionError, match=r"expected (a JSON object|text|a number)") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    assert run.metrics() == []


def test_a_measurement_without_its_figures_is_named(tmp_path: Path) -> None:
    run = Run.create(tmp_path, TrainConfig(), ORIGIN)
    run.log({"kind": "evaluation", "step": 1, "epoch": 1, "mAP": "high"})
    with pytest.raises(OptionError, match="line 1: expected a number for 'mAP', got 'high'"):
        run.metrics()


def test_a_fifo_in_a_run_folder_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    run = Run.create(tmp_path, TrainConfig(), ORIGIN)
    (tmp_path / "origin.json").unlink()
    for name in ("origin.json", "metrics.jsonl"):
        os.mkfifo(tmp_path / name)
    for read in (lambda: run.origin, run.metrics):
        with pytest.raises(OptionError, match="FIFO"):
            read()


def test_a_folder_whose_run_had_not_begun_is_taken_and_one_with_a_run_is_not(tmp_path: Path) -> None:
    (tmp_path / "origin.json").write_text("{}")
    (tmp_path / ".0123456789abcdef.part").write_text("")
    (tmp_path / ".mine.part").write_text("not of a killed run")
    run = Run.create(tmp_path, TrainConfig(), ORIGIN)
    assert run.origin == ORIGIN
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
