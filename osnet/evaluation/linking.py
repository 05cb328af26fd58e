"""Tracks of several cameras → persons: which tracks show one person, and how right that is where persons are known.

A track is what a tracker gives: the rows of one camera with one number. Tracks are grouped by average linkage, as
`osnet.cluster` groups images, but two tracks are kept apart whatever their similarity if one person cannot be both:

- their times overlap, in one camera, or in two whose views do not overlap;
- there is less time between them than the way from one camera to the other takes.

A group is also refused if its person would be out of sight for longer than the way takes. This depends on all tracks of
the group: from camera A to C by way of B may take longer than from A to C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

import numpy as np
import numpy.typing as npt

from osnet.checks import check_number
from osnet.data.records import DISTRACTOR
from osnet.errors import DataError, DependencyError, OptionError
from osnet.evaluation.distances import check_features, squared_norms

Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

Pairs = Union[Iterable[tuple[str, str]], Literal["all"]]
Bounds = Mapping[tuple[str, str], tuple[float, float]]

TRACKS_LIMIT = 20_000
"""Tracks that are linked at once at most: their similarities need 2 GB."""

_POSSIBLE, _NOT_NOW, _NEVER = 0, 1, 2  # whether two groups may become one; not now: while both stay as they are
_ROUNDING = 1e-6  # error of a similarity in float32
_BLOCK_ROWS = 256


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of several cameras.

    Attributes:
        features: float32 (T, D), the mean of a track's features, each and the mean scaled to length 1.
        cameras: T names.
        starts, ends: float64 (T,), first and last time, in seconds.
        of_row: int64 (N,), the track of each row.
    """

    features: Floats
    cameras: tuple[str, ...]
    starts: Times
    ends: Times
    of_row: Integers


def make_tracks(features: Any, cameras: Any, times: Any, ids: Any, *, split: float | None = None) -> Tracks:
    """Gather the rows of each track.

    Args:
        features: of the rows, (N, D), any float type.
        cameras: N names or numbers.
        times: N times in seconds, from any moment that is the same for all cameras.
        ids: N names or numbers; rows of one camera with one id are a track.
        split: seconds; where an id is not seen for longer, another track begins. None: never.

    Returns:
        `Tracks`, in order of camera, id and time.

    Raises:
        DataError: no rows, features or times that are not finite, or not N cameras, times and ids.
        OptionError: `split` is not a number above 0.
    """
    checked = check_features(features, "track")
    size = len(checked)
    seconds = np.asarray(times, np.float64)
    names, camera = np.unique(np.asarray(cameras).astype(str), return_inverse=True)
    track = np.unique(np.asarray(ids).astype(str), return_inverse=True)[1]
    if not seconds.shape == camera.shape == track.shape == (size,):
        shapes = ", ".join(map(str, (camera.shape, seconds.shape, track.shape)))
        raise DataError(f"tracks: expected {size} cameras, times and ids, one for each feature, got shapes {shapes}")
    if not np.isfinite(seconds).all():
        raise DataError(
            f"tracks: expected a finite time, got {seconds[np.argmin(np.isfinite(seconds))]} in row "
            f"{int(np.argmin(np.isfinite(seconds)))} of {size}"
        )
    order = np.lexsort((seconds, track, camera))
    camera, track, seconds = camera[order], track[order], seconds[order]
    new = (np.diff(camera) != 0) | (np.diff(track) != 0)
    if split is not None:
        new |= np.diff(seconds) > check_number("split", split, above=0)
    first = np.flatnonzero(np.concatenate(([True], new)))
    of_row = np.empty(size, np.int64)
    of_row[order] = np.cumsum(np.concatenate(([0], new)))
    sums = np.add.reduceat(_unit(checked)[order].astype(np.float64), first)
    return Tracks(
        features=_unit(sums.astype(np.float32)),
        cameras=tuple(names[camera[first]].tolist()),
        starts=seconds[first],
        ends=seconds[np.append(first[1:], size) - 1],
        of_row=of_row,
    )


