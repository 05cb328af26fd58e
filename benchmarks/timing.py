"""Side-by-side timing: contenders take turns in one run, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Seconds of each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Largest less smallest, as a part of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


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


def print_machine(*packages: str) -> None:
    """Processor, cores, instruction sets and versions of `packages`: what figures depend on."""
    cpu = Path("/proc/cpuinfo")
    lines = dict(line.split(":", 1) for line in cpu.read_text().splitlines() if ":" in line) if cpu.exists() else {}
    found = {key.strip(): value.strip() for key, value in lines.items()}
    known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")
    flags = [flag for flag in known if flag in found.get("flags", "").split()]
    print(f"{found.get('model name', platform.processor())}, {os.cpu_count()} cores; {' '.join(flags)}")
    print(f"Python {platform.python_version()}" + "".join(f", {name} {_version(name)}" for name in packages) + "\n")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def print_table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> None:
    """A Markdown table."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in (header, tuple("-" * width for width in widths), *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
