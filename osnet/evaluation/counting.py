"""Compiled loops that rank a query's right answers by counting the wrong ones before them; nothing is sorted whole.

An entry that is out of the question for a query (junk, or the query's own identity and camera) is set to infinity in
a private copy of the row. For the rest, the answers at most as far as a right one are counted, sixteen or so at a
time by the CPU's vector unit, which for the few right answers that a query has beats any sort.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.evaluation.compiled import compiled

Array = npt.NDArray[Any]

_TILE = 4096  # entries of a row that stay in the first-level cache while all thresholds pass over them
_FEW = 64  # up to here one pass for each threshold is faster than a binary search for each entry


@compiled
def _count_at_most(row: Array, thresholds: Array, counts: Array) -> None:
    """``counts[i]`` becomes the number of entries of `row` at most ``thresholds[i]`` (sorted)."""
    for i in range(thresholds.size):
        counts[i] = 0
    if thresholds.size <= _FEW:
        for start in range(0, row.size, _TILE):
            stop = min(row.size, start + _TILE)
            for i in range(thresholds.size):
                threshold = thresholds[i]
                count = np.uint32(0)
                for j in range(start, stop):
                    count = np.uint32(count + np.uint32(row[j] <= threshold))
                counts[i] += count
        return
    for j in range(row.size):
        low, high = 0, thresholds.size
        while low < high:
            middle = (low + high) >> 1
            if thresholds[middle] < row[j]:
                low = middle + 1
            else:
                high = middle
        if low < thresholds.size:
            counts[low] += 1
    for i in range(1, thresholds.size):
        counts[i] += counts[i - 1]


@compiled
def _usable_row(source: Array, row: Array) -> bool:
    """Copy `source` to `row`; whether all of it is finite."""
    bad = np.uint32(0)
    for j in range(source.size):
        value = source[j]
        row[j] = value
        bad = np.uint32(bad + np.uint32(value - value != 0))
    return bool(bad == 0)


@compiled
def _right_answers(
    query: int, source: Array, row: Array, order: Array, starts: Array, ends: Array,
    gallery_cameras: Array, query_cameras: Array, same_camera: bool, junk: Array, found: Array,
) -> int:  # fmt: skip
    """Put the distances of a query's right answers into `found`, and infinity into `row` where an entry is out."""
    count = 0
    for k in range(starts[query], ends[query]):
        j = order[k]
        if same_camera and gallery_cameras[j] == query_cameras[query]:
            row[j] = np.inf
        else:
            found[count] = source[j]
            count += 1
    for k in range(junk.size):
        row[junk[k]] = np.inf
    return count


@compiled
def rank_rows(
    distances: Array, first_query: int, order: Array, starts: Array, ends: Array,
    gallery_cameras: Array, query_cameras: Array, same_camera: bool, junk: Array,
    precisions: Array, firsts: Array, penalties: Array,
) -> int:  # fmt: skip
    """Figures of the queries ``first_query ...`` from their rows of distances (R, G).

    ``order[starts[q]:ends[q]]`` are the gallery entries of query q's identity. Fills average precision, rank of the
    first right answer and inverse negative penalty of each query that has a right answer.

    Returns:
        the first row with a distance that is not finite, or -1.
    """
    row = np.empty(distances.shape[1], distances.dtype)
    longest = 0
    for r in range(distances.shape[0]):
        longest = max(longest, ends[first_query + r] - starts[first_query + r])
    found = np.empty(longest, distances.dtype)
    counts = np.empty(longest, np.int64)
    for r in range(distances.shape[0]):
        query = first_query + r
        if not _usable_row(distances[r], row):
            return r
        right = _right_answers(
            query, distances[r], row, order, starts, ends, gallery_cameras, query_cameras, same_camera, junk, found
        )
        if right == 0:
            continue
        thresholds = found[:right]
        thresholds.sort()
        _count_at_most(row, thresholds, counts[:right])
        total = 0.0
        rank = 0
        ties = 0  # right answers at the distance of this one or nearer
        for i in range(right):
            while ties < right and thresholds[ties] <= thresholds[i]:
                ties += 1
            rank = counts[i] - ties + i + 1  # the wrong answers up to this distance, then the right ones up to i
            total += (i + 1) / rank
            if i == 0:
                firsts[query] = rank
        precisions[query] = total / right
        penalties[query] = right / rank
    return -1


@compiled
def draw(seed: int, query: int, repeat: int, group: int, size: int) -> int:
    """A number below `size` that depends on nothing but the other arguments (SplitMix64, Steele et al. 2014)."""
    state = np.uint64(seed)
    for value in (query, repeat, group):
        state = np.uint64(state + np.uint64(value) + np.uint64(0x9E3779B97F4A7C15))
        state = np.uint64((state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9))
        state = np.uint64((state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB))
        state = np.uint64(state ^ (state >> np.uint64(31)))
    return np.int64(state % np.uint64(size))  # type: ignore[return-value]


@compiled
def single_shot_rows(
    distances: Array, first_query: int, order: Array, starts: Array, ends: Array, groups: Array,
    gallery_cameras: Array, query_cameras: Array, seed: int, ranks: Array,
) -> None:  # fmt: skip
    """Rank of the right answer where each identity has one gallery image, drawn anew for each query and repeat.

    ``groups`` (P, 2) are the identities' places in `order`, junk left out. Fills ``ranks`` (Q, repeats), 0 where a
    query has no right answer in another camera.
    """
    for r in range(distances.shape[0]):
        query = first_query + r
        row = distances[r]
        allowed = np.empty(ends[query] - starts[query], np.int64)
        right = 0
        for k in range(starts[query], ends[query]):
            if gallery_cameras[order[k]] != query_cameras[query]:
                allowed[right] = order[k]
                right += 1
        if right == 0:
            continue
        for repeat in range(ranks.shape[1]):
            threshold = row[allowed[draw(seed, query, repeat, 0, right)]]
            rank = 1
            for g in range(groups.shape[0]):
                if groups[g, 0] == starts[query]:
                    continue
                chosen = groups[g, 0] + draw(seed, query, repeat, g + 1, groups[g, 1] - groups[g, 0])
                if row[order[chosen]] <= threshold:
                    rank += 1
            ranks[query, repeat] = rank
