"""Queries worth looking at: ranked lists, the order by difficulty, the hardest confusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from osnet.evaluation.distances import distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.evaluation.evaluate import Evaluation

MATCH, NON_MATCH, NOT_COUNTED = "match", "non-match", "not counted"


@dataclass(frozen=True)
class RankedImage:
    """One gallery image in the ranked list of a query.

    Attributes:
        place: row in the gallery.
        similarity: of the features: the cosine, or minus the squared Euclidean distance.
        verdict: `MATCH`, `NON_MATCH` or `NOT_COUNTED` (junk, or the query's person from the query's camera).
        rank: among the images that count, the first is 1; None if not counted.
    """

    place: int
    similarity: float
    verdict: str
    rank: int | None


def ranked_lists(
    evaluation: Evaluation, queries: Sequence[int], *, count: int = 10, not_counted: int = 3
) -> list[list[RankedImage]]:
    """Return the first `count` gallery images that count for each of `queries`, nearest first, with up to `not_counted`
    of those between them that do not count."""
    chosen = np.asarray(queries, np.int64)
    labels = evaluation.indexed_labels
    features = evaluation.query_features[chosen]
    plain = distances(features, evaluation.gallery_features, metric=evaluation.metric)
    ranked = plain if evaluation.distances is None else evaluation.distances[chosen]
    lists = []
    for query, row, by in zip(chosen.tolist(), plain, ranked):
        same, left_out = np.zeros(len(row), np.bool_), np.zeros(len(row), np.bool_)
        places = labels.order[labels.starts[query] : labels.ends[query]]
        same[places] = left_out[labels.junk] = True
        if labels.same_camera_left_out:
            left_out[places] = labels.gallery_cameras[places] == labels.query_cameras[query]
        images: list[RankedImage] = []
        rank = skipped = 0
        # as many as can be needed; at a tie a non-match comes first, as in the figures
        order = np.lexsort((same, by))[: count + int(left_out.sum())]
        for place in order.tolist():
            similarity = float((1 if evaluation.metric == "cosine" else 0) - row[place])
            if left_out[place]:
                skipped += 1
                if skipped <= not_counted:
                    images.append(RankedImage(place, similarity, NOT_COUNTED, None))
                continue
            rank += 1
            images.append(RankedImage(place, similarity, MATCH if same[place] else NON_MATCH, rank))
            if rank == count:
                break
        lists.append(images)
    return lists


def by_difficulty(evaluation: Evaluation) -> NDArray[np.int64]:
    """Sort the valid queries, best first: by average precision, then by margin."""
    valid = np.flatnonzero(evaluation.ranking.matches > 0)
    precision = evaluation.ranking.average_precision[valid]
    ordered: NDArray[np.int64] = valid[np.lexsort((-evaluation.nearest.margin[valid], -precision))]
    return ordered


def confusions(evaluation: Evaluation, *, count: int = 8) -> list[int]:
    """Find the queries with the most similar non-matches: one for each pair of people, hardest first. Queries whose
    non-match is nearer than every match come before the others."""
    near = evaluation.nearest
    has_non_match = np.flatnonzero((near.non_match_place >= 0) & (evaluation.ranking.matches > 0))
    fooled = near.margin[has_non_match] <= 0
    found: dict[tuple[int, int], int] = {}
    for query in has_non_match[np.lexsort((near.non_match[has_non_match], ~fooled))].tolist():
        one, other = evaluation.query[query].person, evaluation.gallery[int(near.non_match_place[query])].person
        found.setdefault((min(one, other), max(one, other)), query)
        if len(found) == count:
            break
    return list(found.values())
