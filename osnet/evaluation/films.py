"""Evaluate models as trackers use them: on sequences in MOT format, crops cut out of the frames on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.checks import check_choice, check_integer, check_number
from osnet.data.mot import Film, read_films
from osnet.data.records import Record
from osnet.errors import DataError, OptionError
from osnet.evaluation.distances import METRICS
from osnet.evaluation.reassociation import GAPS, STRIDE, Floats, Integers, Reassociation, reassociate
from osnet.inference.embedder import Embedder, Signature
from osnet.inference.frames import FrameSource
from osnet.inference.shards import features_of

if TYPE_CHECKING:
    from osnet.inference.feature_folder import Failure
    from osnet.models.load import ModelLike

_GAP = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)(s?)")
_ROWS = 4096
DEFAULT_GAPS = tuple((float(frames), False) for frames in GAPS)


@dataclass(frozen=True, eq=False)
class FilmEvaluation:
    """What `evaluate_films` found.

    Attributes:
        model, data: as given.
        signature: of the features.
        backend: that computed them.
        metric, stride: as given.
        sequences: names.
        gaps: figures for each gap.
        records: image or video, person, camera (place in `sequences`), box and frame of each row that the figures name.
        left_out: one line for each box that could not be cut out.
        features, persons, frames: of `records`: float32 (N, 512), int64 (N,), int64 (N,).
    """

    model: str
    data: str
    signature: Signature
    backend: str
    metric: str
    stride: int
    sequences: tuple[str, ...]
    gaps: tuple[Reassociation, ...]
    records: tuple[Record, ...] = field(repr=False)
    left_out: tuple[str, ...] = field(repr=False)
    features: Floats = field(repr=False)
    persons: Integers = field(repr=False)
    frames: Integers = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, for JSON."""
        return {
            "model": self.model, "data": self.data, "protocol": "reassociation", "network": self.signature.model,
            "sha256": self.signature.sha256, "precision": self.signature.precision, "backend": self.backend,
            "metric": self.metric, "stride": self.stride, "sequences": list(self.sequences),
            "boxes": len(self.records), "left_out": list(self.left_out), "gaps": [gap.to_dict() for gap in self.gaps],
        }  # fmt: skip


def parse_gaps(text: str, name: str = "gaps") -> tuple[tuple[float, bool], ...]:
    """Gaps of ``1,5,30`` (frames) or ``0.5s,2s`` (seconds): each with whether it is in seconds.

    Raises:
        OptionError: not such a text.
    """
    found = [_GAP.fullmatch(part.strip()) for part in text.split(",")]
    gaps = [(float(one[1]), bool(one[2])) for one in found if one]
    if len(gaps) < len(found) or any(not gap or (not seconds and not gap.is_integer()) for gap, seconds in gaps):
        raise OptionError(f"{name}: expected frames such as 1,5,10,30 or seconds such as 0.5s,2s, got {text!r:.80}")
    return tuple(dict.fromkeys(gaps))


