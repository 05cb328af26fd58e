from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from osnet.training.config import TrainConfig
from osnet.training.cost import Cost, CostWarning, costs, warn_if_blind, warn_if_fallen, warn_if_few
from osnet.training.run import Run

REST = {"rank1": 0.5, "mINP": 0.5, "valid_queries": 4, "protocol": "cross-camera", "held_out": "test"}


def a_run(folder: Path, *figures: tuple[str, int, float]) -> Run:
    run = Run.create(folder / "run", TrainConfig(other_data="/data/street"), {})
    for kind, epoch, value in figures:
        run.log({"kind": kind, "step": epoch, "epoch": epoch, "mAP": value, **REST})
    run.log({"kind": "step", "step": 1, "epoch": 0, "loss": 1.0, "accuracy": 0.5, "learning_rate": 1e-3})
    return run


def test_the_result_is_that_of_the_best_epoch(tmp_path: Path) -> None:
    held_out = [("evaluation", epoch, value) for epoch, value in enumerate((0.5, 0.6, 0.7, 0.65))]
    run = a_run(tmp_path, *held_out, ("other_evaluation", 0, 0.4), ("other_evaluation", 2, 0.3))
    assert costs(run) == [Cost("held-out people", 0.5, 0.7, 2), Cost("people of street", 0.4, 0.3, 2)]
    with pytest.warns(CostWarning) as caught:
        warn_if_fallen(costs(run))
    (message,) = (str(warning.message) for warning in caught)
    assert "people of street: mAP 0.4000 before, 0.3000 after epoch 2" in message
    assert "start_fraction" in message


def test_without_figures_before_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert costs(a_run(tmp_path, ("evaluation", 1, 0.7))) == []


@pytest.mark.parametrize(
    ("query", "before", "other", "message"),
    [
        ((), None, "", "no people are held out: set val_identities, or other_data"),
        ((1,), 0.995, "", r"too easy \(mAP 0\.995 before training\): set other_data"),
        ((1,), 0.5, "", ""),
        ((1,), None, "", ""),
        ((), None, "street", ""),
        ((1,), 0.995, "street", ""),
    ],
)
def test_a_run_that_cannot_show_what_it_costs(query: Any, before: float | None, other: str, message: str) -> None:
    images: Any = SimpleNamespace(query=query)
    if message:
        with pytest.warns(CostWarning, match=message):
            warn_if_blind(TrainConfig(other_data=other), images, before)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_if_blind(TrainConfig(other_data=other), images, before)


@pytest.mark.parametrize(
    ("people", "rate", "warned"), [(42, 3e-3, True), (99, 1e-3, True), (100, 3e-3, False), (42, 3.5e-5, False)]
)
def test_a_learning_rate_for_hundreds_of_people_on_few(people: int, rate: float, warned: bool) -> None:
    images: Any = SimpleNamespace(classes=people)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_few(TrainConfig(learning_rate=rate), images)
    assert bool(caught) is warned
    if warned:
        assert f"{people} are few" in str(caught[0].message)
        assert "few-people.yaml" in str(caught[0].message)
