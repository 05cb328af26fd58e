from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from osnet.errors import DataError
from osnet.training.config import TrainConfig
from osnet.training.dataset import find_images


def test_identities_become_classes_and_the_test_part_is_held_out(crops: Path) -> None:
    found = find_images(TrainConfig(data=str(crops)))
    assert (found.classes, len(found.paths), found.held_out, found.protocol) == (4, 16, "test", "market1501")
    persons = [int(path.name[:4]) for path in found.paths]
    assert np.array_equal(found.labels, np.array(persons) - 1)
    assert {r.person for r in (*found.query, *found.gallery)} == {5, 6}


def test_held_out_training_identities_are_not_trained_on(crops: Path) -> None:
    found = find_images(TrainConfig(data=str(crops), val_identities=2, seed=3))
    held = {r.person for r in found.query}
    assert (found.classes, found.held_out, len(held)) == (2, "val", 2)
    assert held == {r.person for r in found.gallery}
    assert not held & {int(path.name[:4]) for path in found.paths}
    assert not {r.path for r in found.query} & {r.path for r in found.gallery}


def test_the_fingerprint_knows_the_data_again_wherever_it_stands(crops: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(crops)
    first = find_images(TrainConfig(data=str(crops))).fingerprint
    assert find_images(TrainConfig(data=str(moved))).fingerprint == first
    assert find_images(TrainConfig(data=str(crops), val_identities=1)).fingerprint != first


def test_no_training_images(crops: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/query").symlink_to(crops / "query")
    (tmp_path / "data/bounding_box_test").symlink_to(crops / "bounding_box_test")
    with pytest.raises(DataError, match="no training images"):
        find_images(TrainConfig(data=str(tmp_path / "data")))


def test_images_that_cannot_be_read_are_left_out_and_named(crops: Path, tmp_path: Path) -> None:
    data = shutil.copytree(crops, tmp_path / "data")
    bad = sorted((data / "bounding_box_train").iterdir())[0], sorted((data / "query").iterdir())[0]
    for path in bad:
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n")
    (data / "bounding_box_train" / "notes.txt").write_text("x")
    found = find_images(TrainConfig(data=str(data)))
    assert (len(found.paths), found.classes) == (15, 4)
    assert not {*found.paths, *(r.path for r in found.query)} & set(bad)
    assert [path.name for path in bad] == [Path(message.split(": ")[0]).name for message in found.left_out]
    assert [path.name for path in found.not_used] == ["notes.txt"]
    for path in (data / "bounding_box_train").glob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"no training image of .* can be read; the first: .*0001_c1s1_000000_00"):
        find_images(TrainConfig(data=str(data)))


def test_queries_that_nothing_answers_are_not_measured(crops: Path, tmp_path: Path) -> None:
    data = shutil.copytree(crops, tmp_path / "data")
    for path in (data / "query").iterdir():
        path.rename(path.with_name("9" + path.name[1:]))
    found = find_images(TrainConfig(data=str(data)))
    assert (found.query, found.gallery) == ((), ())
    assert "no query has a match" in found.left_out[0]
