"""Clustering in plain loops: merge the two most similar groups, walk from core to core, count pairs."""

from __future__ import annotations

import itertools
import math


def cosine(one, other):
    lengths = math.sqrt(math.fsum(a * a for a in one)) * math.sqrt(math.fsum(b * b for b in other))
    return math.fsum(a * b for a, b in zip(one, other)) / lengths if lengths else 0.0


def matrix(features):
    rows = [[float(value) for value in row] for row in features]
    return [[cosine(one, other) for other in rows] for one in rows]


def average_linkage(similarity, threshold):
    """Sets of rows: while two groups have a mean similarity of `threshold`, the two with the highest become one."""
    groups = [{row} for row in range(len(similarity))]
    while len(groups) > 1:
        best = max(
            ((math.fsum(similarity[a][b] for a in one for b in other) / (len(one) * len(other)), i, j)
             for (i, one), (j, other) in itertools.combinations(enumerate(groups), 2)),
        )  # fmt: skip
        if best[0] < threshold:
            break
        groups[best[1]] |= groups.pop(best[2])
    return groups


def dbscan_cores(similarity, threshold, min_neighbours):
    """(groups of core rows, for every other row the groups that have a core near it)."""
    rows = range(len(similarity))
    near = [[other for other in rows if other == row or similarity[row][other] >= threshold] for row in rows]
    left = {row for row in rows if len(near[row]) >= min_neighbours}
    cores = set(left)
    groups = []
    while left:
        group, to_visit = set(), [min(left)]
        while to_visit:
            row = to_visit.pop()
            if row in left:
                left.remove(row)
                group.add(row)
                to_visit += [other for other in near[row] if other in cores]
        groups.append(group)
    borders = {row: [i for i, group in enumerate(groups) if group & set(near[row])] for row in rows if row not in cores}
    return groups, borders


def pairwise(labels, persons):
    """(precision, recall, F1) over all pairs of images of known persons; -1 is nobody's group."""
    together = same = both = 0
    for (label, person), (other_label, other) in itertools.combinations(zip(labels, persons), 2):
        if person <= 0 or other <= 0:
            continue
        in_one = label == other_label and label >= 0
        together += in_one
        same += person == other
        both += in_one and person == other
    return (
        both / together if together else 1.0,
        both / same if same else 1.0,
        2 * both / (together + same) if together + same else 1.0,
    )


def kept_and_duplicates(similarity, threshold):
    """For each row the most similar earlier row that is kept, or -1 for a row that is kept."""
    found = []
    for row in range(len(similarity)):
        near = [i for i in range(row) if found[i] == -1 and similarity[row][i] >= threshold]
        found.append(max(near, key=lambda i: similarity[row][i]) if near else -1)
    return found
