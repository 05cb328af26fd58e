"""A contact sheet of groups of images: one row for each group, as one JPEG or PNG file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from osnet.data.records import DISTRACTOR
from osnet.errors import DataError, ImageError, OptionError
from osnet.evaluation.cluster_files import Clusters
from osnet.evaluation.feature_tables import FeatureRows
from osnet.files import atomic_file
from osnet.inference.images import prepare_boxes
from osnet.inference.tables import BOX
from osnet.report.charts import GRID, INK, RED, SOFT

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

SUFFIXES = (".jpg", ".jpeg", ".png")
GROUPS, EACH = 24, 12
"""Rows of a sheet at most, and images in a row."""

_CROP = (72, 144)
_UNKNOWN = "#a9b2bc"
_FRAME, _GAP, _MARGIN, _LABEL, _TOP, _MORE = 3, 9, 18, 128, 82, 48


class Row(NamedTuple):
    """A group on a sheet.

    Attributes:
        group: its number.
        images: rows of the features that are shown, from the most typical image to the least.
        size: images in the group.
        person: the person of most of its images; None if unknown.
        persons: number of known persons in it.
    """

    group: int
    images: tuple[int, ...]
    size: int
    person: int | None
    persons: int


def check_sheet(path: str | os.PathLike[str]) -> Path:
    """`path`, if a contact sheet can be written there.

    Raises:
        OptionError: an unknown ending, or the folder is missing.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise OptionError(f"{target}: expected a contact sheet's name to end in one of {', '.join(SUFFIXES)}")
    if not target.parent.is_dir():
        raise OptionError(f"{target}: the folder {target.parent} does not exist; make it first")
    return target


def sheet_rows(clusters: Clusters, *, groups: int = GROUPS, each: int = EACH) -> list[Row]:
    """Choose the largest groups and the images of each that are shown.

    Images are sorted by similarity to the mean of their group. If there are more than `each`, they are picked evenly
    from the most to the least similar one, so that the images that fit least are always shown.

    Args:
        clusters: of `osnet.evaluation.cluster_files.cluster_features`.
        groups, each: rows, and images in a row, at most.

    Returns:
        The rows, largest group first.
    """
    lengths = np.linalg.norm(clusters.rows.features, axis=1, keepdims=True)
    features = clusters.rows.features / np.where(lengths > 0, lengths, 1)
    rows = []
    for group in range(min(groups, int(clusters.labels.max()) + 1)):
        places = np.flatnonzero(clusters.labels == group)
        order = places[np.argsort(-(features[places] @ features[places].mean(axis=0)), kind="stable")]
        shown = order[np.unique(np.linspace(0, len(order) - 1, min(each, len(order))).round().astype(int))]
        people: npt.NDArray[np.int64] = np.empty(0, np.int64)
        if clusters.persons is not None:
            people = clusters.persons[places]
            people = people[people > DISTRACTOR]
        names, counts = np.unique(people, return_counts=True)
        person = int(names[np.argmax(counts)]) if len(names) else None
        rows.append(Row(group, tuple(shown.tolist()), len(places), person, len(names)))
    return rows


