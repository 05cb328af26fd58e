"""Side-by-side timing: contenders take turns in one run, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def take_turns(
    contenders: Mapping[str, Callable[[], object]], *, rounds: int = 5, pause: float = 0.0
) -> dict[str, Timing]:
    """Run every contender once unmeasured, then each once a round, and keep the seconds of each round.

    `pause` seconds before each run let the threads of the one before come to rest: ONNX Runtime's spin for a while.
    """
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            time.sleep(pause)
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def print_table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> None:
    """A Markdown table."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in (header, tuple("-" * width for width in widths), *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
