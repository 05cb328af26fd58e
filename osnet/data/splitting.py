"""Images of people into records: people numbered, and query and gallery divided where the data does not say."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from osnet.data.records import Record

_NUMBER = re.compile(r"-?\d{1,18}")


class Image(NamedTuple):
    """An image of a person who may have a name; `split` is None where it has to be drawn."""

    path: Path
    person: str
    camera: int | None
    split: str | None
    tracklet: str | None = None


def numbered(labels: Sequence[str]) -> tuple[list[int], Mapping[int, str]]:
    """A number for each label, and the names of the numbers.

    Labels that are all whole numbers, each written in one way only, are kept (and there are no names); otherwise they
    count from 1 in sorted order.
    """
    different = sorted(set(labels))
    if all(_NUMBER.fullmatch(label) for label in different) and len({int(one) for one in different}) == len(different):
        return [int(label) for label in labels], MappingProxyType({})
    numbers = {label: i for i, label in enumerate(different, 1)}
    return [numbers[label] for label in labels], MappingProxyType({i: label for label, i in numbers.items()})


def divide(images: Sequence[Image], people: Sequence[int], seed: int) -> tuple[str, tuple[Record, ...]]:
    """Protocol and records of `images`; what has no split is divided between query and gallery.

    Of each person and camera (each person, where cameras are unknown) with two images or more, one drawn image is a
    query; of a person who has no such camera but two images, one drawn image is. All others are gallery. The draw for
    a person depends on `seed` and on that person's files only, so people who are added or removed change nothing else.
    """
    open_places: dict[int, list[int]] = defaultdict(list)
    splits = [image.split for image in images]
    for i, image in enumerate(images):
        if image.split is None:
            open_places[people[i]].append(i)
            splits[i] = "gallery"
    for places in open_places.values():
        for i in _queries(images, places, seed):
            splits[i] = "query"
    records = tuple(
        Record(image.path, person, image.camera, split or "gallery", image.tracklet)
        for image, person, split in zip(images, people, splits)
    )
    seen = {record.camera for record in records if record.split in ("query", "gallery")}
    return "market1501" if None not in seen and len(seen) > 1 else "camera-blind", records


def _queries(images: Sequence[Image], places: Sequence[int], seed: int) -> list[int]:
    """Which of one person's images are queries."""
    places = sorted(places, key=lambda i: images[i].path.name)
    rng = np.random.default_rng([seed, zlib.crc32(images[places[0]].person.encode("utf-8", "surrogateescape"))])
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i in places:
        groups[images[i].camera].append(i)
    chosen = [group[rng.integers(len(group))] for group in groups.values() if len(group) > 1]
    if not chosen and len(places) > 1:
        chosen = [places[rng.integers(len(places))]]
    return chosen