def write_sheet(clusters: Clusters, path: str | os.PathLike[str], *, overwrite: bool = True) -> list[str]:
    """Draw the largest groups, a row for each, and write the picture to `path`.

    Where persons are known, images of another person than most of the group have a red frame, and those of nobody
    known (junk, distractors) a grey one. An image that cannot be read is an empty box.

    Args:
        clusters: of `osnet.evaluation.cluster_files.cluster_features`; its file names are paths as seen from the
            current folder, and columns ``x1``, ``y1``, ``x2``, ``y2`` are the part of the image in pixels.
        path: ``.jpg``, ``.jpeg`` or ``.png``.
        overwrite: replace a file.

    Returns:
        One message for each image that could not be read.

    Raises:
        OptionError: an unknown ending or missing folder.
        DataError: there is no group, or none of its images can be read.
        ExistsError: the file exists, and `overwrite` is false.
        DiskError: the disk is full or refuses.
    """
    from PIL import Image, ImageDraw

    target = check_sheet(path)
    rows = sheet_rows(clusters)
    if not rows:
        raise DataError("no contact sheet: no two images are in one group; use a lower threshold")
    wide, tall = _CROP[0] + 2 * _FRAME, _CROP[1] + 2 * _FRAME
    columns = max(len(row.images) for row in rows)
    more = _MORE if any(row.size > len(row.images) for row in rows) else 0
    width = max(2 * _MARGIN + _LABEL + columns * (wide + _GAP) + more, 640)
    sheet = Image.new("RGB", (width, _TOP + len(rows) * (tall + _GAP) + _MARGIN - _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    _heading(draw, clusters, len(rows))
    failed: list[str] = []
    for number, row in enumerate(rows):
        top = _TOP + number * (tall + _GAP)
        if number:
            draw.line((_MARGIN, top - _GAP // 2 - 1, width - _MARGIN, top - _GAP // 2 - 1), fill=GRID)
        _label(draw, row, top)
        for column, place in enumerate(row.images):
            left = _MARGIN + _LABEL + column * (wide + _GAP)
            frame = (left, top, left + wide - 1, top + tall - 1)
            if clusters.persons is not None and clusters.persons[place] != row.person:
                draw.rectangle(frame, fill=RED if clusters.persons[place] > DISTRACTOR else _UNKNOWN)
            try:
                sheet.paste(_crop(clusters.rows, place), (left + _FRAME, top + _FRAME))
            except ImageError as error:
                failed.append(str(error))
                draw.rectangle(frame, fill=GRID)
        if row.size > len(row.images):
            left = _MARGIN + _LABEL + len(row.images) * (wide + _GAP)
            draw.text((left, top + tall // 2 - 8), f"+{row.size - len(row.images)}", fill=SOFT, font=_font(15))
    shown = sum(len(row.images) for row in rows)
    if len(failed) == shown:
        raise DataError(
            f"no contact sheet: none of its {shown} images can be read ({failed[0]}); run in the folder where "
            "`osnet embed` ran"
        )
    with atomic_file(target, overwrite=overwrite) as private:
        if target.suffix.lower() == ".png":
            sheet.save(private, "PNG", optimize=True)
        else:
            sheet.save(private, "JPEG", quality=88)
    return failed


def _heading(draw: ImageDraw.ImageDraw, clusters: Clusters, rows: int) -> None:
    about = clusters.to_dict()
    title = f"{about['groups']:,} groups of {about['images']:,} images"
    if about["groups"] > rows:
        title += f"; the {rows} largest"
    draw.text((_MARGIN, 12), title, fill=INK, font=_font(18))
    how = (
        f"{about['alone']:,} images are alone. Method: {clusters.method}, at a similarity of {clusters.threshold:.3f}."
    )
    legend = "Left to right: from the most typical image of a group to the least."
    if clusters.scores:
        how += f" Pairwise F1: {100 * clusters.scores.f1:.1f} %."
        legend += " Red frame: another person than most of the group. Grey frame: an unknown person."
    draw.text((_MARGIN, 37), how, fill=SOFT, font=_font(12))
    draw.text((_MARGIN, 55), legend, fill=SOFT, font=_font(12))


def _label(draw: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    draw.text((_MARGIN, top + 44), f"group {row.group}", fill=INK, font=_font(16))
    draw.text((_MARGIN, top + 68), f"{row.size:,} images", fill=SOFT, font=_font(13))
    if row.persons:
        text = "1 person" if row.persons == 1 else f"{row.persons} persons"
        draw.text((_MARGIN, top + 87), text, fill=SOFT if row.persons == 1 else RED, font=_font(13))


def _crop(rows: FeatureRows, place: int) -> Image.Image:
    from PIL import Image

    corners = [rows.columns[name][place] for name in BOX if name in rows.columns]
    box = [float(value) for value in corners] if len(corners) == len(BOX) and None not in corners else None
    (found,) = prepare_boxes(rows.names[place], [box], height=_CROP[1], width=_CROP[0])
    if isinstance(found, ImageError):
        raise found
    return Image.fromarray(found)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()
