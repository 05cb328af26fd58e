"""A data set as plain records: path, identity, camera and split of each image. No image is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from osnet.checks import check_choice

SPLITS = ("train", "val", "query", "gallery")

JUNK = -1
"""Identity of an image that no evaluation counts: a bad detection."""

DISTRACTOR = 0
"""Identity of an image that shows none of the labelled people: a non-match of every query, not used in training."""


@dataclass(frozen=True)
class Record:
    """One image.

    Attributes:
        path: of the image file.
        person: identity, equal for the same person in all splits; or `JUNK`, or `DISTRACTOR`.
        camera: number as the data set writes it (the first is 0 or 1); None if unknown.
        split: one of `SPLITS`.
        tracklet: name of the sequence of frames that the image is from; None if unknown.
        box: x1, y1, x2, y2 in pixels of the part that shows the person; None for the whole image.
        frame: number in the video at `path`, or that the image has in its sequence, from 1; None if unknown.
    """

    path: Path
    person: int
    camera: int | None
    split: str
    tracklet: str | None = None
    box: tuple[float, float, float, float] | None = None
    frame: int | None = None


@dataclass(frozen=True)
class DataSet:
    """All records of a data set.

    Attributes:
        name: its layout (``market1501``, ``folder`` ...).
        root: folder (or table) that it was read from.
        protocol: its usual evaluation protocol.
        records: all images, including junk, in a fixed order.
        person_names: names by `Record.person`, if people have names instead of numbers; else empty.
        others: files in its image folders that are not used, see `osnet.image_files.list_images`.
    """

    name: str
    root: Path
    protocol: str
    records: tuple[Record, ...]
    person_names: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    others: tuple[Path, ...] = ()

    def split(self, *names: str, junk: bool = False) -> tuple[Record, ...]:
        """Return the records of one or several splits in order, without junk by default.

        Raises:
            OptionError: no such split.
        """
        for name in names:
            check_choice("split", name, SPLITS)
        return tuple(r for r in self.records if r.split in names and (junk or r.person != JUNK))

    def without(self, paths: Container[Path]) -> DataSet:
        """Return the same data set without the records of `paths`."""
        return replace(self, records=tuple(record for record in self.records if record.path not in paths))

    def counts(self) -> dict[str, dict[str, int]]:
        """Count ``images``, ``persons``, ``cameras``, ``distractors`` and ``junk`` of each split that has images.

        Junk and distractors are no persons.
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
    """Return the identities of `records`, int64 (N,)."""
    return np.fromiter((r.person for r in records), np.int64)


def cameras(records: Iterable[Record]) -> npt.NDArray[np.int64]:
    """Return the cameras of `records`, int64 (N,); -1 where unknown."""
    return np.fromiter((-1 if r.camera is None else r.camera for r in records), np.int64)
