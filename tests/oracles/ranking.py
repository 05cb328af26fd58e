"""Ranking and re-ranking as plain loops over plain numbers, one query and one gallery entry at a time."""

from __future__ import annotations

import math

import numpy as np

JUNK = -1


def distance(a, b, metric):
    if metric == "euclidean":
        return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b))
    dot = sum(float(x) * float(y) for x, y in zip(a, b))
    lengths = math.sqrt(sum(float(x) ** 2 for x in a)) * math.sqrt(sum(float(y) ** 2 for y in b))
    return 1 - (dot / lengths if lengths else 0)


def answers(row, person, camera, gallery_ids, gallery_cameras, left_out):
    """(distance, right?) of every gallery entry that counts, nearest first, wrong before right where tied."""
    found = []
    for value, other, seen_by in zip(row, gallery_ids, gallery_cameras):
        if other == JUNK or (left_out and other == person and seen_by == camera):
            continue
        found.append((value, other == person))
    return sorted(found)


def figures(matrix, query_ids, gallery_ids, query_cameras, gallery_cameras, left_out=True, max_rank=50):
    """mAP, CMC, mINP, number of valid queries, and (AP, first match, INP) of each query or None."""
    each = []
    for row, person, camera in zip(matrix, query_ids, query_cameras):
        ranked = answers(row, person, camera, gallery_ids, gallery_cameras, left_out)
        ranks = [place + 1 for place, (_, right) in enumerate(ranked) if right]
        if not ranks or person == JUNK:
            each.append(None)
            continue
        precision = sum((i + 1) / rank for i, rank in enumerate(ranks)) / len(ranks)
        each.append((precision, ranks[0], len(ranks) / ranks[-1]))
    valid = [one for one in each if one is not None]
    cmc = [sum(first <= k for _, first, _ in valid) / len(valid) for k in range(1, max_rank + 1)]
    mean_precision = sum(precision for precision, _, _ in valid) / len(valid)
    return mean_precision, cmc, sum(inp for _, _, inp in valid) / len(valid), len(valid), each


def draw(seed, query, repeat, group, size):
    """SplitMix64 over the arguments in turn, in whole numbers of any size."""
    mask = 2**64 - 1
    state = seed
    for value in (query, repeat, group):
        state = (state + value + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state % size


def single_shot_ranks(matrix, query_ids, gallery_ids, query_cameras, gallery_cameras, repeats, seed):
    """Rank of the right answer among one drawn image of each identity, (Q, repeats); None where there is none."""
    people = sorted(set(gallery_ids) - {JUNK})
    found = []
    for query, (row, person, camera) in enumerate(zip(matrix, query_ids, query_cameras)):
        right = [j for j, other in enumerate(gallery_ids) if other == person and gallery_cameras[j] != camera]
        if not right:
            found.append(None)
            continue
        ranks = []
        for repeat in range(repeats):
            threshold = row[right[draw(seed, query, repeat, 0, len(right))]]
            rank = 1
            for group, other in enumerate(people):
                images = [j for j, who in enumerate(gallery_ids) if who == other]
                if other != person:
                    rank += row[images[draw(seed, query, repeat, group + 1, len(images))]] <= threshold
            ranks.append(rank)
        found.append(ranks)
    return found


def rerank(query, gallery, k1, k2, lambda_value, metric):
    """k-reciprocal re-ranking with sets and whole rows, from the paper's definitions and torchreid's conventions:
    plain distances are squared and divided by the largest of the row; the half reach is rounded to even."""
    images = [*query, *gallery]
    total = len(images)
    plain = [[max(distance(a, b, metric), 0.0) ** 2 for b in images] for a in images]
    near = [sorted(range(total), key=lambda j, i=i: (plain[i][j], j)) for i in range(total)]
    plain = [[value / max(row) for value in row] for row in plain]

    def reciprocal(i, reach):
        return {j for j in near[i][: reach + 1] if i in near[j][: reach + 1]}

    half = int(np.around(k1 / 2))
    encoded = []
    for i in range(total):
        core = reciprocal(i, k1)
        expanded = set(core)
        for candidate in core:
            theirs = reciprocal(candidate, half)
            if len(theirs & core) > 2 / 3 * len(theirs):
                expanded |= theirs
        weights = {j: math.exp(-plain[i][j]) for j in expanded}
        encoded.append([weights.get(j, 0) / sum(weights.values()) if weights else 0 for j in range(total)])
    if k2 > 1:
        encoded = [
            [sum(column) / min(k2, total) for column in zip(*(encoded[j] for j in near[i][:k2]))] for i in range(total)
        ]
    found = []
    for i in range(len(query)):
        row = []
        for j in range(len(query), total):
            overlap = sum(min(a, b) for a, b in zip(encoded[i], encoded[j]))
            row.append((1 - overlap / (2 - overlap)) * (1 - lambda_value) + plain[i][j] * lambda_value)
        found.append(row)
    return found
