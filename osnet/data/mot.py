"""The format of MOTChallenge: box files (``gt.txt``, ``det.txt``, a tracker's output) and folders of numbered frames.

A line of a box file is ``frame,id,left,top,width,height,confidence,class,visibility``; the last three may be missing,
and a file of ten columns has world coordinates in the place of class and visibility. Frames are counted from 1, and so
are pixels: the left upper one is (1, 1). Source: Dendorfer et al., MOTChallenge: A Benchmark for Single-Camera Multiple
Target Tracking (IJCV 2021), and the benchmark's development kit.
"""

from __future__ import annotations

import configparser
import math
import os
import re
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from osnet.data.records import DataSet, Record
from osnet.errors import DataError
from osnet.image_files import VIDEO_SUFFIXES, is_image_name

SEQUENCE_FILE = "seqinfo.ini"
IMAGE_FOLDER = "img1"

BOX_FILES = ("gt/gt.txt", "det/det.txt")

TRAINING_VISIBILITY = 0.3
"""Less visible boxes are not trained on: they show mostly somebody else."""

_RELEASE = re.compile(r"-(?:DPM|FRCNN|SDP)$")
_REQUIRED = 6
_WORLD = 10
_NUMBER_AT_END = re.compile(r"(\d{1,9})$")
_LARGEST = 1e9


class Boxes(NamedTuple):
    """The boxes of a file, sorted by frame; boxes of one frame in the order of the file.

    Attributes:
        frames: numbers from 1, int64 (N,).
        ids: of persons or tracks, int64 (N,); -1 where unknown.
        corners: x1, y1, x2, y2 in pixels, float64 (N, 4), counted from 0, end exclusive.
        confidence, visibility: float64 (N,); NaN where the file has none.
        classes: int64 (N,), 1 for pedestrians; -1 where the file has none.
    """

    frames: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    corners: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    visibility: npt.NDArray[np.float64]

    def of(self, chosen: npt.NDArray[np.bool_] | slice) -> Boxes:
        """Those that `chosen`, a slice or bool (N,), names."""
        return Boxes._make(column[chosen] for column in self)


def read_boxes(path: Path) -> Boxes:
    """Read a box file.

    Raises:
        DataError: it cannot be read, has no boxes, or a line is not what MOTChallenge writes.
    """
    cells = array("d")
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    cells.extend(_cells(line, f"{path}, line {number}"))
    except OSError as error:
        raise DataError(f"box file {str(path)!r} cannot be read ({error.strerror or error})") from None
    if not cells:
        raise DataError(f"{path}: no boxes; expected lines frame,id,left,top,width,height,...")
    table = np.frombuffer(cells, np.float64).reshape(-1, 9)
    table = table[np.argsort(table[:, 0], kind="stable")]
    left, top, width, height = table[:, 2:6].T
    corners = np.stack([left - 1, top - 1, left - 1 + width, top - 1 + height], axis=1)
    whole = table[:, [0, 1, 7]].astype(np.int64)
    return Boxes(whole[:, 0], np.maximum(whole[:, 1], -1), corners, table[:, 6], whole[:, 2], table[:, 8])


def _cells(line: str, where: str) -> tuple[float, ...]:
    """Nine numbers of a line: -1 for a class and NaN for a confidence and visibility that it does not have."""
    words = line.split(",")
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) < _REQUIRED or not all(math.isfinite(value) and abs(value) <= _LARGEST for value in values):
        raise DataError(
            f"{where}: expected numbers frame,id,left,top,width,height,... as MOTChallenge writes them, got "
            f"{line.strip()[:80]!r}"
        )
    frame, identity = values[:2]
    if not (frame >= 1 and frame.is_integer() and identity.is_integer()):
        raise DataError(f"{where}: expected a frame of at least 1 and an integer id, got {line.strip()[:80]!r}")
    confidence = values[6] if len(values) > 6 else math.nan
    known = len(values) < _WORLD
    kind = values[7] if known and len(values) > 7 and values[7].is_integer() else -1
    visibility = values[8] if known and len(values) > 8 and values[8] >= 0 else math.nan
    return (*values[:_REQUIRED], confidence, kind, visibility)


class Sequence(NamedTuple):
    """A folder of a sequence.

    Attributes:
        name: of the sequence.
        frames: the image of each frame, by its number.
        rate: frames per second; None where ``seqinfo.ini`` does not say it.
    """

    name: str
    frames: dict[int, Path]
    rate: float | None


def read_sequence(folder: Path) -> Sequence:
    """Find the frames of the sequence in `folder`.

    The images are in ``img1`` (or the ``imDir`` of ``seqinfo.ini``) where that is, else in the folder itself. The
    number at the end of a name is that of the frame: ``000001.jpg`` is frame 1.

    Raises:
        DataError: no images, names without a number, two images of one number, or a ``seqinfo.ini`` that makes no
            sense.
    """
    about = _about(folder / SEQUENCE_FILE)
    inside = folder / about.get("imdir", IMAGE_FOLDER)
    images = inside if inside.is_dir() else folder
    frames: dict[int, Path] = {}
    try:
        names = sorted(entry.name for entry in os.scandir(images) if is_image_name(entry.name) and entry.is_file())
    except OSError as error:
        raise DataError(f"{images}: the folder cannot be read ({error.strerror or error})") from None
    for name in names:
        path = images / name
        found = _NUMBER_AT_END.search(path.stem)
        if not found:
            raise DataError(f"{path}: no frame number at the end of the name; expected frames such as 000001.jpg")
        number = int(found[1])
        if number in frames:
            raise DataError(f"{path}: frame {number} is there twice, also as {frames[number].name}")
        frames[number] = path
    if not frames:
        raise DataError(
            f"{images}: no frames; expected images such as 000001.jpg, or a folder {IMAGE_FOLDER} with them"
        )
    return Sequence(about.get("name") or folder.resolve().name, frames, _rate(about, folder))


