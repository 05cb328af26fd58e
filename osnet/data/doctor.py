"""Find what is wrong with a data set, before it is evaluated or trained on.

`examine` reads the data set, checks its labels and its files, and reports findings: one line each, with a count, an
example and what to do. The quick part opens no image; the full part decodes every image and compares contents.
Evaluation and training apply the same checks: a data set without errors here is accepted there, without the images
that are reported here as left out.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from osnet.checks import check_choice
from osnet.data import check_files
from osnet.data.check_files import Finding
from osnet.data.load import check_training_records, load_records, load_training_records, trainable
from osnet.data.records import DISTRACTOR, DataSet, Record
from osnet.errors import DataError

USES = ("evaluate", "train")
FEW_QUERIES = 50
"""With fewer, one query changes Rank-1 by over two points."""

MUCH = 10
"""A person with at least this multiple of the median number of images makes the classes unbalanced."""


@dataclass(frozen=True)
class Report:
    """The result of `examine`.

    Attributes:
        data: folder or table that was examined.
        layout, protocol: its layout and its usual evaluation protocol; None if it could not be read.
        counts: as `DataSet.counts`.
        findings: errors first.
        quick: whether images were not opened.
    """

    data: str
    layout: str | None
    protocol: str | None
    counts: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    quick: bool

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make evaluation or training meaningless."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def ok(self) -> bool:
        """Whether there are no errors; there may be warnings."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings], "ok": self.ok}


