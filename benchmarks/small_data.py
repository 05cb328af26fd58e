"""Fine-tune on few people: what each way gains on their cameras and costs on others.

python -m benchmarks.small_data [--model M] [--data DIR] [--people N] [--other DIR] [--epochs N] [--ways W] [--seeds S]

Without `--data`, the built-in checkpoint learns from drawn people indoors, and is measured on others there and in the
street. `--data` is a folder to learn from: its training part, or all its images where it has none; `--people` takes
that many of the people. mAP (cosine, fp32) is measured on its query and gallery, if it has a training part, and on
`--other`.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import warnings
from pathlib import Path

import numpy as np

import osnet
from osnet.checkpoint.weights import Weights, read_weights_file
from osnet.data.load import load_records
from osnet.data.records import DataSet
from osnet.drawn.dataset import draw_dataset
from osnet.models.load import read_weights
from osnet.training.config import TrainConfig
from osnet.training.cost import CostWarning, measure
from osnet.training.dataset import evaluation_protocol
from osnet.training.state import mixed

SHARES = (0.0, 0.5)
TRIPLET: dict[str, object] = {
    "triplet": 1.0, "supervised_contrastive": 0.0, "optimizer": "adam", "learning_rate": 3.5e-4, "clip_norm": 0.0,
    "warmup_epochs": 0.0,
}  # fmt: skip
"""torchreid's losses and learning rate."""
WAYS: dict[str, dict[str, object]] = {
    "default": {},
    "default-frozen": {"freeze_norm": True, "learning_rate": 3e-5},
    "triplet": TRIPLET,
    "triplet-frozen": {**TRIPLET, "freeze_norm": True, "learning_rate": 3.5e-5},
}
"""The last one is `osnet/training/recipes/few-people.yaml`."""


def write_table(data: DataSet, people: int, path: Path) -> int:
    """Write the table of the images to learn from, and say how many."""
    records = [r for r in data.split("train") or data.records if r.person > 0]
    chosen = set(np.random.default_rng(0).permutation(sorted({r.person for r in records}))[: people or None].tolist())
    kept = [r for r in records if r.person in chosen]
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "person", "camera", "split"))
        rows.writerows((r.path.absolute(), r.person, r.camera, "train") for r in kept)
    return len(kept)


def figures(weights: Weights, sets: list[DataSet]) -> list[float]:
    """mAP on the query and gallery of each data set."""
    found = []
    for data in sets:
        query, gallery = data.split("query"), data.split("gallery")
        protocol = evaluation_protocol(query, gallery, data)
        found.append(measure(weights, query, gallery, protocol=protocol).mAP)
    return found


def row(*cells: object, found: list[list[float]]) -> str:
    """A line of the table: on each data set the mean over the seeds, and the lowest and highest."""
    spans = [f"{np.mean(f):.3f} ({min(f):.3f} to {max(f):.3f})" if len(f) > 1 else f"{f[0]:.3f}" for f in zip(*found)]
    return "| " + " | ".join(map(str, (*cells, *spans))) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--people", type=int, default=0)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    warnings.simplefilter("ignore", CostWarning)  # the table says it
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data, other = options.data, options.other
        if data is None:
            data, other = root / "indoor", root / "street"
            draw_dataset(data, identities=80, images_per_camera=2, seed=3, world="indoor")
            draw_dataset(other, identities=60, images_per_camera=2, seed=1)
        own = load_records(data)
        sets = ([own] if own.split("train") else []) + ([load_records(other)] if other else [])
        start = read_weights(options.model).without_classifier()
        count = write_table(own, options.people, root / "data.csv")
        print(f"{count} training images, {options.epochs} epochs; mAP on {', '.join(s.root.name for s in sets)}\n")
        print(row("start", "", found=[figures(start, sets)]), flush=True)
        for way in options.ways:
            found: dict[float, list[list[float]]] = {share: [] for share in SHARES}
            for seed in options.seeds:
                config = TrainConfig(
                    data=str(root / "data.csv"), model=options.model, epochs=options.epochs, batch_size=32, seed=seed
                ).replace(**WAYS[way])
                run = osnet.train(config, root / f"{way}{seed}")
                trained = read_weights_file(run.last).without_classifier()
                for share in SHARES:
                    found[share].append(figures(mixed(start, trained, share), sets))
            for share in SHARES:
                print(row(way, share, found=found[share]), flush=True)


if __name__ == "__main__":
    main()
