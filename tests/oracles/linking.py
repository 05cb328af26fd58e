"""Linking tracks in plain loops, and IDF1 by trying every pairing."""

from __future__ import annotations

import itertools
import math

from tests.oracles.clustering import matrix


def may_be_one(a, b, overlapping, travel):
    """Whether one person can be both tracks (camera, start, end), by their times alone."""
    first, second = sorted((a, b), key=lambda track: track[1])
    if second[1] <= first[2]:  # at once
        pair = (first[0], second[0])
        return a[0] != b[0] and (overlapping == "all" or pair in overlapping or pair[::-1] in overlapping)
    return second[1] - first[2] >= bounds(first, second, travel)[0]


def bounds(first, second, travel):
    way = (first[0], second[0])
    return travel.get(way, travel.get(way[::-1], (0, math.inf)))


def in_reach(group, travel):
    """Whether nobody is out of sight for too long, from the last moment in sight to the next track's first."""
    group = sorted(group, key=lambda track: track[1])
    for place in range(1, len(group)):
        before = max(reversed(group[:place]), key=lambda track: track[2])  # of two that end together, the later one
        if group[place][1] - before[2] > bounds(before, group[place], travel)[1]:
            return False
    return True


def link(features, tracks, threshold, overlapping, travel):
    """Sets of tracks: the two groups with the highest mean similarity that may be one person become one."""
    similarity = matrix(features)
    groups = [{i} for i in range(len(tracks))]
    while True:
        found = []
        for one, other in itertools.combinations(groups, 2):
            mean = math.fsum(similarity[a][b] for a in one for b in other) / (len(one) * len(other))
            if (
                mean >= threshold
                and all(may_be_one(tracks[a], tracks[b], overlapping, travel) for a in one for b in other)
                and in_reach([tracks[i] for i in sorted(one | other)], travel)
            ):
                found.append((mean, sorted(one), sorted(other)))
        if not found:
            return groups
        _, one, other = max(found)
        groups = [group for group in groups if sorted(group) not in (one, other)] + [set(one) | set(other)]


def idf1(found, persons):
    """The best pairing of true and found persons, by trying them all."""
    people, guesses = sorted(set(persons)), sorted(set(found))
    guesses += [None] * max(0, len(people) - len(guesses))
    right = max(
        sum(dict(zip(people, chosen))[person] == guess for person, guess in zip(persons, found))
        for chosen in itertools.permutations(guesses, len(people))
    )
    return 2 * right / (len(persons) + len(found))
