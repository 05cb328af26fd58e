"""Files of features → groups of one person, as a table beside the file names."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osnet._version import __version__
from osnet.checks import check_number
from osnet.data.layouts import MARKET_NAME, numbered
from osnet.data.records import DISTRACTOR, JUNK
from osnet.data.tables import cell_text
from osnet.errors import DataError, OptionError
from osnet.escaping import cell_of_text, text_of_name
from osnet.evaluation.calibration import threshold_for
from osnet.evaluation.clustering import ALONE, NEAR_DUPLICATE, ClusterScores, cluster, near_duplicates, score_clusters
from osnet.files import atomic_write
from osnet.inference.embedder import Signature
from osnet.inference.feature_files import read_features

FALSE_POSITIVE_RATE = 1e-3
"""Rate whose threshold is taken from a calibration by default: for some hundred persons."""

FORMATS = (".csv", ".parquet", ".json")
FILE, CLUSTER, DUPLICATE_OF, PERSON = "file", "cluster", "duplicate_of", "person"


class FeatureRows(NamedTuple):
    """Features that may be compared, and what their files know of the images.

    Attributes:
        names: of the image files, N.
        features: float32 (N, D).
        signature: what all features were made with.
        columns: further columns of N values, such as ``person`` or the box ``x1``, ``y1``, ``x2``, ``y2``; None where a
            file has none.
    """

    names: tuple[str, ...]
    features: npt.NDArray[np.float32]
    signature: Signature
    columns: Mapping[str, Sequence[Any]]


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


def read_together(paths: Sequence[str | os.PathLike[str]]) -> FeatureRows:
    """Read feature files whose features may be compared.

    Args:
        paths: files and folders that `osnet embed` wrote; at least one.

    Returns:
        All of their rows, in order.

    Raises:
        OptionError: not a feature file.
        DataError: two files were not made in the same way, a feature is not finite, or fewer than two images.
    """
    names: list[str] = []
    parts: list[npt.NDArray[np.float32]] = []
    columns: dict[str, list[Any]] = {}
    first: Signature | None = None
    for path in paths:
        found, features, about = read_features(path)
        signature = Signature.from_dict(about)
        first = first or signature
        if signature != first:
            ours, theirs = first.to_dict(), signature.to_dict()
            differences = ", ".join(
                f"{key} {theirs[key]:.16} and {ours[key]:.16}" for key in ours if theirs[key] != ours[key]
            )
            raise DataError(
                f"{path} and {paths[0]} were not made in the same way ({differences}), so their features cannot be "
                "compared; embed the images again with the same settings"
            )
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            raise DataError(
                f"{path}: the features of {len(bad)} of {len(found)} images hold NaN or infinity, first of "
                f"{found[bad[0]]!r}; remove those rows, or embed these images again"
            )
        for key, values in _further_columns(Path(path)).items():
            columns.setdefault(key, [None] * len(names)).extend(values)
        names += found
        for values in columns.values():
            values.extend([None] * (len(names) - len(values)))
        parts.append(features)
    if first is None or len(names) < 2:
        where = ", ".join(map(str, paths))
        raise DataError(f"{where}: expected the features of at least 2 images, got {len(names)}")
    return FeatureRows(tuple(names), np.concatenate(parts), first, columns)


def _further_columns(path: Path) -> dict[str, list[Any]]:
    """Columns of a folder of parts or a ``.parquet`` file beside name and feature."""
    if not path.is_dir() and path.suffix.lower() != ".parquet":
        return {}
    dataset = read_features(path, lazy=True)
    further = [name for name in dataset.schema.names if name not in (FILE, "feature")]
    found: dict[str, list[Any]] = dataset.to_table(columns=further).to_pydict() if further else {}
    return found


def choose_threshold(
    signature: Signature,
    *,
    threshold: float | None = None,
    calibration: str | os.PathLike[str] | None = None,
    fpr: float | None = None,
) -> float:
    """Return the `threshold` that is given, or that of a `calibration` for features of `signature`.

    Args:
        signature: of the features.
        threshold: cosine similarity, -1 to 1.
        calibration: file of `osnet eval --calibrate`.
        fpr: false positive rate whose threshold to take from it; None for `FALSE_POSITIVE_RATE`.

    Raises:
        OptionError: not exactly one of `threshold` and `calibration`; `fpr` without `calibration`; a threshold outside
            -1 to 1.
        DataError: as `osnet.evaluation.calibration.threshold_for`.
    """
    if (threshold is None) == (calibration is None):
        problem = "no threshold" if threshold is None else "--threshold and --calibration exclude each other"
        raise OptionError(
            f"{problem}: measure one on labelled images with `osnet eval -m MODEL -d DATA --calibrate FILE` and give "
            "--calibration FILE, or give --threshold"
        )
    if calibration is not None:
        return threshold_for(calibration, signature, FALSE_POSITIVE_RATE if fpr is None else fpr)
    if fpr is not None:
        raise OptionError("--fpr chooses a threshold of --calibration FILE; leave it out with --threshold")
    return check_number("threshold", threshold, least=-1, most=1)


def cluster_features(
    rows: FeatureRows,
    threshold: float,
    *,
    method: str = "agglomerative",
    duplicate_threshold: float = NEAR_DUPLICATE,
) -> Clusters:
    """Group images, find near-duplicates, and score the groups where the persons are known.

    Args:
        rows: of `read_together`.
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