def evaluate_films(
    model: ModelLike,
    data: str | os.PathLike[str],
    *,
    gaps: Sequence[tuple[float, bool]] = DEFAULT_GAPS,
    stride: int = STRIDE,
    min_visibility: float = 0.0,
    metric: str = "cosine",
    progress: Callable[[int, int], None] | None = None,
    **embedder: Any,
) -> FilmEvaluation:
    """Ask for each person of a frame whether they are the most similar of all people of later frames.

    Args:
        model: any model reference.
        data: a sequence in MOT format, or a folder of sequences, see `osnet.data.mot.read_films`.
        gaps: how much later, each with whether it is in seconds instead of frames.
        stride: queries are taken from frames whose number this divides.
        min_visibility: boxes that are less visible are left out, 0 to 1.
        metric: ``cosine`` or ``euclidean``.
        progress: called with boxes done and all boxes.
        **embedder: keywords of `osnet.Embedder`.

    Raises:
        OptionError: a setting that makes no sense; seconds where a sequence has no frame rate.
        DataError: `data` cannot be used, or no query counts.
        Errors of `osnet.Embedder`.

    Source: Roboflow ``reid`` 0.1.0rc1, ReassociationProtocol; see `osnet.evaluation.reassociation`.
    """
    check_choice("metric", metric, METRICS)
    check_integer("stride", stride, least=1)
    check_number("min_visibility", min_visibility, least=0, most=1)
    films = read_films(Path(data), min_visibility=min_visibility)
    in_frames = [_in_frames(gap, seconds, films) for gap, seconds in gaps]
    needed = [_needed(film, [one[place] for one in in_frames], stride) for place, film in enumerate(films)]
    total = sum(len(film.boxes.frames) for film in needed)
    if not total:
        raise DataError(f"{data}: no boxes in frames that {stride} divides; use a smaller stride")
    model_embedder = Embedder(model, **{**embedder, "normalize": False})
    records: list[Record] = []
    parts: list[Floats] = []
    left_out: list[str] = []
    for place, film in enumerate(needed):
        if not len(film.boxes.frames):
            continue
        source = FrameSource([film.place], film.boxes)
        try:
            for rows in source.parts(_ROWS):
                done = sum(map(len, parts)) + len(left_out)
                features, failures = features_of(
                    model_embedder, source.video, rows, 0, False, None, done,
                    (lambda count, _: progress(count, total)) if progress else None,
                )  # fmt: skip
                good = _without(len(rows), failures)
                left_out += [one.reason for one in failures]
                parts.append(features[good])
                records += _records(rows.to_pylist(), good, place, film.name)
        finally:
            source.close()
    if not records:
        raise DataError(f"{data}: no box could be cut out; the first: {left_out[0]}")
    features = np.concatenate(parts)
    labels = {
        "sequences": np.array([record.camera for record in records], np.int64),
        "frames": np.array([record.frame for record in records], np.int64),
        "persons": np.array([record.person for record in records], np.int64),
    }
    found = [
        reassociate(features, **labels, gap=one, stride=stride, metric=metric, label=_label(*gap))
        for gap, one in zip(gaps, in_frames)
    ]
    name = os.fspath(model) if isinstance(model, (str, os.PathLike)) else str(model_embedder.source.source)
    return FilmEvaluation(
        name, str(data), model_embedder.signature, model_embedder.backend, metric, stride,
        tuple(film.name for film in films), tuple(found), tuple(records), tuple(left_out), features,
        labels["persons"], labels["frames"],
    )  # fmt: skip


def _label(gap: float, seconds: bool) -> str:
    return f"{gap:g} s" if seconds else f"{gap:g} frame{'s' * (gap != 1)}"


def _in_frames(gap: float, seconds: bool, films: Sequence[Film]) -> list[int]:
    if not seconds:
        return [int(gap)] * len(films)
    for film in films:
        if film.rate is None:
            raise OptionError(f"{film.place}: a gap in seconds needs frameRate in its seqinfo.ini; give it in frames")
    return [max(1, round(gap * (film.rate or 0))) for film in films]


def _needed(film: Film, gaps: Sequence[int], stride: int) -> Film:
    """`film` with the boxes of queries and candidates only."""
    frames = film.boxes.frames
    asked = np.unique(frames[frames % stride == 0])
    wanted = np.concatenate([asked, *(asked + gap for gap in gaps)])
    return film._replace(boxes=film.boxes.of(np.isin(frames, wanted)))


def _without(count: int, failures: Sequence[Failure]) -> Any:
    good = np.ones(count, np.bool_)
    good[[one.row for one in failures]] = False
    return good


def _records(rows: Sequence[dict[str, Any]], good: Any, place: int, name: str) -> list[Record]:
    return [
        Record(
            Path(row["file"]),
            row["person"],
            place,
            "gallery",
            name,
            (row["x1"], row["y1"], row["x2"], row["y2"]),
            row["frame"],
        )
        for row, fine in zip(rows, good)
        if fine
    ]
