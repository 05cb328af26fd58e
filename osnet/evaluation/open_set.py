"""Open-set identification: queries of people who are not enrolled in the gallery must be rejected.

Detection and identification rate at a false alarm rate (DIR at FAR; Phillips, Grother, Micheals, Evaluation Methods in
Face Recognition, in Handbook of Face Recognition, 2011): DIR is the fraction of the enrolled queries whose most similar
gallery image is a match and reaches the threshold. The threshold is the lowest at which at most a fraction FAR of the
unenrolled queries has any gallery image that reaches it. Thresholds are exact: one similarity is kept for each query.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_number
from osnet.data.records import JUNK
from osnet.errors import DataError
from osnet.evaluation.distances import check_pair, row_blocks
from osnet.evaluation.protocols import index_labels
from osnet.evaluation.ranking import nearest
from osnet.evaluation.verification import too_few

FALSE_ALARM_RATES = (1e-3, 1e-2, 1e-1)
"""Rates that are reported by default."""


@dataclass(frozen=True)
class AlarmPoint:
    """A threshold and its effect on enrolled and unenrolled queries.

    Attributes:
        far: the requested false alarm rate.
        threshold: least similarity at which a query is identified at all.
        dir: fraction of the enrolled queries that are identified, and correctly.
        false_alarms: number of unenrolled queries that are identified as somebody.
        unenrolled: number of queries of people who are not in the gallery.
        warning: one line if they are too few for a reliable threshold, else None.
    """

    far: float
    threshold: float
    dir: float
    false_alarms: int
    unenrolled: int
    warning: str | None

    @property
    def strangers(self) -> int:
        """Deprecated: the old name of `unenrolled`."""
        _deprecated("strangers", "unenrolled")
        return self.unenrolled


@dataclass(frozen=True, eq=False)
class OpenSet:
    """The most similar gallery image of each query.

    Attributes:
        similarity: of the most similar gallery image that counts, float32 (Q,).
        correct: whether that image is a match, bool (Q,); a tie between a match and a non-match is not correct.
        enrolled, unenrolled: which queries are of people in the gallery and which are not, bool (Q,). Neither: junk,
            and people whose only gallery images the protocol leaves out.
        protocol, metric: names.
    """

    similarity: npt.NDArray[np.float32]
    correct: npt.NDArray[np.bool_]
    enrolled: npt.NDArray[np.bool_]
    unenrolled: npt.NDArray[np.bool_]
    protocol: str
    metric: str

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Deprecated: the old name of `correct`."""
        _deprecated("right", "correct")
        return self.correct

    @property
    def stranger(self) -> npt.NDArray[np.bool_]:
        """Deprecated: the old name of `unenrolled`."""
        _deprecated("stranger", "unenrolled")
        return self.unenrolled

    def at(self, far: float) -> AlarmPoint:
        """Find the lowest threshold at which at most a fraction `far` of the unenrolled queries raises an alarm.

        Raises:
            OptionError: `far` is not between 0 and 1.
        """
        check_number("false alarm rate", far, least=0, most=1)
        unenrolled = np.sort(self.similarity[self.unenrolled])[::-1]
        allowed = math.floor(far * len(unenrolled) + 1e-9)
        if allowed < len(unenrolled):  # just above the first one that must be rejected
            threshold = np.nextafter(unenrolled[allowed], np.float32(np.inf))
        else:
            threshold = min(unenrolled[-1], self.similarity[self.enrolled].min())
        identified = self.similarity >= threshold
        return AlarmPoint(
            far=float(far),
            threshold=float(threshold),
            dir=float((identified & self.correct)[self.enrolled].mean()),
            false_alarms=int(identified[self.unenrolled].sum()),
            unenrolled=len(unenrolled),
            warning=too_few(far, len(unenrolled), "unenrolled queries"),
        )

    def to_dict(self, fars: Sequence[float] = FALSE_ALARM_RATES) -> dict[str, Any]:
        """Return the summary as plain values, for JSON. The keys with "stranger" are deprecated."""
        points = [self.at(far) for far in fars]
        unenrolled = int(self.unenrolled.sum())
        return {
            "enrolled_queries": int(self.enrolled.sum()),
            "unenrolled_queries": unenrolled,
            "stranger_queries": unenrolled,
            "alarm_points": [{**vars(point), "strangers": point.unenrolled} for point in points],
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
    hold_out_fraction: float = 0.0,
    seed: int = 0,
    hold_out: float | None = None,
) -> OpenSet:
    """Find the most similar gallery image of each query, of enrolled and of unenrolled people.

    Args:
        query, gallery: features (Q, D), (G, D), any float type.
        query_ids, gallery_ids, query_cameras, gallery_cameras, metric, protocol: as in `osnet.rank`.
        hold_out_fraction: fraction of the enrolled people, 0 to below 1, who are drawn by `seed` and removed from the
            gallery; for data where everybody is enrolled.
        seed: of that draw.
        hold_out: deprecated, the old name of `hold_out_fraction`.

    Returns:
        An `OpenSet`; `OpenSet.at` finds the threshold for a false alarm rate.

    Raises:
        OptionError: unknown metric or protocol, missing cameras that the protocol needs, `hold_out_fraction` outside of
            its range.
        DataError: features or labels that cannot be used; no enrolled or no unenrolled query.
        DependencyError: numba is missing.
    """
    if hold_out is not None:
        _deprecated("hold_out", "hold_out_fraction")
        hold_out_fraction = hold_out
    check_number("hold_out_fraction", hold_out_fraction, least=0, below=1)
    query, gallery = check_pair(query, gallery, metric)
    cameras = (query_cameras, gallery_cameras)
    labels = index_labels(protocol, query_ids, gallery_ids, *cameras, queries=len(query), size=len(gallery))
    if hold_out_fraction:
        people = np.unique(labels.query_ids[labels.matches > 0])
        held_out = np.random.default_rng(seed).permutation(people)[: round(hold_out_fraction * len(people))]
        remaining = np.where(np.isin(labels.gallery_ids, held_out), JUNK, labels.gallery_ids)
        labels = index_labels(protocol, labels.query_ids, remaining, *cameras, queries=len(query), size=len(gallery))

    enrolled = labels.matches > 0
    unenrolled = (labels.ends == labels.starts) & (labels.query_ids != JUNK)
    if not enrolled.any():
        raise DataError("no query is of a person in the gallery: there is nobody to identify")
    if not unenrolled.any():
        raise DataError(
            "every query is of a person in the gallery: there are no unenrolled queries to reject; "
            "remove some people from the gallery with hold_out_fraction=0.5"
        )
    found = nearest(row_blocks(query, gallery, metric), labels)
    least = np.minimum(found.match, found.non_match)
    similarity = np.float32(1) - least if metric == "cosine" else -least
    return OpenSet(similarity, found.match < found.non_match, enrolled, unenrolled, protocol, metric)


def _deprecated(old: str, new: str) -> None:
    warnings.warn(
        f"{old} is now called {new}; the old name will be removed in the next version", DeprecationWarning, stacklevel=3
    )
