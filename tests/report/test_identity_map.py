"""The map of identities: who is on it, and that images of one person lie together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.offsetbox import AnnotationBbox

from osnet.report.identity_map import IMAGES_EACH, PEOPLE, identity_map
from tests.data_sets import image
from tests.report.test_matches import made_up

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [image(tmp_path_factory.mktemp("crops") / "0.png", seed=0)]


def spots(made) -> dict[tuple[float, ...], np.ndarray]:
    """Points of each colour."""
    found: dict[tuple[float, ...], list[np.ndarray]] = {}
    for cloud in made.axes[0].collections:
        found.setdefault(tuple(cloud.get_facecolor()[0]), []).append(cloud.get_offsets())
    return {colour: np.concatenate(points) for colour, points in found.items()}


def test_every_image_has_its_place_and_people_lie_together(crops: list[Path]) -> None:
    evaluation = made_up(2, queries=20, gallery=60, people=4, noise=0.3, paths=crops)
    made = identity_map(evaluation, [])
    records = [*evaluation.query, *evaluation.gallery]
    people = {record.person for record in records if record.person > 0}
    shown = sum(record.person >= 0 for record in records)  # distractors are grey, junk is left out
    clouds = list(spots(made).values())
    assert len(clouds) == len(people) + 1
    assert sum(map(len, clouds)) == shown
    assert f"{len(people)} people, {shown} images" in made.axes[0].get_xlabel()
    assert len([a for a in made.axes[0].artists if isinstance(a, AnnotationBbox)]) == len(people)
    for cloud in clouds[1:]:
        others = np.concatenate([c for c in clouds[1:] if c is not cloud])
        spread = np.linalg.norm(cloud - cloud.mean(axis=0), axis=1).max()
        assert np.linalg.norm(others - cloud.mean(axis=0), axis=1).min() > spread


def test_many_people_are_cut_to_a_few_and_those_asked_for_are_among_them(crops: list[Path]) -> None:
    evaluation = made_up(3, queries=60, gallery=500, people=30, paths=crops)
    gallery = tuple(replace(r, person=7 if i < 2 * IMAGES_EACH else r.person) for i, r in enumerate(evaluation.gallery))
    query = tuple(replace(r, person=7 if i == 5 else r.person) for i, r in enumerate(evaluation.query))
    evaluation = replace(evaluation, query=query, gallery=gallery)
    made = identity_map(evaluation, [5])
    assert f"{PEOPLE} people" in made.axes[0].get_xlabel()
    _, first, *_ = spots(made).values()  # after the grey ones: the person who was asked for, with as many as may be
    assert len(first) == IMAGES_EACH
    again = identity_map(evaluation, [5])
    assert all(np.array_equal(a, b) for a, b in zip(spots(made).values(), spots(again).values()))


def test_too_few_images_or_all_alike_make_no_map(crops: list[Path]) -> None:
    few = made_up(0, paths=crops)
    junk = [tuple(replace(record, person=-1) for record in side) for side in (few.query, few.gallery)]
    others = [replace(record, person=0) for record in few.gallery[:3]]
    few = replace(few, query=(few.query[0], *junk[0][1:]), gallery=(*others, *junk[1][3:]))
    assert identity_map(few, []) is None
    alike = made_up(0, paths=crops)
    alike = replace(
        alike, query_features=np.ones_like(alike.query_features), gallery_features=np.ones_like(alike.gallery_features)
    )
    assert identity_map(alike, []) is None
