"""What `osnet doctor` finds, and its checks of files: missing, unreadable, tiny, duplicate."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, TypeVar

from osnet.data.layouts import splits_above_people
from osnet.data.records import JUNK, DataSet, Record
from osnet.errors import ImageError
from osnet.image_files import decoded, unused
from osnet.progress import track

Result = TypeVar("Result")
Box = tuple[float, float, float, float]

TINY_WIDTH, TINY_HEIGHT = 16, 32
"""A crop with fewer pixels is too small for the network's input of 128 x 256."""

WIDE_FRACTION = 0.5
"""If at least this fraction of the images is wider than high, they are probably whole frames."""

_MISSING, _EMPTY = "no such file", "the file is empty"


@dataclass(frozen=True)
class Finding:
    """A problem of a data set: how often it occurs, an example, and what to do.

    Attributes:
        severity: ``error`` if a result would be meaningless, ``warning`` if it would be doubtful.
        code: short name, the same in every version.
        message: one line with the count, the example and the advice.
        count: how many images, queries or people.
        example: one of them, or None.
    """

    severity: str
    code: str
    message: str
    count: int = 1
    example: str | None = None


def paths(data: DataSet) -> Iterator[Finding]:
    """Files (or boxes) that are listed twice: for two people, in training and test, as query and match, or in the same
    role."""
    by_place: dict[tuple[Path, Box | None], list[Record]] = defaultdict(list)
    for record in data.records:
        by_place[record.path, record.box].append(record)
    twice = [(_kind(records, data.protocol), records) for records in by_place.values() if len(records) > 1]
    if twice:
        clash = [(kind, records) for kind, records in twice if kind != "duplicate"]
        reasons = ", ".join(what for kind, (_, what) in _DUPLICATES.items() if kind in dict(clash))
        example = str((clash or twice)[0][1][0].path)
        more = f" ({len(clash)} of them {reasons})" if clash else ""
        message = f"{_are(len(twice), 'file')} listed more than once, such as {example}{more}: keep one row each"
        yield Finding("error" if clash else "warning", "listed-twice", message, len(twice), example)


def sizes(data: DataSet) -> tuple[dict[Path, int], dict[Path, str]]:
    """Return the size of each file in bytes, and a message for each that is missing, empty or not a regular file."""
    found: dict[Path, int] = {}
    bad: dict[Path, str] = {}
    for path in {record.path: None for record in data.records}:
        try:
            state = os.stat(path)  # noqa: PTH116 - half a million of them
        except (OSError, ValueError):
            bad[path] = f"{path}: {_MISSING}"
            continue
        if not stat.S_ISREG(state.st_mode):
            bad[path] = f"{path}: it is not a regular file; expected an image file"
        elif not state.st_size:
            bad[path] = f"{path}: {_EMPTY}"
        else:
            found[path] = state.st_size
    return found, bad


def decode_all(paths: Sequence[Path], progress: bool) -> tuple[dict[Path, tuple[int, int]], dict[Path, str]]:
    """Return width and height of each image, and a message for each that cannot be decoded."""
    shapes: dict[Path, tuple[int, int]] = {}
    bad: dict[Path, str] = {}
    for path, result in zip(paths, _in_threads(_decode, paths, progress, "decode")):
        if isinstance(result, str):
            bad[path] = result
        else:
            shapes[path] = result
    return shapes, bad


def readable(data: DataSet, progress: bool = False) -> tuple[DataSet, list[str]]:
    """Return `data` without the images and boxes that cannot be used, and a message for each of those. Decodes every
    image."""
    found, bad = sizes(data)
    shapes, undecodable = decode_all(list(found), progress)
    bad.update(undecodable)
    data, outside = with_pixels(data.without(bad), shapes)
    return data, [*bad.values(), *outside]


def with_pixels(data: DataSet, shapes: dict[Path, tuple[int, int]]) -> tuple[DataSet, list[str]]:
    """Return `data` without the boxes that hold no pixel of their image, and a message for each of those.

    Args:
        data: with images whose width and height `shapes` has.
    """
    kept, outside = [], []
    for record in data.records:
        if min(_extent(record, shapes[record.path])) >= 1:
            kept.append(record)
        else:
            box = ", ".join(f"{value:g}" for value in record.box or ())
            outside.append(f"{record.path}: box {box} holds no pixel of the image")
    return replace(data, records=tuple(kept)), outside


def _extent(record: Record, shape: tuple[int, int]) -> tuple[float, float]:
    """Width and height in pixels of what `record` shows."""
    if record.box is None:
        return shape
    x1, y1, x2, y2 = record.box
    return min(x2, shape[0]) - max(x1, 0), min(y2, shape[1]) - max(y1, 0)


