"""How fast a published checkpoint is hashed, parsed and checked: python benchmarks/checkpoint.py

The file is made in memory in the published layout: osnet_x1_0, 702 identities, Adam's state; 1147 tensors, 30.5 MB.
Figures are medians of 21 rounds, in one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.checkpoint.weights import Weights, weights_from_bytes
from osnet.variants import get_variant, parameters

ROUNDS = 21


def published_file() -> bytes:
    """A checkpoint as the model zoo's training writes it, with drawn values."""
    random = np.random.default_rng(0)
    network = parameters(get_variant("osnet_x1_0"), 702)
    drawn = {p.name: random.random(p.shape, np.float32) for p in network}
    trained = {p.name: drawn[p.name] for p in network if p.trainable}
    entries: dict[str, np.ndarray] = {**trained, **{p.name: drawn[p.name] for p in network if not p.trainable}}
    entries["global_step"] = np.array([1], np.int32)
    entries["beta1_power"] = entries["beta2_power"] = np.float32(0.9).reshape(())
    for moment in ("moment1", "moment2"):
        entries.update({f"{moment}.{name}": array for name, array in trained.items()})
    entries["learning_rate"] = np.zeros(2, np.float32)
    entries["epoch_num"] = entries["step_num"] = np.array(1)
    return write_ckpt(entries)


def median_seconds(act: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median time of `act`, called once more before to warm up."""
    act()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print the table, or the same figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    data = published_file()
    arrays = read_ckpt(data)

    def hash_and_parse() -> object:
        return hashlib.sha256(data).hexdigest(), read_ckpt(data)

    steps: dict[str, Callable[[], object]] = {
        "hash (SHA-256)": lambda: hashlib.sha256(data).hexdigest(),
        "parse": lambda: read_ckpt(data),
        "hash + parse": hash_and_parse,
        "find the network, check names, shapes and values": lambda: Weights.from_arrays(arrays),
        "all of it: bytes to Weights": lambda: weights_from_bytes(data, "published.ckpt"),
    }
    rows = [(name, median_seconds(act)) for name, act in steps.items()]
    if as_json:
        found = {name: {"ms": seconds * 1e3, "gb_per_s": len(data) / seconds / 1e9} for name, seconds in rows}
        print(json.dumps({"bytes": len(data), "tensors": len(arrays), "steps": found}, indent=2))
        return
    print(f"{len(data):,} bytes, {len(arrays):,} tensors")
    for name, seconds in rows:
        print(f"{name:50} {seconds * 1e3:7.1f} ms {len(data) / seconds / 1e9:7.2f} GB/s")


if __name__ == "__main__":
    main()
