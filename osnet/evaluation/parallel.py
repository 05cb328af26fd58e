"""Rows shared out over threads, for code that lets the interpreter's lock go: numpy, BLAS and compiled loops."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, TypeVar

Result = TypeVar("Result")


def workers() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def over_rows(rows: int, job: Callable[[int, int], Result]) -> list[Result]:
    """Run ``job(start, stop)`` over `rows` rows in contiguous shares, one a worker; results in the order of the rows.

    The first exception of a job is raised once all have ended.
    """
    shares = min(workers(), rows)
    if shares <= 1:
        return [job(0, rows)]
    cuts = [rows * i // shares for i in range(shares + 1)]
    with ThreadPoolExecutor(shares) as pool:
        return list(pool.map(job, cuts[:-1], cuts[1:]))
