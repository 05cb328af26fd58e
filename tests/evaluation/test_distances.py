"""Distances at their edges: what rounding leaves below zero, zero features, other float types."""

from __future__ import annotations

import numpy as np
import pytest

from osnet.errors import DataError
from osnet.evaluation.distances import distances
from osnet.evaluation.open_set import open_set
from osnet.evaluation.ranking import rank
from osnet.evaluation.rerank import rerank
from osnet.evaluation.verification import verify_pairs


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_no_distance_is_below_zero(metric):
    features = np.random.default_rng(0).normal(100, 1, (200, 64)).astype(np.float32)
    found = distances(features, features, metric=metric)
    assert found.dtype == np.float32
    assert found.min() == 0


def test_a_zero_feature_is_at_cosine_distance_one():
    assert distances([[0.0, 0.0]], [[3.0, 4.0], [0.0, 0.0]]).tolist() == [[1, 1]]


def test_length_does_not_matter_to_cosine_and_does_to_euclidean():
    query, gallery = np.float16([[1, 0]]), np.array([[5, 0], [0, 2], [-3, 0]])
    assert distances(query, gallery).tolist() == [[0, 1, 2]]
    assert distances(query, gallery, metric="euclidean").tolist() == [[16, 5, 16]]


LABELS = {"query_ids": [1], "gallery_ids": [1, 2], "query_cameras": [0], "gallery_cameras": [1, 1]}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "use",
    [
        distances,
        rerank,
        lambda *both, **more: rank(*both, **LABELS, **more),
        lambda *both, **more: verify_pairs(*both, **LABELS, **more),
        lambda *both, **more: open_set(*both, **LABELS, **more, hold_out_fraction=0.5),
    ],
    ids=["distances", "rerank", "rank", "verify_pairs", "open_set"],
)
def test_what_overflows_float32_is_refused_before_it_is_computed(use):
    gallery = np.ones((2, 4), np.float32)
    with pytest.raises(DataError, match="too large for squared Euclidean distances in float32: scale them, or"):
        use(gallery[:1], gallery * np.float32(1e30), metric="euclidean")


@pytest.mark.filterwarnings("error")
def test_just_below_the_overflow_all_is_finite():
    length = np.sqrt(np.finfo(np.float32).max / 4) * 0.999
    features = np.float32([[length, 0], [-length, 0], [0, length]])
    assert np.isfinite(distances(features, features, metric="euclidean")).all()
    assert np.isfinite(distances(features * 2, features * 2)).all()
    with pytest.raises(DataError, match="too large"):
        distances(features * np.float32(1.01), features, metric="euclidean")


def test_an_empty_list_is_as_empty_as_an_empty_array():
    for empty in ([], np.empty((0, 4))):
        with pytest.raises(DataError, match="the gallery is empty"):
            rank(np.ones((1, 4)), empty, query_ids=[1], gallery_ids=[])
