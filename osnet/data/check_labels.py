"""Checks of the records of a data set: splits, people, cameras."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator

from osnet.data.findings import Finding
from osnet.data.records import DISTRACTOR, DataSet, Record

FEW_QUERIES = 50
MUCH = 10
"""A person with at least this multiple of the median number of images makes the classes unbalanced."""


def splits(data: DataSet) -> Iterator[Finding]:
    """Splits that an evaluation needs and that have no image; too few queries to compare models."""
    sizes = {name: len(data.split(name)) for name in ("train", "query", "gallery")}
    missing = [name for name in ("query", "gallery") if not sizes[name]]
    if missing:
        there = ", ".join(name for name, size in sizes.items() if size) or "none"
        yield Finding(
            "error",
            "missing-split",
            f"no images to evaluate on: split {' and '.join(missing)} has none (there are: {there}); "
            "add the folder, or a split column to the table",
            len(missing),
            missing[0],
        )
    if 0 < sizes["query"] < FEW_QUERIES:
        yield Finding(
            "warning",
            "few-queries",
            f"only {sizes['query']} queries: one of them is {100 / sizes['query']:.1f} points of Rank-1; "
            "do not compare models by small differences",
            sizes["query"],
        )


def overlap(data: DataSet) -> Iterator[Finding]:
    """People who are both in training and in query or gallery."""
    trained = {record.person for record in data.split("train", "val")}
    tested = {record.person for record in data.split("query", "gallery")}
    both = sorted(person for person in trained & tested if person > DISTRACTOR)
    if both:
        example = data.person_names.get(both[0], str(both[0]))
        yield Finding(
            "error",
            "identity-overlap",
            f"{len(both)} of {len(tested)} people in query and gallery are in train too, such as person {example}: "
            "figures would be too high; split by person",
            len(both),
            example,
        )


def cameras(data: DataSet) -> Iterator[Finding]:
    """Cameras that are unknown, or only one."""
    records = data.split("query", "gallery")
    unknown = [record for record in records if record.camera is None]
    known = {record.camera for record in records} - {None}
    if unknown:
        yield Finding(
            "warning",
            "unknown-camera",
            f"{len(unknown)} of {len(records)} images have no camera, such as {_name(unknown[0], data)}: figures are "
            "camera-blind, higher than across cameras; name cameras in the files (c1, cam2) or in a table",
            len(unknown),
            _name(unknown[0], data),
        )
    elif len(known) == 1:
        yield Finding(
            "error" if data.protocol == "market1501" else "warning",
            "single-camera",
            f"all {len(records)} images of query and gallery are from camera {next(iter(known))}: "
            "nothing is matched across cameras; add another camera, or evaluate with --protocol camera-blind",
            len(records),
        )


def matches(data: DataSet) -> Iterator[Finding]:
    """Queries without a match in the gallery."""
    queries = data.split("query")
    seen: dict[int, set[int | None]] = defaultdict(set)
    for record in data.split("gallery"):
        seen[record.person].add(record.camera)
    absent = [record for record in queries if record.person not in seen]
    alone = []
    if data.protocol == "market1501":
        alone = [record for record in queries if seen.get(record.person) == {record.camera}]
    if not queries or not seen:
        return
    severity = "error" if len(absent) + len(alone) == len(queries) else "warning"
    for found, code, where, advice in (
        (
            absent,
            "query-not-in-gallery",
            "show people who are not in the gallery",
            "check that both use the same identity labels",
        ),
        (alone, "query-in-one-camera", "have no gallery image from another camera", "add images from other cameras"),
    ):
        if found:
            yield Finding(
                severity,
                code,
                f"{len(found)} of {len(queries)} queries {where}, such as {_name(found[0], data)}: "
                f"they are not counted; {advice}",
                len(found),
                _name(found[0], data),
            )


def balance(data: DataSet) -> Iterator[Finding]:
    """People in training who have one image, or far more than others."""
    images = Counter(record.person for record in data.split("train") if record.person > DISTRACTOR)
    if not images:
        return
    single = sorted(person for person, count in images.items() if count == 1)
    if single:
        example = data.person_names.get(single[0], str(single[0]))
        yield Finding(
            "warning",
            "single-image",
            f"{len(single)} of {len(images)} people in train have one image, such as person {example}: "
            "a network cannot learn from one image; add images or leave them out",
            len(single),
            example,
        )
    median = statistics.median(images.values())
    many = sorted(person for person, count in images.items() if count >= MUCH * median)
    if many:
        most = max(many, key=lambda person: images[person])
        example = data.person_names.get(most, str(most))
        yield Finding(
            "warning",
            "imbalance",
            f"{len(many)} of {len(images)} people in train have {MUCH} times the median of {median:g} images or more, "
            f"such as person {example} with {images[most]}: sample by person, or remove some of their images",
            len(many),
            example,
        )


def _name(record: Record, data: DataSet) -> str:
    root = data.root.parent if data.root.suffix in (".csv", ".parquet") else data.root
    try:
        return str(record.path.relative_to(root))
    except ValueError:
        return str(record.path)
