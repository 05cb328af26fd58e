"""Files of features → groups of one person, as a table beside the file names."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet._version import __version__
from osnet.data.records import DISTRACTOR
from osnet.evaluation.clustering import ALONE, NEAR_DUPLICATE, ClusterScores, cluster, near_duplicates, score_clusters
from osnet.evaluation.feature_tables import FeatureRows, known_persons, write_table

CLUSTER, DUPLICATE_OF = "cluster", "duplicate_of"


@dataclass(frozen=True, eq=False)
class Clusters:
    """Groups of the images of feature files.

    Attributes:
        rows: the images and their features.
        labels: int64 (N,), the group of each image, the largest is 0; -1 for an image alone.
        duplicates: int64 (N,), row of the image that this one is a near-duplicate of, or -1.
        persons: int64 (N,), see `known_persons`; None if unknown.
        scores: against `persons`, if there are any.
        method, threshold, duplicate_threshold: as used.
    """

    rows: FeatureRows
    labels: npt.NDArray[np.int64]
    duplicates: npt.NDArray[np.int64]
    persons: npt.NDArray[np.int64] | None
    scores: ClusterScores | None
    method: str
    threshold: float
    duplicate_threshold: float

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, for JSON."""
        return {
            "images": len(self.rows.names),
            "groups": int(self.labels.max()) + 1,
            "alone": int((self.labels == ALONE).sum()),
            "near_duplicates": int((self.duplicates >= 0).sum()),
            "method": self.method,
            "threshold": self.threshold,
            "duplicate_threshold": self.duplicate_threshold,
            "scores": asdict(self.scores) if self.scores else None,
            "with": self.rows.signature.to_dict(),
        }


def cluster_features(
    rows: FeatureRows,
    threshold: float,
    *,
    method: str = "agglomerative",
    duplicate_threshold: float = NEAR_DUPLICATE,
) -> Clusters:
    """Group images, find near-duplicates, and score the groups where the persons are known.

    Args:
        rows: of `osnet.evaluation.feature_tables.read_together`.
        threshold, method: as `osnet.cluster` has them.
        duplicate_threshold: least similarity of near-duplicates.

    Returns:
        `Clusters`.

    Raises:
        OptionError, DataError, DependencyError: as `osnet.cluster`.
    """
    labels = cluster(rows.features, threshold, method=method)
    duplicates = near_duplicates(rows.features, duplicate_threshold)
    persons = known_persons(rows)
    scores = score_clusters(labels, persons) if persons is not None and (persons > DISTRACTOR).any() else None
    return Clusters(rows, labels, duplicates, persons, scores, method, threshold, duplicate_threshold)


def write_clusters(clusters: Clusters, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write a row for each image: ``file``, further columns of the features, ``cluster`` and ``duplicate_of``, the row
    (the first is 0) of the image that it is a near-duplicate of.

    Args:
        clusters: of `cluster_features`.
        path, overwrite: as `osnet.evaluation.feature_tables.write_table` has them.

    Raises:
        OptionError, DataError, ExistsError, DiskError: as `osnet.evaluation.feature_tables.write_table`.
    """
    added = {
        CLUSTER: clusters.labels.tolist(),
        DUPLICATE_OF: [place if place >= 0 else None for place in clusters.duplicates.tolist()],
    }
    about = {**clusters.to_dict(), "osnet_version": __version__}
    write_table(path, clusters.rows, added, about, name="osnet.cluster", overwrite=overwrite)