def known_persons(rows: FeatureRows) -> npt.NDArray[np.int64] | None:
    """Return the persons of images, if they are known.

    Args:
        rows: of `read_together`.

    Returns:
        int64 (N,) from the column ``person`` (names are numbered; an empty cell is -1, junk); without that column from
        file names such as ``0002_c1s1_000451_03.jpg``, if all are named so; else None.
    """
    if PERSON in rows.columns:
        texts = [cell_text(value) for value in rows.columns[PERSON]]
        numbers = iter(numbered([text for text in texts if text])[0])
        return np.array([next(numbers) if text else JUNK for text in texts], np.int64)
    found = [MARKET_NAME.match(Path(name).name) for name in rows.names]
    return np.array([int(match[1]) for match in found if match], np.int64) if all(found) else None


def check_output(path: str | os.PathLike[str]) -> Path:
    """`path`, if a table of groups can be written there.

    Raises:
        OptionError: an unknown ending, or the folder is missing.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise OptionError(f"{target}: expected a name ending in one of {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise OptionError(f"{target}: the folder {target.parent} does not exist; make it first")
    if target.is_dir():
        raise OptionError(f"{target}: is a folder; expected the name of a file to write")
    return target


def write_clusters(clusters: Clusters, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write a row for each image: ``file``, further columns of the features, ``cluster`` and ``duplicate_of``, the row
    (the first is 0) of the image that it is a near-duplicate of.

    Names that are not UTF-8, and in ``.csv`` those that a spreadsheet would take for a formula, are escaped as
    `osnet.escaping` says.

    Args:
        clusters: of `cluster_features`.
        path: ``.csv``; ``.parquet`` (the summary is in the schema's metadata); or ``.json``: the summary, and a list
            ``rows``. Written whole or not at all.
        overwrite: replace a file.

    Raises:
        OptionError: an unknown ending or missing folder.
        ExistsError: the file exists, and `overwrite` is false.
        DiskError: the disk is full or refuses.
    """
    target = check_output(path)
    columns: dict[str, Sequence[Any]] = {FILE: [text_of_name(name) for name in clusters.rows.names]}
    columns.update(clusters.rows.columns)
    columns[CLUSTER] = clusters.labels.tolist()
    columns[DUPLICATE_OF] = [place if place >= 0 else None for place in clusters.duplicates.tolist()]
    about = {**clusters.to_dict(), "osnet_version": __version__}
    write = {".csv": _csv, ".parquet": _parquet, ".json": _json}[target.suffix.lower()]
    atomic_write(target, write(columns, about), overwrite=overwrite)


_Columns = Mapping[str, Sequence[Any]]


def _csv(columns: _Columns, about: dict[str, Any]) -> bytes:  # noqa: ARG001 - a csv has no place for it
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow(columns)
    for row in zip(*columns.values()):
        rows.writerow([cell_of_text(value) if isinstance(value, str) else value for value in row])
    return text.getvalue().encode()


def _parquet(columns: _Columns, about: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {FILE: pa.string(), CLUSTER: pa.int64(), DUPLICATE_OF: pa.int64()}
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values, kinds.get(name))
        except pa.ArrowException as error:  # noqa: PERF203 - to name the column
            raise DataError(
                f"the column {name} is of several types in these feature files ({error}); write a .csv or .json"
            ) from error
    table = pa.table(arrays).replace_schema_metadata({"osnet.cluster": json.dumps(about)})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def _json(columns: _Columns, about: dict[str, Any]) -> bytes:
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return (json.dumps({**about, "rows": rows}, indent=1, ensure_ascii=False, default=str) + "\n").encode()
