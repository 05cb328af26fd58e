"""ROC, equal error rate, thresholds and open set against loops over pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from osnet.errors import DataError, OptionError
from osnet.evaluation.distances import distances
from osnet.evaluation.open_set import open_set
from osnet.evaluation.verification import too_few, verify_pairs
from tests.evaluation.cases import REFERENCE, problem
from tests.oracles import verification as oracle

NAMES = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")


@st.composite
def grids(draw):
    """Integer features, whose squared distances are whole and tied; junk and unenrolled people among the labels."""
    queries, size, seed = draw(st.integers(1, 8)), draw(st.integers(1, 15)), draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    labels = {
        "query_ids": rng.integers(-1, 5, queries),
        "gallery_ids": rng.integers(-1, 4, size),
        "query_cameras": rng.integers(0, 3, queries),
        "gallery_cameras": rng.integers(0, 3, size),
    }
    return rng.integers(-3, 4, (queries, 3)), rng.integers(-3, 4, (size, 3)), labels


def plain(labels):
    return [labels[name].tolist() for name in NAMES]


@settings(max_examples=25, deadline=None)
@given(grids(), st.sampled_from(["market1501", "camera-blind"]), st.sampled_from([0, 0.05, 0.1, 0.5, 1]))
def test_counts_and_thresholds_agree_with_the_oracle(case, protocol, fpr):
    query, gallery, labels = case
    matrix = distances(query, gallery, metric="euclidean").tolist()
    same, different = oracle.pairs(matrix, *plain(labels), left_out=protocol == "market1501")
    assume(same and different)
    found = verify_pairs(query, gallery, metric="euclidean", protocol=protocol, **labels)
    assert (found.genuine_pairs, found.impostor_pairs) == (len(same), len(different))
    assert (-found.thresholds).tolist() == sorted({*same, *different})
    for i, threshold in enumerate(found.thresholds):
        assert found.true_accepts[i] == sum(distance <= -threshold for distance in same)
        assert found.false_accepts[i] == sum(distance <= -threshold for distance in different)
    assert found.eer == pytest.approx(oracle.equal_error_rate(same, different), abs=1e-12)
    point = found.at(fpr)
    best = oracle.most_tolerant(same, different, fpr, sorted({*same, *different}))
    if best is None:
        assert (point.tpr, point.false_accepts) == (0, 0)
        assert point.threshold > -min(*same, *different)
    else:
        assert (-point.threshold, point.tpr) == (best[0], pytest.approx(best[1]))


def test_cosine_thresholds_are_borders_and_their_counts_exact():
    query, gallery, labels = problem(**REFERENCE[2]["case"])
    same, different = oracle.pairs(distances(query, gallery).tolist(), *plain(labels))
    found = verify_pairs(query, gallery, **labels)
    assert found.step == 2.0**-19
    assert ((found.thresholds * 2**19) % 1 == 0).all()
    for i in range(0, len(found.thresholds), 37):
        limit = 1 - found.thresholds[i]
        assert found.true_accepts[i] == sum(distance <= limit for distance in same)
        assert found.false_accepts[i] == sum(distance <= limit for distance in different)
    for fpr in (1e-3, 1e-2, 1e-1):
        point = found.at(fpr)
        stricter = found.thresholds >= point.threshold
        assert found.false_accepts[stricter][-1] == point.false_accepts <= fpr * len(different)
        assert found.false_accepts[~stricter][0] > fpr * len(different)
    assert found.eer == pytest.approx(oracle.equal_error_rate(same, different), abs=1e-3)
    assert found.fpr[-1] == found.tpr[-1] == 1


def test_histogram_holds_every_pair_once():
    query, gallery, labels = problem(**REFERENCE[0]["case"])
    same, different = oracle.pairs(distances(query, gallery).tolist(), *plain(labels))
    borders, genuine, impostor = verify_pairs(query, gallery, **labels).histogram(20)
    assert len(borders) == 21
    assert (genuine.sum(), impostor.sum()) == (len(same), len(different))
    expected = np.histogram([1 - d for d in different], bins=borders)[0]
    assert abs(impostor - expected).sum() <= 4  # a pair within 2^-19 of a border may fall to the other side


def test_a_perfect_model_has_no_errors():
    features = np.eye(4)
    found = verify_pairs(features, features, query_ids=range(4), gallery_ids=range(4), protocol="camera-blind")
    assert found.eer == 0
    assert found.eer_threshold == 1
    point = found.at(0.01)
    assert (point.tpr, point.false_accepts, point.threshold) == (1, 0, 1)
    json.dumps(found.to_dict(), allow_nan=False)


def test_too_few_pairs_give_a_warning():
    assert too_few(1e-3, 30_000, "pairs") is None
    assert "is rough; at least 30,000 are needed" in too_few(1e-3, 29_999, "pairs")
    assert "is unreliable" in too_few(1e-3, 999, "pairs")
    query, gallery, labels = problem(**REFERENCE[0]["case"])
    found = verify_pairs(query, gallery, **labels)
    assert found.at(1e-2).warning is None
    assert f"{found.impostor_pairs:,} pairs" in found.at(1e-4).warning


@settings(max_examples=25, deadline=None)
@given(grids(), st.sampled_from(["market1501", "camera-blind"]), st.sampled_from([0, 0.3, 0.5, 1]))
def test_open_set_agrees_with_the_oracle(case, protocol, far):
    query, gallery, labels = case
    matrix = distances(query, gallery, metric="euclidean").tolist()
    expected = oracle.best_answers(matrix, *plain(labels), left_out=protocol == "market1501")
    kinds = [kind for _, _, kind in expected]
    try:
        found = open_set(query, gallery, metric="euclidean", protocol=protocol, **labels)
    except DataError:
        assert "enrolled" not in kinds or "unenrolled" not in kinds
        return
    assert [bool(x) for x in found.enrolled] == [kind == "enrolled" for kind in kinds]
    assert [bool(x) for x in found.unenrolled] == [kind == "unenrolled" for kind in kinds]
    for q, (distance, right, kind) in enumerate(expected):
        if kind != "neither":
            assert (-found.similarity[q], found.correct[q]) == (distance, right)
    point = found.at(far)
    unenrolled = [distance for distance, _, kind in expected if kind == "unenrolled"]
    enrolled = [(distance, right) for distance, right, kind in expected if kind == "enrolled"]
    assert point.false_alarms == sum(distance <= -point.threshold for distance in unenrolled) <= far * len(unenrolled)
    assert point.dir == sum(right and distance <= -point.threshold for distance, right in enrolled) / len(enrolled)
    for looser in {distance for distance, _, kind in expected if kind != "neither" and distance > -point.threshold}:
        assert sum(distance <= looser for distance in unenrolled) > far * len(unenrolled)


def test_held_out_people_are_unenrolled():
    query, gallery, labels = problem(**REFERENCE[0]["case"])
    with pytest.raises(DataError, match="with hold_out_fraction="):
        open_set(query, gallery, **labels)
    found = open_set(query, gallery, hold_out_fraction=0.4, **labels)
    away = set(labels["query_ids"][found.unenrolled].tolist())
    assert len(away) == round(0.4 * len(set(labels["query_ids"].tolist())))
    assert away.isdisjoint(labels["query_ids"][found.enrolled].tolist())
    gallery_ids = np.where(np.isin(labels["gallery_ids"], list(away)), -1, labels["gallery_ids"])
    matrix = distances(query, gallery).tolist()
    expected = oracle.best_answers(matrix, *plain({**labels, "gallery_ids": gallery_ids}))
    assert found.correct.tolist() == [right for _, right, _ in expected]
    assert open_set(query, gallery, hold_out_fraction=0.4, **labels).at(0.1) == found.at(0.1)
    assert "unenrolled queries" in found.at(0.1).warning
    json.dumps(found.to_dict(), allow_nan=False)


def test_input_that_cannot_be_judged_is_refused():
    features, blind = np.eye(2), {"protocol": "camera-blind"}
    with pytest.raises(DataError, match="no pair of one person"):
        verify_pairs(features, features, query_ids=[1, 2], gallery_ids=[3, 4], **blind)
    with pytest.raises(DataError, match="no pair of different people"):
        verify_pairs(features, features, query_ids=[1, 1], gallery_ids=[1, 1], **blind)
    with pytest.raises(DataError, match="nobody to identify"):
        open_set(features, features, query_ids=[1, 2], gallery_ids=[3, 4], **blind)
    with pytest.raises(OptionError, match="hold_out_fraction: expected a number"):
        open_set(features, features, query_ids=[1, 2], gallery_ids=[1, 2], hold_out_fraction=1, **blind)
    with pytest.raises(OptionError, match="false positive rate"):
        verify_pairs(features, features, query_ids=[1, 2], gallery_ids=[1, 2], **blind).at(-0.1)
    with pytest.raises(OptionError, match="false alarm rate"):
        open_set(features, features, query_ids=[1, 2], gallery_ids=[1, 3], **blind).at(2)
    with pytest.raises(OptionError, match="metric: expected one of cosine, euclidean, got 'l1'"):
        verify_pairs(features, features, query_ids=[1, 2], gallery_ids=[1, 2], metric="l1", **blind)


def test_old_names_of_the_open_set_still_work_with_a_warning():
    query, gallery, labels = problem(**REFERENCE[0]["case"])
    found = open_set(query, gallery, hold_out_fraction=0.4, **labels)
    with pytest.warns(DeprecationWarning, match="hold_out is now called hold_out_fraction"):
        old = open_set(query, gallery, hold_out=0.4, **labels)
    assert old.at(0.1) == found.at(0.1)
    with pytest.warns(DeprecationWarning, match="stranger is now called unenrolled"):
        assert found.stranger is found.unenrolled
    with pytest.warns(DeprecationWarning, match="right is now called correct"):
        assert found.right is found.correct
    with pytest.warns(DeprecationWarning, match="strangers is now called unenrolled"):
        assert found.at(0.1).strangers == found.at(0.1).unenrolled
    row = found.to_dict([0.1])
    assert row["stranger_queries"] == row["unenrolled_queries"] == row["alarm_points"][0]["strangers"]
