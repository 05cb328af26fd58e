"""A data set as an evaluation uses it: checked, with its labels as arrays, and its tracklets as one feature each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from osnet.data import check_files
from osnet.data.doctor import examine
from osnet.data.records import DataSet, Record, cameras, persons
from osnet.errors import DataError
from osnet.evaluation.distances import Floats
from osnet.evaluation.protocols import index_labels


class Task(NamedTuple):
    """A data set without its `bad` images, checked for an evaluation; `listed` has all of them."""

    data: DataSet
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    findings: tuple[str, ...]
    listed: DataSet
    bad: dict[Path, str]


def checked_task(listed: DataSet, bad: dict[Path, str], pool: str | None) -> Task:
    """`listed` without the images that are `bad`, checked for an evaluation as `osnet doctor` does.

    Raises:
        DataError: nothing can be measured on it, or `pool` needs tracklets that it does not have.
    """
    doubts = [finding.message for finding in check_files.unusable(listed, bad)]
    data = listed.without(bad)
    report = examine(data, quick=True)
    if report.errors:
        more = f" ({len(report.errors) - 1} more: osnet doctor)" if len(report.errors) > 1 else ""
        raise DataError(f"{data.root}: {'; '.join((*doubts, report.errors[0].message))}{more}")
    query, gallery = data.split("query"), data.split("gallery", junk=True)
    if pool and not any(record.tracklet is not None for record in (*query, *gallery)):
        raise DataError(
            f"{data.root}: pool={pool!r} needs tracklets, and this data set has none; "
            "use a csv or parquet table with the column tracklet"
        )
    index_labels(data.protocol, **labels_of(query, gallery), queries=len(query), size=len(gallery))
    findings = (*doubts, *(finding.message for finding in report.findings))
    return Task(data, query, gallery, findings, listed, bad)


def labels_of(query: Sequence[Record], gallery: Sequence[Record]) -> dict[str, Any]:
    """Return keywords of `osnet.rank`: identities and cameras, int64."""
    return {
        "query_ids": persons(query),
        "gallery_ids": persons(gallery),
        "query_cameras": cameras(query),
        "gallery_cameras": cameras(gallery),
    }


def pooled(records: tuple[Record, ...], features: Floats, pool: str | None) -> tuple[tuple[Record, ...], Floats]:
    """One record and the mean feature for each tracklet of a person and camera; images without a tracklet stay."""
    if pool is None:
        return records, features
    groups: dict[Any, list[int]] = {}
    for place, record in enumerate(records):
        key = (record.person, record.camera, record.tracklet) if record.tracklet is not None else place
        groups.setdefault(key, []).append(place)
    means = np.stack([features[places].mean(axis=0, dtype=np.float64) for places in groups.values()])
    return tuple(records[places[0]] for places in groups.values()), means.astype(np.float32)
