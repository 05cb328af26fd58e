"""Identities: the same for the same seed, and far enough apart."""

from __future__ import annotations

import itertools

import pytest

from osnet.drawn.person import LEAST_DIFFERENCES, draw_crowd


def test_any_two_people_differ_in_several_attributes_seen_from_every_side() -> None:
    looks = [person.look for person in draw_crowd(0, 150)]  # drawn without a second try, two of these differ in 2
    least = min(sum(a != b for a, b in zip(one, other)) for one, other in itertools.combinations(looks, 2))
    assert least >= LEAST_DIFFERENCES


def test_a_smaller_crowd_is_the_beginning_of_a_larger_one() -> None:
    assert draw_crowd(3, 20) == draw_crowd(3, 60)[:20]


def test_another_seed_is_other_people() -> None:
    ours, theirs = draw_crowd(3, 20), draw_crowd(4, 20)
    assert not any(a.look == b.look for a, b in zip(ours, theirs))


@pytest.mark.parametrize(
    "attribute", ["upper", "lower", "pattern", "hair", "headwear", "bag", "shoes", "skin", "upper_colour"]
)
def test_a_crowd_shows_every_kind_often_enough_to_learn_it(attribute: str) -> None:
    values = [getattr(person, attribute) for person in draw_crowd(0, 400)]
    assert len(set(values)) >= 3
    assert min(values.count(value) for value in set(values)) >= 4
