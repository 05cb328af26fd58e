"""Ranking against reference figures, against plain loops, and against input that lies."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from osnet.errors import DataError, OptionError
from osnet.evaluation import distances as distances_module
from osnet.evaluation.compiled_loops import _FEW
from osnet.evaluation.distances import distances
from osnet.evaluation.protocols import PROTOCOLS
from osnet.evaluation.ranking import rank, rank_distances
from tests.evaluation.cases import REFERENCE, problem, tied_problems
from tests.oracles import ranking as oracle

METRICS = [("cosine", "cosine"), ("euclidean", "euclidean_squared")]


@pytest.mark.parametrize("reference", REFERENCE, ids=lambda reference: f"seed{reference['case']['seed']}")
@pytest.mark.parametrize(("metric", "key"), METRICS)
def test_reference_figures(reference, metric, key):
    query, gallery, labels = problem(**reference["case"])
    found, expected = rank(query, gallery, metric=metric, **labels), reference[key]
    assert found.mAP == pytest.approx(expected["mAP"], abs=1e-6)
    assert found.mINP == pytest.approx(expected["mINP"], abs=1e-6)
    assert [found.cmc[k - 1] for k in (1, 5, 10, 20)] == pytest.approx(expected["cmc_1_5_10_20"], abs=1e-6)
    assert found.valid_queries == expected["valid_queries"]
    assert found.to_dict()["cmc"]["5"] == found.cmc[4]


def test_figures_by_eye():
    """Matches at ranks 1 and 3; at rank 2 only; none in another camera."""
    matrix = np.float32([[1, 2, 3, 4], [2, 1, 3, 9], [1, 2, 3, 4]])
    found = rank_distances(
        matrix,
        query_ids=[1, 1, 2],
        gallery_ids=[1, 2, 1, 0],
        query_cameras=[1, 3, 1],
        gallery_cameras=[2, 1, 3, 1],
        max_rank=4,
    )
    assert found.valid_queries == 2
    assert found.average_precision.tolist()[:2] == [(1 / 1 + 2 / 3) / 2, 1 / 2]
    assert np.isnan(found.average_precision[2])
    assert found.first_match.tolist() == [1, 2, 0]
    assert found.inverse_negative_penalty.tolist()[:2] == [2 / 3, 1 / 2]
    assert found.matches.tolist() == [2, 1, 0]
    assert found.mAP == ((1 + 2 / 3) / 2 + 1 / 2) / 2
    assert found.mINP == (2 / 3 + 1 / 2) / 2
    assert found.cmc.tolist() == [1 / 2, 1, 1, 1]


def plain(labels):
    return [labels[name].tolist() for name in ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")]


def check_against_oracle(found, matrix, labels, left_out):
    precision, cmc, penalty, valid, each = oracle.figures(matrix.tolist(), *plain(labels), left_out)
    assert found.mAP == pytest.approx(precision, abs=1e-12)
    assert found.mINP == pytest.approx(penalty, abs=1e-12)
    assert found.cmc.tolist() == pytest.approx(cmc, abs=1e-12)
    assert found.valid_queries == valid
    for q, one in enumerate(each):
        if one is None:
            assert found.first_match[q] == 0
            assert np.isnan(found.average_precision[q])
        else:
            mine = (found.average_precision[q], found.first_match[q], found.inverse_negative_penalty[q])
            assert mine == pytest.approx(one, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(tied_problems(), st.sampled_from(["market1501", "camera-blind"]), st.sampled_from([np.float32, np.float64]))
def test_ties_junk_and_single_matches_agree_with_the_oracle(case, protocol, dtype):
    matrix, labels = case
    try:
        found = rank_distances(matrix.astype(dtype), protocol=protocol, **labels)
    except DataError:
        with pytest.raises(ZeroDivisionError):
            check_against_oracle(None, matrix, labels, protocol == "market1501")
        return
    check_against_oracle(found, matrix, labels, protocol == "market1501")


@pytest.mark.parametrize("ids", [3, 40])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_random_features_agree_with_the_oracle(ids, metric):
    """With 3 identities there are more matches than are counted one by one."""
    query, gallery, labels = problem(seed=7, Q=9, G=400, D=8, ids=ids, cams=3, noise=1.0)
    found = rank(query, gallery, metric=metric, **labels)
    assert (found.matches.max() > _FEW) == (ids == 3)
    exact = np.array([[oracle.distance(a, b, metric) for b in gallery] for a in query])
    assert distances(query, gallery, metric=metric) == pytest.approx(exact, abs=1e-5)
    check_against_oracle(found, exact, labels, left_out=True)


def test_large_gallery_rows_span_the_tiles():
    """Ties across a row longer than a tile; the count of matches stays under and goes over the border."""
    rng = np.random.default_rng(5)
    matrix = rng.integers(0, 50, (3, 9001)).astype(np.float32)
    for people in (40, 1000):
        labels = {
            "query_ids": np.array([1, 2, 3]),
            "gallery_ids": rng.integers(-1, people, 9001),
            "query_cameras": np.array([0, 1, 2]),
            "gallery_cameras": rng.integers(0, 3, 9001),
        }
        check_against_oracle(rank_distances(matrix, **labels), matrix, labels, left_out=True)


@settings(max_examples=50, deadline=None)
@given(tied_problems(), st.randoms(use_true_random=False))
def test_order_of_the_gallery_changes_nothing(case, random):
    matrix, labels = case
    order = list(range(matrix.shape[1]))
    random.shuffle(order)
    shuffled = {k: v[order] if k.startswith("gallery") else v for k, v in labels.items()}
    try:
        found = rank_distances(matrix, **labels)
    except DataError:
        assume(False)
    again = rank_distances(matrix[:, order], **shuffled)
    assert again.first_match.tolist() == found.first_match.tolist()
    assert again.mAP == found.mAP


def test_features_that_are_all_alike_score_like_the_worst():
    _, _, labels = problem(seed=1, Q=40, G=200, D=4, ids=15, cams=4, noise=1)
    alike = rank(np.ones((40, 4)), np.ones((200, 4)), **labels)
    assert alike.cmc[19] == 0
    assert alike.mAP < 0.1


@settings(max_examples=60, deadline=None)
@given(tied_problems(), st.integers(0, 2**40))
def test_single_gallery_shots_agree_with_the_oracle(case, seed):
    matrix, labels = case
    lists = plain(labels)
    lists[0] = [2 if person == -1 else person for person in lists[0]]
    labels["query_ids"] = np.array(lists[0])
    expected = oracle.single_shot_ranks(matrix.tolist(), *lists, repeats=4, seed=seed)
    valid = [ranks for ranks in expected if ranks is not None]
    assume(valid)
    found = rank_distances(matrix, protocol="cuhk03", repeats=4, seed=seed, max_rank=5, **labels)
    assert found.single_shot.tolist() == [ranks or [0] * 4 for ranks in expected]
    flat = [rank for ranks in valid for rank in ranks]
    assert found.cmc.tolist() == pytest.approx([sum(rank <= k for rank in flat) / len(flat) for k in range(1, 6)])
    assert found.mAP == rank_distances(matrix, **labels).mAP


def test_single_gallery_shots_are_seeded_and_fair():
    """Two images of the one other identity, one nearer and one farther: the match is first half the time."""
    labels = {"query_ids": [1], "gallery_ids": [1, 2, 2], "query_cameras": [0], "gallery_cameras": [1, 1, 1]}
    matrix = np.float32([[2, 1, 3]])
    found = rank_distances(matrix, protocol="cuhk03", repeats=4000, seed=3, **labels)
    assert found.cmc[0] == pytest.approx(0.5, abs=0.03)
    assert found.cmc[1] == 1
    again = rank_distances(matrix, protocol="cuhk03", repeats=4000, seed=3, **labels)
    other = rank_distances(matrix, protocol="cuhk03", repeats=4000, seed=4, **labels)
    assert again.single_shot.tolist() == found.single_shot.tolist() != other.single_shot.tolist()


def test_blocks_give_what_the_whole_matrix_gives(monkeypatch):
    query, gallery, labels = problem(seed=3, Q=50, G=300, D=16, ids=20, cams=3, noise=2)
    whole = rank_distances(distances(query, gallery), **labels)
    monkeypatch.setattr(distances_module.row_blocks, "__defaults__", (4 * 300 * 7,))
    sizes = [len(block) for _, block in distances_module.row_blocks(query, gallery, "cosine")]
    assert sizes == [7] * 7 + [1]
    blocks = rank(query, gallery, **labels)
    assert blocks.mAP == pytest.approx(whole.mAP, abs=1e-6)
    assert blocks.first_match.tolist() == whole.first_match.tolist()


def test_strings_name_people_too():
    query, gallery, labels = problem(**REFERENCE[0]["case"])
    expected = rank(query, gallery, **labels).mAP
    labels["query_ids"] = [f"person {i}" for i in labels["query_ids"]]
    labels["gallery_ids"] = np.array([f"person {i}" for i in labels["gallery_ids"]])
    assert rank(query, gallery, **labels).mAP == expected


def test_the_input_is_left_as_it_was():
    matrix, labels = np.float32([[1, 2], [2, 1]]), {"query_ids": [1, 2], "gallery_ids": [1, -1]}
    before = matrix.copy()
    rank_distances(matrix, protocol="camera-blind", **labels)
    assert (matrix == before).all()


F, I = np.ones((2, 4), np.float32), [1, 2]  # noqa: E741
GOOD = {"query_ids": I, "gallery_ids": I, "query_cameras": [0, 0], "gallery_cameras": [1, 1]}


@pytest.mark.parametrize(
    ("query", "gallery", "change", "error", "words"),
    [
        (F, F, {"protocol": "market"}, OptionError, "one of market1501, cuhk03, camera-blind, got 'market'"),
        (F, F, {"metric": "l2"}, OptionError, "metric: expected one of cosine, euclidean, got 'l2'"),
        (F, F, {"query_cameras": None}, OptionError, "camera-blind"),
        (F, F, {"max_rank": 0}, OptionError, "max_rank"),
        (F, F, {"query_ids": [7, 8]}, DataError, "none of the identities of the 2 queries appears in the gallery of 2"),
        (F, F, {"query_cameras": [1, 1]}, DataError, "query's own camera"),
        (F, F, {"query_cameras": [0, -1]}, DataError, "the camera of 1 of 2 query images is unknown"),
        (F, F, {"query_ids": [1]}, DataError, "query_ids: expected 2 labels"),
        (F, F, {"query_ids": [1.5, 2.0]}, DataError, "integers or strings"),
        (F, F, {"query_ids": ["a", "b"]}, DataError, "both"),
        (F, F[:0], {}, DataError, "the gallery is empty"),
        (F[:0], F, {}, DataError, "the query is empty"),
        (F, F[:, :3], {}, DataError, "query features are 4 wide, gallery features 3"),
        ([[1.0, 2.0], [1.0]], F, {}, DataError, "mixed widths"),
        (F * np.array([[1], [np.nan]]), F, {}, DataError, "query features hold NaN or infinity, first in row"),
        (F, np.float32([[1] * 4, [1, 1, np.inf, 1]]), {}, DataError, "gallery features hold NaN or infinity"),
        (F, F.astype(np.float64) * 1e300, {}, DataError, "infinity"),
        (F.ravel(), F, {}, DataError, "expected an array"),
        (np.array([["a"]]), F, {}, DataError, "expected an array"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(query, gallery, change, error, words):
    with pytest.raises(error, match=words) as caught:
        rank(query, gallery, **{**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_bad_distances_are_refused():
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match="distances of query 1 hold NaN or infinity"):
            rank_distances(np.float32([[1, 2], [3, bad]]), **GOOD)
    with pytest.raises(DataError, match="there is no gallery"):
        rank_distances(np.empty((2, 0), np.float32), **{**GOOD, "gallery_ids": [], "gallery_cameras": []})


def test_every_protocol_runs():
    for name in PROTOCOLS:
        assert rank(F, F, protocol=name, **GOOD).protocol == name


@pytest.mark.parametrize(("package", "uses"), [("numba", 2), ("scipy", 1)])
def test_without_a_package_the_message_says_what_to_install(package, uses):
    code = f"""
import sys
sys.modules["{package}"] = None
import numpy as np
from osnet.errors import DependencyError
from osnet.evaluation.ranking import rank
from osnet.evaluation.rerank import rerank
features, labels = np.eye(2), dict(query_ids=[1, 2], gallery_ids=[1, 2])
for call in (lambda: rank(features, features, protocol="camera-blind", **labels), lambda: rerank(features, features)):
    try:
        call()
    except DependencyError as error:
        print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.count('pip install "osnet[eval]"') == uses
