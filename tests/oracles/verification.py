"""Verification and open set, one pair at a time."""

from __future__ import annotations

JUNK = -1


def pairs(matrix, query_ids, gallery_ids, query_cameras, gallery_cameras, left_out=True):
    """Distances of the pairs of one person and of the pairs of different people."""
    same, different = [], []
    for row, person, camera in zip(matrix, query_ids, query_cameras):
        for distance, other, seen_by in zip(row, gallery_ids, gallery_cameras):
            if JUNK in (person, other):
                continue
            if person != other:
                different.append(distance)
            elif not (left_out and camera == seen_by):
                same.append(distance)
    return same, different


def most_tolerant(same, different, fpr, borders):
    """The largest of sorted `borders` that accepts at most a fraction `fpr` of `different`: (border, TPR), or None."""
    best = None
    for border in borders:
        if sum(distance <= border for distance in different) <= fpr * len(different):
            best = border, sum(distance <= border for distance in same) / len(same)
    return best


def equal_error_rate(same, different):
    """Walk over all distances; where false accepts overtake misses, cut the two lines."""
    before = (0.0, 1.0)
    for border in sorted({*same, *different}):
        false = sum(distance <= border for distance in different) / len(different)
        missed = sum(distance > border for distance in same) / len(same)
        if false >= missed:
            share = (before[1] - before[0]) / ((before[1] - before[0]) + (false - missed))
            return before[0] + share * (false - before[0])
        before = (false, missed)
    raise AssertionError("never reached: at the last border nothing is missed")


def best_answers(matrix, query_ids, gallery_ids, query_cameras, gallery_cameras, left_out=True):
    """For each query: (distance of the best answer, is it right?, "enrolled" | "unenrolled" | "neither")."""
    found = []
    for row, person, camera in zip(matrix, query_ids, query_cameras):
        answers = [
            (distance, other == person)
            for distance, other, seen_by in zip(row, gallery_ids, gallery_cameras)
            if other != JUNK and not (left_out and other == person and seen_by == camera)
        ]
        kind = "neither"
        if person != JUNK:
            if any(right for _, right in answers):
                kind = "enrolled"
            elif person not in gallery_ids:
                kind = "unenrolled"
        found.append((*min(answers, default=(float("inf"), False)), kind))
    return found
