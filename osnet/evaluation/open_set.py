"""Open set: queries of people who are not in the gallery must be turned away.

Detection and identification rate at a false alarm rate (DIR at FAR; Phillips, Grother, Micheals, Evaluation Methods in
Face Recognition, in Handbook of Face Recognition, 2011): of the queries of enrolled people, the share whose most
similar gallery image is of the right person and similar enough; the threshold is set so that of the queries of
strangers at most a share FAR has any gallery image that similar. Thresholds are exact: only one similarity a query is
kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.errors import DataError, OptionError
from osnet.evaluation.compiled_loops import nearest_matches, require_numba
from osnet.evaluation.distances import check_metric, check_pair, over_rows, row_blocks
from osnet.evaluation.protocols import JUNK, get_protocol, index_labels
from osnet.evaluation.verification import too_few

Array = npt.NDArray[Any]

FALSE_ALARM_RATES = (1e-3, 1e-2, 1e-1)
"""Rates that are reported if no others are asked for."""


@dataclass(frozen=True)
class AlarmPoint:
    """A threshold and what it does to enrolled people and to strangers.

    Attributes:
        far: false alarm rate that was asked for.
        threshold: least similarity at which the best answer to a query is given at all.
        dir: share of the enrolled queries that are answered, and rightly.
        false_alarms: strangers that are answered.
        strangers: queries of people who are not enrolled, behind the figure.
        warning: one line where they are too few to trust it, else None.
    """

    far: float
    threshold: float
    dir: float
    false_alarms: int
    strangers: int
    warning: str | None


@dataclass(frozen=True, eq=False)
class OpenSet:
    """Each query's best answer.

    Attributes:
        similarity: of the best answer to each query, float32 (Q,).
        right: whether it is of the right person (Q,); a tie with a wrong one is wrong.
        enrolled, stranger: which queries are of people in the gallery and which are not (Q,). Neither: junk, and people
            whose only gallery images the protocol leaves out.
        protocol, metric: names.
    """

    similarity: npt.NDArray[np.float32]
    right: npt.NDArray[np.bool_]
    enrolled: npt.NDArray[np.bool_]
    stranger: npt.NDArray[np.bool_]
    protocol: str
    metric: str

    def at(self, far: float) -> AlarmPoint:
        """The most tolerant threshold at which at most a share `far` of the strangers raises an alarm.

        Raises:
            OptionError: `far` is not between 0 and 1.
        """
        if not isinstance(far, (int, float, np.floating)) or not 0 <= far <= 1:
            raise OptionError(f"a false alarm rate is a number from 0 to 1, got {far!r}")
        strangers = np.sort(self.similarity[self.stranger])[::-1]
        allowed = math.floor(far * len(strangers) + 1e-9)
        if allowed < len(strangers):  # just above the first stranger who must be turned away
            threshold = np.nextafter(strangers[allowed], np.float32(np.inf))
        else:
            threshold = min(strangers[-1], self.similarity[self.enrolled].min())
        answered = self.similarity >= threshold
        return AlarmPoint(
            far=float(far),
            threshold=float(threshold),
            dir=float((answered & self.right)[self.enrolled].mean()),
            false_alarms=int(answered[self.stranger].sum()),
            strangers=len(strangers),
            warning=too_few(far, len(strangers), "queries of strangers"),
        )

    def to_dict(self, fars: Sequence[float] = FALSE_ALARM_RATES) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        return {
            "enrolled_queries": int(self.enrolled.sum()),
            "stranger_queries": int(self.stranger.sum()),
            "alarm_points": [vars(self.at(far)).copy() for far in fars],
            "protocol": self.protocol,
            "metric": self.metric,
        }


def open_set(
    query: Any,
    gallery: Any,
    *,
    query_ids: Any,
    gallery_ids: Any,
    query_cameras: Any = None,
    gallery_cameras: Any = None,
    metric: str = "cosine",
    protocol: str = "market1501",
    hold_out: float = 0.0,
    seed: int = 0,
) -> OpenSet:
    """Find each query's best answer. Arguments as `osnet.evaluation.ranking.rank`, and:

    Args:
        hold_out: share of the queries' enrolled people, drawn by `seed`, whose gallery images are taken away to make
            strangers of them; for data where everybody is enrolled.

    Raises:
        OptionError: unknown metric or protocol, cameras missing that the protocol wants, `hold_out` out of range.
        DataError: features or labels that cannot be used; nobody is enrolled, or nobody is a stranger.
        DependencyError: numba is missing.
    """
    chosen = get_protocol(protocol)
    check_metric(metric)
    if not isinstance(hold_out, (int, float, np.floating)) or not 0 <= hold_out < 1:
        raise OptionError(f"hold_out is a share from 0 to below 1, got {hold_out!r}")
    query, gallery = check_pair(query, gallery, metric)
    cameras = (query_cameras, gallery_cameras)
    labels = index_labels(chosen, query_ids, gallery_ids, *cameras, queries=len(query), size=len(gallery))
    if hold_out:
        people = np.unique(labels.query_ids[labels.matches > 0])
        held_out = np.random.default_rng(seed).permutation(people)[: round(hold_out * len(people))]
        remaining = np.where(np.isin(labels.gallery_ids, held_out), JUNK, labels.gallery_ids)
        labels = index_labels(chosen, labels.query_ids, remaining, *cameras, queries=len(query), size=len(gallery))

    enrolled = labels.matches > 0
    stranger = (labels.ends == labels.starts) & (labels.query_ids != JUNK)
    if not enrolled.any():
        raise DataError("no query is of a person in the gallery: there is nobody to identify")
    if not stranger.any():
        raise DataError(
            "every query is of a person in the gallery: there are no strangers to turn away; "
            "take some people out of the gallery with hold_out=0.5"
        )
    require_numba()
    right, wrong = np.full(len(query), np.inf, np.float32), np.full(len(query), np.inf, np.float32)
    for rows, block in row_blocks(query, gallery, metric):

        def share(start: int, stop: int, first: int = rows.start, block: Array = block) -> None:
            nearest_matches(block[start:stop], first + start, labels, right, wrong)

        over_rows(len(block), share)
    nearest = np.minimum(right, wrong)
    similarity = np.float32(1) - nearest if metric == "cosine" else -nearest
    return OpenSet(similarity, right < wrong, enrolled, stranger, protocol, metric)
