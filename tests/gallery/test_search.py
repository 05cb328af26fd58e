"""The exact search against a plain sort, and the columns that it filters by."""

from __future__ import annotations

import numpy as np
import pytest

from osnet.evaluation import compiled_loops
from osnet.gallery import matrix, search
from osnet.gallery.filters import Filter
from osnet.gallery.matrix import Matrix
from osnet.gallery.search import best_rows


@pytest.mark.parametrize("queries", [1, 2, pytest.param(67, marks=pytest.mark.slow)])
@pytest.mark.parametrize("limit", [1, 5, 40, 3000])
@pytest.mark.parametrize("loops_from", [0, 10**9])
def test_the_best_rows_are_those_of_a_plain_sort(
    queries: int, limit: int, loops_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_TILE", 512)
    monkeypatch.setattr(search, "_WORTH_LOOPS", loops_from)
    rng = np.random.default_rng(limit + queries)
    rows_of = rng.integers(-3, 4, (1500, 8)).astype(np.float32)  # whole numbers: products are exact, and many are equal
    asked = rng.integers(-3, 4, (queries, 8)).astype(np.float32)
    penalty = np.where(rng.random(1500) < 0.3, -np.inf, 0).astype(np.float32)
    for some in (None, penalty, np.full(1500, -np.inf, np.float32)):
        blocks = [rows_of[:700], rows_of[700:700], rows_of[700:]]
        for query, (rows, scores) in zip(asked, best_rows(blocks, asked, limit, some)):
            plain = rows_of @ query + (0 if some is None else some)
            scored = plain.tolist()
            counted = [row for row in range(1500) if scored[row] > -np.inf]
            expected = sorted(counted, key=lambda row: (-scored[row], row))[:limit]
            assert rows.tolist() == expected
            assert scores.tolist() == plain[expected].tolist()


def test_large_galleries_are_searched_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_WORTH_LOOPS", 0)
    monkeypatch.setattr(compiled_loops, "numba", None)
    monkeypatch.setattr(compiled_loops, "dot_rows", None)
    rows, scores = best_rows([np.eye(3, dtype=np.float32)], np.ones((1, 3), np.float32), 2, None)[0]
    assert (rows.tolist(), scores.tolist()) == ([0, 1], [1, 1])


def test_no_rows() -> None:
    rows, scores = best_rows([], np.ones((1, 4), np.float32), 3, None)[0]
    assert rows.tolist() == scores.tolist() == []


def test_rows_keep_their_place_when_the_matrix_grows_and_removed_ones_are_overwritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matrix, "_BLOCK", 64)
    kept = Matrix()
    rows = np.random.default_rng(0).standard_normal((150, 512)).astype(np.float32)
    numbers = np.arange(150) * 2 + 1
    for part in (slice(0, 60), slice(60, 61), slice(61, 150)):
        count = len(numbers[part])
        kept.add(numbers[part].tolist(), rows[part], [None] * count, ["1"] * count, [None] * count, [0.0] * count)
    before = kept.snapshot()
    directions = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    assert np.allclose(np.concatenate(before.blocks), directions, atol=1e-6)
    kept.remove(np.array([1, 2 * 140 + 1]))
    assert np.flatnonzero(~np.concatenate(before.blocks).any(axis=1)).tolist() == [0, 140]
    penalty = kept.snapshot().penalty(Filter(), None)
    assert penalty is not None
    assert np.flatnonzero(penalty).tolist() == [0, 140]
    assert (kept.live, kept.count, kept.last) == (148, 150, 299)
    assert kept.numbers().tolist() == [number for number in numbers.tolist() if number not in (1, 281)]
