from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osnet.errors import DataError
from osnet.training.config import TrainConfig
from osnet.training.pipeline import epoch_order


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
    chosen = config(sampler="random", triplet=0, batch_size=10, accumulation=2)
    order = epoch_order(labels, chosen, epoch=0, ranks=2)
    assert order.shape == (4, 2, 10)
    assert len(set(order.reshape(-1).tolist())) == 80
    alone = epoch_order(labels, chosen, epoch=0, ranks=1)
    assert np.array_equal(alone[:4].reshape(-1), order[:2].reshape(-1)), "ranks split the order of one"


def test_a_batch_that_cannot_be_filled_is_refused() -> None:
    labels = np.repeat(np.arange(3), 5)
    with pytest.raises(DataError, match=r"wants 4 identities.*show 3: lower batch_size"):
        epoch_order(labels, config(batch_size=16), epoch=0)
    with pytest.raises(DataError, match=r"15 images of 3 identities do not fill"):
        epoch_order(labels, config(batch_size=16, sampler="random", triplet=0), epoch=0)
