"""Persons in drawn video of several cameras: IDF1 with and without what is known of time and place.

python -m benchmarks.linking [--people N] [--cameras N] [--seconds S] [--misses F] [--jitter F] [--model M]

A track is a person in one camera, without pauses of over a second: what a tracker that makes no mistake gives. The same
tracks are linked without constraints (`osnet.cluster` on their features), with one person in one place at a time, and
with travel times too. The threshold of each is the one with the best IDF1 on another video, of other people. Where
motmetrics can be imported, its IDF1 stands beside ours.

With --misses or --jitter, a second table is of tracks with mistakes: a detector misses that fraction of the boxes and
errs in the others (as in ``osnet synth --video``), and a plain tracker follows the overlap of boxes from frame to
frame. It cuts tracks where boxes are missing, and goes on with another person where two pass each other. A row counts
if there is a detection; its true person is the one in whose box it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import osnet
from osnet.data.mot import read_boxes
from osnet.drawn.video import DrawnVideo, draw_video
from osnet.drawn.walk import TRAVEL
from osnet.evaluation.feature_tables import FeatureRows
from osnet.evaluation.linking import Tracks, link, score_identities
from osnet.gallery.link_files import link_features, read_tracks
from osnet.inference.frames import FrameSource
from osnet.inference.shards import embed_shards

FPS = 5
VISIBLE = 0.3
THRESHOLDS = np.arange(-0.1, 0.99, 0.02).tolist()
OUT_OF_SIGHT = 4.0  # seconds that somebody walks beside the picture, before and after the way between two cameras

OVERLAP = 0.3  # least intersection over union of a track's next box
SAME = 0.5  # of a detection and the box of its person

Integers = npt.NDArray[np.int64]
Boxes = npt.NDArray[np.float64]


def draw(root: Path, options: argparse.Namespace, seed: int) -> DrawnVideo:
    return draw_video(
        root / f"video{seed}",
        people=options.people,
        cameras=options.cameras,
        seconds=options.seconds,
        fps=FPS,
        seed=seed,
        misses=options.misses,
        jitter=options.jitter,
    )


def embedded(embedder: osnet.Embedder, video: DrawnVideo, boxes: str) -> FeatureRows:
    """Features of the boxes in the file `boxes` of each camera."""
    root = video.root.with_name(f"{video.root.name}-{Path(boxes).stem}")
    root.mkdir()
    for name in video.sequences:
        embed_shards(embedder, FrameSource([video.root / name], video.root / name / boxes), root / name)
    return read_tracks([root / name for name in video.sequences])


def chosen(rows: FeatureRows, kept: Integers, **columns: list[Any]) -> FeatureRows:
    return rows._replace(
        names=tuple(rows.names[row] for row in kept),
        features=rows.features[kept],
        columns={
            name: [values[row] for row in kept] for name, values in {**rows.columns, **columns}.items()
        },
    )  # fmt: skip


def without_mistakes(embedder: osnet.Embedder, video: DrawnVideo) -> FeatureRows:
    """Everybody who is visible; the track is the person."""
    rows = embedded(embedder, video, "gt/gt.txt")
    return chosen(rows, np.flatnonzero(np.array(rows.columns["visibility"], float) >= VISIBLE))


def with_a_tracker(embedder: osnet.Embedder, video: DrawnVideo) -> FeatureRows:
    """Every detection with the tracker's number and the true person."""
    rows = embedded(embedder, video, "det/det.txt")
    cameras, frames = np.array(rows.columns["camera"]), np.array(rows.columns["frame"], np.int64)
    boxes = np.array([rows.columns[name] for name in ("x1", "y1", "x2", "y2")], float).T
    tracks, persons = np.full(len(frames), -1), np.full(len(frames), -1)
    for name in video.sequences:
        here = np.flatnonzero(cameras == name)
        tracks[here] = follow(frames[here], boxes[here])
        truth = read_boxes(video.root / name / "gt" / "gt.txt")
        bodies = np.clip(truth.corners, 0, [video.settings.width, video.settings.height] * 2)
        for frame in np.unique(frames[here]):
            mine, theirs = here[frames[here] == frame], np.flatnonzero(truth.frames == frame)
            for one, other in pairs(boxes[mine], bodies[theirs], SAME):
                persons[mine[one]] = truth.ids[theirs[other]]
    return chosen(rows, np.flatnonzero(persons >= 0), track=tracks.tolist(), person=persons.tolist())


def follow(frames: Integers, boxes: Boxes) -> Integers:
    """Number the boxes of one camera: each track takes the box that overlaps most with where it would be by now."""
    numbers = np.full(len(frames), -1)
    last: dict[int, tuple[int, Boxes, Boxes]] = {}  # number → frame, box, and its movement from frame to frame
    for frame in np.unique(frames).tolist():
        here = np.flatnonzero(frames == frame)
        alive = [number for number, (seen, _, _) in last.items() if frame - seen <= FPS]
        expected = [last[number][1] + (frame - last[number][0]) * last[number][2] for number in alive]
        for one, other in pairs(np.array(expected).reshape(-1, 4), boxes[here], OVERLAP):
            number, box = alive[one], boxes[here[other]]
            seen, before, _ = last[number]
            centre = (box[:2] + box[2:] - before[:2] - before[2:]) / 2 / (frame - seen)
            numbers[here[other]], last[number] = number, (frame, box, np.tile(centre, 2))
        for row in here[numbers[here] < 0].tolist():
            numbers[row] = len(last)
            last[len(last)] = (frame, boxes[row], np.zeros(4))
    return numbers


