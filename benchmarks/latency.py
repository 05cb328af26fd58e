"""Milliseconds for a video frame with 1, 5 and 20 boxes: cut, resize, network; ONNX Runtime with the same steps.

    python -m benchmarks.latency [--rounds 31]

Also what the first call of each size costs, before and after `Embedder.warm_up`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from benchmarks import peers
from benchmarks.timing import print_table, take_turns
from osnet.inference.bench import BOXES, boxes_of_people
from osnet.inference.embedder import Embedder, normalise
from osnet.inference.images import crop_boxes, prepare
from osnet.variants import IMAGE_MEAN, IMAGE_STD
from tests.recipe import CLASSES, recipe_weights

NETWORKS = ("osnet_x0_25", "osnet_x1_0")


def onnx_embedder(session: object) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """As `Embedder` in fp32, by ONNX Runtime, all boxes in one batch."""
    mean, scale = 255 * np.float32(IMAGE_MEAN), 1 / (255 * np.float32(IMAGE_STD))

    def embed(frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        crops = np.stack([prepare(crop) for crop in crop_boxes(frame, boxes)])
        x = np.ascontiguousarray(((crops - mean) * scale).transpose(0, 3, 1, 2))
        return normalise(session.run(None, {"input": x})[0])  # type: ignore[attr-defined]

    return embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    rows, firsts = [], []
    for network in NETWORKS:
        weights = recipe_weights(network, CLASSES)
        cold, ours = Embedder(weights), Embedder(weights)
        start = time.perf_counter()
        ours.warm_up()
        warming = time.perf_counter() - start
        peer = onnx_embedder(peers.onnx_session(peers.torchreid_network(network, weights.arrays, CLASSES)))
        for count in BOXES:
            boxes = boxes_of_people(count)
            times = []
            for embedder in (cold, ours):
                start = time.perf_counter()
                embedder(frame, boxes=boxes)
                times.append(1000 * (time.perf_counter() - start))
            firsts.append((network, str(count), f"{times[0]:.0f}", f"{times[1]:.0f}", f"{1000 * warming:.0f}"))
            contenders = {
                "ours": lambda e=ours, b=boxes: e(frame, boxes=b),
                "onnx": lambda p=peer, b=boxes: p(frame, b),
            }
            agree = float((contenders["ours"]() * contenders["onnx"]()).sum(axis=1).min())
            found = take_turns(contenders, rounds=options.rounds, pause=0.1)
            mine, theirs = (1000 * found[name].median for name in ("ours", "onnx"))
            rows.append((network, str(count), f"{mine:.1f}", f"{theirs:.1f}", f"{mine / theirs:.2f}", f"{agree:.6f}"))
    print_table(rows, ("network", "boxes", "ours, ms", "ONNX Runtime, ms", "ratio", "least cosine"))
    print()
    print_table(firsts, ("network", "boxes", "first call, ms", "after warm_up, ms", "warm_up itself, ms"))


if __name__ == "__main__":
    main()
