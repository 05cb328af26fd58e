"""Persons in drawn video of several cameras: IDF1 with and without what is known of time and place.

python -m benchmarks.linking [--people N] [--cameras N] [--seconds S] [--model M]

A track is a person in one camera, without pauses of over a second: what a tracker that makes no mistake gives. The same
tracks are linked without constraints (`osnet.cluster` on their features), with one person in one place at a time, and
with travel times too. The threshold of each is the one with the best IDF1 on another video, of other people. Where
motmetrics can be imported, its IDF1 stands beside ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import osnet
from osnet.drawn.video import draw_video
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

Integers = npt.NDArray[np.int64]


def rows_of_video(embedder: osnet.Embedder, root: Path, options: argparse.Namespace, seed: int) -> FeatureRows:
    """Features of everybody who is visible in a new drawn video."""
    video = draw_video(
        root / f"video{seed}",
        people=options.people,
        cameras=options.cameras,
        seconds=options.seconds,
        fps=FPS,
        seed=seed,
    )
    folders = [root / f"features{seed}" / name for name in video.sequences]
    folders[0].parent.mkdir()
    for name, folder in zip(video.sequences, folders):
        embed_shards(embedder, FrameSource([video.root / name], video.root / name / "gt" / "gt.txt"), folder)
    rows = read_tracks(folders)
    kept = np.flatnonzero(np.array(rows.columns["visibility"], float) >= VISIBLE)
    return rows._replace(
        names=tuple(rows.names[row] for row in kept),
        features=rows.features[kept],
        columns={name: [values[row] for row in kept] for name, values in rows.columns.items()},
    )


def without_constraints(tracks: Tracks, threshold: float) -> Integers:
    """Average linkage of the same features."""
    labels = osnet.cluster(tracks.features, threshold)
    alone = np.flatnonzero(labels < 0)
    labels[alone] = labels.max(initial=0) + 1 + np.arange(len(alone))
    return labels


def with_travel(tracks: Tracks, threshold: float) -> Integers:
    """One person in one place at a time, and the travel times that the video was drawn with."""
    cameras = sorted(set(tracks.cameras))
    bounds = (TRAVEL[0], TRAVEL[1] + OUT_OF_SIGHT)
    return link(tracks, threshold, travel=dict.fromkeys(itertools.permutations(cameras, 2), bounds))


METHODS = {
    "without constraints": without_constraints,
    "one place at a time": link,
    "and travel times": with_travel,
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
    options = parser.parse_args()
    embedder = osnet.Embedder(options.model)
    with tempfile.TemporaryDirectory() as folder:
        other, rows = (rows_of_video(embedder, Path(folder), options, seed) for seed in (21, 22))
    persons = {}
    tracks = {}
    for name, some in (("other", other), ("this", rows)):
        tracks[name] = link_features(some, 1, fps=FPS, split=1).tracks
        persons[name] = np.array(some.columns["person"], np.int64)
    print(
        f"{options.cameras} cameras, {options.seconds:g} s: {len(rows.names):,} boxes of {len(set(persons['this']))} "
        f"people in {len(tracks['this'].cameras)} tracks\n"
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
