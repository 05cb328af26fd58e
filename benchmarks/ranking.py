"""Ranking and re-ranking beside torchreid's, at Market-1501 size: python -m benchmarks.ranking

3368 queries, 19,732 gallery images, 512 values each, drawn: 750 people with noise, a third of the gallery distractors.
Both sides get the same features or the same matrix of distances, in turn, each in a process of its own, whose peak of
resident memory is noted. Figures are medians of the rounds shown.

The peer's code is read from the installed torchreid, or from a checkout given by --torchreid or TORCHREID; where there
is none, its rows say so. Its Cython version is built in a temporary folder if the source and Cython are there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

QUERIES, GALLERY, WIDTH, PEOPLE, CAMERAS = 3368, 19_732, 512, 750, 6
MATCHABLE = 13_120
DISTRACTORS = 520_000
NOISE = 4.0

Problem = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


def problem(distractors: int = GALLERY - MATCHABLE) -> Problem:
    """Features of queries and gallery, and their labels as `osnet.rank` takes them."""
    rng = np.random.default_rng(0)
    query_ids = rng.integers(1, PEOPLE + 1, QUERIES)
    gallery_ids = np.r_[rng.integers(1, PEOPLE + 1, MATCHABLE), np.zeros(distractors, np.int64)]
    centres = rng.standard_normal((PEOPLE + 1, WIDTH), np.float32)
    gallery = rng.standard_normal((len(gallery_ids), WIDTH), np.float32)
    gallery *= NOISE
    gallery[:MATCHABLE] += centres[gallery_ids[:MATCHABLE]]
    query = centres[query_ids] + np.float32(NOISE) * rng.standard_normal((QUERIES, WIDTH), np.float32)
    labels = {
        "query_ids": query_ids,
        "gallery_ids": gallery_ids,
        "query_cameras": rng.integers(0, CAMERAS, QUERIES),
        "gallery_cameras": rng.integers(0, CAMERAS, len(gallery_ids)),
    }
    return query, gallery, labels


def timed(act: Callable[[], Any], rounds: int, warm_up: bool = True) -> tuple[dict[str, Any], Any]:
    """Times of `act` in seconds, and what it gave last."""
    if warm_up:
        act()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        answer = act()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "rounds": rounds}, answer


def figures(mean_precision: float, cmc: Any) -> dict[str, float]:
    return {"mAP": float(mean_precision), "rank1": float(cmc[0]), "rank10": float(cmc[9])}


def our_ranking_of_distances() -> dict[str, Any]:
    from osnet.evaluation.distances import distances
    from osnet.evaluation.ranking import rank_distances

    query, gallery, labels = problem()
    matrix = distances(query, gallery)
    found, ranking = timed(lambda: rank_distances(matrix, **labels), 11)
    return {**found, **figures(ranking.mAP, ranking.cmc)}


def our_ranking_of_features() -> dict[str, Any]:
    from osnet.evaluation.ranking import rank

    query, gallery, labels = problem()
    found, ranking = timed(lambda: rank(query, gallery, **labels), 5)
    return {**found, **figures(ranking.mAP, ranking.cmc)}


def our_ranking_of_520k() -> dict[str, Any]:
    from osnet.evaluation.ranking import rank

    rank(np.eye(2), np.eye(2), query_ids=[0, 1], gallery_ids=[0, 1], protocol="camera-blind")  # compiles
    query, gallery, labels = problem(DISTRACTORS)
    found, ranking = timed(lambda: rank(query, gallery, **labels), 3, warm_up=False)
    return {**found, **figures(ranking.mAP, ranking.cmc)}


def our_reranking() -> dict[str, Any]:
    from osnet.evaluation.rerank import rerank

    query, gallery, _ = problem()
    found, _ = timed(lambda: rerank(query, gallery), 5)
    return found


def their_python_ranking(source: Path) -> dict[str, Any]:
    from osnet.evaluation.distances import distances

    module = imported("rank", source / "metrics" / "rank.py")
    query, gallery, labels = problem()
    matrix = distances(query, gallery)
    found, (cmc, precision) = timed(
        lambda: module.evaluate_rank(matrix, *labels.values(), use_cython=False), 1, warm_up=False
    )
    return {**found, **figures(precision, cmc)}


def their_cython_ranking(source: Path) -> dict[str, Any]:
    from osnet.evaluation.distances import distances

    with tempfile.TemporaryDirectory() as folder:
        module = built(source / "metrics" / "rank_cylib" / "rank_cy.pyx", Path(folder))
        query, gallery, labels = problem()
        matrix = distances(query, gallery)
        found, (cmc, precision) = timed(lambda: module.evaluate_cy(matrix, *labels.values(), 50), 3, warm_up=False)
    return {**found, **figures(precision, cmc)}


def their_reranking(source: Path) -> dict[str, Any]:
    """From three ready matrices, which is all that the peer's time is for; then ours beside it, not timed."""
    from osnet.evaluation.distances import distances
    from osnet.evaluation.rerank import rerank

    module = imported("rerank", source / "utils" / "rerank.py")
    query, gallery, _ = problem()
    matrices = distances(query, gallery), distances(query, query), distances(gallery, gallery)
    found, theirs = timed(lambda: module.re_ranking(*matrices), 1, warm_up=False)
    found["peak"] = peak_bytes()
    difference = np.abs(rerank(query, gallery) - theirs)
    found["largest_difference"] = float(difference.max())
    found["over_1e-5"] = float((difference > 1e-5).mean())
    return found


