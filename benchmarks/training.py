"""Training steps per second: ours with and without its loops for depthwise convolutions, the zoo's, torchreid's.

python -m benchmarks.training [--batch 32] [--height 256] [--steps 8] [--zoo DIR] [--torchreid DIR --torch PYTHON]

Each case runs in a process of its own on the same random images: x0.25, 100 identities, cross entropy, Adam. What is
not named is left out. `--zoo` is the folder research/cv/osnet of the model zoo, `--torchreid` one of deep-person-reid,
`--torch` a Python that has torch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CLASSES = 100


def measure(step: Callable[[], float], batch: int, steps: int) -> dict[str, float]:
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    seconds = []
    processor = time.process_time()
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {
        "first step, s": round(first, 1),
        "steps/s": round(1 / float(np.median(seconds)), 3),
        "images/s": round(batch / float(np.median(seconds)), 1),
        "processor seconds a step": round((time.process_time() - processor) / steps, 2),
    }


def _data(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (options.batch, options.height, options.height // 2, 3)
    return rng.integers(0, 256, shape, np.uint8), rng.integers(0, CLASSES, options.batch).astype(np.int32)


def ours(options: argparse.Namespace, *, loops: bool = True) -> dict[str, float]:
    from mindspore import Tensor

    from osnet.models.load import create_model
    from osnet.training import step
    from osnet.training.config import TrainConfig
    from osnet.training.ranks import Ranks
    from osnet.training.step import Stepper, graph_mode

    if not loops:
        step.speed_up_depthwise = lambda _: 0
    config = TrainConfig(sampler="random", supervised_contrastive=0, batch_size=options.batch)
    images, labels = (Tensor(array) for array in _data(options))
    with graph_mode():
        stepper = Stepper(create_model("osnet_x0_25", CLASSES), config, Ranks())
        return measure(lambda: stepper([(images, labels)], 1e-4)[0], options.batch, options.steps)


def without_loops(options: argparse.Namespace) -> dict[str, float]:
    """Ours with MindSpore's depthwise convolutions."""
    return ours(options, loops=False)


def zoo(options: argparse.Namespace) -> dict[str, float]:
    """The zoo's network and loss in MindSpore's own training cell, which is what its `Model.train` builds."""
    sys.path.insert(0, str(Path(options.zoo).resolve()))
    import mindspore
    from mindspore import Tensor, nn
    from src.cross_entropy_loss import CrossEntropyLoss
    from src.osnet import OSBlock, OSNet

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    network = OSNet(CLASSES, blocks=[OSBlock] * 3, layers=[2, 2, 2], channels=[16, 64, 96, 128])
    optimizer = nn.Adam(network.trainable_params(), learning_rate=1e-4, weight_decay=5e-4)
    cell = nn.TrainOneStepCell(nn.WithLossCell(network, CrossEntropyLoss(num_classes=CLASSES)), optimizer)
    cell.set_train()
    images, labels = _data(options)
    x, y = Tensor(images.transpose(0, 3, 1, 2).astype(np.float32) / 255), Tensor(labels)
    return measure(lambda: float(cell(x, y).asnumpy()), options.batch, options.steps)


def torch(options: argparse.Namespace) -> dict[str, float]:
    """torchreid's network by file, so that its other modules need not be installed."""
    import importlib.util

    import torch
    from torch.nn import functional

    path = Path(options.torchreid) / "torchreid/models/osnet.py"
    spec = importlib.util.spec_from_file_location("torchreid_osnet", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.osnet_x0_25(num_classes=CLASSES, pretrained=False, loss="softmax")
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=5e-4)
    images, labels = _data(options)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    y = torch.from_numpy(labels.astype(np.int64))

    def step() -> float:
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(x), y, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return measure(step, options.batch, options.steps)


CASES = {"ours": ours, "without loops": without_loops, "zoo": zoo, "torch": torch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--zoo")
    parser.add_argument("--torchreid")
    parser.add_argument("--torch")
    parser.add_argument("--case", choices=sorted(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(CASES[options.case](options)))
        return
    wanted = {"ours": True, "without loops": True, "zoo": options.zoo, "torch": options.torch and options.torchreid}
    for case in CASES:
        if not wanted[case]:
            print(f"{case}: left out")
            continue
        python = options.torch if case == "torch" else sys.executable
        script = [python, str(Path(__file__).resolve()), *sys.argv[1:], "--case", case]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        done = subprocess.run(script, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{case}: failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        else:
            print(f"{case}: " + "  ".join(f"{k}: {v}" for k, v in json.loads(done.stdout.splitlines()[-1]).items()))


if __name__ == "__main__":
    main()
