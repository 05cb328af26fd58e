"""Distances at their edges: what rounding leaves below zero, zero features, other float types."""

from __future__ import annotations

import numpy as np
import pytest

from osnet.evaluation.distances import distances


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