def pairs(some: Boxes, others: Boxes, least: float) -> list[tuple[int, int]]:
    """Boxes that belong together, the largest intersection over union first, each box once."""
    corner = np.maximum(some[:, None, :2], others[None, :, :2])
    sides = np.clip(np.minimum(some[:, None, 2:], others[None, :, 2:]) - corner, 0, None)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (some, others)]
    common = sides.prod(axis=2)
    overlap = common / (areas[0][:, None] + areas[1][None] - common)
    found: list[tuple[int, int]] = []
    for place in np.argsort(-overlap, axis=None, kind="stable").tolist():
        one, other = divmod(place, len(others))
        if overlap[one, other] < least:
            break
        if all(one != first and other != second for first, second in found):
            found.append((one, other))
    return found


def without_constraints(tracks: Tracks, threshold: float) -> Integers:
    """Average linkage of the same features."""
    labels = osnet.cluster(tracks.features, threshold)
    alone = np.flatnonzero(labels < 0)
    labels[alone] = labels.max(initial=0) + 1 + np.arange(len(alone))
    return labels


def with_travel(tracks: Tracks, threshold: float, greatest: float = TRAVEL[1] + OUT_OF_SIGHT) -> Integers:
    """One person in one place at a time, and the travel times that the video was drawn with."""
    ways = itertools.permutations(sorted(set(tracks.cameras)), 2)
    return link(tracks, threshold, travel=dict.fromkeys(ways, (TRAVEL[0], greatest)))


def with_least_travel(tracks: Tracks, threshold: float) -> Integers:
    """One person in one place at a time, and the least time between two cameras."""
    return with_travel(tracks, threshold, math.inf)


METHODS = {
    "without constraints": without_constraints,
    "one place at a time": link,
    "and the least travel time": with_least_travel,
    "and the greatest": with_travel,
}


def motmetrics_idf1(rows: FeatureRows, found: Integers, persons: Integers) -> float | None:
    """IDF1 of the same rows by motmetrics, all cameras one after the other; None where it is not installed."""
    if importlib.util.find_spec("motmetrics") is None:
        return None
    import motmetrics

    accumulator = motmetrics.MOTAccumulator()
    frames: dict[tuple[str, Any], list[int]] = {}
    for row, key in enumerate(zip(rows.columns["camera"], rows.columns["frame"])):
        frames.setdefault(key, []).append(row)
    for number, some in enumerate(frames.values()):
        # the box is known, so a row of the truth can only be the found row at the same place
        apart = np.where(np.eye(len(some)) > 0, 0.0, np.nan)
        accumulator.update(persons[some].tolist(), found[some].tolist(), apart, frameid=number)
    summary = motmetrics.metrics.create().compute(accumulator, metrics=["idf1"])
    return float(summary["idf1"].iloc[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--misses", type=float, default=0)
    parser.add_argument("--jitter", type=float, default=0)
    options = parser.parse_args()
    embedder = osnet.Embedder(options.model)
    with tempfile.TemporaryDirectory() as folder:
        videos = [draw(Path(folder), options, seed) for seed in (21, 22)]
        compare("tracks without mistakes", [without_mistakes(embedder, video) for video in videos], options)
        if options.misses or options.jitter:
            compare("tracks of a plain tracker", [with_a_tracker(embedder, video) for video in videos], options)


def compare(title: str, videos: list[FeatureRows], options: argparse.Namespace) -> None:
    """Print the figures of the second video, with the thresholds of the first."""
    other, rows = videos
    persons = {}
    tracks = {}
    for name, some in (("other", other), ("this", rows)):
        tracks[name] = link_features(some, 1, fps=FPS, split=1).tracks
        persons[name] = np.array(some.columns["person"], np.int64)
    of_row, size = tracks["this"].of_row, len(tracks["this"].cameras)
    counts = np.zeros((size, persons["this"].max() + 1), np.int64)
    np.add.at(counts, (of_row, persons["this"]), 1)
    mixed = int(((counts > 0).sum(axis=1) > 1).sum())
    best = score_identities(counts.argmax(axis=1)[of_row], persons["this"]).idf1
    print(
        f"\n{title}: {options.cameras} cameras, {options.seconds:g} s: {len(rows.names):,} boxes of "
        f"{len(set(persons['this']))} people in {size} tracks, {mixed} of them with several people; "
        f"IDF1 if each track were linked right: {best:.3f}\n"
    )
    print("| | threshold | IDF1 | persons found | at the first threshold | at the best one | IDF1 by motmetrics |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    first = None
    for label, method in METHODS.items():
        scores = {
            name: [
                score_identities(method(tracks[name], threshold)[tracks[name].of_row], persons[name]).idf1
                for threshold in THRESHOLDS
            ]
            for name in ("other", "this")
        }
        threshold = THRESHOLDS[int(np.argmax(scores["other"]))]
        found = method(tracks["this"], threshold)[tracks["this"].of_row]
        first = threshold if first is None else first
        at_first = scores["this"][THRESHOLDS.index(first)]
        ours = score_identities(found, persons["this"])
        theirs = motmetrics_idf1(rows, found, persons["this"])
        print(
            f"| {label} | {threshold:.2f} | {ours.idf1:.3f} | {ours.found} | {at_first:.3f} "
            f"| {max(scores['this']):.3f} | {'' if theirs is None else f'{theirs:.3f}'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
