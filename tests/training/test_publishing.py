from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.checkpoint.weights import read_weights_file
from osnet.errors import CardError, OfflineError, OptionError
from osnet.hub.card import read_card
from osnet.hub.fetch import fetch
from osnet.models.load import read_weights
from osnet.mshub import rules
from osnet.mshub.check import check
from osnet.mshub.install import install
from osnet.training.config import TrainConfig
from osnet.training.publishing import publish_run
from osnet.training.run import Run
from osnet.variants import get_variant
from tests.recipe import recipe_arrays

STATE = {"step_num": 7, "epoch_num": 1, "passes_done": 0, "best_epoch": 1, "evaluations_since_best": 0}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run as it stands after its first epoch, without the training."""
    origin = {
        "data": "people", "layout": "folder", "images": 40, "identities": 5, "fingerprint": "0" * 64,
        "held_out": "test", "base": "base.ckpt", "base_sha256": "a" * 64, "ranks": 1,
    }  # fmt: skip
    made = Run.create(
        tmp_path / "run",
        TrainConfig(data="/home/somebody/people", model="/home/somebody/base.ckpt", other_data="/home/somebody/street"),
        origin,
    )
    arrays = dict(recipe_arrays(get_variant("osnet_x0_25"), 5))
    arrays.update({key: np.array(value, np.int64) for key, value in STATE.items()})
    arrays["best_mAP"] = np.array(0.5)
    arrays["moment1.conv1.conv.weight"] = np.zeros((16, 3, 7, 7), np.float32)
    made.best.write_bytes(write_ckpt(arrays))
    made.log({"kind": "evaluation", "step": 7, "epoch": 1, "mAP": 0.51234, "rank1": 0.6, "mINP": 0.4,
              "valid_queries": 9, "protocol": "market1501", "held_out": "test"})  # fmt: skip
    return made


def test_the_card_is_a_model_reference(run: Run) -> None:
    published = publish_run(run.root, author="A. Body", license="Apache2.0")
    card = read_card(published.card)
    assert (card.name, card.dataset, card.evaluation) == ("osnet_x0_25", "people", "mAP51.2")
    assert card.checkpoint.sha256 == published.sha256
    weights = read_weights(str(published.card), offline=True)
    assert weights.sha256 == published.sha256
    assert not weights.extras
    source = read_weights_file(run.best)
    assert all(np.array_equal(weights.arrays[name], source.arrays[name]) for name in source.arrays)
    text = published.card.read_text()
    assert "a" * 64 in text
    assert "epochs: 60" in text
    assert "/home/somebody" not in text


def test_a_published_run_says_the_size_it_was_trained_at(run: Run) -> None:
    text = str(publish_run(run.root).card.read_text())
    assert "input-size: 256x128" in text
    run.config.replace(height=128, width=64).save(run.root / "config.yaml")
    published = publish_run(run.root, overwrite=True)
    assert rules.problem(published.card.read_bytes(), published.card) == ""
    assert read_card(published.card).input_size == (128, 64)
    assert read_weights(published.card).input_size == (128, 64)
    assert read_weights(published.checkpoint).input_size == (128, 64)


@pytest.mark.parametrize("dataset", ["market1501", "people of my own"])
def test_the_card_passes_mindspore_hubs_rules(run: Run, dataset: str) -> None:
    published = publish_run(run.root, dataset=dataset)
    assert rules.problem(published.card.read_bytes(), published.card) == ""
    assert read_card(published.card).dataset == dataset
    assert "fails unless they answer" in published.card.read_text()


def test_a_card_that_mindspore_hub_refuses_is_not_written(run: Run) -> None:
    with pytest.raises(CardError, match=r"expects no ':' in 'author'"):
        publish_run(run.root, author="A: B")
    assert not (run.root / "published").exists()


@pytest.mark.slow
def test_mindspore_hub_takes_it(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    from osnet.mshub.entry import create_network

    published = publish_run(run.root)
    placed, _, checkpoint = install(str(published.card), hub_dir=tmp_path / "hub", offline=True)
    assert checkpoint.read_bytes() == published.checkpoint.read_bytes()
    assert all(finding.good for finding in check(str(published.card), hub_dir=tmp_path / "hub"))
    assert check(hub_dir=tmp_path / "hub")  # found among the cards there, too
    assert create_network(read_card(placed).name, num_classes=5).num_classes == 5


def test_parameters_stand_in_the_published_order(run: Run) -> None:
    names = list(read_ckpt(publish_run(run.root).checkpoint.read_bytes()))
    first_statistic = next(i for i, name in enumerate(names) if name.endswith("moving_mean"))
    assert all(name.endswith(("moving_mean", "moving_variance")) for name in names[first_statistic:])
    assert names[:first_statistic][-1] == "classifier.bias"


def test_the_optimizer_comes_along_if_asked_for(run: Run) -> None:
    published = publish_run(run.root, with_optimizer=True)
    assert "moment1.conv1.conv.weight" in read_weights_file(published.checkpoint).extras


def test_a_changed_file_beside_the_card_is_not_used(run: Run) -> None:
    published = publish_run(run.root)
    data = bytearray(published.checkpoint.read_bytes())
    data[-1] ^= 1
    published.checkpoint.write_bytes(data)
    with pytest.raises(OfflineError):
        fetch(str(published.card), offline=True)


def test_what_cannot_be_published(run: Run, tmp_path: Path) -> None:
    publish_run(run.root)
    with pytest.raises(FileExistsError):
        publish_run(run.root)
    with pytest.raises(OptionError, match="lower-case"):
        publish_run(run.root, name="../x")
    run.best.unlink()
    with pytest.raises(OptionError, match="saved no checkpoint"):
        publish_run(run.root)
    with pytest.raises(OptionError, match="no run in"):
        publish_run(tmp_path / "nothing")