def unusable(data: DataSet, bad: dict[Path, str]) -> Iterator[Finding]:
    """Images that evaluation and training leave out; it is an error if none is left."""
    files = {record.path for record in data.records}
    severity = "error" if len(bad) == len(files) else "warning"
    missing = [path for path in bad if bad[path].endswith(_MISSING)]
    empty = [path for path in bad if bad[path].endswith(_EMPTY)]
    for code, what, group in (("missing-file", "not there", missing), ("empty-file", "empty", empty)):
        if group:
            them = "it" if len(group) == 1 else "them"
            message = f"{_are(len(group), 'listed file')} {what} and left out, such as {group[0]}"
            message += f": get {them} again, or remove {them} from the list"
            yield Finding(severity, code, message, len(group), str(group[0]))
    unreadable = [path for path in bad if not bad[path].endswith((_MISSING, _EMPTY))]
    if unreadable:
        there = len(files) - len(missing) - len(empty)
        message = f"{len(unreadable)} of {there} images cannot be decoded and are left out, such as "
        message += bad[unreadable[0]]
        yield Finding(severity, "unreadable", message, len(unreadable), str(unreadable[0]))


def not_used(data: DataSet) -> Iterator[Finding]:
    """Files in the folders of images that are not used, and images in folders inside a person's folder."""
    if data.others:
        yield Finding("warning", "not-used", unused(data.others), len(data.others), str(data.others[0]))
    if data.name == "folder":
        depth = 3 if splits_above_people(data.root) else 2
        nested = [r.path for r in data.records if len(r.path.relative_to(data.root).parts) > depth]
        if nested:
            person = nested[0].relative_to(data.root).parts[depth - 2]
            message = (
                f"{len(nested)} of {len(data.records)} images are in folders inside a person's folder, such as "
                f"{nested[0]}: they count as images of {person!r}; move them if they show another person"
            )
            yield Finding("warning", "nested", message, len(nested), str(nested[0]))


def shapes(data: DataSet, of_files: dict[Path, tuple[int, int]]) -> Iterator[Finding]:
    """Images (or boxes) whose size is not that of a crop of a person."""
    found = {(r.path, r.box): _extent(r, of_files[r.path]) for r in data.records if r.path in of_files}
    tiny = [place for place, (width, height) in found.items() if width < TINY_WIDTH or height < TINY_HEIGHT]
    wide = [place for place, (width, height) in found.items() if width > height]
    if tiny:
        width, height = found[tiny[0]]
        message = (
            f"{len(tiny)} of {len(found)} images are under {TINY_WIDTH} x {TINY_HEIGHT} pixels, such as {tiny[0][0]} "
            f"({width:g} x {height:g}): leave them out, or mark them as junk"
        )
        yield Finding("warning", "tiny", message, len(tiny), str(tiny[0][0]))
    if found and len(wide) >= WIDE_FRACTION * len(found):
        message = (
            f"{len(wide)} of {len(found)} images are wider than high, such as {wide[0][0]}: "
            "the network needs crops of one person each; crop them with a detector first"
        )
        yield Finding("warning", "wide", message, len(wide), str(wide[0][0]))


def duplicates(records: Sequence[Record], sizes: dict[Path, int], protocol: str, progress: bool) -> Iterator[Finding]:
    """Files of the same content: for two people, in training and test, as query and match, or in the same role."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in {record.path: None for record in records}:
        by_size[sizes[path]].append(path)
    alike = [path for group in by_size.values() if len(group) > 1 for path in group]
    digests = dict(zip(alike, _in_threads(_digest, alike, progress, "compare")))
    by_content: dict[bytes, list[Record]] = defaultdict(list)
    for record in records:
        if digests.get(record.path):
            by_content[digests[record.path]].append(record)
    kinds: dict[str, list[list[Record]]] = defaultdict(list)
    for group in by_content.values():
        if len({record.path for record in group}) > 1:
            kinds[_kind(group, protocol)].append(group)
    for code, (severity, what) in _DUPLICATES.items():
        if kinds[code]:
            first, second = (str(path) for path in sorted({record.path for record in kinds[code][0]})[:2])
            message = f"{_are(len(kinds[code]), 'image')} there more than once, {what}, such as {first} and {second}"
            yield Finding(severity, code, f"{message}: remove all but one", len(kinds[code]), first)


_DUPLICATES = {
    "duplicate-person": ("warning", "labelled as different people"),
    "duplicate-leak": ("warning", "in training and in test"),
    "duplicate-answer": ("warning", "as a query and as its match, which makes that match trivial"),
    "duplicate": ("warning", "in the same role"),
}


def _kind(group: list[Record], protocol: str) -> str:
    """The worst way in which records of one image contradict each other: a key of `_DUPLICATES`."""
    if len({record.person for record in group} - {JUNK}) > 1:
        return "duplicate-person"
    if len({record.split in ("train", "val") for record in group}) > 1:
        return "duplicate-leak"
    for query in (record for record in group if record.split == "query"):
        for match in (record for record in group if record.split == "gallery"):
            if match.person == query.person and (protocol == "camera-blind" or query.camera != match.camera):
                return "duplicate-answer"
    return "duplicate"


def _are(count: int, what: str) -> str:
    return f"{count} {what} is" if count == 1 else f"{count} {what}s are"


def _decode(path: Path) -> tuple[int, int] | str:
    """Return width and height in pixels, upright, or why the image cannot be decoded."""
    try:
        with decoded(path) as image:
            return image.size
    except ImageError as error:
        return str(error)


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""  # it was readable before; the decoder reports it


def _in_threads(job: Callable[[Path], Result], paths: Sequence[Path], progress: bool, what: str) -> Iterator[Result]:
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        yield from track(pool.map(job, paths), len(paths), what, "images", show=progress)