def _unit(features: Floats) -> Floats:
    lengths = np.sqrt(squared_norms(features))
    scaled: Floats = (features / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
    return scaled


def link(tracks: Tracks, threshold: float, *, overlapping: Pairs = (), travel: Bounds | None = None) -> Integers:
    """Group tracks that show one person.

    The two groups with the highest mean similarity are merged, among those that may be one person, until no mean
    reaches the threshold.

    Args:
        tracks: of `make_tracks`.
        threshold: mean cosine similarity from which on tracks show one person, -1 to 1.
        overlapping: pairs of cameras whose views overlap, so that both may see a person at once; ``all``: any two.
        travel: for a pair of cameras, the least and the greatest seconds from the end of a track in the first to the
            beginning of the next track of the same person in the second; both ways, unless the other way has bounds of
            its own. The greatest may be ``math.inf``. Two equal cameras: until a person comes back.

    Returns:
        int64 (T,): the person of each track, numbered from 0 by their first appearance.

    Raises:
        OptionError: a threshold outside -1 to 1, an unknown camera, bounds that exclude each other or the overlap.
        DataError: over `TRACKS_LIMIT` tracks.
    """
    threshold = check_number("threshold", threshold, least=-1, most=1)
    size = len(tracks.cameras)
    if size > TRACKS_LIMIT:
        raise DataError(f"expected at most {TRACKS_LIMIT:,} tracks, got {size:,}; link one day or one hour at a time")
    layout = _layout(tracks.cameras, overlapping, travel or {})
    similarity = np.empty((size, size), np.float32)
    state = np.empty((size, size), np.uint8)
    for start in range(0, size, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        similarity[rows] = tracks.features[rows] @ tracks.features.T
        state[rows] = np.where(_one_person(tracks, layout, rows), _POSSIBLE, _NEVER)
    np.fill_diagonal(state, _NEVER)
    raw = _merge(similarity, state, threshold - _ROUNDING, lambda members: _in_reach(tracks, layout, members))
    order = np.lexsort((np.arange(size), tracks.starts))
    groups, first, place = np.unique(raw[order], return_index=True, return_inverse=True)
    numbers = np.empty(len(groups), np.int64)
    numbers[np.argsort(first)] = np.arange(len(groups))
    persons = np.empty(size, np.int64)
    persons[order] = numbers[place.reshape(-1)]
    return persons


@dataclass(frozen=True, eq=False)
class _Layout:
    """`camera` of each track (T,); from camera to camera: whether views overlap, and bounds in seconds (C, C)."""

    camera: Integers
    overlap: npt.NDArray[np.bool_]
    least: Times
    greatest: Times


def _layout(cameras: Sequence[str], overlapping: Pairs, travel: Bounds) -> _Layout:
    names, camera = np.unique(np.array(cameras, str), return_inverse=True)
    places = {name: place for place, name in enumerate(names.tolist())}
    size = len(names)

    def place(pair: Any, what: str) -> tuple[int, int]:
        if isinstance(pair, str) or not isinstance(pair, Collection) or len(pair) != 2:
            raise OptionError(f"{what}: expected a pair of cameras, got {pair!r:.80}")
        one, other = pair
        for name in (one, other):
            if name not in places:
                raise OptionError(f"{what}: no track is of camera {name!r:.80}; there are: {', '.join(places):.200}")
        return places[one], places[other]

    overlap = np.zeros((size, size), np.bool_)
    if overlapping == "all":
        overlap[:] = True
    else:
        for pair in overlapping:
            one, other = place(pair, "overlapping")
            overlap[one, other] = overlap[other, one] = True
    np.fill_diagonal(overlap, False)
    least, greatest = np.zeros((size, size)), np.full((size, size), math.inf)
    for pair, bounds in travel.items():
        one, other = place(pair, "travel")
        low, high = bounds
        what = f"travel from {pair[0]} to {pair[1]}"
        low = check_number(f"{what}, least", low, least=0)
        high = math.inf if high == math.inf else check_number(f"{what}, greatest", high, least=low)
        if low and overlap[one, other]:
            raise OptionError(f"{what}: expected a least time of 0, as their views overlap, got {low:g}")
        least[one, other], greatest[one, other] = low, high
        if (pair[1], pair[0]) not in travel:
            least[other, one], greatest[other, one] = low, high
    return _Layout(camera.astype(np.int64), overlap, least, greatest)


def _one_person(tracks: Tracks, layout: _Layout, rows: slice) -> npt.NDArray[np.bool_]:
    """Whether the tracks of `rows` and all others may show one person, by their times alone (rows, T)."""
    starts, ends, camera = tracks.starts[rows, None], tracks.ends[rows, None], layout.camera[rows, None]
    later = tracks.starts - ends  # seconds from the row's end to the beginning of the others
    earlier = starts - tracks.ends
    follows = (later > 0) & (later >= layout.least[camera, layout.camera])
    precedes = (earlier > 0) & (earlier >= layout.least[layout.camera, camera])
    at_once = (later <= 0) & (earlier <= 0) & layout.overlap[camera, layout.camera]
    possible: npt.NDArray[np.bool_] = follows | precedes | at_once
    return possible


def _in_reach(tracks: Tracks, layout: _Layout, members: Integers) -> bool:
    """Whether a person of these tracks is never out of sight for longer than the greatest seconds allow."""
    if not np.isfinite(layout.greatest).any():
        return True
    members = members[np.lexsort((members, tracks.starts[members]))]
    last = members[0]
    for member in members[1:]:
        greatest = layout.greatest[layout.camera[last], layout.camera[member]]
        if tracks.starts[member] - tracks.ends[last] > greatest:
            return False
        if tracks.ends[member] >= tracks.ends[last]:
            last = member
    return True


def _merge(
    similarity: Floats, state: npt.NDArray[np.uint8], threshold: float, allowed: Callable[[Integers], bool]
) -> Integers:
    """Average linkage of the pairs that `state` leaves possible; one number for each group (T,).

    Both matrices are changed: row and column of a group are those of one of its tracks. Each row keeps its best pair,
    so that a merge looks through few rows. Of the two rows of a pair, one is enough to find it.
    """
    size = len(similarity)
    groups = {row: np.array([row]) for row in range(size)}
    best, value = np.zeros(size, np.int64), np.full(size, -math.inf)

    def refresh(row: int) -> None:
        options = np.where(state[row] == _POSSIBLE, similarity[row], -math.inf)
        best[row] = np.argmax(options)
        value[row] = options[best[row]]

    for row in range(size):
        refresh(row)
    while True:
        one = int(np.argmax(value))
        if value[one] < threshold:
            break
        other = int(best[one])
        members = np.concatenate((groups[one], groups[other]))
        if not allowed(members):
            state[one, other] = state[other, one] = _NOT_NOW
            refresh(one)
            refresh(other)
            continue
        weights = np.array([len(groups[one]), len(groups[other])]) / len(members)
        row = weights[0] * similarity[one] + weights[1] * similarity[other]
        similarity[one] = similarity[:, one] = row
        never = np.where((state[one] == _NEVER) | (state[other] == _NEVER), _NEVER, _POSSIBLE)
        state[one] = state[:, one] = never
        state[other] = state[:, other] = _NEVER
        groups[one] = members
        del groups[other]
        value[other] = -math.inf
        for stale in np.flatnonzero((best == one) | (best == other)).tolist():
            if stale in groups:
                refresh(stale)
        refresh(one)
    found = np.empty(size, np.int64)
    for name, members in groups.items():
        found[members] = name
    return found


@dataclass(frozen=True)
class IdentityScores:
    """How well found persons are the true ones: IDF1 (Ristani et al., ECCV workshops 2016).

    Found and true persons are paired one to one, so that as many rows as possible are right. A row is right if its
    found person is paired with its true one.

    Attributes:
        idf1: right rows over the mean number of found and true rows, 0 to 1. Every row has both here, so IDP and IDR,
            the precision and recall, are the same.
        right: rows.
        rows: that were counted.
        persons, found: true and found persons in them.
    """

    idf1: float
    right: int
    rows: int
    persons: int
    found: int


def score_identities(found: Any, persons: Any) -> IdentityScores:
    """Compare found with true persons.

    Args:
        found: integers (N,), one for each row.
        persons: true ones, integers (N,). Junk (-1) and distractors (0) are left out, as nobody knows who they show.

    Returns:
        `IdentityScores`.

    Raises:
        DataError: not one found and one true person for each row, or no row of a known person.
        DependencyError: scipy is missing.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise DependencyError(f'IDF1 needs scipy ({error}): pip install "osnet[eval]"') from error
    found, persons = np.asarray(found), np.asarray(persons)
    if found.ndim != 1 or found.shape != persons.shape:
        raise DataError(f"expected a found and a true person for each row, got shapes {found.shape}, {persons.shape}")
    known = persons > DISTRACTOR
    if not known.any():
        raise DataError("no row shows a known person: nothing to score")
    guesses, guess = np.unique(found[known], return_inverse=True)
    people, person = np.unique(persons[known], return_inverse=True)
    together = np.zeros((len(people), len(guesses)))
    np.add.at(together, (person, guess), 1)
    right = int(together[linear_sum_assignment(together, maximize=True)].sum())
    rows = int(known.sum())
    return IdentityScores(idf1=right / rows, right=right, rows=rows, persons=len(people), found=len(guesses))
