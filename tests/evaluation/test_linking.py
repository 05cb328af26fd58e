"""Tracks of several cameras → persons, against plain loops; IDF1 against every pairing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import osnet
from osnet.errors import DataError, OptionError
from osnet.evaluation import linking
from osnet.evaluation.linking import Tracks, link, make_tracks, score_identities
from tests.oracles import linking as oracle

CAMERAS = ("a", "b", "c")


def tracks(features, *places) -> Tracks:
    """Tracks of one row each: (camera, start, end)."""
    unit = np.float32(features)
    cameras, starts, ends = zip(*places)
    return Tracks(
        unit / np.linalg.norm(unit, axis=1, keepdims=True),
        cameras,
        np.float64(starts),
        np.float64(ends),
        np.arange(len(places)),
    )


def groups_of(persons):
    return sorted(sorted(np.flatnonzero(persons == person).tolist()) for person in set(persons.tolist()))


@st.composite
def problems(draw):
    r = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(2, 10))
    people = r.standard_normal((draw(st.integers(1, 4)), 6))
    features = people[r.integers(0, len(people), size)] + draw(st.sampled_from((0.1, 0.5))) * r.standard_normal(
        (size, 6)
    )
    starts = r.integers(0, 40, size)
    places = [(CAMERAS[r.integers(3)], int(start), int(start + r.integers(0, 8))) for start in starts]
    pairs = [(one, other) for one in CAMERAS for other in CAMERAS]
    overlapping = draw(st.one_of(st.just("all"), st.just(()), st.just((("b", "a"),))))
    travel = {}
    for pair in draw(st.lists(st.sampled_from(pairs), max_size=3, unique=True)):
        if {pair[0], pair[1]} <= {place[0] for place in places}:
            least = 0 if overlapping else draw(st.integers(0, 6))
            travel[pair] = (least, draw(st.one_of(st.just(math.inf), st.integers(least, 25))))
    if overlapping != "all" and not {"a", "b"} <= {place[0] for place in places}:
        overlapping = ()
    return features, places, overlapping, travel


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(problem=problems(), threshold=st.sampled_from((-1, 0.0, 0.4, 0.8)))
def test_the_most_similar_groups_that_may_be_one_person_are_merged_each_time(problem, threshold) -> None:
    features, places, overlapping, travel = problem
    found = link(tracks(features, *places), threshold, overlapping=overlapping, travel=travel)
    expected = oracle.link(features, places, threshold, overlapping, travel)
    assert groups_of(found) == sorted(map(sorted, expected))
    first = [min(places[i][1] for i in np.flatnonzero(found == person)) for person in range(found.max() + 1)]
    assert first == sorted(first)


def test_without_conflicts_it_is_average_linkage() -> None:
    r = np.random.default_rng(3)
    features = np.float32(r.standard_normal((30, 16))[r.integers(0, 30, 200)] + 0.5 * r.standard_normal((200, 16)))
    found = link(tracks(features, *(("a", 2 * i, 2 * i + 1) for i in range(200))), 0.6)
    labels = osnet.cluster(features, 0.6)
    expected = [[row] for row in np.flatnonzero(labels < 0).tolist()]
    expected += [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    assert groups_of(found) == sorted(expected)
    assert 20 < len(expected) < 100


@pytest.mark.parametrize(
    ("places", "options", "expected"),
    [
        # one camera sees two people at once; each of them may be the third track, and the earlier pair is taken
        ([("a", 0, 5), ("a", 5, 9), ("a", 20, 21)], {}, [0, 1, 0]),
        ([("a", 0, 5), ("a", 6, 9), ("a", 20, 21)], {}, [0, 0, 0]),
        # two cameras see somebody at once
        ([("a", 0, 5), ("b", 3, 9), ("a", 20, 21)], {}, [0, 1, 0]),
        ([("a", 0, 5), ("b", 3, 9), ("a", 20, 21)], {"overlapping": [("b", "a")]}, [0, 0, 0]),
        ([("a", 0, 5), ("b", 3, 9), ("a", 20, 21)], {"overlapping": "all"}, [0, 0, 0]),
        # overlapping views are no reason for two tracks of one camera to be one person
        ([("a", 0, 5), ("a", 3, 9), ("b", 4, 4)], {"overlapping": "all"}, [0, 1, 0]),
        # from a to b takes 10 to 20 seconds, both ways
        ([("a", 0, 5), ("b", 14, 15), ("b", 16, 17)], {"travel": {("a", "b"): (10, 20)}}, [0, 1, 0]),
        ([("b", 0, 5), ("a", 14, 15), ("a", 16, 17)], {"travel": {("a", "b"): (10, 20)}}, [0, 1, 0]),
        ([("a", 0, 5), ("b", 16, 17), ("b", 26, 27)], {"travel": {("a", "b"): (10, 20)}}, [0, 0, 0]),
        ([("a", 0, 5), ("b", 26, 27), ("c", 90, 91)], {"travel": {("a", "b"): (10, 20)}}, [0, 1, 0]),
        # the other way has bounds of its own
        ([("b", 0, 5), ("a", 6, 7), ("c", 90, 91)], {"travel": {("a", "b"): (9, 20), ("b", "a"): (0, 20)}}, [0, 0, 0]),
        ([("a", 0, 5), ("b", 6, 7)], {"travel": {("a", "b"): (9, 20), ("b", "a"): (0, 20)}}, [0, 1]),
        # b loses sight of the person earlier than a
        (
            [("a", 0, 50), ("b", 10, 12), ("a", 55, 56)],
            {"overlapping": "all", "travel": {("a", "a"): (0, 10), ("b", "a"): (0, 10)}},
            [0, 0, 0],
        ),
        # by way of b it may take longer than from a to c
        ([("a", 0, 5), ("b", 16, 17), ("c", 40, 41)], {"travel": {("a", "c"): (1, 20)}}, [0, 0, 0]),
        # nobody comes back to a later than 10 seconds after leaving it
        ([("a", 0, 5), ("a", 10, 11), ("a", 22, 23)], {"travel": {("a", "a"): (0, 10)}}, [0, 0, 1]),
    ],
)
def test_one_person_in_one_place_at_a_time(places, options, expected) -> None:
    assert link(tracks(np.ones((len(places), 4)), *places), 0.9, **options).tolist() == expected


def test_many_tracks_that_are_all_alike_end_as_one_person_a_place() -> None:
    places = [(camera, 10 * hour, 10 * hour + 5) for hour in range(60) for camera in ("a", "b")]
    found = link(tracks(np.ones((120, 8)), *places), 0.9)
    assert groups_of(found) == [sorted(np.flatnonzero(found == 0)), sorted(np.flatnonzero(found == 1))]
    assert all(found[2 * hour] != found[2 * hour + 1] for hour in range(60))


def test_rows_of_a_track_are_averaged_and_a_long_pause_begins_another() -> None:
    features = np.float32([[3, 0], [0, 1], [1, 0], [0, 5], [7, 0], [0, 2]])
    found = make_tracks(features, ["b", "a", "b", "a", "b", "a"], [10, 1, 0, 3, 30, 2], [7, 1, 7, 2, 7, 1], split=10)
    assert found.cameras == ("a", "a", "b", "b")
    assert found.of_row.tolist() == [2, 0, 2, 1, 3, 0]
    assert (found.starts.tolist(), found.ends.tolist()) == ([1, 3, 0, 30], [2, 3, 10, 30])
    np.testing.assert_array_equal(found.features, [[0, 1], [0, 1], [1, 0], [1, 0]])
    whole = make_tracks(features, [1] * 6, range(6), ["x"] * 6)
    assert (len(whole.cameras), whole.ends.tolist()) == (1, [5])
    np.testing.assert_allclose(whole.features, [[math.sqrt(0.5)] * 2], rtol=1e-6)  # long features count as short ones


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=12))
def test_idf1_is_the_best_of_all_pairings(rows) -> None:
    found, persons = zip(*rows)
    scores = score_identities(found, persons)
    assert scores.idf1 == pytest.approx(oracle.idf1(found, persons))
    assert (scores.rows, scores.persons, scores.found) == (len(rows), len(set(persons)), len(set(found)))


def test_idf1_of_a_person_in_two_and_two_in_one() -> None:
    # Person 1 is split in 3 and 2 rows; person 2's two rows are in one group with the smaller part; 0 and -1 are
    # nobody. motmetrics gives the same 5/7 for these (benchmarks/linking.py compares with it on whole videos).
    scores = score_identities([4, 4, 4, 6, 6, 6, 6, 8, 9], [1, 1, 1, 1, 1, 2, 2, 0, -1])
    assert (scores.right, scores.rows, scores.idf1) == (5, 7, 5 / 7)


def test_bad_input_is_named(monkeypatch) -> None:
    two = tracks(np.ones((2, 4)), ("a", 0, 1), ("b", 2, 3))
    for options, part in (
        ({"overlapping": [("a", "x")]}, "no track is of camera 'x'; there are: a, b"),
        ({"overlapping": ["ab"]}, "expected a pair of cameras, got 'ab'"),
        ({"travel": {("a", "b"): (5, 4)}}, "travel from a to b, greatest: expected a number of at least 5.0, got 4"),
        ({"travel": {("a", "b"): (-1, 4)}}, "travel from a to b, least: expected a number of at least 0"),
        ({"travel": {("a", "b"): (1, 4)}, "overlapping": "all"}, "a least time of 0, as their views overlap, got 1"),
    ):
        with pytest.raises(OptionError, match=part):
            link(two, 0.5, **options)
    with pytest.raises(OptionError, match="threshold"):
        link(two, 1.5)
    monkeypatch.setattr(linking, "TRACKS_LIMIT", 1)
    with pytest.raises(DataError, match="at most 1 tracks, got 2"):
        link(two, 0.5)
    with pytest.raises(DataError, match=r"a finite time, got nan in row 1 of 2"):
        make_tracks(np.ones((2, 4)), [1, 1], [0, math.nan], [1, 1])
    with pytest.raises(DataError, match="2 cameras, times and ids"):
        make_tracks(np.ones((2, 4)), [1], [0, 1], [1, 1])
    with pytest.raises(OptionError, match="split: expected a number above 0, got 0"):
        make_tracks(np.ones((2, 4)), [1, 1], [0, 1], [1, 1], split=0)
    with pytest.raises(DataError, match="no row shows a known person"):
        score_identities([1, 2], [0, -1])
    with pytest.raises(DataError, match="a found and a true person"):
        score_identities([1, 2], [1])
