"""Feature files with camera, time and track → a table with the person of each row."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet._version import __version__
from osnet.checks import check_number
from osnet.data.tables import cell_text
from osnet.errors import DataError, OptionError
from osnet.evaluation.feature_tables import PERSON, FeatureRows, known_persons, read_together, write_table
from osnet.evaluation.linking import Bounds, IdentityScores, Pairs, Tracks, link, make_tracks, score_identities
from osnet.gallery.filters import seconds

CAMERA, TIME, FRAME, TRACK, IDENTITY = "camera", "time", "frame", "track", "identity"


def read_tracks(paths: Sequence[str | os.PathLike[str]]) -> FeatureRows:
    """Read feature files of one or several cameras.

    Args:
        paths: files and folders that `osnet embed` wrote. If none of them has a column ``camera``, each is one camera,
            which is called after it.

    Returns:
        All of their rows, in order, with a column ``camera``.

    Raises:
        OptionError: not a feature file, or two files of the same name without a column ``camera``.
        DataError: as `osnet.evaluation.feature_tables.read_together`.
    """
    rows = read_together(paths)
    if CAMERA in rows.columns:
        return rows
    names = [Path(path).name if Path(path).is_dir() else Path(path).stem for path in paths]
    if len(set(names)) < len(names):
        raise OptionError(
            f"expected a file or folder for each camera, each with a name of its own, or a column {CAMERA}, got "
            f"{', '.join(names)}"
        )
    cameras = [name for name, count in zip(names, rows.counts) for _ in range(count)]
    return rows._replace(columns={**rows.columns, CAMERA: cameras})


@dataclass(frozen=True, eq=False)
class Links:
    """Persons of the tracks of feature files.

    Attributes:
        rows: the images and their features.
        tracks: that they form.
        identities: int64 (N,), the person of each row, numbered from 0 by first appearance.
        scores: against the true persons; None if not asked for.
        threshold: as used.
    """

    rows: FeatureRows
    tracks: Tracks
    identities: npt.NDArray[np.int64]
    scores: IdentityScores | None
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, for JSON."""
        seen = set(zip(self.identities.tolist(), (self.tracks.cameras[track] for track in self.tracks.of_row.tolist())))
        cameras = np.bincount([identity for identity, _ in seen])
        return {
            "rows": len(self.identities),
            "tracks": len(self.tracks.cameras),
            "cameras": len(set(self.tracks.cameras)),
            "identities": len(cameras),
            "in_several_cameras": int((cameras > 1).sum()),
            "threshold": self.threshold,
            "scores": asdict(self.scores) if self.scores else None,
            "with": self.rows.signature.to_dict(),
        }


def link_features(
    rows: FeatureRows,
    threshold: float,
    *,
    track: str | None = None,
    score: bool = False,
    fps: float | None = None,
    split: float | None = None,
    overlapping: Pairs = (),
    travel: Bounds | None = None,
) -> Links:
    """Find out which tracks show one person.

    Args:
        rows: of `read_tracks`, with the columns ``camera``, ``time`` (seconds, a
            moment, or ISO 8601 text) or else ``frame``, and `track`. The clocks of all cameras must agree.
        threshold: as `osnet.evaluation.linking.link` has it.
        track: column with the track; None for ``track``, or where there is none, ``person``.
        score: compare with the column ``person``, which must have the true person of each row.
        fps: frames in a second, for rows without ``time``; needed with `split` and `travel`.
        split: as `osnet.evaluation.linking.make_tracks` has it.
        overlapping, travel: as `osnet.evaluation.linking.link` has them.

    Returns:
        `Links`.

    Raises:
        DataError: a column is missing, or a cell of it is empty or cannot be understood.
        OptionError: `fps` is missing or not a number above 0, or as `osnet.evaluation.linking.link`.
    """
    cameras = _column(rows, CAMERA, _text)
    times = _times(rows, fps, "--travel" if travel else "--split" if split else None)
    track = track or (TRACK if TRACK in rows.columns or PERSON not in rows.columns else PERSON)
    tracks = make_tracks(rows.features, cameras, times, _column(rows, track, _text), split=split)
    persons = known_persons(rows) if score else None
    if score and persons is None:
        raise _missing(rows, PERSON)
    identities = link(tracks, threshold, overlapping=overlapping, travel=travel)[tracks.of_row]
    return Links(rows, tracks, identities, score_identities(identities, persons) if score else None, threshold)


def _times(rows: FeatureRows, fps: float | None, user: str | None) -> Sequence[float]:
    if fps is not None:
        fps = check_number("fps", fps, above=0)
    if TIME in rows.columns:
        return _column(rows, TIME, _seconds)
    if FRAME not in rows.columns:
        raise _missing(rows, f"{TIME} or {FRAME}")
    if fps is None and user:
        raise OptionError(f"{user} is in seconds, but these features have only the column {FRAME}; give --fps")
    return [number / (fps or 1) for number in _column(rows, FRAME, _seconds)]


def _column(rows: FeatureRows, name: str, read: Callable[[Any], Any]) -> list[Any]:
    if name not in rows.columns:
        raise _missing(rows, name)
    found = []
    for place, cell in enumerate(rows.columns[name]):
        try:
            value = read(cell)
        except ValueError as error:
            raise DataError(f"row {place} ({rows.names[place]!r}): {name} cannot be understood ({error})") from error
        if value is None:
            raise DataError(f"row {place} ({rows.names[place]!r}): {name} is empty; every row needs one")
        found.append(value)
    return found


def _missing(rows: FeatureRows, name: str) -> DataError:
    there = ", ".join(rows.columns) or "none"
    return DataError(
        f"these features have no column {name} (further columns: {there}); embed a table with the columns camera, "
        "time or frame, and track into a folder or a .parquet file, or name the column of tracks with --track"
    )


def _text(cell: Any) -> str | None:
    return cell_text(cell) or None


def _seconds(cell: Any) -> float | None:
    text = cell_text(cell)
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return seconds("the cell", text)


def write_links(links: Links, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write a row for each image: ``file``, further columns of the features, and ``identity``, the person.

    Args:
        links: of `link_features`.
        path, overwrite: as `osnet.evaluation.feature_tables.write_table` has them.

    Raises:
        OptionError, DataError, ExistsError, DiskError: as `osnet.evaluation.feature_tables.write_table`.
    """
    about = {**links.to_dict(), "osnet_version": __version__}
    added = {IDENTITY: links.identities.tolist()}
    write_table(path, links.rows, added, about, name="osnet.link", overwrite=overwrite)
