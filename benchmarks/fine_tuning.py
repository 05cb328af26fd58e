"""Fine-tune the built-in checkpoint on drawn people in other surroundings: mAP there before and after, and the time.

python -m benchmarks.fine_tuning [--model osnet_x0_25_drawn] [--world indoor] [--identities 400] [--seed 3]

A tenth of the people are for the evaluation. The recipe is osnet/training/recipes/fine-tune.yaml.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import osnet
from osnet.drawn.dataset import draw_dataset
from osnet.training.config import read_config

RECIPE = Path(osnet.__file__).parent / "training/recipes/fine-tune.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--world", default="indoor")
    parser.add_argument("--identities", type=int, default=400)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "data", Path(folder) / "run"
        drawn = draw_dataset(
            data,
            identities=options.identities,
            images_per_camera=2,
            seed=options.seed,
            world=options.world,
            train_fraction=0.9,
        )
        print(f"{options.world}: {drawn.train} training images, {drawn.query} queries, {drawn.gallery} in the gallery")
        before = osnet.evaluate(options.model, data, cache=False)
        print(f"before: mAP {before.mAP:.3f}  Rank-1 {before.ranking.cmc[0]:.3f}", flush=True)
        start = time.monotonic()
        run = osnet.train(read_config(RECIPE, data=str(data), model=options.model), out)
        minutes = (time.monotonic() - start) / 60
        after = osnet.evaluate(str(osnet.publish_run(run.root, name="tuned").card), data, cache=False)
        print(f"after {minutes:.1f} minutes: mAP {after.mAP:.3f}  Rank-1 {after.ranking.cmc[0]:.3f}")


if __name__ == "__main__":
    main()
