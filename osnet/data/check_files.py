"""Checks of a data set that look at its files: missing, unreadable, tiny, the same twice."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, TypeVar

from osnet.data.findings import Finding
from osnet.data.records import JUNK, DataSet, Record

Result = TypeVar("Result")

TINY_WIDTH, TINY_HEIGHT = 16, 32
"""Pixels below which a crop shows next to nothing at the network's 128 x 256."""

WIDE_SHARE = 0.5
"""Share of images wider than high from which on they are taken for whole frames."""


def paths(data: DataSet) -> Iterator[Finding]:
    """Files that are listed twice: under two people, in training and test, as query and right answer, or just so."""
    by_path: dict[Path, list[Record]] = defaultdict(list)
    for record in data.records:
        by_path[record.path].append(record)
    twice = [records for records in by_path.values() if len(records) > 1]
    if twice:
        kinds = [(_kind(records, data.protocol), records) for records in twice]
        clash = [(kind, records) for kind, records in kinds if kind != "duplicate"]
        reasons = ", ".join(_DUPLICATES[kind][1] for kind in _DUPLICATES if kind in dict(clash))
        example = str((clash or kinds)[0][1][0].path)
        yield Finding(
            "error" if clash else "warning",
            "listed-twice",
            f"{_are(len(twice), 'file')} listed more than once, such as {example}"
            + (f" ({len(clash)} of them {reasons})" if clash else "")
            + ": keep one row each",
            len(twice),
            example,
        )


def sizes(data: DataSet) -> tuple[dict[Path, int], list[Finding]]:
    """Bytes of each file that is one, and findings on those that are not or are empty."""
    found: dict[Path, int] = {}
    missing, empty = [], []
    for path in {record.path: None for record in data.records}:
        try:
            state = os.stat(path)  # noqa: PTH116 - half a million of them
        except (OSError, ValueError):
            missing.append(path)
            continue
        if not stat.S_ISREG(state.st_mode):
            missing.append(path)
        elif not state.st_size:
            empty.append(path)
        else:
            found[path] = state.st_size
    findings = []
    for bad, code, what in ((missing, "missing-file", "not there"), (empty, "empty-file", "empty")):
        if bad:
            them = "it" if len(bad) == 1 else "them"
            advice = f"{_are(len(bad), 'listed file')} {what}, such as {bad[0]}"
            advice += f": get {them} again, or take {them} off the list"
            findings.append(Finding("error", code, advice, len(bad), str(bad[0])))
    return found, findings


def pictures(records: Sequence[Record], progress: bool) -> Iterator[Finding]:
    """Decode every image: those that cannot be, and sizes that no person crop has."""
    files = list({record.path: None for record in records})
    unreadable: list[tuple[Path, str]] = []
    tiny: list[tuple[Path, tuple[int, int]]] = []
    wide: list[Path] = []
    for path, result in zip(files, _in_threads(_decode, files, progress, "decode")):
        if isinstance(result, str):
            unreadable.append((path, result))
            continue
        width, height = result
        if width < TINY_WIDTH or height < TINY_HEIGHT:
            tiny.append((path, result))
        if width > height:
            wide.append(path)
    if unreadable:
        path, reason = unreadable[0]
        advice = (
            f"{len(unreadable)} of {len(files)} images cannot be decoded, such as {path} ({reason}): get them again"
        )
        yield Finding("error", "unreadable", advice, len(unreadable), str(path))
    if tiny:
        path, (width, height) = tiny[0]
        yield Finding(
            "warning",
            "tiny",
            f"{len(tiny)} of {len(files)} images are under {TINY_WIDTH} x {TINY_HEIGHT} pixels, such as {path} "
            f"({width} x {height}): leave them out, or mark them as junk",
            len(tiny),
            str(path),
        )
    if files and len(wide) >= WIDE_SHARE * len(files):
        yield Finding(
            "warning",
            "wide",
            f"{len(wide)} of {len(files)} images are wider than high, such as {wide[0]}: "
            "the network wants crops of one person each; cut them out with a detector first",
            len(wide),
            str(wide[0]),
        )


def duplicates(records: Sequence[Record], sizes: dict[Path, int], protocol: str, progress: bool) -> Iterator[Finding]:
    """Files of the same content: under two people, in training and test, as query and right answer, or just twice."""
    by_size: dict[int, set[Path]] = defaultdict(set)
    for path, size in sizes.items():
        by_size[size].add(path)
    alike = [path for group in by_size.values() if len(group) > 1 for path in group]
    digests = dict(zip(alike, _in_threads(_digest, alike, progress, "compare")))
    by_content: dict[bytes, list[Record]] = defaultdict(list)
    for record in records:
        if digests.get(record.path):
            by_content[digests[record.path]].append(record)
    groups = [group for group in by_content.values() if len({record.path for record in group}) > 1]
    kinds: dict[str, list[list[Record]]] = defaultdict(list)
    for group in groups:
        kinds[_kind(group, protocol)].append(group)
    for code, (severity, what) in _DUPLICATES.items():
        if kinds[code]:
            first, second = (str(path) for path in sorted({record.path for record in kinds[code][0]})[:2])
            advice = f"{_are(len(kinds[code]), 'image')} there more than once, {what}, such as {first} and {second}"
            yield Finding(severity, code, f"{advice}: remove all but one", len(kinds[code]), first)


_DUPLICATES = {
    "duplicate-person": ("error", "labelled as different people"),
    "duplicate-leak": ("error", "in training and in test"),
    "duplicate-answer": ("warning", "as a query and as its right answer, which makes that answer trivial"),
    "duplicate": ("warning", "in the same role"),
}


def _kind(group: list[Record], protocol: str) -> str:
    if _contradicts(group):
        return "duplicate-person"
    if _leaks(group):
        return "duplicate-leak"
    for query in (record for record in group if record.split == "query"):
        for answer in (record for record in group if record.split == "gallery"):
            if answer.person == query.person and (protocol == "camera-blind" or query.camera != answer.camera):
                return "duplicate-answer"
    return "duplicate"


def _are(count: int, what: str) -> str:
    return f"{count} {what} is" if count == 1 else f"{count} {what}s are"


def _contradicts(records: list[Record]) -> bool:
    return len({record.person for record in records} - {JUNK}) > 1


def _leaks(records: list[Record]) -> bool:
    return len({record.split in ("train", "val") for record in records}) > 1


def _decode(path: Path) -> tuple[int, int] | str:
    """Width and height in pixels, or why the image cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise whatever a damaged file leads them to
        return " ".join(str(error).split()) or type(error).__name__


def _digest(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            for part in iter(lambda: file.read(1 << 20), b""):
                digest.update(part)
            return digest.digest()
    except OSError:
        return b""  # it was readable before; the decoder reports it


def _in_threads(job: Callable[[Path], Result], paths: Sequence[Path], progress: bool, what: str) -> Iterator[Result]:
    from tqdm import tqdm

    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        yield from tqdm(pool.map(job, paths), desc=what, total=len(paths), unit=" images", disable=not progress)
