"""Re-ranking against reference figures, the oracle's loops, and settings that make no sense."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osnet.errors import DataError, OptionError
from osnet.evaluation import rerank as module
from osnet.evaluation.ranking import rank_distances
from osnet.evaluation.rerank import rerank
from tests.evaluation.cases import REFERENCE, problem
from tests.oracles import ranking as oracle

pytestmark = pytest.mark.filterwarnings("ignore:re-ranking compares")


@pytest.mark.parametrize("tile", [None, 13])
@pytest.mark.parametrize("reference", REFERENCE, ids=lambda reference: f"seed{reference['case']['seed']}")
def test_reference_figures(reference, tile, monkeypatch):
    if tile:
        monkeypatch.setattr(module, "_TILE", tile)
    query, gallery, labels = problem(**reference["case"])
    expected = reference["k_reciprocal_cosine_k1_20_k2_6_lambda_0.3"]
    matrix = rerank(query, gallery)
    assert matrix.dtype == np.float32
    assert matrix[0, :5] == pytest.approx(expected["distance_first_row_first_5"], abs=1e-5)
    assert matrix.sum(dtype=np.float64) == pytest.approx(expected["distance_sum"], abs=1e-5 * matrix.size)
    found = rank_distances(matrix, **labels)
    assert found.mAP == pytest.approx(expected["mAP"], abs=1e-5)
    assert [found.cmc[k - 1] for k in (1, 5, 10, 20)] == pytest.approx(expected["cmc_1_5_10_20"], abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 25), st.integers(1, 12), st.integers(1, 8),
    st.floats(0, 1), st.sampled_from(["cosine", "euclidean"]),
)  # fmt: skip
def test_random_features_agree_with_the_oracle(seed, queries, size, k1, k2, weight, metric):
    query, gallery, _ = problem(seed=seed, Q=queries, G=size, D=6, ids=5, cams=2, noise=0.7)
    expected = oracle.rerank(query, gallery, k1, k2, weight, metric)
    found = rerank(query, gallery, k1=k1, k2=k2, lambda_value=weight, metric=metric)
    assert found == pytest.approx(np.array(expected), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 4))
def test_ties_agree_with_the_oracle(seed, k1, k2):
    """Corners of a grid: exact in float32, and most distances occur many times, zero too."""
    rng = np.random.default_rng(seed)
    query, gallery = rng.integers(0, 2, (4, 3)), rng.integers(0, 3, (14, 3))
    expected = oracle.rerank(query, gallery, k1, k2, 0.3, "euclidean")
    assert rerank(query, gallery, k1=k1, k2=k2, metric="euclidean") == pytest.approx(np.array(expected), abs=1e-5)


def test_one_cluster_of_identical_images_is_no_division_by_zero():
    found = rerank(np.ones((2, 4)), np.ones((5, 4)), metric="euclidean", k1=10)
    assert np.isfinite(found).all()
    assert np.ptp(found) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"k1": 0}, {"k1": 2.5}, {"k2": 0}, {"k2": True}, {"lambda_value": 1.1}, {"lambda_value": "0.3"}, {"metric": "l2"}],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(OptionError, match=next(iter(change))):
        rerank(np.eye(3), np.eye(3), **change)


def test_a_gallery_smaller_than_k1_is_said():
    with pytest.warns(UserWarning, match="k1 = 20 nearest images, but the gallery has 5"):
        rerank(np.eye(5), np.eye(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rerank(np.eye(5), np.eye(5), k1=5)


def test_bad_features_are_refused():
    with pytest.raises(DataError, match="gallery features hold NaN"):
        rerank(np.eye(3), np.eye(3) * np.nan)
    with pytest.raises(DataError, match="3 wide, gallery features 4"):
        rerank(np.eye(3), np.eye(4))


def test_a_truth_is_no_weight():
    with pytest.raises(OptionError, match="lambda_value: expected a number from 0 to 1, got True"):
        rerank(np.ones((1, 4)), np.ones((2, 4)), lambda_value=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [2.0**50, 2.0**-50])
def test_the_scale_of_features_does_not_matter(scale):
    """Distances are squared once more: in float32 this must neither overflow nor become zero."""
    query, gallery, _ = problem(seed=3, Q=5, G=20, D=6, ids=5, cams=2, noise=0.7)
    scaled = [np.float32(features) * np.float32(scale) for features in (query, gallery)]
    assert (rerank(*scaled, k1=5, metric="euclidean") == rerank(query, gallery, k1=5, metric="euclidean")).all()
