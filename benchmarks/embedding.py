"""Images per second of each backend and of the peers, from decoded crops and from JPEG files; times to start.

    python -m benchmarks.embedding [--network osnet_x1_0] [--rounds 5] [--images 96]

Peers get normalised float32 batches, and each the batch size that suits it best; ours starts from uint8 crops.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import peers
from benchmarks.timing import print_table, take_turns
from osnet.checkpoint.mindspore import write_ckpt
from osnet.checkpoint.weights import Weights
from osnet.inference.bulk import embed_files
from osnet.inference.embedder import Embedder
from osnet.variants import IMAGE_MEAN, IMAGE_STD
from tests.recipe import CLASSES, recipe_weights

BATCHES = (1, 8, 32)


def drawn_crops(count: int) -> np.ndarray:
    """uint8 (count, 256, 128, 3): smooth random pictures, which JPEG compresses about as well as photographs."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 32, 16, 3)).astype(np.uint8)
    size = (128, 256)
    return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in small])


def contenders(weights: Weights, crops: np.ndarray, files: list[Path], out: Path) -> dict[str, Callable[[], object]]:
    """Name → what embeds all images once."""
    found: dict[str, Callable[[], object]] = {}
    auto = Embedder(weights, precision="fast")
    found[f"osnet, OpenVINO {auto.precision}"] = lambda: list(auto.stream(iter(crops)))
    found[f"osnet, OpenVINO {auto.precision}, from JPEG files"] = lambda: embed_files(auto, files, out)
    if auto.precision != "fp32":
        fp32 = Embedder(weights, precision="fp32")
        found["osnet, OpenVINO fp32"] = lambda: list(fp32.stream(iter(crops)))
    normalised = ((crops / 255 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)).transpose(0, 3, 1, 2)
    x = np.ascontiguousarray(normalised, np.float32)
    for batch in BATCHES:
        parts = [x[i : i + batch] for i in range(0, len(x), batch)]
        _add_torch(found, weights, parts, batch)
    _add_mindspore(found, weights, x)
    return found


def _add_torch(found: dict[str, Callable[[], object]], weights: Weights, parts: list[np.ndarray], batch: int) -> None:
    try:
        import torch

        network = peers.torchreid_network(weights.variant.name, weights.arrays, weights.num_classes)
    except ImportError as error:
        print(f"torch eager left out: {error}")
        return

    def run_torch() -> None:
        with torch.inference_mode():
            for part in parts:
                network(torch.from_numpy(part))

    found[f"torch {torch.__version__} eager, batch {batch}"] = run_torch
    try:
        session = peers.onnx_session(network)
    except ImportError as error:
        print(f"ONNX Runtime left out: {error}")
        return
    found[f"ONNX Runtime fp32, batch {batch}"] = lambda: [session.run(None, {"input": part}) for part in parts]


def _add_mindspore(found: dict[str, Callable[[], object]], weights: Weights, x: np.ndarray) -> None:
    try:
        import mindspore
    except ImportError as error:
        print(f"MindSpore left out: {error}")
        return
    from osnet.models.load import network_from_weights

    network = network_from_weights(weights, weights.num_classes)
    compiled = mindspore.jit(network)
    parts = [mindspore.Tensor(x[i : i + 8]) for i in range(0, len(x) // 3, 8)]

    def run() -> None:
        for part in parts * 3:
            compiled(part).asnumpy()

    found[f"MindSpore {mindspore.__version__} graph, batch 8"] = run


def start_times(weights: Weights, folder: Path, image: Path, rounds: int) -> dict[str, float]:
    """Median seconds of whole processes: importing the package, and the first feature from a cached checkpoint."""
    checkpoint = folder / "weights.ckpt"
    checkpoint.write_bytes(write_ckpt(weights.published_order()))
    codes = {
        "python alone": "pass",
        "import osnet": "import osnet",
        "first feature (fp32)": f"import osnet; osnet.Embedder({str(checkpoint)!r}, precision='fp32')({str(image)!r})",
        "first feature (fast)": f"import osnet; osnet.Embedder({str(checkpoint)!r}, precision='fast')({str(image)!r})",
    }
    environment = {**os.environ, "OSNET_OFFLINE": "1"}
    timings = take_turns(
        {
            name: lambda code=code: subprocess.run([sys.executable, "-c", code], check=True, env=environment)  # type: ignore[misc]
            for name, code in codes.items()
        },
        rounds=rounds,
    )
    return {name: timing.median for name, timing in timings.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="osnet_x1_0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=96)
    options = parser.parse_args()
    # MindSpore before onnx and torch, whose protobuf it does not survive
    for optional in ("mindspore", "torch"):
        if importlib.util.find_spec(optional):
            importlib.import_module(optional)
    weights = recipe_weights(options.network, CLASSES)
    crops = drawn_crops(options.images)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = []
        for i, crop in enumerate(crops):
            files.append(folder / f"{i:04}.jpg")
            Image.fromarray(crop).resize((64, 128)).save(files[-1], quality=90)
        timings = take_turns(contenders(weights, crops, files, folder / "out.npz"), rounds=options.rounds)
        first = next(iter(timings.values())).seconds
        rows = []
        for label, timing in timings.items():
            ratio = statistics.median(b / a for a, b in zip(first, timing.seconds))
            rows.append((label, f"{options.images / timing.median:.1f}", f"{ratio:.2f}"))
        print(f"{options.network}, {options.images} images, {os.cpu_count()} cores, median of {options.rounds} rounds")
        print_table(rows, ("", "images/s", "seconds, relative to the first row"))
        print()
        times = start_times(weights, folder, files[0], options.rounds)
        print_table([(label, f"{seconds:.2f}") for label, seconds in times.items()], ("whole process", "seconds"))


if __name__ == "__main__":
    main()
