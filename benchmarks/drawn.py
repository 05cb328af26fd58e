"""The built-in checkpoint beside random weights and colour, on people whom it never saw.

python -m benchmarks.drawn [--model osnet_x0_25_drawn] [--identities 100] [--seeds 1 2] [--data DIR ...]

First the people whom `make demo-weights` holds out, seen by the cameras of the training, as in Market-1501. Then a data
set for each of the seeds, where the cameras are new, too. `--data` adds folders with a query and a gallery. Needs
MindSpore, for the random weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.synthetic import rank_by_colour
from osnet.checkpoint.weights import Weights
from osnet.drawn.dataset import draw_dataset
from osnet.evaluation.evaluate import evaluate
from osnet.models.load import create_model, read_weights, weights_of

RANDOM_SEEDS = range(3)

HELD_OUT = {
    "identities": 2400, "cameras": 400, "cameras_per_identity": 6, "images_per_camera": 3, "train_fraction": 0.95,
    "seed": 0,
}  # fmt: skip
"""The data set of `make demo-weights`."""


def random_weights(network: str, seed: int) -> Weights:
    """Weights as a fresh network has them."""
    import mindspore

    mindspore.set_seed(seed)
    return weights_of(create_model(network))


def figures(weights: Weights, data: Path) -> Iterator[tuple[str, float, float]]:
    """Method, mAP and Rank-1."""
    found = evaluate(weights, data, cache=False).ranking
    yield "trained", found.mAP, float(found.cmc[0])
    random = [evaluate(random_weights(weights.variant.name, seed), data, cache=False).ranking for seed in RANDOM_SEEDS]
    yield "random weights", float(np.mean([r.mAP for r in random])), float(np.mean([r.cmc[0] for r in random]))
    if list(data.glob("query/*.jpg")):
        colour = rank_by_colour(data)
        yield "colour of 8 stripes", colour.mAP, float(colour.cmc[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--identities", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--worlds", nargs="+", default=["street"])
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    weights = read_weights(options.model)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "held-out"
        drawn = draw_dataset(root, **HELD_OUT)  # type: ignore[arg-type]
        sets = [(f"held out in training: {drawn.query} queries, {drawn.gallery} in the gallery", root)]
        sets += [(str(path), path) for path in options.data]
        for world in options.worlds:
            for seed in options.seeds:
                root = Path(folder) / f"{world}{seed}"
                drawn = draw_dataset(root, identities=options.identities, seed=seed, world=world)
                sets.append((f"{world}, seed {seed}: {drawn.query} queries, {drawn.gallery} in the gallery", root))
        for name, root in sets:
            print(name)
            for method, mean_ap, rank1 in figures(weights, root):
                print(f"  {method:<20} mAP {mean_ap:.3f}  Rank-1 {rank1:.3f}", flush=True)


if __name__ == "__main__":
    main()
