"""Read data sets that are folders of images, in the layouts that torchreid and the model zoo use, as records.

File names are as in torchreid/data/datasets/image: Market-1501 and DukeMTMC-reID write ``<person>_c<camera>...`` in
``bounding_box_train``, ``query`` and ``bounding_box_test``; MSMT17 has lists.

If the data has no numbers for people, or no query and gallery, they are made here.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from osnet.data.records import DISTRACTOR, DataSet, Record
from osnet.errors import DataError
from osnet.image_files import list_images

MARKET_SPLITS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
MARKET_DISTRACTORS = "images"
MSMT17_LISTS = {"train": "train", "val": "train", "query": "test", "gallery": "test"}
MSMT17_FOLDERS = {"train": ("train", "mask_train_v2"), "test": ("test", "mask_test_v2")}
SPLIT_FOLDERS = {"train": "train", "val": "val", "query": "query", "gallery": "gallery"}

MARKET_NAME = re.compile(r"(-?\d+)_c(\d+)")
_CAMERA_IN_NAME = re.compile(r"(?:^|[^a-z])c(?:am(?:era)?)?[_-]?(\d+)", re.IGNORECASE)


def read_market(root: Path, name: str, *, distractors: bool = False) -> DataSet:
    """Read Market-1501 (person -1 is junk, 0 a distractor), DukeMTMC-reID, or a data set with such a layout and names.

    Splits that have no folder are empty. With `distractors`, the 500,000 of Market-1501 from the folder ``images``
    are added to the gallery.
    """
    records: list[Record] = []
    others: list[Path] = []
    for folder, split in MARKET_SPLITS.items():
        if (root / folder).is_dir():
            records += _market_folder(root / folder, split, others)
    if distractors:
        if not (root / MARKET_DISTRACTORS).is_dir():
            raise DataError(f"no distractors: expected the folder {str(root / MARKET_DISTRACTORS)!r}")
        for record in _market_folder(root / MARKET_DISTRACTORS, "gallery", others):
            records.append(Record(record.path, min(record.person, DISTRACTOR), record.camera, "gallery"))
    return DataSet(name, root, "market1501", tuple(records), others=tuple(others))


def _market_folder(folder: Path, split: str, others: list[Path]) -> list[Record]:
    """The images of one split; files that are not images are added to `others`."""
    records, misnamed = [], []
    found = list_images(folder)
    others += found.others
    for path in found.images:
        match = MARKET_NAME.match(path.name)
        if match:
            records.append(Record(path, int(match[1]), int(match[2]), split))
        else:
            misnamed.append(path.name)
    if misnamed:
        raise DataError(
            f"{len(misnamed)} of {len(records) + len(misnamed)} images in {str(folder)!r} are not named "
            f"<person>_c<camera>..., such as {misnamed[0]!r}; rename or remove them, or describe the data in a csv"
        )
    return records


def read_msmt17(root: Path) -> DataSet:
    """Read MSMT17, both versions. Its lists number people of training (train, val) and of test (query, gallery) from 0
    each; here training people are 1 to T and test people continue at T + 1, so that a number is one person."""
    files = {split: root / f"list_{split}.txt" for split in MSMT17_LISTS}
    lists = {split: list(_msmt17_list(file)) for split, file in files.items() if file.is_file()}
    if not {"query", "gallery"} <= lists.keys() and "train" not in lists:
        raise DataError(f"{str(root)!r} has no list_train.txt, and not both list_query.txt and list_gallery.txt")
    training = max((person for split in ("train", "val") for _, person in lists.get(split, [])), default=-1) + 1
    records = []
    for split, lines in lists.items():
        part = MSMT17_LISTS[split]
        folder = next((root / name for name in MSMT17_FOLDERS[part] if (root / name).is_dir()), None)
        if folder is None:
            names = " or ".join(MSMT17_FOLDERS[part])
            raise DataError(f"{str(root)!r} has no image folder {names}; unpack it beside the lists")
        for name, person in lines:
            camera = name.rpartition("/")[2].split("_")[2:3]
            if not camera or not camera[0].isdecimal():
                raise DataError(f"{files[split]}: expected <person>_<n>_<camera>_..., got {name!r}")
            number = person + 1 if part == "train" else person + 1 + training
            records.append(Record(folder / name, number, int(camera[0]), split))
    return DataSet("msmt17", root, "market1501", tuple(records))


def _msmt17_list(file: Path) -> Iterator[tuple[str, int]]:
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="surrogateescape").splitlines(), 1):
        name, _, person = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if not name or not person.isdecimal():
            raise DataError(f"{str(file)!r}, line {number}: expected '<image> <person>', got {line[:80]!r}")
        yield name, int(person)


def read_folder(root: Path, *, seed: int = 0, split: str | None = None) -> DataSet:
    """Read ``<person>/<image>``. People keep the numbers of their folders; folders with names are numbered in order.

    Folders inside a person's folder show that person too. The camera is read from the image's name (``c3``,
    ``cam3``, ``camera_3``), or from the name of a folder between the person and the image, if there is one. If the
    folders ``query`` and ``gallery`` (and ``train``, ``val``) are above the people, these are the splits; otherwise
    all images go to `split`, or are divided between query and gallery by `seed`, see `osnet.data.layouts.divide`.
    """
    found = list_images(root)
    others = list(found.others)
    has_splits = splits_above_people(root)
    images = []
    for path in found.images:
        parts = path.relative_to(root).parts
        given = split
        if has_splits:
            given, parts = SPLIT_FOLDERS.get(parts[0]), parts[1:]
        if len(parts) < 2 or (has_splits and given is None):
            others.append(path)
        else:
            images.append(Image(path, parts[0], _camera(parts[1:]), given))
    if has_splits:
        images.sort(key=lambda image: list(SPLIT_FOLDERS.values()).index(image.split or ""))
    people, names = numbered([image.person for image in images])
    return DataSet("folder", root, *divide(images, people, seed), person_names=names, others=tuple(sorted(others)))


def splits_above_people(root: Path) -> bool:
    """Whether `root` has the folders ``query`` and ``gallery``, with the people inside."""
    return all((root / name).is_dir() for name in ("query", "gallery"))


def _camera(below_person: Sequence[str]) -> int | None:
    """From the image's name, else from the nearest folder that names one."""
    for name in reversed(below_person):
        match = _CAMERA_IN_NAME.search(name)
        if match:
            return int(match[1])
    return None


_NUMBER = re.compile(r"-?\d{1,18}")


class Image(NamedTuple):
    """An image of a person who may have a name; `split` is None if it must be drawn."""

    path: Path
    person: str
    camera: int | None
    split: str | None
    tracklet: str | None = None
    box: tuple[float, float, float, float] | None = None
    frame: int | None = None


def numbered(labels: Sequence[str]) -> tuple[list[int], Mapping[int, str]]:
    """Return a number for each label, and the names of the numbers.

    If all labels are integers, each written in one way only, they are kept and there are no names. Otherwise they are
    numbered in sorted order, and the first is 1.
    """
    different = sorted(set(labels))
    if all(_NUMBER.fullmatch(label) for label in different) and len({int(one) for one in different}) == len(different):
        return [int(label) for label in labels], MappingProxyType({})
    numbers = {label: i for i, label in enumerate(different, 1)}
    return [numbers[label] for label in labels], MappingProxyType({i: label for label, i in numbers.items()})


def divide(images: Sequence[Image], people: Sequence[int], seed: int) -> tuple[str, tuple[Record, ...]]:
    """Return protocol and records of `images`; images without a split are divided between query and gallery.

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
        Record(image.path, person, image.camera, split or "gallery", image.tracklet, image.box, image.frame)
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
