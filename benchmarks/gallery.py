"""Adding, opening and searching a gallery in a file, beside faiss (exact) and Milvus Lite, if they are installed.

python -m benchmarks.gallery [--entries 50000 1000000] [--folder /tmp] [--server]

With --server also `osnet.Gallery` on a Milvus Lite server, in a process of its own as the tests start it.

A search reads all features, so the time to read them once from memory is the bound: that to find the largest value of
the matrix, on one core or on all, whichever is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.timing import print_machine, print_table, take_turns
from osnet.evaluation.distances import over_rows
from osnet.gallery.gallery import Gallery
from osnet.inference.embedder import Signature
from tests.gallery.milvus_server import run_milvus

SIGNATURE = Signature("osnet_x0_25", "5" * 64, "fp32", 256, 128, True, False, "0")
BATCH, LIMIT, TOGETHER = 2000, 10, 64
Floats = npt.NDArray[np.float32]
Search = Callable[[Floats], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where the galleries are written")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--without-milvus", action="store_true")
    parser.add_argument("--server", action="store_true")
    options = parser.parse_args()
    print_machine("numpy", "faiss-cpu", "milvus-lite", "pymilvus")
    for entries in options.entries:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder, contextlib.ExitStack() as stack:
            server = stack.enter_context(run_milvus(Path(folder)))[0] if options.server else None
            compare(entries, Path(folder), options.rounds, not options.without_milvus, server)


def compare(entries: int, folder: Path, rounds: int, milvus: bool, server: str | None) -> None:
    """Print the figures of one size."""
    matrix, queries = people(entries)
    path = folder / "people.gallery"
    with Gallery.create(path, SIGNATURE) as gallery:
        added = fill(gallery, matrix)
    start = time.perf_counter()
    gallery = Gallery(path)
    gallery.search(queries[:1], limit=LIMIT)
    opened = time.perf_counter() - start
    expected = [np.argsort(-(matrix @ query), kind="stable")[:LIMIT] for query in queries[:32]]
    order = {entry.id: row for row, entry in enumerate(gallery.list())}
    found = gallery.search(queries[:32], limit=LIMIT)
    recall = np.mean(
        [
            len({order[match.entry.id] for match in one.matches} & set(rows.tolist())) / LIMIT
            for one, rows in zip(found, expected)
        ]
    )
    assert all(  # the first is the same but for rounding
        one.matches[0].similarity >= float(matrix[rows[0]] @ query) - 1e-5
        for one, rows, query in zip(found, expected, queries)
    )
    start = time.perf_counter()
    receipt = gallery.remove(identity="p7")
    removed = time.perf_counter() - start
    size = path.stat().st_size / entries / 2048
    print(f"\n### {entries:,} x 512\n")
    print(f"- added: {added:,.0f} a second in batches of {BATCH:,}, each on the disk before the next")
    print(f"- opened and first searched in {opened:.2f} s; recall@{LIMIT} {recall:.4f}")
    print(f"- {len(receipt.ids)} entries removed without a trace in {removed:.2f} s")
    print(f"- size of the file: {size:.2f} times that of the features", flush=True)
    served = None
    if server is not None:
        served = Gallery.create(f"{server}/people", SIGNATURE, timeout=600)
        print(f"- on the server: added: {fill(served, matrix):,.0f} a second in batches of {BATCH:,}", flush=True)
        _flush(server)  # Milvus Lite looks at new entries one by one until then
    searches: dict[str, Search] = {
        "osnet.Gallery": lambda asked: gallery.search(asked, limit=LIMIT),
        "osnet.Gallery, one of 6 cameras": lambda asked: gallery.search(asked, limit=LIMIT, camera="3"),
        "osnet.Gallery, best of each identity": lambda asked: gallery.search(asked, limit=LIMIT, group=True),
        **({} if served is None else {"osnet.Gallery, Milvus Lite": lambda asked: served.search(asked, limit=LIMIT)}),
        **_faiss(matrix),
        **(_milvus(matrix, folder) if milvus else {}),
    }
    readers = ("read by one core", "read by all cores")
    runs: dict[str, Callable[[], object]] = {
        readers[0]: matrix.max, readers[1]: lambda: over_rows(entries, lambda a, b: matrix[a:b].max())
    }  # fmt: skip
    turn = iter(range(10**9))
    for name, search in searches.items():

        def one(search: Search = search) -> object:
            return search(queries[next(turn) % len(queries)][None])

        def many(search: Search = search) -> object:
            return search(queries[:TOGETHER])

        runs[name], runs[f"{name}: {TOGETHER}"] = one, many
    print()
    timings = take_turns(runs, rounds=rounds, pause=0.05)
    bound = min(timings[name].median for name in readers)
    rows = [("read the features once from memory", f"{1e3 * bound:.2f} ms", "1.00", "")]
    for name in searches:
        single, together = timings[name].median, timings[f"{name}: {TOGETHER}"].median / TOGETHER
        rows.append((name, f"{1e3 * single:.2f} ms", f"{single / bound:.2f}", f"{1e3 * together:.2f} ms"))
    print_table(rows, ("", "one query, median", "times reading", f"of {TOGETHER} together, each"))
    gallery.close()
    if served is not None:
        served.close()


def fill(gallery: Gallery, matrix: Floats) -> float:
    """Add the features of the matrix, and return how many a second."""
    start = time.perf_counter()
    for first in range(0, len(matrix), BATCH):
        some = range(first, min(first + BATCH, len(matrix)))
        gallery.add(
            matrix[some.start : some.stop], identity=[f"p{i // 10}" for i in some], camera=[i % 6 for i in some]
        )
    return len(matrix) / (time.perf_counter() - start)


def _flush(server: str) -> None:
    from pymilvus import MilvusClient

    client = MilvusClient(server)
    client.flush("people")
    client.close()


def people(entries: int) -> tuple[Floats, Floats]:
    """Features of length 1, ten near each other for each person, and 256 queries of some of them."""
    rng = np.random.default_rng(0)
    matrix = np.empty((entries, 512), np.float32)
    for start in range(0, entries, 10_000):
        stop = min(start + 10_000, entries)
        centres = np.repeat(rng.standard_normal((1000, 512), np.float32), 10, axis=0)[: stop - start]
        part = centres + rng.standard_normal((stop - start, 512), np.float32)
        matrix[start:stop] = part / np.linalg.norm(part, axis=1, keepdims=True)
    queries = matrix[rng.integers(0, entries, 256)] + 0.02 * rng.standard_normal((256, 512), np.float32)
    return matrix, (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)


def _faiss(matrix: Floats) -> dict[str, Search]:
    if importlib.util.find_spec("faiss") is None:
        return {}
    import faiss

    index = faiss.IndexFlatIP(512)
    index.add(matrix)
    return {"faiss, IndexFlatIP": lambda asked: index.search(asked, LIMIT)}


def _milvus(matrix: Floats, folder: Path) -> dict[str, Search]:
    if importlib.util.find_spec("milvus_lite") is None:
        return {}
    from pymilvus import DataType, MilvusClient

    logging.disable(logging.WARNING)
    client = MilvusClient(str(folder / "people.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("feature", DataType.FLOAT_VECTOR, dim=512)
    index = client.prepare_index_params()
    index.add_index("feature", index_type="FLAT", metric_type="COSINE")
    client.create_collection("people", schema=schema, index_params=index)
    start = time.perf_counter()
    for first in range(0, len(matrix), BATCH):
        part = matrix[first : first + BATCH]
        client.insert("people", [{"id": first + i, "feature": row.tolist()} for i, row in enumerate(part)])
    client.flush("people")
    client.load_collection("people")
    print(f"- Milvus Lite: {len(matrix) / (time.perf_counter() - start):,.0f} adds a second", flush=True)
    return {
        "Milvus Lite, FLAT": lambda asked: client.search("people", asked.tolist(), anns_field="feature", limit=LIMIT)
    }


if __name__ == "__main__":
    main()
