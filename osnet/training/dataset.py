"""The images that a run learns from and those that it is measured by."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osnet.data.check_files import readable
from osnet.data.load import check_training_records, load_records, load_training_records, trainable
from osnet.data.records import DataSet, Record
from osnet.errors import DataError
from osnet.training.config import TrainConfig


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The images of a run.

    Attributes:
        train, labels: training images and the class of each, int64 (N,), classes numbered by ascending person.
        classes: number of identities.
        query, gallery: held-out images; both empty when the data set has none.
        held_out: what these are: ``test`` (the data set's query and gallery), ``val`` (held-out training identities).
        protocol: of the evaluation.
        name: layout of the data set.
        fingerprint: SHA-256 of the names, persons, boxes and splits, to know the data again.
        other: query and gallery of `TrainConfig.other_data`; None when there is none.
        left_out: for each image of these that cannot be used, the message.
        not_used: files in the data set's folders that are not images.
    """

    train: tuple[Record, ...]
    labels: NDArray[np.int64]
    classes: int
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    held_out: str
    protocol: str
    name: str
    fingerprint: str
    other: DataSet | None = None
    left_out: tuple[str, ...] = ()
    not_used: tuple[Path, ...] = ()


def find_images(config: TrainConfig) -> TrainingImages:
    """What `config` trains and evaluates on. Every image is decoded once, and those that cannot be are left out.

    Raises:
        DataError: no data set, fewer than two identities, no identity with two images where a loss or the sampler
            needs them, or too many identities held out.
        OptionError: an unknown layout.
    """
    if not config.data:
        raise DataError("no data: expected the folder of a data set; draw one with: osnet synth OUT")
    listed = load_training_records(config.data, config.dataset)
    found, bad = readable(listed)
    train = trainable(found)
    if bad and not train:
        raise DataError(f"no training image of {config.data!r} can be read; the first: {bad[0]}")
    check_training_records(train, f"{config.data!r} ({found.name})")
    train, query, gallery, held_out = _held_out(train, found, config)
    if config.val_identities:
        check_training_records(train, f"{config.data!r} ({found.name}) without the held-out identities")
    protocol = evaluation_protocol(query, gallery, found)
    unmeasured: list[str] = []
    if query and not _has_matches(query, gallery, protocol):
        unmeasured.append(f"{found.root}: no query has a match in the gallery, so nothing is measured on them")
        query, gallery = [], []
    people = sorted({r.person for r in train})
    number = {person: i for i, person in enumerate(people)}
    return TrainingImages(
        train=tuple(train),
        labels=np.array([number[r.person] for r in train], np.int64),
        classes=len(people),
        query=tuple(query),
        gallery=tuple(gallery),
        held_out=held_out,
        protocol=protocol,
        name=found.name,
        fingerprint=_fingerprint(found.root, train, query, gallery),
        other=_other(config.other_data, bad) if config.other_data else None,
        left_out=(*bad, *unmeasured),
        not_used=listed.others,
    )


def _held_out(
    train: list[Record], found: DataSet, config: TrainConfig
) -> tuple[list[Record], list[Record], list[Record], str]:
    if not config.val_identities:
        query = list(found.split("query"))
        return train, query, list(found.split("gallery")) if query else [], "test"
    people = np.array(sorted({r.person for r in train}))
    if config.val_identities > len(people) - 2:
        raise DataError(
            f"val_identities: {config.val_identities} of {len(people)} training identities cannot be held out; "
            f"expected at most {len(people) - 2}"
        )
    chosen = set(np.random.default_rng([config.seed, 1]).permutation(people)[: config.val_identities].tolist())
    of_view: dict[tuple[int, int | None], list[Record]] = defaultdict(list)
    for r in train:
        if r.person in chosen:
            of_view[r.person, r.camera].append(r)
    query = [views[0] for views in of_view.values()]
    gallery = [r for views in of_view.values() for r in (views[1:] or views)]
    return [r for r in train if r.person not in chosen], query, gallery, "val"


def _other(data: str, bad: list[str]) -> DataSet:
    """The data set without the images that cannot be used, whose messages are added to `bad`."""
    found, more = readable(load_records(data))
    bad += more
    if not found.split("query"):
        raise DataError(f"other_data: {data!r} ({found.name}) has no query and gallery to measure; name one that has")
    return found


def evaluation_protocol(query: Sequence[Record], gallery: Sequence[Record], found: DataSet) -> str:
    """The protocol by which `query` and `gallery` of `found` are ranked."""
    seen = {r.camera for r in (*query, *gallery)}
    if None in seen or len(seen) < 2:
        return "camera-blind"
    return "market1501" if found.protocol == "cuhk03" else found.protocol


def _has_matches(query: Sequence[Record], gallery: Sequence[Record], protocol: str) -> bool:
    blind = protocol == "camera-blind"
    views: dict[int, set[int | None]] = defaultdict(set)
    for r in gallery:
        views[r.person].add(r.camera)
    return any(r.person in views if blind else views[r.person] - {r.camera} for r in query)


def _fingerprint(root: Path, *parts: list[Record]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for r in part:
            name = r.path.relative_to(root) if r.path.is_relative_to(root) else r.path
            box = f"{r.box}\0" if r.box else ""
            digest.update(f"{name.as_posix()}\0{r.person}\0{box}".encode("utf-8", "surrogateescape"))
        digest.update(b"\n")
    return digest.hexdigest()
