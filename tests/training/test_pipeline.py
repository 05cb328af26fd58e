"""The order of the images in an epoch, and what happens to each on its way into a batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osnet.errors import DataError
from osnet.training.config import TrainConfig
from osnet.training.pipeline import augmented, epoch_order, erase, jitter, pad_and_crop

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)


def config(**values: object) -> TrainConfig:
    return TrainConfig.from_mapping(values)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=8, max_size=20),
    k=st.integers(2, 4),
    people=st.integers(2, 4),
    ranks=st.integers(1, 2),
    epoch=st.integers(0, 5),
)
def test_pk_batches(counts: list[int], k: int, people: int, ranks: int, epoch: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    chosen = config(batch_size=k * people, images_per_identity=k)
    order = epoch_order(labels, chosen, epoch=epoch, ranks=ranks)
    assert order.shape[1:] == (ranks, k * people)
    for batch in order:
        assert sorted(Counter(labels[batch.reshape(-1)].tolist()).values()) == [k] * (people * ranks)
    used = Counter(labels[order.reshape(-1)].tolist())
    assert max(used.values()) <= max(1, round(len(labels) / k / len(counts))) * k
    for person in range(len(counts)):
        seen = Counter(order.reshape(-1)[labels[order.reshape(-1)] == person].tolist())
        if seen:
            assert max(seen.values()) <= -(-used[person] // counts[person])
    for group in order.reshape(-1, k):
        assert len(set(group.tolist())) == min(k, counts[labels[group[0]]])
    assert np.array_equal(order, epoch_order(labels, chosen, epoch=epoch, ranks=ranks))
    assert not np.array_equal(order, epoch_order(labels, chosen, epoch=epoch + 1, ranks=ranks))


def test_random_shows_every_image_once_and_shards_are_disjoint() -> None:
    labels = np.arange(103)
    chosen = config(sampler="random", supervised_contrastive=0, batch_size=10, accumulation=2)
    order = epoch_order(labels, chosen, epoch=0, ranks=2)
    assert order.shape == (4, 2, 10)
    assert len(set(order.reshape(-1).tolist())) == 80
    alone = epoch_order(labels, chosen, epoch=0, ranks=1)
    assert np.array_equal(alone[:4].reshape(-1), order[:2].reshape(-1)), "ranks split the order of one"


def test_a_batch_that_cannot_be_filled_is_refused() -> None:
    labels = np.repeat(np.arange(3), 5)
    with pytest.raises(DataError, match=r"needs 4 identities.*have 3: lower batch_size"):
        epoch_order(labels, config(batch_size=16), epoch=0)
    with pytest.raises(DataError, match=r"15 images of 3 identities do not fill"):
        epoch_order(labels, config(batch_size=16, sampler="random", supervised_contrastive=0), epoch=0)


def test_the_same_generator_gives_the_same_image_and_another_another() -> None:
    chosen = config(flip=0.5, crop_padding=4, color_jitter=0.3, erasing=0.5)
    before = IMAGE.copy()
    one, same, other = (augmented(IMAGE, chosen, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == IMAGE.shape
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.array_equal(IMAGE, before), "the original is untouched"


def test_nothing_asked_for_changes_nothing() -> None:
    chosen = config(flip=0, crop_padding=0)
    assert np.array_equal(augmented(IMAGE, chosen, np.random.default_rng(0)), IMAGE)


def test_flip_is_a_mirror() -> None:
    chosen = config(flip=1.0, crop_padding=0)
    assert np.array_equal(augmented(IMAGE, chosen, np.random.default_rng(0)), IMAGE[:, ::-1])


def test_crop_is_a_shift_with_black() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        found = pad_and_crop(IMAGE, 4, rng)
        padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)))
        places = [(t, left) for t in range(9) for left in range(9)]
        assert any(np.array_equal(found, padded[t : t + 32, left : left + 16]) for t, left in places)


def test_erasing_makes_one_rectangle_noise() -> None:
    grey = np.full((64, 32, 3), 128, np.uint8)
    for seed in range(50):
        changed = (erase(grey, np.random.default_rng(seed)) != 128).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.99
        assert 0.015 <= box.size / changed.size <= 0.42
        assert 0.2 <= box.shape[0] / box.shape[1] <= 5


@pytest.mark.parametrize("level", [0, 60, 255])
def test_jitter_of_grey_stays_grey_and_in_range(level: int) -> None:
    found = jitter(np.full((4, 4, 3), level, np.uint8), 0.5, np.random.default_rng(1))
    assert np.ptp(found) == 0
    assert abs(int(found[0, 0, 0]) - level) <= 0.5 * level + 1
