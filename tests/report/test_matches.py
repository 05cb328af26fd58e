"""Matches and ranked lists against plain loops, on evaluations made of drawn numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osnet.data.records import DataSet, Record
from osnet.evaluation.evaluate import Evaluation
from osnet.evaluation.ranking import rank
from osnet.evaluation.rerank import rerank
from osnet.report.matches import MATCH, NON_MATCH, NOT_COUNTED, by_difficulty, confusions, ranked_lists
from tests.oracles import ranking as oracle
from tests.recipe import recipe_weights


def made_up(
    seed: int = 0, *, queries: int = 12, gallery: int = 40, people: int = 5, noise: float = 1.0, metric: str = "cosine",
    protocol: str = "market1501", reranked: bool = False, paths: list[Path] | None = None,
) -> Evaluation:  # fmt: skip
    """An evaluation of features drawn around a centre for each person; some of the gallery is junk or distractors."""
    r = np.random.default_rng(seed)
    centres = r.standard_normal((people + 2, 512))
    sides = []
    for split, count, least in (("query", queries, 1), ("gallery", gallery, -1)):
        who, seen = r.integers(least, people + 1, count), r.integers(1, 4, count)
        features = centres[who] + noise * r.standard_normal((count, 512))
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        files = paths or [Path(f"{split}{i}.jpg") for i in range(count)]
        records = tuple(Record(files[i % len(files)], int(p), int(c), split) for i, (p, c) in enumerate(zip(who, seen)))
        sides.append((records, features.astype(np.float32)))
    (query, query_features), (entries, gallery_features) = sides
    labels: dict[str, Any] = {
        "query_ids": [r.person for r in query],
        "gallery_ids": [r.person for r in entries],
        "query_cameras": [r.camera for r in query],
        "gallery_cameras": [r.camera for r in entries],
    }
    return Evaluation(
        model="made_up.ckpt",
        weights=recipe_weights("osnet_x0_25"),
        data=DataSet("market1501", Path("made_up"), protocol, query + entries),
        query=query,
        gallery=entries,
        query_features=query_features,
        gallery_features=gallery_features,
        ranking=rank(query_features, gallery_features, **labels, metric=metric, protocol=protocol),
        distances=rerank(query_features, gallery_features, metric=metric) if reranked else None,
        metric=metric,
        protocol=protocol,
        rerank=reranked,
        rerank_settings={"k1": 20, "k2": 6, "lambda": 0.3} if reranked else None,
        flip=False,
        pool=None,
        backend="openvino",
        precision="fp32",
        size=(256, 128),
        claims=(),
        computed=0,
        findings=("made of numbers",),
        left_out=(),
    )


def plain(evaluation: Evaluation) -> list[list[float]]:
    return [
        [oracle.distance(q, g, evaluation.metric) for g in evaluation.gallery_features]
        for q in evaluation.query_features
    ]


def verdict(evaluation: Evaluation, query: int, place: int) -> str:
    one, other = evaluation.query[query], evaluation.gallery[place]
    if other.person == -1:
        return NOT_COUNTED
    if one.person == other.person:
        same_camera = evaluation.protocol == "market1501" and one.camera == other.camera
        return NOT_COUNTED if same_camera else MATCH
    return NON_MATCH


@pytest.mark.parametrize("protocol", ["market1501", "camera-blind"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nearest_and_ranked_lists_are_those_of_plain_loops(metric: str, protocol: str) -> None:
    evaluation = made_up(3, noise=3, metric=metric, protocol=protocol)
    matrix = plain(evaluation)
    near = evaluation.nearest
    queries = range(len(evaluation.query))
    lists = ranked_lists(evaluation, list(queries), count=10, not_counted=3)
    for query in queries:
        found: dict[str, list[tuple[float, int]]] = {MATCH: [], NON_MATCH: [], NOT_COUNTED: []}
        for place, distance in enumerate(matrix[query]):
            found[verdict(evaluation, query, place)].append((distance, place))
        assert near.match_place[query] == min(found[MATCH])[1]
        assert near.non_match_place[query] == min(found[NON_MATCH])[1]
        assert near.margin[query] == pytest.approx(min(found[NON_MATCH])[0] - min(found[MATCH])[0], abs=1e-5)

        expected, rank, skipped = [], 0, 0
        for _, place in sorted((d, p) for d, p in zip(matrix[query], range(len(matrix[query])))):
            judged = verdict(evaluation, query, place)
            if judged == NOT_COUNTED:
                skipped += 1
                if skipped <= 3:
                    expected.append((place, judged, None))
                continue
            rank += 1
            expected.append((place, judged, rank))
            if rank == 10:
                break
        assert [(one.place, one.verdict, one.rank) for one in lists[query]] == expected
        first = lists[query][0]
        start = 1 if metric == "cosine" else 0
        assert first.similarity == pytest.approx(start - matrix[query][first.place], abs=1e-5)
        rights = [one.rank for one in lists[query] if one.verdict == MATCH]
        assert not rights or rights[0] == evaluation.ranking.first_match[query]


def test_reranked_lists_stand_in_the_reranked_order_with_plain_similarities() -> None:
    evaluation = made_up(5, noise=3, reranked=True)
    assert evaluation.distances is not None
    answers = list(ranked_lists(evaluation, [2], not_counted=99)[0])
    by = [float(evaluation.distances[2, one.place]) for one in answers]
    assert by == sorted(by)
    similarities = [one.similarity for one in answers]
    assert similarities != sorted(similarities, reverse=True)
    assert similarities[0] == pytest.approx(1 - plain(evaluation)[2][answers[0].place], abs=1e-5)
    near = evaluation.nearest
    assert near.match[2] == min(
        evaluation.distances[2, place] for place in range(40) if verdict(evaluation, 2, place) == MATCH
    )


def test_queries_are_ordered_by_precision_then_margin() -> None:
    evaluation = made_up(7, noise=2.5)
    near = evaluation.nearest
    order = by_difficulty(evaluation)
    precision = evaluation.ranking.average_precision[order]
    assert sorted(order.tolist()) == np.flatnonzero(evaluation.ranking.matches > 0).tolist()
    for i in range(len(order) - 1):
        assert (precision[i], near.margin[order[i]]) >= (precision[i + 1], near.margin[order[i + 1]])


def test_confusions_name_each_pair_of_people_once_and_the_fooled_first() -> None:
    evaluation = made_up(9, queries=40, noise=3)
    near = evaluation.nearest
    found = confusions(evaluation, count=6)
    pairs = [
        frozenset((evaluation.query[q].person, evaluation.gallery[int(near.non_match_place[q])].person)) for q in found
    ]
    assert len(found) == 6 == len(set(pairs))
    fooled = [bool(near.non_match[q] <= near.match[q]) for q in found]
    assert fooled == sorted(fooled, reverse=True)
    assert fooled[0]
    taken = [near.non_match[q] for q, is_fooled in zip(found, fooled) if is_fooled]
    assert taken == sorted(taken)
    assert taken[0] == near.non_match[near.non_match <= near.match].min()