def _about(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig", errors="surrogateescape"))
        return dict(parser["Sequence"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (configparser.Error, KeyError):
        raise DataError(f"{path}: expected a section [Sequence] with lines such as frameRate=30") from None


def _rate(about: dict[str, str], folder: Path) -> float | None:
    text = about.get("framerate")
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= 1e6:
        raise DataError(f"{folder / SEQUENCE_FILE}: expected frameRate as a number above 0, got {text[:40]!r}")
    return rate


class Film(NamedTuple):
    """A sequence with people who are known.

    Attributes:
        name: of the sequence.
        place: its folder, or the video file in it.
        rate: frames per second; None where it is not known.
        boxes: of people whose id is known.
    """

    name: str
    place: Path
    rate: float | None
    boxes: Boxes


def is_sequence(folder: Path) -> bool:
    """Whether `folder` has boxes as MOTChallenge names them, ``gt/gt.txt`` or ``det/det.txt``."""
    return any((folder / file).is_file() for file in BOX_FILES)


def read_films(root: Path, *, min_visibility: float = 0.0) -> list[Film]:
    """Read the sequence in `root`, or all sequences in the folders of `root`.

    Boxes are those of ``gt/gt.txt``, or of ``det/det.txt`` where there is no ground truth. Left out are boxes without
    an id, with confidence 0 (MOTChallenge's mark for boxes that do not count), of a class other than 1 (pedestrians),
    and less visible than `min_visibility`. Of the three releases of a sequence of MOT17 (``-DPM``, ``-FRCNN`` and
    ``-SDP``), which have the same frames and people, the first is read.

    Raises:
        DataError: no sequences, no boxes with an id, or files that cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder with sequences in MOT format, or one sequence")
    folders = [root] if is_sequence(root) else sorted(child for child in root.iterdir() if is_sequence(child))
    by_name = {_RELEASE.sub("", folder.name): folder for folder in reversed(folders)}
    if not folders:
        raise DataError(f"{root}: no sequence in MOT format; expected folders with img1 (or a video) and gt/gt.txt")
    return [_film(folder, name, min_visibility) for name, folder in reversed(by_name.items())]


def _film(folder: Path, name: str, min_visibility: float) -> Film:
    file = next(folder / one for one in BOX_FILES if (folder / one).is_file())
    boxes = read_boxes(file)
    known = (boxes.ids >= 0) & (boxes.confidence != 0) & np.isin(boxes.classes, (-1, 1))
    if not known.any():
        raise DataError(
            f"{file}: no box of a pedestrian with an id; expected ids of at least 0, and -1 only if unknown"
        )
    known &= ~(boxes.visibility < min_visibility)
    videos = sorted(path for path in folder.iterdir() if path.name.lower().endswith(VIDEO_SUFFIXES))
    if videos and not (folder / IMAGE_FOLDER).is_dir():
        if len(videos) > 1:
            raise DataError(f"{folder}: has {len(videos)} videos, such as {videos[0].name}; expected one, or img1")
        return Film(name, videos[0], _rate(_about(folder / SEQUENCE_FILE), folder), boxes.of(known))
    return Film(name, folder, read_sequence(folder).rate, boxes.of(known))


def read_mot(root: Path) -> DataSet:
    """Read the people in the sequence in `root`, or in all sequences in its folders, as training images.

    Each box is a record: the image of its frame, the box and the frame. An id means one person within its sequence, so
    the same id in two sequences is two people. The camera is the number of the sequence; since nobody is known in two,
    the protocol is ``camera-blind``. Boxes are chosen as by `read_films`, with `TRAINING_VISIBILITY`.

    Raises:
        DataError: as for `read_films`; a video file instead of images; a box in a frame that is not there.
    """
    records: list[Record] = []
    names: dict[int, str] = {}
    for camera, film in enumerate(read_films(root, min_visibility=TRAINING_VISIBILITY), 1):
        if film.place.is_file():
            raise DataError(f"{film.place}: training needs the frames as images, in a folder {IMAGE_FOLDER} beside it")
        files = read_sequence(film.place).frames
        absent = sorted(set(film.boxes.frames.tolist()) - files.keys())
        if absent:
            raise DataError(f"{film.place}: no image of frame {absent[0]}, which has boxes ({len(absent)} such frames)")
        persons: dict[int, int] = {}
        for frame, identity, corners in zip(*(column.tolist() for column in film.boxes[:3])):
            person = persons.setdefault(identity, len(names) + 1)
            names.setdefault(person, f"{film.name}/{identity}")
            box = tuple(corners)
            records.append(Record(files[frame], person, camera, "train", names[person], box, frame))
    return DataSet("mot", root, "camera-blind", tuple(records), names)
