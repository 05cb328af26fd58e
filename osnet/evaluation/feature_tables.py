"""Rows of feature files that may be compared, and tables with a row for each of them."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osnet.checks import check_number
from osnet.data.layouts import MARKET_NAME, numbered
from osnet.data.records import JUNK
from osnet.data.tables import cell_text
from osnet.errors import DataError, OptionError
from osnet.escaping import cell_of_text, text_of_name
from osnet.evaluation.calibration import threshold_for
from osnet.files import atomic_write
from osnet.inference.embedder import Signature
from osnet.inference.feature_files import read_features

FALSE_POSITIVE_RATE = 1e-3
"""Rate whose threshold is taken from a calibration by default: for some hundred persons."""

FORMATS = (".csv", ".parquet", ".json")
FILE, PERSON = "file", "person"


class FeatureRows(NamedTuple):
    """Features that may be compared, and what their files know of the images.

    Attributes:
        names: of the image files, N.
        features: float32 (N, D).
        signature: what all features were made with.
        columns: further columns of N values, such as ``person`` or the box ``x1``, ``y1``, ``x2``, ``y2``; None where a
            file has none.
        counts: rows of each file or folder, in order.
    """

    names: tuple[str, ...]
    features: npt.NDArray[np.float32]
    signature: Signature
    columns: Mapping[str, Sequence[Any]]
    counts: tuple[int, ...] = ()


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
    return FeatureRows(tuple(names), np.concatenate(parts), first, columns, tuple(map(len, parts)))


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


def write_table(
    path: str | os.PathLike[str],
    rows: FeatureRows,
    added: Mapping[str, Sequence[int | None]],
    about: Mapping[str, Any],
    *,
    name: str,
    overwrite: bool = True,
) -> None:
    """Write a row for each image: ``file``, further columns of the features, and `added` ones.

    Names that are not UTF-8, and in ``.csv`` those that a spreadsheet would take for a formula, are escaped as
    `osnet.escaping` says.

    Args:
        path: ``.csv``; ``.parquet`` (the summary is in the schema's metadata); or ``.json``: the summary, and a list
            ``rows``. Written whole or not at all.
        rows: of `read_together`.
        added: integers or None, one for each row; they replace a column of the same name.
        about: the summary, plain values.
        name: of the summary in the metadata of a ``.parquet``.
        overwrite: replace a file.

    Raises:
        OptionError: an unknown ending or missing folder.
        DataError: a column of several types, which a ``.parquet`` cannot hold.
        ExistsError: the file exists, and `overwrite` is false.
        DiskError: the disk is full or refuses.
    """
    target = check_output(path)
    columns: dict[str, Sequence[Any]] = {FILE: [text_of_name(file) for file in rows.names], **rows.columns, **added}
    ending = target.suffix.lower()
    if ending == ".csv":
        content = _csv(columns)
    elif ending == ".parquet":
        content = _parquet(columns, tuple(added), {name: json.dumps(about)})
    else:
        content = _json(columns, about)
    atomic_write(target, content, overwrite=overwrite)


_Columns = Mapping[str, Sequence[Any]]


def _csv(columns: _Columns) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow(columns)
    for row in zip(*columns.values()):
        rows.writerow([cell_of_text(value) if isinstance(value, str) else value for value in row])
    return text.getvalue().encode()


def _parquet(columns: _Columns, integers: tuple[str, ...], about: dict[str, str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {FILE: pa.string(), **dict.fromkeys(integers, pa.int64())}
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values, kinds.get(name))
        except pa.ArrowException as error:  # noqa: PERF203 - to name the column
            raise DataError(
                f"the column {name} is of several types in these feature files ({error}); write a .csv or .json"
            ) from error
    table = pa.table(arrays).replace_schema_metadata(about)
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def _json(columns: _Columns, about: Mapping[str, Any]) -> bytes:
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return (json.dumps({**about, "rows": rows}, indent=1, ensure_ascii=False, default=str) + "\n").encode()
