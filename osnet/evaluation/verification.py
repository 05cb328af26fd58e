"""Verification: are two images of one person? ROC, equal error rate, the threshold for a chosen false positive rate.

Every pair of a query and a gallery image that the protocol leaves in is counted, but none is kept: distances go into
histograms of 2^20 bins, so 20,000 queries against 500,000 images take no more memory than their features. The bins'
borders are whole multiples of a power of two (2^-19 for cosine). The counts at a border are exact; a threshold is only
ever a border, so it is within 2^-19 of similarity of the best possible one.

A pair is accepted when its similarity is at least the threshold. Similarity is the cosine, or minus the squared
Euclidean distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_number
from osnet.data.records import JUNK
from osnet.errors import DataError
from osnet.evaluation.compiled_loops import count_pairs, require_numba
from osnet.evaluation.distances import check_pair, over_blocks, row_blocks, squared_norms
from osnet.evaluation.protocols import index_labels

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)
"""Rates that are reported by default."""

BINS = 2**20
ENOUGH_ERRORS = 30
"""Errors behind a rate that is to be within about a third of the truth nine times in ten (Doddington et al., The NIST
speaker recognition evaluation, 2000: the rule of 30)."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does.

    Attributes:
        fpr: the requested false positive rate.
        threshold: least similarity at which a pair is accepted.
        measured_fpr: fraction of the pairs of different people that it accepts, at most `fpr`.
        tpr: fraction of the pairs of one person that it accepts.
        false_accepts: pairs of different people that it accepts.
        impostor_pairs: number of pairs of different people in the data.
        warning: one line if they are too few for a reliable threshold, else None.
    """

    fpr: float
    threshold: float
    measured_fpr: float
    tpr: float
    false_accepts: int
    impostor_pairs: int
    warning: str | None


@dataclass(frozen=True, eq=False)
class Verification:
    """Counts of accepted pairs over decreasing thresholds; `thresholds` and the two counts have the same length.

    Attributes:
        thresholds: similarities, decreasing; all at which a count changes.
        true_accepts: pairs of one person accepted at each threshold, int64.
        false_accepts: pairs of different people accepted at each threshold, int64.
        genuine_pairs, impostor_pairs: all pairs of one person, and of different people.
        step: width of a bin in similarity.
        protocol, metric: names.
    """

    thresholds: Doubles
    true_accepts: Integers
    false_accepts: Integers
    genuine_pairs: int
    impostor_pairs: int
    step: float
    protocol: str
    metric: str

    @property
    def tpr(self) -> Doubles:
        """True positive rate at each threshold."""
        return self.true_accepts / self.genuine_pairs

    @property
    def fpr(self) -> Doubles:
        """False positive rate at each threshold."""
        return self.false_accepts / self.impostor_pairs

    @property
    def eer(self) -> float:
        """Equal error rate: where false positive and false negative rate cross, interpolated between two thresholds."""
        return self._crossing()[0]

    @property
    def eer_threshold(self) -> float:
        """First threshold, from the strict end, at which false positives are no rarer than false negatives."""
        return float(self.thresholds[self._crossing()[1]])

    def _crossing(self) -> tuple[float, int]:
        false, missed = np.r_[0, self.fpr], np.r_[1, 1 - self.tpr]
        place = int(np.argmax(false >= missed))
        before, after = missed[place - 1] - false[place - 1], false[place] - missed[place]
        fraction = before / (before + after)
        return float(false[place - 1] + fraction * (false[place] - false[place - 1])), place - 1

    def at(self, fpr: float) -> OperatingPoint:
        """Find the lowest threshold whose false positive rate is at most `fpr`.

        Raises:
            OptionError: `fpr` is not between 0 and 1.
        """
        check_number("false positive rate", fpr, least=0, most=1)
        allowed = math.floor(fpr * self.impostor_pairs + 1e-9)  # 1e-4 times 30,000 is a bit under 3 in floats
        place = int(np.searchsorted(self.false_accepts, allowed, side="right")) - 1
        strict = place < 0  # even the strictest border lets too many in
        false_accepts = 0 if strict else int(self.false_accepts[place])
        return OperatingPoint(
            fpr=float(fpr),
            threshold=float(self.thresholds[0] + self.step if strict else self.thresholds[place]),
            measured_fpr=false_accepts / self.impostor_pairs,
            tpr=0.0 if strict else float(self.tpr[place]),
            false_accepts=false_accepts,
            impostor_pairs=self.impostor_pairs,
            warning=too_few(fpr, self.impostor_pairs, "pairs of different people"),
        )

    def histogram(self, bins: int = 100) -> tuple[Doubles, Integers, Integers]:
        """Count pairs by similarity: borders of `bins` equal bins (bins + 1,), pairs of one person, and of two."""
        borders = np.linspace(self.thresholds[-1], self.thresholds[0] + self.step, bins + 1)
        place = np.clip(np.searchsorted(borders, self.thresholds, side="right") - 1, 0, bins - 1)
        counts = []
        for accepted in (self.true_accepts, self.false_accepts):
            pairs = np.zeros(bins, np.int64)
            np.add.at(pairs, place, np.diff(accepted, prepend=0))
            counts.append(pairs)
        return borders, counts[0], counts[1]

    def to_dict(self, fprs: Sequence[float] = FALSE_POSITIVE_RATES) -> dict[str, Any]:
        """Return the summary as plain values, for JSON."""
        return {
            "eer": self.eer,
            "eer_threshold": self.eer_threshold,
            "operating_points": [vars(self.at(fpr)).copy() for fpr in fprs],
            "genuine_pairs": self.genuine_pairs,
            "impostor_pairs": self.impostor_pairs,
            "protocol": self.protocol,
            "metric": self.metric,
        }


def reliability(rate: float, trials: int) -> str:
    """How far a threshold for an error rate can be trusted (Doddington et al. 2000, see `ENOUGH_ERRORS`).

    Args:
        rate: the error rate, 0 to 1.
        trials: number of pairs or queries that it was measured on.

    Returns:
        ``unreliable`` (not one error expected), ``rough`` (fewer than `ENOUGH_ERRORS`) or ``good``.
    """
    expected = rate * trials + 1e-9
    return "unreliable" if expected < 1 else "rough" if expected < ENOUGH_ERRORS else "good"


def too_few(rate: float, trials: int, what: str) -> str | None:
    """Return a warning if `trials` are too few for an error rate of `rate` (for 0 always), else None."""
    found = reliability(rate, trials)
    if found == "good":
        return None
    needed = f"at least {math.ceil(ENOUGH_ERRORS / rate - 1e-9):,} are needed" if rate else "no number is enough"
    return f"{trials:,} {what} are too few for a rate of {rate:g}: this threshold is {found}; {needed}"


def verify_pairs(
    query: Any,
    gallery: Any,
    *,
    query_ids: Any,
    gallery_ids: Any,
    query_cameras: Any = None,
    gallery_cameras: Any = None,
    metric: str = "cosine",
    protocol: str = "market1501",
) -> Verification:
    """Count all pairs of a query and a gallery image by similarity.

    Pairs of the same person and camera are left out where the protocol says so, and junk always; images of different
    people count whatever camera they are from.

    Args:
        query, gallery: features (Q, D), (G, D), any float type.
        query_ids, gallery_ids, query_cameras, gallery_cameras, metric, protocol: as in `osnet.rank`.

    Returns:
        A `Verification`: ROC, equal error rate, and `Verification.at` for a threshold.

    Raises:
        OptionError: unknown metric or protocol, missing cameras that the protocol needs.
        DataError: features or labels that cannot be used; no pair of one person, or none of different people.
        DependencyError: numba is missing.
    """
    query, gallery = check_pair(query, gallery, metric)
    labels = index_labels(
        protocol, query_ids, gallery_ids, query_cameras, gallery_cameras, queries=len(query), size=len(gallery)
    )
    people = labels.query_ids != JUNK
    genuine_pairs = int(labels.matches.sum())
    counted = int(people.sum()) * (len(labels.gallery_ids) - len(labels.junk))
    impostor_pairs = counted - int((labels.ends - labels.starts)[people].sum())
    if not genuine_pairs or not impostor_pairs:
        kind = "of different people" if genuine_pairs else "of one person"
        raise DataError(f"the query and the gallery have no pair {kind} under protocol {protocol!r}: nothing to verify")
    require_numba()
    scale = BINS / _upper_bound(query, gallery, metric)

    def count_part(first: int, rows: Array) -> tuple[Integers, Integers]:
        same, different = np.zeros(BINS + 1, np.int64), np.zeros(BINS + 1, np.int64)
        count_pairs(rows, first, labels, scale, same, different)
        return same, different

    genuine, impostor = np.zeros(BINS + 1, np.int64), np.zeros(BINS + 1, np.int64)
    for same, different in over_blocks(row_blocks(query, gallery, metric), count_part):
        genuine += same
        impostor += different
    used = np.flatnonzero(genuine + impostor)
    return Verification(
        thresholds=(1.0 if metric == "cosine" else 0.0) - used / scale,
        true_accepts=np.cumsum(genuine[used]),
        false_accepts=np.cumsum(impostor[used]),
        genuine_pairs=genuine_pairs,
        impostor_pairs=impostor_pairs,
        step=1 / scale,
        protocol=protocol,
        metric=metric,
    )


def _upper_bound(query: Array, gallery: Array, metric: str) -> float:
    """A power of two that no distance is above, so that borders of bins are exact in floats."""
    if metric == "cosine":
        return 2.0
    longest = math.sqrt(squared_norms(query).max()) + math.sqrt(squared_norms(gallery).max())
    return float(2.0 ** math.ceil(math.log2(longest**2))) if longest else 1.0
