"""Compiled loops: ranks by counting, single gallery shots, histograms of pairs, nearest matches, dot products.

To rank a query's matches, the non-matches before each of them are counted; nothing is sorted whole. An entry that does
not count for a query (junk, or the query's own identity and camera) is set to infinity in a private copy of the row.
For the rest, the entries at most as far as a match are counted, sixteen or so at a time by the CPU's vector unit, which
for the few matches that a query has beats any sort.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, TypeVar, cast

import numpy as np
import numpy.typing as npt

from osnet.data.records import JUNK
from osnet.errors import DependencyError
from osnet.evaluation.protocols import Labels

numba: Any
try:
    import numba
except ImportError:
    numba = None

Array = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def require_numba() -> None:
    """Raises:
    DependencyError: numba is missing.
    """
    if numba is None:
        raise DependencyError('ranking needs numba, which cannot be imported: pip install "osnet[eval]"')


def compiled(function: Function, *, reorder_sums: bool = False) -> Function:
    """Compile `function` at its first call, ``nogil`` so that threads run it side by side, and keep the code on disk.

    `reorder_sums` lets the vector unit add floats in an order of its own. Without numba the function stays as it is:
    right, and far too slow; `require_numba` stands before every use.

    Numba's own ``parallel=True`` is not used: it compiles for seconds, and its fallback scheduler ends the process
    when two threads rank at once.
    """
    if numba is None:
        return function
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract"} if reorder_sums else False}
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor a cache folder can be written
        return cast(Function, numba.njit(**options)(function))


@partial(compiled, reorder_sums=True)
def dot(a: Array, b: Array) -> float:
    total = np.float32(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total  # type: ignore[return-value]


@compiled
def dot_rows(rows: Array, query: Array, out: Array) -> None:
    """Fill `out` with the dot product of `query` and each of `rows`.

    One core does this as fast as it reads memory. BLAS needs several, which may take milliseconds to wake.
    """
    for i in range(len(rows)):
        out[i] = dot(rows[i], query)


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
def _match_distances(query: int, source: Array, row: Array, labels: Labels, found: Array) -> int:
    """Put the distances of a query's matches into `found`, and infinity into `row` where an entry does not count."""
    count = 0
    for k in range(labels.starts[query], labels.ends[query]):
        j = labels.order[k]
        if labels.same_camera_left_out and labels.gallery_cameras[j] == labels.query_cameras[query]:
            row[j] = np.inf
        else:
            found[count] = source[j]
            count += 1
    for k in range(labels.junk.size):
        row[labels.junk[k]] = np.inf
    return count


@compiled
def rank_rows(
    distances: Array, first_query: int, labels: Labels, precisions: Array, firsts: Array, penalties: Array
) -> int:
    """Figures of the queries ``first_query ...`` from their rows of distances (R, G).

    Fills average precision, rank of the first match and inverse negative penalty of each query that has a match.

    Returns:
        the first row with a distance that is not finite, or -1.
    """
    row = np.empty(distances.shape[1], distances.dtype)
    longest = 0
    for r in range(distances.shape[0]):
        longest = max(longest, labels.ends[first_query + r] - labels.starts[first_query + r])
    found = np.empty(longest, distances.dtype)
    counts = np.empty(longest, np.int64)
    for r in range(distances.shape[0]):
        query = first_query + r
        if not _usable_row(distances[r], row):
            return r
        matches = _match_distances(query, distances[r], row, labels, found)
        if matches == 0:
            continue
        thresholds = found[:matches]
        thresholds.sort()
        _count_at_most(row, thresholds, counts[:matches])
        total = 0.0
        rank = 0
        ties = 0  # matches at the distance of this one or nearer
        for i in range(matches):
            while ties < matches and thresholds[ties] <= thresholds[i]:
                ties += 1
            rank = counts[i] - ties + i + 1  # the non-matches up to this distance, then the matches up to i
            total += (i + 1) / rank
            if i == 0:
                firsts[query] = rank
        precisions[query] = total / matches
        penalties[query] = matches / rank
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
def single_shot_rows(distances: Array, first_query: int, labels: Labels, seed: int, ranks: Array) -> None:
    """Rank of the match where each identity has one gallery image, drawn anew for each query and repeat.

    Fills ``ranks`` (Q, repeats), 0 where a query has no match in another camera.
    """
    groups = labels.groups
    for r in range(distances.shape[0]):
        query = first_query + r
        row = distances[r]
        allowed = np.empty(labels.ends[query] - labels.starts[query], np.int64)
        matches = 0
        for k in range(labels.starts[query], labels.ends[query]):
            if labels.gallery_cameras[labels.order[k]] != labels.query_cameras[query]:
                allowed[matches] = labels.order[k]
                matches += 1
        if matches == 0:
            continue
        for repeat in range(ranks.shape[1]):
            threshold = row[allowed[draw(seed, query, repeat, 0, matches)]]
            rank = 1
            for g in range(groups.shape[0]):
                if groups[g, 0] == labels.starts[query]:
                    continue
                chosen = groups[g, 0] + draw(seed, query, repeat, g + 1, groups[g, 1] - groups[g, 0])
                if row[labels.order[chosen]] <= threshold:
                    rank += 1
            ranks[query, repeat] = rank


@compiled
def _bin(distance: float, scale: float, last: int) -> int:
    return min(np.int64(np.ceil(distance * scale)), last)  # type: ignore[return-value]


@compiled
def count_pairs(
    distances: Array, first_query: int, labels: Labels, scale: float, same: Array, different: Array
) -> None:
    """Add the pairs of the queries ``first_query ...`` to the histograms of the same and of different people.

    Bin b takes the distances above ``(b - 1) / scale`` up to ``b / scale``.
    """
    last = same.size - 1
    for r in range(distances.shape[0]):
        query = first_query + r
        if labels.query_ids[query] == JUNK:
            continue
        row = distances[r]
        for j in range(row.size):
            different[_bin(row[j], scale, last)] += 1
        for k in range(labels.starts[query], labels.ends[query]):
            j = labels.order[k]
            place = _bin(row[j], scale, last)
            different[place] -= 1
            if not (labels.same_camera_left_out and labels.gallery_cameras[j] == labels.query_cameras[query]):
                same[place] += 1
        for k in range(labels.junk.size):
            different[_bin(row[labels.junk[k]], scale, last)] -= 1


@compiled
def nearest_rows(
    distances: Array, first_query: int, labels: Labels, match: Array, non_match: Array, match_place: Array,
    non_match_place: Array,
) -> None:  # fmt: skip
    """Distance and gallery row of the nearest match and non-match of the queries ``first_query ...``."""
    row = np.empty(distances.shape[1], distances.dtype)
    for r in range(distances.shape[0]):
        query = first_query + r
        row[:] = distances[r]
        for k in range(labels.junk.size):
            row[labels.junk[k]] = np.inf
        for k in range(labels.starts[query], labels.ends[query]):
            j = labels.order[k]
            left_out = labels.same_camera_left_out and labels.gallery_cameras[j] == labels.query_cameras[query]
            if row[j] < match[query] and not left_out:
                match[query], match_place[query] = row[j], j
            row[j] = np.inf
        for j in range(row.size):
            if row[j] < non_match[query]:
                non_match[query], non_match_place[query] = row[j], j
