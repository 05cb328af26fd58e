"""Evaluation protocols by name, and the labels of queries and gallery, indexed for looking up matches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osnet.checks import check_choice
from osnet.data.records import JUNK
from osnet.errors import DataError, OptionError

Integers = npt.NDArray[np.int64]


class Protocol(NamedTuple):
    """Which gallery images count as matches and non-matches of a query.

    Attributes:
        same_camera_left_out: gallery images of the query's identity from the query's camera do not count.
        single_shot: CMC is the mean over repeats with one gallery image of each identity, drawn at random; mAP and
            mINP are over the whole gallery, as in torchreid's ``eval_cuhk03``.
    """

    same_camera_left_out: bool
    single_shot: bool


PROTOCOLS = {
    "market1501": Protocol(same_camera_left_out=True, single_shot=False),  # Zheng et al., ICCV 2015
    "cuhk03": Protocol(same_camera_left_out=True, single_shot=True),  # Li et al., CVPR 2014
    "camera-blind": Protocol(same_camera_left_out=False, single_shot=False),  # for data without cameras
}
"""All known, by name."""


class Labels(NamedTuple):
    """Identities and cameras of queries and gallery, indexed for looking up matches.

    A named tuple of arrays, so that compiled loops take it as one argument.

    Attributes:
        query_ids, gallery_ids: int64 (Q,), (G,).
        query_cameras, gallery_cameras: int64 (Q,), (G,); zeros where the protocol ignores cameras.
        order: gallery entries sorted by identity (G,).
        starts, ends: ``order[starts[q]:ends[q]]`` are the entries of query q's identity; none for a junk query.
        groups: first and last-plus-one place in `order` of each identity of the gallery, junk left out (P, 2).
        junk: gallery entries of identity `JUNK`.
        matches: number of matches of each query that the protocol counts (Q,).
        same_camera_left_out: as the protocol has it.
    """

    query_ids: Integers
    gallery_ids: Integers
    query_cameras: Integers
    gallery_cameras: Integers
    order: Integers
    starts: Integers
    ends: Integers
    groups: Integers
    junk: Integers
    matches: Integers
    same_camera_left_out: bool


def index_labels(
    protocol: str,
    query_ids: Any,
    gallery_ids: Any,
    query_cameras: Any,
    gallery_cameras: Any,
    queries: int,
    size: int,
) -> Labels:
    """Check the labels of `queries` queries and a gallery of `size` and index them.

    Args:
        protocol: name of one of `PROTOCOLS`, which decides which gallery images count.
        query_ids, gallery_ids: identities (Q,), (G,), integers or strings; `JUNK` never counts.
        query_cameras, gallery_cameras: (Q,), (G,), integers of at least 0, or None where `protocol` ignores cameras.
        queries, size: Q and G.

    Raises:
        OptionError: no such protocol, or it needs cameras and there are none.
        DataError: a wrong number or type of labels, or unknown cameras.
    """
    same_camera_left_out = PROTOCOLS[check_choice("protocol", protocol, PROTOCOLS)].same_camera_left_out
    query_ids, gallery_ids = _identities(query_ids, gallery_ids, queries, size)
    if same_camera_left_out:
        if query_cameras is None or gallery_cameras is None:
            raise OptionError(
                f"protocol {protocol!r} needs query_cameras and gallery_cameras; "
                "for data without cameras use protocol='camera-blind'"
            )
        query_cameras = _cameras(query_cameras, "query", queries)
        gallery_cameras = _cameras(gallery_cameras, "gallery", size)
    else:
        query_cameras, gallery_cameras = np.zeros(queries, np.int64), np.zeros(size, np.int64)

    order = np.argsort(gallery_ids, kind="stable")
    ordered = gallery_ids[order]
    starts = np.searchsorted(ordered, query_ids, side="left")
    ends = np.where(query_ids == JUNK, starts, np.searchsorted(ordered, query_ids, side="right"))
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    groups = np.column_stack([first, np.r_[first[1:], size]])[ordered[first] != JUNK]
    matches = ends - starts
    if same_camera_left_out:
        matches = matches - _seen_by_same_camera(query_ids, gallery_ids, query_cameras, gallery_cameras)
    matches[query_ids == JUNK] = 0
    return Labels(
        query_ids, gallery_ids, query_cameras, gallery_cameras, order, starts, ends, groups,
        np.flatnonzero(gallery_ids == JUNK), matches, same_camera_left_out,
    )  # fmt: skip


def _seen_by_same_camera(
    query_ids: Integers, gallery_ids: Integers, query_cameras: Integers, gallery_cameras: Integers
) -> Integers:
    """Number of gallery entries of each query's identity and camera (Q,)."""
    cameras, codes = np.unique(np.r_[query_cameras, gallery_cameras], return_inverse=True)
    _, persons = np.unique(np.r_[query_ids, gallery_ids], return_inverse=True)
    pairs = persons.reshape(-1) * len(cameras) + codes.reshape(-1)
    in_query, in_gallery = pairs[: len(query_ids)], np.sort(pairs[len(query_ids) :])
    found: Integers = np.searchsorted(in_gallery, in_query, "right") - np.searchsorted(in_gallery, in_query, "left")
    return found


def _identities(query: Any, gallery: Any, queries: int, size: int) -> tuple[Integers, Integers]:
    query, gallery = _labels(query, "query_ids", queries), _labels(gallery, "gallery_ids", size)
    if query.dtype.kind == gallery.dtype.kind == "U":
        _, codes = np.unique(np.r_[query, gallery], return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)  # at least 0: a string is never junk
        return codes[:queries], codes[queries:]
    if "U" in (query.dtype.kind, gallery.dtype.kind):
        raise DataError("query_ids and gallery_ids must both be integers or both strings")
    return query, gallery


def _cameras(cameras: Any, split: str, count: int) -> Integers:
    cameras = _labels(cameras, f"{split}_cameras", count)
    if cameras.dtype.kind == "U":
        raise DataError(f"{split}_cameras must be integers, got strings")
    unknown = int((cameras < 0).sum())
    if unknown:
        raise DataError(
            f"the camera of {unknown} of {count} {split} images is unknown (negative); "
            "label them, or use protocol='camera-blind'"
        )
    found: Integers = cameras
    return found


def _labels(labels: Any, what: str, count: int) -> npt.NDArray[Any]:
    if labels is None:
        raise OptionError(f"{what} is missing: one label for each of the {count} features")
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) != count:
        raise DataError(f"{what}: expected {count} labels, one for each feature, got shape {array.shape}")
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "O" and all(isinstance(label, str) for label in array):
        return array.astype(str)
    if array.dtype.kind == "U":
        return array
    raise DataError(f"{what} must be integers or strings, got {array.dtype}")
