"""Searches for people who are not in the gallery: how many find somebody, at thresholds of a pair and of a search.

python -m benchmarks.unenrolled [--model M] [--data DIR] [--calibration FILE] [--repeats N]

Half of the people are enrolled with their gallery images, all query images are searched, and that is repeated with
other halves. An answer is right if the most similar entry reaches the threshold and shows the person. Without
`--calibration` (a file of `osnet eval --calibrate`, of other people), people are drawn for both.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

import numpy as np

import osnet
from benchmarks.clustering import draw_and_measure
from benchmarks.timing import print_table
from osnet.evaluation.calibration import Calibration, read_calibration

PEOPLE = 40
RATES = (0.001, 0.01, 0.02, 0.05, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    if (options.data is None) != (options.calibration is None):
        raise SystemExit("expected both of --data and --calibration, or neither")
    with tempfile.TemporaryDirectory() as folder:
        if options.data is None:
            draw_and_measure(Path(folder), PEOPLE, options.model)
            options.data, options.calibration = Path(folder) / "people", Path(folder) / "calibration.json"
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Print the table."""
    found = osnet.evaluate(options.model, options.data, precision=options.precision)
    calibration = read_calibration(options.calibration)
    assert calibration.checkpoint_sha256 == found.sha256
    assert calibration.precision == found.precision
    query_ids, entry_ids = (np.array([one.person for one in some]) for some in (found.query, found.gallery))
    similarity = found.query_features @ found.gallery_features.T
    people = np.intersect1d(query_ids[query_ids > 0], entry_ids)
    figures: dict[str, list[tuple[float, float, float]]] = {}
    random = np.random.default_rng(0)
    for _ in range(options.repeats):
        enrolled, others = np.split(random.permutation(people), [len(people) // 2])
        entries = np.flatnonzero(np.isin(entry_ids, enrolled))
        first = similarity[:, entries].argmax(axis=1)
        best, right = similarity[:, entries].max(axis=1), entry_ids[entries][first] == query_ids
        inside, outside = np.isin(query_ids, enrolled), np.isin(query_ids, others)
        for rate in RATES:
            for name, threshold in thresholds(calibration, rate, len(entries)).items():
                known = best >= threshold
                row = (threshold, 1 - known[outside].mean(), (known & right)[inside].mean())
                figures.setdefault(f"{rate:g} of a {name}", []).append(row)
    print(f"{len(people)} people, {len(query_ids):,} queries, {len(entry_ids):,} gallery images; in the calibration "
          f"{calibration.impostor_pairs:,} pairs of different people\n")  # fmt: skip
    rows = []
    for name in sorted(figures):
        threshold, unknown, right_of_all = np.mean(figures[name], axis=0)
        rows.append((name, f"{threshold:.3f}", f"{100 * unknown:.1f} %", f"{100 * right_of_all:.1f} %"))
    print_table(rows, ("rate", "threshold", "not enrolled: unknown", "enrolled: found"))


def thresholds(calibration: Calibration, rate: float, entries: int) -> dict[str, float]:
    """Of a pair and of a search, if they were measured."""
    found = {}
    with contextlib.suppress(osnet.OsnetError):
        found["pair"] = calibration.threshold(rate)
    with contextlib.suppress(osnet.OsnetError):
        found["search"] = calibration.for_search(rate, entries).threshold
    return found


if __name__ == "__main__":
    main()
