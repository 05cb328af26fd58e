"""Drawn pedestrians: how fast they are drawn, and how badly colour alone tells them apart.

python -m benchmarks.synthetic [--identities N] [--world street] [--seed S] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from osnet.drawn.dataset import draw_dataset
from osnet.evaluation.ranking import Ranking, rank

STRIPES = 8


def stripe_histograms(paths: list[Path], *, space: str = "hsv") -> np.ndarray:
    """The baseline that needs no training: a colour histogram of each of 8 horizontal stripes.

    Args:
        space: ``hsv`` (16 x 8 bins of hue and saturation, 16 of value) or ``rgb`` (8 x 8 x 8 bins).

    Returns:
        float32 (N, D), the square roots of shares (Hellinger's embedding), each row of length 1.
    """
    return np.stack([_histogram(path, space) for path in paths])


def _histogram(path: Path, space: str) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert(space.upper()), np.int64)
    found = []
    for stripe in np.array_split(pixels, STRIPES):
        a, b, c = stripe.reshape(-1, 3).T
        if space == "hsv":
            found += [np.bincount(a // 16 * 8 + b // 32, minlength=128), np.bincount(c // 16, minlength=16)]
        else:
            found.append(np.bincount(a // 32 * 64 + b // 32 * 8 + c // 32, minlength=512))
    shares = np.concatenate(found).astype(np.float32)
    return np.sqrt(shares / shares.sum())


def rank_by_colour(root: Path, *, space: str = "hsv") -> Ranking:
    """Rank the gallery of the drawn set at `root` by stripe histograms, under Market-1501's protocol."""
    sides = [sorted((root / folder).glob("*.jpg")) for folder in ("query", "bounding_box_test")]
    sides = [[path for path in paths if not path.name.startswith("-1")] for paths in sides]
    query, gallery = (stripe_histograms(paths, space=space) for paths in sides)
    ids = [[int(path.name.split("_")[0]) for path in paths] for paths in sides]
    cameras = [[int(path.name.split("_c")[1][0]) for path in paths] for paths in sides]
    return rank(
        query, gallery, query_ids=ids[0], gallery_ids=ids[1], query_cameras=cameras[0], gallery_cameras=cameras[1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--identities", type=int, default=200)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--images-per-camera", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worlds", nargs="+", default=["street", "indoor"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for world in options.worlds:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "drawn"
            start, used = time.perf_counter(), os.times()
            drawn = draw_dataset(
                root,
                identities=options.identities,
                cameras=options.cameras,
                images_per_camera=options.images_per_camera,
                seed=options.seed,
                world=world,
            )
            seconds, now = time.perf_counter() - start, os.times()
            busy = sum(now[:4]) - sum(used[:4])
            figures: dict[str, object] = {
                "world": world,
                "images": drawn.images,
                "images/s": round(drawn.images / seconds, 1),
                "images/s of processor time": round(drawn.images / busy, 1),
            }
            for space in ("hsv", "rgb"):
                ranking = rank_by_colour(root, space=space)
                figures[f"{space} mAP"] = round(float(ranking.mAP), 3)
                figures[f"{space} Rank-1"] = round(float(ranking.cmc[0]), 3)
        print(json.dumps(figures) if options.json else "  ".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
