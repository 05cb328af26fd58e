"""Groups of one person, near-duplicates and their scores, against plain loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import osnet
from osnet.errors import DataError, OptionError
from osnet.evaluation import clustering
from osnet.evaluation.clustering import near_duplicates, score_clusters
from tests.oracles import clustering as oracle

THRESHOLDS = st.floats(-1, 1)


def people(seed, size, ids, noise, width=16):
    """Features of `ids` people, unequal in length."""
    r = np.random.default_rng(seed)
    features = r.standard_normal((ids, width))[r.integers(0, ids, size)] + noise * r.standard_normal((size, width))
    return np.float32(features * r.uniform(0.5, 2, (size, 1)))


@st.composite
def problems(draw):
    return people(
        draw(st.integers(0, 2**32)),
        draw(st.integers(2, 24)),
        draw(st.integers(1, 6)),
        draw(st.sampled_from((0.2, 0.6, 2))),
    )


def groups_of(labels):
    """The sets of rows, those of images alone among them."""
    found = [{row} for row in np.flatnonzero(labels < 0).tolist()]
    return [*found, *(set(np.flatnonzero(labels == label).tolist()) for label in range(labels.max() + 1))]


def far_from_a_tie(similarity, threshold):
    """No mean of two sets of pairs can be told from the threshold by rounding: here, single pairs."""
    values = np.array(similarity)[np.triu_indices(len(similarity), 1)]
    return np.abs(values - threshold).min(initial=1) > 1e-5


@settings(max_examples=150)
@given(features=problems(), threshold=THRESHOLDS)
def test_agglomerative_merges_the_two_most_similar_groups_each_time(features, threshold) -> None:
    expected = oracle.average_linkage(oracle.matrix(features), threshold)
    labels = osnet.cluster(features, threshold)
    assert sorted(map(sorted, groups_of(labels))) == sorted(map(sorted, expected))


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.6, 0.8])
def test_agglomerative_is_scikit_learns(threshold) -> None:
    from sklearn.cluster import AgglomerativeClustering

    features = people(1, 400, 40, 0.7)
    unit = np.float64(features / np.linalg.norm(features, axis=1, keepdims=True))
    expected = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - threshold
    ).fit_predict(1 - unit @ unit.T)
    labels = osnet.cluster(features, threshold)
    np.testing.assert_array_equal(labels, clustering._by_size(expected))
    assert labels.max() > 3


@settings(max_examples=100)
@given(features=problems(), threshold=THRESHOLDS, min_neighbours=st.integers(2, 5))
def test_dbscan_walks_from_core_to_core(features, threshold, min_neighbours) -> None:
    similarity = oracle.matrix(features)
    if not far_from_a_tie(similarity, threshold):
        return
    cores, borders = oracle.dbscan_cores(similarity, threshold, min_neighbours)
    labels = osnet.cluster(features, threshold, method="dbscan", min_neighbours=min_neighbours)
    place = {label: next(iter(group)) for label in set(labels[labels >= 0].tolist())
             for group in [set(np.flatnonzero(labels == label).tolist())]}  # fmt: skip
    assert len(place) == len(cores)
    for group in cores:
        assert len({labels[row] for row in group}) == 1
    for row, near in borders.items():
        allowed = {int(labels[next(iter(cores[i]))]) for i in near}
        assert int(labels[row]) in (allowed or {-1})


@settings(max_examples=100)
@given(features=problems(), threshold=THRESHOLDS)
def test_near_duplicates_in_order_of_the_rows(features, threshold) -> None:
    similarity = oracle.matrix(features)
    if not far_from_a_tie(similarity, threshold):
        return
    assert near_duplicates(features, threshold).tolist() == oracle.kept_and_duplicates(similarity, threshold)


@settings(max_examples=150)
@example(rows=[(0, 2), (1, 3), (1, 3), (1, 3), (-1, 1), (-1, 4)])  # scikit-learn gives an nmi above 1
@given(rows=st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=20))
def test_scores_count_every_pair(rows) -> None:
    labels, persons = np.array(rows).T
    if not (persons > 0).any():
        with pytest.raises(DataError, match="no image shows a known person"):
            score_clusters(labels, persons)
        return
    found = score_clusters(labels, persons)
    assert (found.precision, found.recall, found.f1) == pytest.approx(oracle.pairwise(labels, persons), abs=1e-12)
    assert found.images == (persons > 0).sum()
    assert found.persons == len({person for _, person in rows if person > 0})
    assert 0 <= found.nmi <= 1


def test_scores_by_hand() -> None:
    """Groups {0, 1, 2} and {3, 4}; one image alone; persons 1 1 2 2 2 1."""
    found = score_clusters([0, 0, 0, 1, 1, -1], [1, 1, 2, 2, 2, 1])
    assert (found.precision, found.recall) == (2 / 4, 2 / 6)
    assert found.f1 == pytest.approx(2 * 2 / (4 + 6))
    assert (found.images, found.persons, found.groups) == (6, 2, 2)
    perfect = score_clusters([1, 1, 0, 0, -1], [7, 7, 3, 3, 9])
    assert (perfect.f1, perfect.nmi) == (1, pytest.approx(1))


def test_labels_are_numbered_by_size_and_then_by_first_image() -> None:
    a, b, c, d = np.eye(4)
    assert osnet.cluster([a, b, b, c, c, c, d, a], 0.5).tolist() == [1, 2, 2, 0, 0, 0, -1, 1]
    assert osnet.cluster([a, b, b, c, c, c, d, a], 0.5, method="dbscan", min_neighbours=3).tolist() == [
        -1, -1, -1, 0, 0, 0, -1, -1,
    ]  # fmt: skip


def test_many_equal_images_and_zero_features() -> None:
    features = np.concatenate([np.tile(np.eye(3)[0], (300, 1)), np.zeros((2, 3)), np.tile(np.eye(3)[1], (200, 1))])
    expected = [0] * 300 + [-1] * 2 + [1] * 200
    for method in ("agglomerative", "dbscan"):
        for threshold in (0.9, 1):
            assert osnet.cluster(features, threshold, method=method).tolist() == expected
    for threshold in (0.98, 1):
        assert np.flatnonzero(near_duplicates(features, threshold) < 0).tolist() == [0, 300, 301, 302]


@pytest.mark.parametrize("function", [osnet.cluster, near_duplicates])
def test_what_cannot_be_grouped_is_refused(function) -> None:
    good = np.eye(3)
    for threshold in (1.01, -1.01, float("nan"), "0.5", True):
        with pytest.raises(OptionError, match="threshold: expected a number from -1 to 1, got"):
            function(good, threshold)
    with pytest.raises(DataError, match="at least 2 images, got 1"):
        function(good[:1], 0.5)
    with pytest.raises(DataError, match="NaN or infinity, first in row 1 of 3"):
        function(np.where(np.eye(3)[1][:, None] == 1, np.nan, good), 0.5)
    with pytest.raises(DataError, match="at least 2 images, got 0"):
        function(0.5, 0.5)
    with pytest.raises(DataError, match=r"expected an array \(N, D\)"):
        function([1.0, 2.0], 0.5)


def test_methods_and_neighbours_are_checked(monkeypatch) -> None:
    with pytest.raises(OptionError, match=r"expected one of agglomerative, dbscan, got 'kmeans'"):
        osnet.cluster(np.eye(3), 0.5, method="kmeans")
    with pytest.raises(OptionError, match="min_neighbours: expected an integer of at least 2, got 1"):
        osnet.cluster(np.eye(3), 0.5, min_neighbours=1)
    monkeypatch.setattr(clustering, "LINKS_LIMIT", 8)
    osnet.cluster(np.eye(3), 0.5)
    for method in ("agglomerative", "dbscan"):
        with pytest.raises(DataError, match=r"3 images have over 8 neighbours with a similarity of -0\.5 or more"):
            osnet.cluster(np.eye(3), -0.5, method=method)


def test_scores_need_a_label_and_a_person_for_each_image() -> None:
    with pytest.raises(DataError, match=r"got shapes \(2,\) and \(3,\)"):
        score_clusters([0, 0], [1, 1, 2])
