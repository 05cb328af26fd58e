"""Groups of drawn people without labels, by a threshold that was measured on other drawn people.

python -m benchmarks.clustering [--identities N] [--model M] [--features FILE --calibration FILE]

For each false positive rate of the calibration: pairwise precision, recall and F1, and NMI, of both methods; then the
best F1 that any threshold gives. `--features` and `--calibration` are files of `osnet embed` and `osnet eval
--calibrate`, of images that are named as in Market-1501, in place of the drawn people.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import osnet
from osnet.drawn.dataset import draw_dataset
from osnet.evaluation.calibration import calibrate, threshold_for, write_calibration
from osnet.evaluation.clustering import METHODS, score_clusters
from osnet.evaluation.feature_tables import known_persons, read_together
from osnet.evaluation.verification import FALSE_POSITIVE_RATES
from osnet.inference.bulk import embed_files

FEW_FOR_TRAINING = 0.02


def draw_and_measure(root: Path, identities: int, model: str) -> tuple[Path, Path]:
    """Feature file of drawn people, and calibration on as many others."""
    people, others = root / "people", root / "others"
    draw_dataset(people, identities=identities, images_per_camera=2, seed=12, train_fraction=FEW_FOR_TRAINING)
    draw_dataset(others, identities=identities, images_per_camera=2, seed=11, train_fraction=FEW_FOR_TRAINING)
    embed_files(osnet.Embedder(model), [people], root / "people.npz")
    found = osnet.evaluate(model, others, cache=False)
    made = calibrate(
        found.verification,
        checkpoint_sha256=found.weights.sha256 or "",
        data=["others"],
        backend=found.backend,
        precision=found.precision,
    )
    write_calibration(root / "calibration.json", made)
    return root / "people.npz", root / "calibration.json"


def report(features: Path, calibration: Path) -> None:
    """Print the table."""
    rows = read_together([features])
    persons = known_persons(rows)
    if persons is None:
        raise SystemExit("the persons are not known: expected file names as in Market-1501")
    known = persons > 0
    print(f"{len(rows.names):,} images, {known.sum():,} of {len(np.unique(persons[known])):,} persons\n")
    print("| method | fpr | threshold | precision | recall | F1 | NMI | groups | alone | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    points = [(f"{fpr:g}", threshold_for(calibration, rows.signature, fpr)) for fpr in FALSE_POSITIVE_RATES]
    for method in METHODS:
        best: tuple[float, float] = (0.0, 0.0)
        for fpr, threshold in [*points, *(("", threshold) for threshold in np.arange(0.5, 0.99, 0.02).tolist())]:
            start = time.perf_counter()
            labels = osnet.cluster(rows.features, threshold, method=method)
            seconds = time.perf_counter() - start
            found = score_clusters(labels, persons)
            best = max(best, (found.f1, threshold))
            if fpr:
                print(
                    f"| {method} | {fpr} | {threshold:.3f} | {found.precision:.3f} | {found.recall:.3f} "
                    f"| {found.f1:.3f} | {found.nmi:.3f} | {labels.max() + 1:,} | {(labels < 0).sum():,} "
                    f"| {seconds:.1f} |",
                    flush=True,
                )
        print(f"| {method} | best | {best[1]:.3f} | | | {best[0]:.3f} | | | | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--identities", type=int, default=200)
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--calibration", type=Path)
    options = parser.parse_args()
    if (options.features is None) != (options.calibration is None):
        parser.error("--features and --calibration go together")
    with tempfile.TemporaryDirectory() as folder:
        if options.features:
            report(options.features, options.calibration)
        else:
            report(*draw_and_measure(Path(folder), options.identities, options.model))


if __name__ == "__main__":
    main()
