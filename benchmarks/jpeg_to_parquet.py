"""JPEG files to a folder of Parquet parts, beside the limit that processor time sets.

    python -m benchmarks.jpeg_to_parquet [--networks osnet_x1_0 osnet_x0_25] [--rounds 3] [--seconds 12]

The limit is cores / (the network's core-seconds an image + the core-seconds to decode and resize one), each measured
alone in the same round with all cores busy: the network on crops in memory, in one long stream; `prepare` in one
process for each core. Beside it: decoding by processes instead of threads, without writing a file; and torchreid's
FeatureExtractor, whose images a DataLoader decodes, where torch and torchreid are installed. The files are JPEG of
64x128, each with its own content.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
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


def cpu_to_prepare(files: list[Path]) -> float:
    """Seconds of processor time that this process takes to decode and resize `files`."""
    start = time.process_time()
    for path in files:
        prepare(path)
    return time.process_time() - start


def by_processes(files: list[Path]) -> Iterator[np.ndarray]:
    """What `prepare` gives for each file, from one process for each core, 16 files at a time."""
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("forkserver")) as pool:
        groups = [files[i : i + 256] for i in range(0, len(files), 256)]
        pending = [pool.map(prepare, group, chunksize=16) for group in groups[:1]]
        for following in [*groups[1:], []]:
            pending.append(pool.map(prepare, following, chunksize=16))
            yield from pending.pop(0)


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
    rates, process_rates, parts, limits, busy, peer_rates = [], [], [], [], [], []
    for turn in range(options.rounds):
        network_cpu = measured(lambda: network(count))[1] / count
        with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("forkserver")) as pool:
            list(pool.map(cpu_to_prepare, [files[:64]] * CORES))
            image_cpu = sum(pool.map(cpu_to_prepare, [files[i::CORES] for i in range(CORES)])) / count
        embed = partial(embed_shards, part_size=max(1, count // 4))
        seconds, cpu = measured(partial(embed, embedder, Source([folder]), folder.parent / f"{name}-{turn}"))
        process_rates.append(count / measured(lambda: list(embedder.stream(by_processes(files))))[0])
        limit = CORES / (network_cpu + image_cpu)
        rates.append(count / seconds)
        limits.append(limit)
        parts.append(count / seconds / limit)
        busy.append(cpu / seconds / CORES)
        if peer and turn == 0:
            peer_rates.append(count / measured(peer)[0])
        print(
            f"{name} {precision}: network {1000 * network_cpu:.3f}, decode and resize {1000 * image_cpu:.3f} core-ms, "
            f"all {1000 * cpu / count:.3f}; {rates[-1]:.0f} of {limit:.0f} images/s; cores {100 * busy[-1]:.0f} % "
            f"busy; decoded by processes, without a file: {process_rates[-1]:.0f}",
            flush=True,
        )
    for path in files:
        path.unlink()
    cells = [statistics.median(values) for values in (rates, limits, parts, process_rates)]
    cells[2] *= 100
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
    print_table(rows, ("", "JPEG to Parquet, images/s", "limit", "%", "decoded by processes", "torchreid, images/s"))


if __name__ == "__main__":
    main()
