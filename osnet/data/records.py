"""A data set as plain records: which image shows whom, seen by which camera, in which split. Nothing is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from osnet.errors import OptionError

SPLITS = ("train", "val", "query", "gallery")

JUNK = -1
"""Person of an image that no evaluation counts: a bad detection."""

DISTRACTOR = 0
"""Person of an image that shows nobody who is asked for: always a wrong answer, and nobody to train on."""


@dataclass(frozen=True)
class Record:
    """One image.

    Attributes:
        path: of the image file.
        person: identity, equal for the same person in all splits; `JUNK` or `DISTRACTOR` for nobody.
        camera: number as the data set writes it, from 0 or 1 on; None where unknown.
        split: one of `SPLITS`.
        tracklet: name of the sequence of frames that the image is from, if the data set tells.
    """

    path: Path
    person: int
    camera: int | None
    split: str
    tracklet: str | None = None


@dataclass(frozen=True)
class DataSet:
    """All records of a data set.

    Attributes:
        name: layout that it was read as (``market1501``, ``folder`` ...).
        root: folder (or table) that it was read from.
        protocol: evaluation protocol that is usual for it.
        records: all images, junk too, in a fixed order.
        person_names: for people who have names instead of numbers, name by `Record.person`; else empty.
        others: files in its folders of images that are not used, see `osnet.image_files.list_images`.
    """

    name: str
    root: Path
    protocol: str
    records: tuple[Record, ...]
    person_names: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    others: tuple[Path, ...] = ()

    def split(self, *names: str, junk: bool = False) -> tuple[Record, ...]:
        """The records of one or several splits in order, without junk unless asked for.

        Raises:
            OptionError: no such split.
        """
        for name in names:
            if name not in SPLITS:
                raise OptionError(f"unknown split {name!r}. Known: {', '.join(SPLITS)}.")
        return tuple(r for r in self.records if r.split in names and (junk or r.person != JUNK))

    def without(self, paths: Container[Path]) -> DataSet:
        """The same data set without the records of `paths`."""
        return replace(self, records=tuple(record for record in self.records if record.path not in paths))

    def counts(self) -> dict[str, dict[str, int]]:
        """For each split that has images: numbers of ``images``, ``persons``, ``cameras``, ``distractors``, ``junk``.

        Persons are without junk and distractors.
        """
        found = {}
        for name in SPLITS:
            records = self.split(name, junk=True)
            if records:
                persons = Counter(r.person for r in records)
                found[name] = {
                    "images": len(records),
                    "persons": len(persons.keys() - {JUNK, DISTRACTOR}),
                    "cameras": len({r.camera for r in records} - {None}),
                    "distractors": persons[DISTRACTOR],
                    "junk": persons[JUNK],
                }
        return found


def persons(records: Iterable[Record]) -> npt.NDArray[np.int64]:
    """Identities of `records` (N,), for ranking."""
    return np.fromiter((r.person for r in records), np.int64)


def cameras(records: Iterable[Record]) -> npt.NDArray[np.int64]:
    """Cameras of `records` (N,), -1 where unknown, for ranking."""
    return np.fromiter((-1 if r.camera is None else r.camera for r in records), np.int64)
