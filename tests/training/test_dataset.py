from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from osnet.errors import DataError, ImageError
from osnet.training.config import TrainConfig
from osnet.training.dataset import find_images
from osnet.training.pipeline import crop
from tests.videos import pictures, sequence


def test_identities_become_classes_and_the_test_part_is_held_out(crops: Path) -> None:
    found = find_images(TrainConfig(data=str(crops)))
    assert (found.classes, len(found.train), found.held_out, found.protocol) == (4, 16, "test", "market1501")
    persons = [int(r.path.name[:4]) for r in found.train]
    assert np.array_equal(found.labels, np.array(persons) - 1)
    assert {r.person for r in (*found.query, *found.gallery)} == {5, 6}


def test_held_out_training_identities_are_not_trained_on(crops: Path) -> None:
    found = find_images(TrainConfig(data=str(crops), val_identities=2, seed=3))
    held = {r.person for r in found.query}
    assert (found.classes, found.held_out, len(held)) == (2, "val", 2)
    assert held == {r.person for r in found.gallery}
    assert not held & {int(r.path.name[:4]) for r in found.train}
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
    assert (len(found.train), found.classes) == (15, 4)
    assert not {r.path for r in (*found.train, *found.query)} & set(bad)
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


def test_the_boxes_of_a_video_are_trained_on_and_cut_out_on_the_way(tmp_path: Path) -> None:
    frames = pictures(4)
    (sequence(tmp_path / "S1", frames) / "gt").mkdir()
    lines = [f"{n},{person},{left},11,20,40,1,1,1" for n in range(1, 5) for person, left in ((1, n), (2, 61), (3, 500))]
    (tmp_path / "S1/gt/gt.txt").write_text("\n".join(lines))
    found = find_images(TrainConfig(data=str(tmp_path / "S1")))
    assert (found.name, found.classes, len(found.train), len(found.left_out)) == ("mot", 2, 8, 4)
    assert found.labels.tolist() == [0, 1] * 4
    cut = crop(found.train[2], (40, 20))
    assert np.array_equal(cut, frames[1][10:50, 1:21])
    with pytest.raises(ImageError, match="box"):
        crop(replace(found.train[0], box=(500, 10, 520, 50)), (40, 20))
    (tmp_path / "S1/gt/gt.txt").write_text("\n".join([*lines[:-2], "4,2,60,11,20,40,1,1,1"]))
    assert find_images(TrainConfig(data=str(tmp_path / "S1"))).fingerprint != found.fingerprint


def test_held_out_people_of_videos_are_found_again_by_the_same_camera(tmp_path: Path) -> None:
    lines = [f"{n},{person},{10 * person},11,20,40,1,1,1" for n in range(1, 4) for person in range(1, 5)]
    for name in ("S1", "S2"):
        (sequence(tmp_path / "mot" / name, pictures(3)) / "gt").mkdir()
        (tmp_path / "mot" / name / "gt/gt.txt").write_text("\n".join(lines))
    found = find_images(TrainConfig(data=str(tmp_path / "mot"), val_identities=6))
    assert {r.camera for r in found.query} == {1, 2}
    assert (found.classes, len(found.query), len(found.gallery), found.left_out) == (2, 6, 12, ())
