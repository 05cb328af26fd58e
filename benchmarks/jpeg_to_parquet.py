"""JPEG files to a folder of Parquet parts, beside the limit that processor time sets.

    python -m benchmarks.jpeg_to_parquet [--networks osnet_x1_0 osnet_x0_25] [--rounds 3] [--seconds 12]

The limit is cores / (the network's core-seconds an image + the core-seconds to decode and resize one), each measured
alone in the same round: the network on crops in memory, in one long stream, and `prepare` in one thread. The files are
JPEG of 64x128, each with its own content. torchreid's FeatureExtractor, whose images a DataLoader decodes, is measured
beside it where torch and torchreid are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.decoding import photos
from benchmarks.timing import print_machine, print_table
from osnet.checkpoint.weights import Weights
from osnet.inference.embedder import Embedder
from osnet.inference.images import prepare
from osnet.inference.shards import embed_shards
from osnet.inference.sources import Source
from osnet.variants import IMAGE_MEAN, IMAGE_STD
from tests.recipe import CLASSES, recipe_weights

CORES = len(os.sched_getaffinity(0))


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of processor time of this process, that `work` takes."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def torchreid_extractor(weights: Weights, files: list[Path]) -> Callable[[], object] | None:
    """torchreid's network over a DataLoader with one process for each core, as its FeatureExtractor prepares images."""
    if not all(importlib.util.find_spec(name) for name in ("torch", "torchreid")):
        print("torch and torchreid are not installed, and left out")
        return None
    import torch
    from PIL import Image

    network = peers.torchreid_network(weights.variant.name, weights.arrays, weights.num_classes)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))

    class Files(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> Any:
            with Image.open(files[index]) as image:
                resized = image.convert("RGB").resize((128, 256), Image.Resampling.BILINEAR)
            return (torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255 - mean) / std

    loader = torch.utils.data.DataLoader(Files(), batch_size=32, num_workers=CORES)

    def run() -> None:
        with torch.inference_mode():
            for batch in loader:
                network(batch)

    return run


def measure(name: str, precision: str, options: argparse.Namespace, folder: Path) -> tuple[str, ...]:
    weights = recipe_weights(name, CLASSES)
    embedder = Embedder(weights, precision=precision)
    crops = np.random.default_rng(0).integers(0, 256, (64, *embedder.size, 3)).astype(np.uint8)

    def network(count: int) -> None:
        for _ in embedder.stream(crops[i % len(crops)] for i in range(count)):
            pass

    network(64)
    count = max(256, int(options.seconds * 512 / measured(lambda: network(512))[0]))
    files = photos(folder, (64, 128), count)
    for path in files[:64]:
        prepare(path)
    peer = torchreid_extractor(weights, files)
    rates, parts, limits, busy, peer_rates = [], [], [], [], []
    for turn in range(options.rounds):
        network_cpu = measured(lambda: network(count))[1] / count
        image_cpu = measured(lambda: [prepare(path) for path in files])[1] / count
        embed = partial(embed_shards, part_size=max(1, count // 4))
        seconds, cpu = measured(partial(embed, embedder, Source([folder]), folder.parent / f"{name}-{turn}"))
        limit = CORES / (network_cpu + image_cpu)
        rates.append(count / seconds)
        limits.append(limit)
        parts.append(count / seconds / limit)
        busy.append(cpu / seconds / CORES)
        if peer and turn == 0:
            peer_rates.append(count / measured(peer)[0])
        print(
            f"{name} {precision}: network {1000 * network_cpu:.3f}, decode and resize {1000 * image_cpu:.3f} core-ms, "
            f"all {1000 * cpu / count:.3f}; {rates[-1]:.0f} of {limit:.0f} images/s; cores {100 * busy[-1]:.0f} % busy",
            flush=True,
        )
    for path in files:
        path.unlink()
    cells = (statistics.median(rates), statistics.median(limits), 100 * statistics.median(parts))
    peer_cell = f"{peer_rates[0]:.0f}" if peer_rates else ""
    return (f"{name} {embedder.precision}", *(f"{cell:.0f}" for cell in cells), peer_cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["osnet_x1_0", "osnet_x0_25"])
    parser.add_argument("--precision", default="fast")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0, help="how long one run takes, about")
    options = parser.parse_args()
    print_machine("openvino", "simplejpeg", "pillow", "pyarrow")
    rows = []
    for name in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "files").mkdir()
            rows.append(measure(name, options.precision, options, Path(folder) / "files"))
    print_table(rows, ("", "JPEG to Parquet, images/s", "limit", "%", "torchreid, images/s"))


if __name__ == "__main__":
    main()