def examine(
    data: str | os.PathLike[str] | DataSet,
    *,
    dataset: str = "auto",
    quick: bool = False,
    use: str = "evaluate",
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Check whether a data set can be evaluated or trained on.

    Args:
        data: folder or table, or a `DataSet`.
        dataset, seed: as in `load_records`.
        quick: skip the checks that open images.
        use: ``evaluate`` or ``train``: the purpose to check for.
        progress: show a progress bar on stderr while images are read.

    Returns:
        A `Report`. A data set that cannot be read is an error in it, not an exception.

    Raises:
        OptionError: unknown layout or use.
    """
    check_choice("use", use, USES)
    if not isinstance(data, DataSet):
        try:
            data = load_training_records(data, dataset) if use == "train" else load_records(data, dataset, seed=seed)
        except DataError as error:
            finding = Finding("error", "layout", str(error))
            return Report(str(data), None, None, {}, (finding,), quick)
    findings = sorted(_findings(data, quick, use, progress), key=lambda finding: finding.severity != "error")
    return Report(str(data.root), data.name, data.protocol, data.counts(), tuple(findings), quick)


def _findings(data: DataSet, quick: bool, use: str, progress: bool) -> Iterator[Finding]:
    sizes, bad = check_files.sizes(data)
    shapes: dict[Path, tuple[int, int]] = {}
    if not quick:
        shapes, unreadable = check_files.decode_all(list(sizes), progress)
        bad.update(unreadable)
    yield from check_files.unusable(data, bad)
    left = data.without(bad)
    if not quick:
        left, outside = check_files.with_pixels(left, shapes)
        if outside:
            message = f"{len(outside)} of {len(data.records)} boxes are left out, such as {outside[0]}"
            yield Finding("warning", "box-outside", message, len(outside), outside[0])
    if use == "train":  # which accepts every data set that can be trained on
        try:
            check_training_records(trainable(left), str(data.root))
        except DataError as error:
            yield Finding("error", "nothing-to-train-on", str(error))
        doubts = (*_about_labels(left), *check_files.paths(left))
        yield from (replace(finding, severity="warning") for finding in doubts)
    else:
        yield from labels(left)
        yield from check_files.paths(left)
    yield from check_files.not_used(data)
    yield from check_files.shapes(left, shapes)
    if not quick:
        yield from check_files.duplicates(left.records, sizes, data.protocol, progress)


def labels(data: DataSet) -> Iterator[Finding]:
    """What an evaluation must know of the splits, people and cameras of `data`; no file is looked at."""
    yield from _splits(data)
    yield from _about_labels(data)


def _splits(data: DataSet) -> Iterator[Finding]:
    """Splits that an evaluation needs and that have no image; too few queries to compare models."""
    sizes = {name: len(data.split(name)) for name in ("train", "query", "gallery")}
    missing = [name for name in ("query", "gallery") if not sizes[name]]
    if missing:
        there = ", ".join(name for name, size in sizes.items() if size) or "none"
        message = (
            f"no images to evaluate on: split {' and '.join(missing)} has none (there are: {there}); "
            "add the folder, or a split column to the table"
        )
        yield Finding("error", "missing-split", message, len(missing), missing[0])
    if 0 < sizes["query"] < FEW_QUERIES:
        message = (
            f"only {sizes['query']} queries: one of them is {100 / sizes['query']:.1f} points of Rank-1; "
            "do not compare models by small differences"
        )
        yield Finding("warning", "few-queries", message, sizes["query"])


def _about_labels(data: DataSet) -> Iterator[Finding]:
    yield from _overlap(data)
    yield from _cameras(data)
    yield from _matches(data)
    yield from _balance(data)


def _overlap(data: DataSet) -> Iterator[Finding]:
    """People who are both in training and in query or gallery."""
    trained = {record.person for record in data.split("train", "val")}
    tested = {record.person for record in data.split("query", "gallery")}
    both = sorted(person for person in trained & tested if person > DISTRACTOR)
    if both:
        example = _person(both[0], data)
        message = (
            f"{len(both)} of {len(tested)} people in query and gallery are in train too, such as person {example}: "
            "figures would be too high; split by person"
        )
        yield Finding("error", "identity-overlap", message, len(both), example)


def _cameras(data: DataSet) -> Iterator[Finding]:
    """Cameras that are unknown, or only one."""
    records = data.split("query", "gallery")
    unknown = [record for record in records if record.camera is None]
    known = {record.camera for record in records}
    if unknown:
        example = _file(unknown[0], data)
        message = (
            f"{len(unknown)} of {len(records)} images have no camera, such as {example}: figures are camera-blind, "
            "higher than across cameras; name cameras in the files (c1, cam2) or in a table"
        )
        yield Finding("warning", "unknown-camera", message, len(unknown), example)
    elif len(known) == 1:
        message = (
            f"all {len(records)} images of query and gallery are from camera {known.pop()}: "
            "nothing is matched across cameras; add another camera, or evaluate with --protocol camera-blind"
        )
        severity = "warning" if data.protocol == "camera-blind" else "error"
        yield Finding(severity, "single-camera", message, len(records))


def _matches(data: DataSet) -> Iterator[Finding]:
    """Queries without a match in the gallery."""
    queries = data.split("query")
    seen: dict[int, set[int | None]] = defaultdict(set)
    for record in data.split("gallery"):
        seen[record.person].add(record.camera)
    if not queries or not seen:
        return
    absent = [record for record in queries if record.person not in seen]
    alone = []
    if data.protocol != "camera-blind":
        alone = [record for record in queries if seen.get(record.person) == {record.camera}]
    severity = "error" if len(absent) + len(alone) == len(queries) else "warning"
    not_there = "show people who are not in the gallery", "check that both use the same identity labels"
    same_camera = "have no gallery image from another camera", "add images from other cameras"
    for found, code, (where, advice) in (
        (absent, "query-not-in-gallery", not_there),
        (alone, "query-in-one-camera", same_camera),
    ):
        if found:
            example = _file(found[0], data)
            message = (
                f"{len(found)} of {len(queries)} queries {where}, such as {example}: they are not counted; {advice}"
            )
            yield Finding(severity, code, message, len(found), example)


def _balance(data: DataSet) -> Iterator[Finding]:
    """People in training who have one image, or far more than others."""
    images = Counter(record.person for record in data.split("train") if record.person > DISTRACTOR)
    single = sorted(person for person, count in images.items() if count == 1)
    if single:
        example = _person(single[0], data)
        message = (
            f"{len(single)} of {len(images)} people in train have one image, such as person {example}: "
            "a network cannot learn from one image; add images or leave them out"
        )
        yield Finding("warning", "single-image", message, len(single), example)
    median = statistics.median(images.values()) if images else 0
    many = sorted(person for person, count in images.items() if count >= MUCH * median)
    if many:
        most = max(many, key=lambda person: images[person])
        example = _person(most, data)
        message = (
            f"{len(many)} of {len(images)} people in train have {MUCH} times the median of {median:g} images or more, "
            f"such as person {example} with {images[most]}: sample by person, or remove some of their images"
        )
        yield Finding("warning", "imbalance", message, len(many), example)


def _person(person: int, data: DataSet) -> str:
    return data.person_names.get(person, str(person))


def _file(record: Record, data: DataSet) -> str:
    """The path of a record, within the data set's folder where it is there."""
    root = data.root.parent if data.root.suffix in (".csv", ".parquet") else data.root
    try:
        return str(record.path.relative_to(root))
    except ValueError:
        return str(record.path)
