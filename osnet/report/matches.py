"""Which answers a query got: the nearest right and wrong one of each, the first ten of some, the hardest confusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from osnet.evaluation.distances import distances
from osnet.evaluation.protocols import JUNK, get_protocol, index_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.evaluation.evaluate import Evaluation
    from osnet.evaluation.protocols import Labels

RIGHT, WRONG, NOT_COUNTED = "right", "wrong", "not counted"


@dataclass(frozen=True)
class Answer:
    """One gallery image in a query's ranked list.

    Attributes:
        place: row in the gallery.
        similarity: of the features: the cosine, or minus the squared Euclidean distance.
        verdict: `RIGHT`, `WRONG` or `NOT_COUNTED` (junk, or the query's person from the query's camera).
        rank: among the answers that count, from 1 on; None where not counted.
    """

    place: int
    similarity: float
    verdict: str
    rank: int | None


@dataclass(frozen=True, eq=False)
class Nearest:
    """Of each query (Q,): distance of the nearest right and the nearest wrong answer, infinity where there is none, and
    the gallery rows of both, -1 where there is none."""

    right: NDArray[np.float32]
    wrong: NDArray[np.float32]
    right_place: NDArray[np.int64]
    wrong_place: NDArray[np.int64]

    @property
    def margin(self) -> NDArray[np.float32]:
        """How much nearer the nearest right answer is than the nearest wrong one; NaN where there is neither."""
        with np.errstate(invalid="ignore"):
            return self.wrong - self.right


def nearest(evaluation: Evaluation) -> Nearest:
    """The nearest right and wrong answer to each query, in one pass over the distances that were ranked."""
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
            right = same[_counts(labels, query, same)]
            if len(right):
                place = right[np.argmin(row[right])]
                found.right[query], found.right_place[query] = row[place], place
            others = row.copy()
            others[same] = others[labels.junk] = np.inf
            place = int(np.argmin(others))
            if others[place] < np.inf:
                found.wrong[query], found.wrong_place[query] = others[place], place
    return found


def first_answers(
    evaluation: Evaluation, queries: Sequence[int], *, count: int = 10, not_counted: int = 3
) -> list[list[Answer]]:
    """The first `count` answers that count to each of `queries`, nearest first, and among them up to `not_counted` of
    those that do not."""
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
        answers: list[Answer] = []
        rank = skipped = 0
        # as many as can be needed: at ties a wrong answer comes first, as it does in the figures
        order = np.lexsort((same, by))[: count + int(junk.sum())]
        for place in order.tolist():
            similarity = float((1 if evaluation.metric == "cosine" else 0) - row[place])
            if junk[place]:
                skipped += 1
                if skipped <= not_counted:
                    answers.append(Answer(place, similarity, NOT_COUNTED, None))
                continue
            rank += 1
            answers.append(Answer(place, similarity, RIGHT if same[place] else WRONG, rank))
            if rank == count:
                break
        lists.append(answers)
    return lists


def by_difficulty(evaluation: Evaluation, near: Nearest) -> NDArray[np.int64]:
    """The valid queries, best first: by average precision, then by margin."""
    valid = np.flatnonzero(evaluation.ranking.matches > 0)
    precision = evaluation.ranking.average_precision[valid]
    ordered: NDArray[np.int64] = valid[np.lexsort((-near.margin[valid], -precision))]
    return ordered


def confusions(evaluation: Evaluation, near: Nearest, *, count: int = 8) -> list[int]:
    """Queries whose nearest wrong answer is the most alike: one for each pair of people, hardest first. Those that are
    taken for the other person come before those that nearly are."""
    has_wrong = np.flatnonzero((near.wrong_place >= 0) & (evaluation.ranking.matches > 0))
    fooled = near.wrong[has_wrong] <= near.right[has_wrong]
    found: dict[tuple[int, int], int] = {}
    for query in has_wrong[np.lexsort((near.wrong[has_wrong], ~fooled))].tolist():
        one, other = evaluation.query[query].person, evaluation.gallery[int(near.wrong_place[query])].person
        found.setdefault((min(one, other), max(one, other)), query)
        if len(found) == count:
            break
    return list(found.values())


def _counts(labels: Labels, query: int, same: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the gallery rows `same`, all of the query's person, the protocol counts."""
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
