"""Matches of the queries: the nearest match and non-match of each, ranked lists of some, the hardest confusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from osnet.data.records import JUNK
from osnet.evaluation.distances import distances
from osnet.evaluation.protocols import get_protocol, index_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.evaluation.evaluate import Evaluation
    from osnet.evaluation.protocols import Labels

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


@dataclass(frozen=True, eq=False)
class Nearest:
    """Distances of the nearest match and non-match of each query (Q,), infinity if there is none, and their rows in the
    gallery, -1 if there is none."""

    match: NDArray[np.float32]
    non_match: NDArray[np.float32]
    match_place: NDArray[np.int64]
    non_match_place: NDArray[np.int64]

    @property
    def margin(self) -> NDArray[np.float32]:
        """Distance of the nearest non-match minus that of the nearest match; NaN if there is neither."""
        with np.errstate(invalid="ignore"):
            return self.non_match - self.match


def nearest(evaluation: Evaluation) -> Nearest:
    """Find the nearest match and non-match of each query, in one pass over the ranked distances."""
    labels = _labels(evaluation)
    count = len(labels.query_ids)
    far, nowhere = np.full(count, np.inf, np.float32), np.full(count, -1, np.int64)
    found = Nearest(far, far.copy(), nowhere, nowhere.copy())
    for rows, block in evaluation.blocks():
        for query in range(rows.start, rows.stop):
            if labels.query_ids[query] == JUNK:
                continue
            row = block[query - rows.start]
            same = labels.order[labels.starts[query] : labels.ends[query]]
            matches = same[_counts(labels, query, same)]
            if len(matches):
                place = matches[np.argmin(row[matches])]
                found.match[query], found.match_place[query] = row[place], place
            others = row.copy()
            others[same] = others[labels.junk] = np.inf
            place = int(np.argmin(others))
            if others[place] < np.inf:
                found.non_match[query], found.non_match_place[query] = others[place], place
    return found


def ranked_lists(
    evaluation: Evaluation, queries: Sequence[int], *, count: int = 10, not_counted: int = 3
) -> list[list[RankedImage]]:
    """Return the first `count` gallery images that count for each of `queries`, nearest first, with up to `not_counted`
    of those between them that do not count."""
    chosen = np.asarray(queries, np.int64)
    labels = _labels(evaluation)
    features = evaluation.query_features[chosen]
    plain = distances(features, evaluation.gallery_features, metric=evaluation.metric)
    ranked = plain if evaluation.distances is None else evaluation.distances[chosen]
    lists = []
    for query, row, by in zip(chosen.tolist(), plain, ranked):
        same = np.zeros(len(row), np.bool_)
        same[labels.order[labels.starts[query] : labels.ends[query]]] = True
        junk = np.zeros(len(row), np.bool_)
        junk[labels.junk] = True
        junk[same] = ~_counts(labels, query, np.flatnonzero(same))
        images: list[RankedImage] = []
        rank = skipped = 0
        # as many as can be needed; at a tie a non-match comes first, as in the figures
        order = np.lexsort((same, by))[: count + int(junk.sum())]
        for place in order.tolist():
            similarity = float((1 if evaluation.metric == "cosine" else 0) - row[place])
            if junk[place]:
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


def by_difficulty(evaluation: Evaluation, near: Nearest) -> NDArray[np.int64]:
    """Sort the valid queries, best first: by average precision, then by margin."""
    valid = np.flatnonzero(evaluation.ranking.matches > 0)
    precision = evaluation.ranking.average_precision[valid]
    ordered: NDArray[np.int64] = valid[np.lexsort((-near.margin[valid], -precision))]
    return ordered


def confusions(evaluation: Evaluation, near: Nearest, *, count: int = 8) -> list[int]:
    """Find the queries with the most similar non-matches: one for each pair of people, hardest first. Queries whose
    non-match is nearer than every match come before the others."""
    has_non_match = np.flatnonzero((near.non_match_place >= 0) & (evaluation.ranking.matches > 0))
    fooled = near.non_match[has_non_match] <= near.match[has_non_match]
    found: dict[tuple[int, int], int] = {}
    for query in has_non_match[np.lexsort((near.non_match[has_non_match], ~fooled))].tolist():
        one, other = evaluation.query[query].person, evaluation.gallery[int(near.non_match_place[query])].person
        found.setdefault((min(one, other), max(one, other)), query)
        if len(found) == count:
            break
    return list(found.values())


def _counts(labels: Labels, query: int, same: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the gallery rows `same`, all of the query's person, count under the protocol."""
    if not labels.same_camera_left_out:
        return np.ones(len(same), np.bool_)
    counted: NDArray[np.bool_] = labels.gallery_cameras[same] != labels.query_cameras[query]
    return counted


def _labels(evaluation: Evaluation) -> Labels:
    return index_labels(
        get_protocol(evaluation.protocol),
        **evaluation.labels,
        queries=len(evaluation.query),
        size=len(evaluation.gallery),
    )
