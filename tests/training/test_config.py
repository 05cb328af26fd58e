from __future__ import annotations

import dataclasses
import inspect
import os
from pathlib import Path

import pytest

from osnet.errors import OptionError
from osnet.training.config import TrainConfig, read_config

RECIPES = sorted((Path(__file__).parents[2] / "osnet/training/recipes").glob("*.yaml"))


def test_every_key_survives_yaml(tmp_path: Path) -> None:
    config = TrainConfig(data="x", schedule="multistep", milestones=(3, 5), triplet_margin=None, learning_rate=1e-3)
    config.save(tmp_path / "c.yaml")
    assert read_config(tmp_path / "c.yaml") == config
    text = (tmp_path / "c.yaml").read_text()
    for field in dataclasses.fields(config):
        assert f"\n{field.name}:" in f"\n{text}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_configurations(path: Path) -> None:
    assert read_config(path, data="x").data == "x"


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"learning_rte.*did you mean 'learning_rate'.*Known: data, "):
        TrainConfig.from_mapping({"learning_rte": 1})


def test_old_keys_are_read_under_their_new_names() -> None:
    with pytest.warns(DeprecationWarning, match="contrastive is now called supervised_contrastive"):
        assert TrainConfig.from_mapping({"contrastive": 0.5}).supervised_contrastive == 0.5
    with pytest.warns(DeprecationWarning, match="start_share is now called start_fraction"):
        assert TrainConfig().replace(start_share=0.5).start_fraction == 0.5
    with (
        pytest.raises(OptionError, match="under the old name contrastive"),
        pytest.warns(DeprecationWarning, match="now called"),
    ):
        TrainConfig.from_mapping({"contrastive": 0.5, "supervised_contrastive": 0.5})


def test_mixed_precision_is_refused_and_fp32_of_an_old_run_is_not() -> None:
    assert TrainConfig.from_mapping({"precision": "fp32"}) == TrainConfig()
    with pytest.raises(OptionError, match=r"precision: expected fp32 .*got 'mixed'; remove the key"):
        TrainConfig.from_mapping({"precision": "mixed"})


def test_text_is_a_number_where_yaml_reads_it_as_text() -> None:
    assert TrainConfig(learning_rate="1e-3").learning_rate == 0.001  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"epochs": True},
        {"epochs": 1.5},
        {"epochs": "many"},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"flip": 1.1},
        {"label_smoothing": 1.0},
        {"height": 250},
        {"sampler": "all"},
        {"optimizer": "lion"},
        {"schedule": "step"},
        {"precision": "bf16"},
        {"batch_size": 1, "sampler": "random", "supervised_contrastive": 0},
        {"batch_size": 6},
        {"batch_size": 4},
        {"images_per_identity": 1},
        {"sampler": "random"},
        {"cross_entropy": 0, "supervised_contrastive": 0},
        {"frozen_epochs": 60},
        {"frozen_epochs": 2, "cross_entropy": 0},
        {"warmup_epochs": 61},
        {"milestones": "10"},
        {"tensorboard": 1},
        {"data": 3},
        {"seed": -1},
        {"epochs": 10**4000},
        {"learning_rate": 10**4000},
        {"milestones": [10**4000]},
    ],
    ids=lambda values: str(values)[:60],
)
def test_what_cannot_be_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(OptionError) as caught:
        TrainConfig.from_mapping(values)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("content", ["- a\n", "a: [", "\x00", "", "epochs: 1\nepochs: 2\n", "data: &a [*a]\n"])
def test_a_file_that_is_no_mapping(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(OptionError, match=r"c\.yaml"):
        read_config(tmp_path / "c.yaml")


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(OptionError, match="FIFO"):
        read_config(tmp_path / "c.yaml")


def test_old_names_as_arguments() -> None:
    with pytest.warns(DeprecationWarning, match="contrastive is now called supervised_contrastive") as caught:
        config = TrainConfig(data="d", contrastive=0.5)  # type: ignore[call-arg]
    assert config.supervised_contrastive == 0.5
    assert caught[0].filename == __file__
    with pytest.raises(OptionError, match="supervised_contrastive: expected one value, got two"), pytest.warns():
        TrainConfig(data="d", contrastive=0.5, supervised_contrastive=1.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="contrastiv"):
        TrainConfig(data="d", contrastiv=0.5)  # type: ignore[call-arg]
    assert "supervised_contrastive" in inspect.signature(TrainConfig).parameters
