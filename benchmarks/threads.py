"""One embedder in many threads: right answers, throughput beside one thread, memory over many calls.

python -m benchmarks.threads [--calls 2000] [--long 20000]
"""

from __future__ import annotations

import argparse
import resource
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.timing import print_table, take_turns
from osnet.inference.embedder import Embedder
from tests.recipe import recipe_weights

THREADS = 8
CROPS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--long", type=int, default=20000)
    parser.add_argument("--network", default="osnet_x0_25")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    embedder = Embedder(recipe_weights(options.network))
    embedder.warm_up()
    crops = list(np.random.default_rng(0).integers(0, 256, (CROPS, 256, 128, 3), np.uint8))
    expected = np.concatenate([embedder(crop) for crop in crops])

    def call(seed: int) -> float:
        places = np.random.default_rng(seed).integers(0, CROPS, 1 + seed % 20)
        return float(np.abs(embedder([crops[place] for place in places]) - expected[places]).max())

    with ThreadPoolExecutor(THREADS) as pool:
        start = time.perf_counter()
        worst = max(pool.map(call, range(options.calls)))
        spent = time.perf_counter() - start
    print(f"{options.calls} calls of 1 to 20 crops, {THREADS} threads, {spent:.0f} s: largest difference {worst:.1e}")

    rows = []
    for size in (1, 5, 20):
        calls = max(1, 160 // size)

        def alone(size: int = size, calls: int = calls) -> None:
            for _ in range(calls):
                embedder(crops[:size])

        def together(size: int = size, calls: int = calls) -> None:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(lambda _: embedder(crops[:size]), range(calls)))

        found = take_turns({"alone": alone, "together": together}, rounds=options.rounds)
        one, many = (calls * size / found[name].median for name in ("alone", "together"))
        rows.append((str(size), f"{one:.0f}", f"{many:.0f}", f"{many / one:.2f}"))
    print_table(rows, ("crops in a call", "1 thread, images/s", f"{THREADS} threads, images/s", "ratio"))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(options.long):
        embedder(crops[: 1 + i % 2])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{options.long} calls from one thread: peak memory {grown / 1024:.1f} MiB higher")


if __name__ == "__main__":
    main()