CASES: dict[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "rank": ("mAP and CMC from distances, osnet", our_ranking_of_distances),
    "torchreid-cython": ("mAP and CMC from distances, torchreid (Cython)", their_cython_ranking),
    "torchreid-python": ("mAP and CMC from distances, torchreid (Python)", their_python_ranking),
    "features": ("mAP and CMC from features, osnet", our_ranking_of_features),
    "520k": ("the same with 520,000 distractors, osnet", our_ranking_of_520k),
    "rerank": ("re-ranking from features, osnet", our_reranking),
    "torchreid-rerank": ("re-ranking from distances, torchreid", their_reranking),
}


def imported(name: str, file: Path) -> ModuleType:
    """A single file of the peer as a module, without the package around it."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise SystemExit(f"skipped: no {file.name} in this torchreid")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(file: Path, folder: Path) -> ModuleType:
    """A Cython file of the peer, compiled in `folder`."""
    if not file.is_file():
        raise SystemExit("skipped: this torchreid has no Cython source; give a checkout of its repository")
    if importlib.util.find_spec("Cython") is None:
        raise SystemExit("skipped: Cython is not installed")
    shutil.copy(file, folder)
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--quiet", file.name]
    flags = {"CFLAGS": f"-O2 -I{np.get_include()}"}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **flags}, capture_output=True, text=True)
    extensions = list(folder.rglob("*.so")) + list(folder.rglob("*.pyd"))
    if done.returncode or not extensions:
        raise SystemExit(f"skipped: Cython could not build it: {done.stderr.strip().splitlines()[-1:]}")
    return imported("rank_cy", extensions[0])


def peer_source(given: str | None) -> Path | None:
    """The folder with torchreid's ``metrics`` and ``utils``, in a checkout or installed; nothing is imported."""
    spec = importlib.util.find_spec("torchreid") if given is None else None
    roots = (
        [Path(given)] if given else [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    )
    for root in roots:
        for folder in (root, root / "reid", root / "torchreid", root / "torchreid" / "reid"):
            if (folder / "metrics" / "rank.py").is_file():
                return folder
    return None


def peak_bytes() -> int:
    """Most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(case: str, source: Path | None) -> dict[str, Any]:
    """One case in a process of its own."""
    if case.startswith("torchreid") and source is None:
        return {"skipped": "no torchreid: pip install torchreid==0.2.5, or --torchreid CHECKOUT"}
    command = [sys.executable, "-m", "benchmarks.ranking", "--case", case]
    done = subprocess.run([*command, *(["--torchreid", str(source)] if source else [])], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "failed").splitlines()[-1]
        return {"skipped": reason.removeprefix("skipped: ")}
    return dict(json.loads(done.stdout))


def main() -> None:
    """Print the table, or the same figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchreid", default=os.environ.get("TORCHREID"), help="checkout of torchreid's repository")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="run these cases")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    source = peer_source(options.torchreid)
    if options.case:
        act = CASES[options.case][1]
        found = act(source) if options.case.startswith("torchreid") else act()
        print(json.dumps({"peak": peak_bytes(), **found}))
        return

    results = {case: run(case, source) for case in options.only}
    for ours, theirs in (("rank", "torchreid-cython"), ("rank", "torchreid-python"), ("rerank", "torchreid-rerank")):
        if all("seconds" in results.get(case, {}) for case in (ours, theirs)):
            results[theirs]["times_slower"] = results[theirs]["seconds"] / results[ours]["seconds"]
            results[theirs]["times_memory"] = results[theirs]["peak"] / results[ours]["peak"]
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for case, result in results.items():
        print(CASES[case][0])
        if "skipped" in result:
            print(f"    skipped: {result['skipped']}")
            continue
        seconds, rounds, peak = (result.pop(key) for key in ("seconds", "rounds", "peak"))
        print(f"    {seconds:.3f} s (median of {rounds}), peak {peak / 2**30:.2f} GiB")
        for name, value in result.items():
            print(f"    {name}: {value:.6g}")


if __name__ == "__main__":
    main()
