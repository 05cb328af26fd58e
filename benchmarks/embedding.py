"""Images per second of each backend and of the peers, from decoded crops and from JPEG files; times to start.

    python -m benchmarks.embedding [--network osnet_x1_0] [--rounds 5] [--images 96]

Peers get normalised float32 batches, and each the batch size that suits it best; ours starts from uint8 crops. The last
column compares the network's operations a second with those of a large matrix product in the same precision.
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
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import peers
from benchmarks.timing import print_machine, print_table, take_turns
from osnet.checkpoint.mindspore import write_ckpt
from osnet.checkpoint.weights import Weights
from osnet.errors import OptionError
from osnet.inference.bulk import embed_files
from osnet.inference.embedder import Embedder
from osnet.models.input_format import InputFormat
from osnet.models.openvino_graph import build_openvino
from osnet.variants import IMAGE_MEAN, IMAGE_STD
from tests.recipe import CLASSES, recipe_weights

BATCHES = (1, 8, 32)
_PEAK_SIDE = 2048


def drawn_crops(count: int) -> np.ndarray:
    """uint8 (count, 256, 128, 3): smooth random pictures, which JPEG compresses about as well as photographs."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 32, 16, 3)).astype(np.uint8)
    size = (128, 256)
    return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in small])


def contenders(weights: Weights, crops: np.ndarray, files: list[Path], out: Path) -> dict[str, Callable[[], object]]:
    """Name → what embeds all images once."""
    found: dict[str, Callable[[], object]] = {}
    for precision in ("fp32", "bf16"):
        try:
            embedder = Embedder(weights, precision=precision)
        except OptionError as error:
            print(f"osnet {precision} left out: {error}")
            continue
        found[f"osnet, OpenVINO {precision}"] = lambda e=embedder: list(e.stream(iter(crops)))  # type: ignore[misc]
        found[f"osnet, OpenVINO {precision}, JPEG files to a file"] = lambda e=embedder: embed_files(e, files, out)  # type: ignore[misc]
    normalised = ((crops / 255 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)).transpose(0, 3, 1, 2)
    x = np.ascontiguousarray(normalised, np.float32)
    try:
        _add_torch(found, weights, x)
    except ImportError as error:
        print(f"torch, and what is exported by it, left out: {error}")
    _add_mindspore(found, weights, x)
    return found


def _add_torch(found: dict[str, Callable[[], object]], weights: Weights, x: np.ndarray) -> None:
    import torch

    network = peers.torchreid_network(weights.variant.name, weights.arrays, weights.num_classes)

    def run(model: Any, parts: list[np.ndarray], low: bool) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            for part in parts:
                model(torch.from_numpy(part))

    session = peers.onnx_session(network)
    for batch in BATCHES:
        parts = [x[i : i + batch] for i in range(0, len(x), batch)]
        found[f"torch {torch.__version__} eager, batch {batch}"] = lambda p=parts: run(network, p, False)  # type: ignore[misc]
        found[f"ONNX Runtime fp32, batch {batch}"] = lambda p=parts: [session.run(None, {"input": q}) for q in p]  # type: ignore[misc]
    parts = [x[i : i + 8] for i in range(0, len(x) // 8 * 8, 8)]
    compiled = torch.compile(network)
    try:
        run(compiled, parts[:1], False)
    except Exception as error:  # noqa: BLE001 - torch needs a C++ compiler, and raises what it likes without
        print(f"torch.compile left out: {' '.join(str(error).split())[:120]}")
    else:
        found["torch.compile fp32, batch 8"] = lambda: run(compiled, parts, False)
        found["torch.compile bf16, batch 8"] = lambda: run(compiled, parts, True)
    for name in ("f32", "bf16"):
        queue = peers.openvino_queue(network, 8, name)
        found[f"OpenVINO on torchreid's export, {name}, batch 8"] = lambda q=queue: q(parts)  # type: ignore[misc]


def _add_mindspore(found: dict[str, Callable[[], object]], weights: Weights, x: np.ndarray) -> None:
    try:
        import mindspore
    except ImportError as error:
        print(f"MindSpore left out: {error}")
        return
    from osnet.models.load import network_from_weights

    network = network_from_weights(weights, weights.num_classes)
    compiled = mindspore.jit(network)
    parts = [mindspore.Tensor(x[i : i + 8]) for i in range(0, len(x) // 8 * 8, 8)]

    def run() -> None:
        for part in parts:
            compiled(part).asnumpy()

    found[f"MindSpore {mindspore.__version__} graph, batch 8"] = run


def operations(weights: Weights) -> float:
    """Floating point operations of one image: two for each multiplication of convolutions and dense layers."""
    total = 0.0
    for node in build_openvino(weights, InputFormat(batch=1)).get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            kernel = node.input_value(1).get_shape()
            outputs = np.prod(node.output(0).get_shape())
            channels = kernel[1] if node.get_type_name() == "MatMul" else np.prod(kernel[-3:])
            total += 2.0 * float(outputs) * float(channels)
    return total


def peaks(rounds: int) -> dict[str, float]:
    """Operations a second of a large matrix product on all cores, by torch: what this processor reaches at best."""
    try:
        import torch
    except ImportError:
        return {}
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(_PEAK_SIDE, _PEAK_SIDE).to(dtype) for _ in range(2))
        timing = take_turns({name: lambda a=a, b=b: a @ b}, rounds=4 * rounds)[name]  # type: ignore[misc]
        found[name] = 2 * _PEAK_SIDE**3 / min(timing.seconds)
    return found


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
        print_machine("openvino", "torch", "onnxruntime", "mindspore")
        work, best = operations(weights), peaks(options.rounds)
        timings = take_turns(contenders(weights, crops, files, folder / "out.npz"), rounds=options.rounds, pause=0.1)
        first = next(iter(timings.values())).seconds
        rows = []
        for label, timing in timings.items():
            ratio = statistics.median(b / a for a, b in zip(first, timing.seconds))
            rate = options.images / timing.median
            peak = best.get("bf16" if "bf16" in label else "fp32")
            part = f"{100 * rate * work / peak:.0f} %" if peak else ""
            rows.append((label, f"{rate:.1f}", f"{100 * timing.spread:.0f} %", f"{ratio:.2f}", part))
        print(f"{options.network}, {work / 1e9:.2f} GFLOP an image, {options.images} images, {options.rounds} rounds")
        print(", ".join(f"{name} peak {peak / 1e9:.0f} GFLOP/s" for name, peak in best.items()))
        print_table(rows, ("", "images/s", "spread", "seconds, relative to the first row", "of the peak"))
        print()
        times = start_times(weights, folder, files[0], options.rounds)
        print_table([(label, f"{seconds:.2f}") for label, seconds in times.items()], ("whole process", "seconds"))


if __name__ == "__main__":
    main()
