"""Ranking problems: the small ones with reference figures, and random ones for Hypothesis."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

REFERENCE = json.loads((Path(__file__).parents[1] / "fixtures" / "ranking_cases.json").read_text())


def problem(seed, Q, G, D, ids, cams, noise):
    """Features and labels that the reference figures were computed from."""
    r = np.random.default_rng(seed)
    query_ids, gallery_ids = r.integers(0, ids, Q), r.integers(0, ids, G)
    query_cameras, gallery_cameras = r.integers(0, cams, Q), r.integers(0, cams, G)
    centre = r.standard_normal((ids, D))
    query = np.float32(centre[query_ids] + noise * r.standard_normal((Q, D)))
    gallery = np.float32(centre[gallery_ids] + noise * r.standard_normal((G, D)))
    labels = {
        "query_ids": query_ids,
        "gallery_ids": gallery_ids,
        "query_cameras": query_cameras,
        "gallery_cameras": gallery_cameras,
    }
    return query, gallery, labels


@st.composite
def tied_problems(draw):
    """Small whole-number distances, so full of ties, with junk and with queries that have one match or none."""
    queries, size = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    people = st.integers(-1, 4)

    def column(values, length):
        return np.array(draw(st.lists(values, min_size=length, max_size=length)), np.int64)

    matrix = column(st.integers(0, 4), queries * size).reshape(queries, size).astype(np.float32)
    labels = {
        "query_ids": column(people, queries),
        "gallery_ids": column(people, size),
        "query_cameras": column(st.integers(0, 2), queries),
        "gallery_cameras": column(st.integers(0, 2), size),
    }
    return matrix, labels
