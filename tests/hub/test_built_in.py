"""The checkpoint that comes with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import osnet
from osnet.drawn.dataset import draw_dataset
from osnet.hub.catalog import CARDS, get_card
from tests.recipe import recipe_weights

NAME = "osnet_x0_25_drawn"


def test_it_is_there_offline_verified_and_small(tmp_path: Path) -> None:
    path = osnet.fetch(NAME, offline=True, cache_dir=tmp_path / "empty")
    assert path.parent == (CARDS / get_card(NAME).uid).parent
    assert path.stat().st_size < 1_200_000
    weights = osnet.read_weights(NAME, offline=True)
    assert weights.sha256 == get_card(NAME).checkpoint.sha256
    assert (weights.variant.name, weights.num_classes, dict(weights.extras)) == ("osnet_x0_25", 0, {})


def test_its_card_says_what_it_knows() -> None:
    card = get_card(NAME)
    assert "drawn" in card.dataset
    assert card.name == "osnet_x0_25"  # what mindspore_hub asks create_network for
    assert not any("/" in line and line.startswith("data:") for line in card.body.splitlines())


def test_it_finds_drawn_people_whom_it_never_saw(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "drawn", identities=13, cameras=3, images_per_camera=2, seed=77, train_fraction=0.01)
    found = osnet.evaluate(NAME, tmp_path / "drawn", cache=False, offline=True)
    untrained = osnet.evaluate(recipe_weights("osnet_x0_25"), tmp_path / "drawn", cache=False)
    assert found.mAP > 0.8
    assert found.mAP > untrained.mAP + 0.35
    assert np.allclose(np.linalg.norm(found.query_features, axis=1), 1, atol=1e-5)
