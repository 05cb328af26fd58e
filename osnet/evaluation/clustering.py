"""Group images by person without labels, find near-duplicates, and score groups where the persons are known.

Similarity is the cosine. Two ways to group:

- ``agglomerative``: average linkage. Starting from single images, the two groups whose images are most similar in the
  mean are merged, as long as that mean is at least the threshold.
- ``dbscan`` (Ester et al., KDD 1996): images are neighbours if their similarity is at least the threshold; an image
  with enough neighbours is the core of a group, and cores that are neighbours are in one group. One wrong link between
  two cores joins two people, so it needs a much higher threshold.

Both need only the pairs of images whose similarity is at least the threshold, so memory does not grow with the square
of the number of images. For average linkage: groups that have no such pair have a lower mean.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_choice, check_integer, check_number
from osnet.data.records import DISTRACTOR
from osnet.errors import DataError, DependencyError
from osnet.evaluation.distances import check_features, row_blocks, squared_norms

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

METHODS = ("agglomerative", "dbscan")

ALONE = -1
"""Label of an image that is in no group."""

MIN_NEIGHBOURS = 4
"""Images within the threshold of a core of DBSCAN, itself among them."""

NEAR_DUPLICATE = 0.98
"""Similarity of near-duplicates by default. An image that is saved again at JPEG quality 75, or enlarged, reaches it;
on CUHK03-NP no two people do (osnet_x0_25, MSMT17)."""

LINKS_LIMIT = 200_000_000
"""Neighbours of all images together that are kept at most: 1.6 GB."""

_ROUNDING = 1e-6  # error of a similarity in float32: equal images reach a threshold of 1


def cluster(
    features: Any, threshold: float, *, method: str = "agglomerative", min_neighbours: int = MIN_NEIGHBOURS
) -> Integers:
    """Group images that show one person.

    Args:
        features: of the images, (N, D), any float type; N at least 2.
        threshold: cosine similarity from which on images show one person, -1 to 1. It depends on the checkpoint and the
            cameras: measure it, see `osnet.evaluation.calibration`.
        method: ``agglomerative`` (average linkage) or ``dbscan``.
        min_neighbours: of dbscan: images within the threshold that make an image the core of a group, itself among
            them.

    Returns:
        int64 (N,): the group of each image. The largest is 0; of two equal ones, that with the earlier image comes
        first. An image alone is -1.

    Raises:
        OptionError: unknown method, a threshold outside -1 to 1, `min_neighbours` below 2.
        DataError: fewer than two images, features that are not finite, or more neighbours than `LINKS_LIMIT`.
        DependencyError: scipy or scikit-learn is missing.

    >>> import osnet
    >>> osnet.cluster([[1, 0], [0, 1], [0.1, 1]], threshold=0.8).tolist()
    [-1, 0, 0]
    """
    check_choice("method", method, METHODS)
    threshold = check_number("threshold", threshold, least=-1, most=1)
    min_neighbours = check_integer("min_neighbours", min_neighbours, least=2)
    checked = _at_least_two(features)
    if method == "dbscan":
        return _by_size(_dbscan(*_neighbours(checked, threshold), min_neighbours))
    return _by_size(_agglomerative(checked, threshold))


def _at_least_two(features: Any) -> Floats:
    size = len(features) if isinstance(features, Sized) else 0
    if size < 2:
        raise DataError(f"clustering: expected the features of at least 2 images, got {size}")
    return check_features(features, "the")


def _neighbours(features: Floats, threshold: float) -> tuple[Integers, npt.NDArray[np.int32]]:
    """Rows whose similarity is at least `threshold`: those of row i are ``places[starts[i]:starts[i + 1]]``, i itself
    among them unless its feature is zero."""
    border = np.float32(1 - threshold + _ROUNDING)
    counts: list[int] = [0]
    places = []
    total = 0
    for _, block in row_blocks(features, features, "cosine"):
        near = block <= border
        places.append(np.nonzero(near)[1].astype(np.int32))
        counts += near.sum(axis=1).tolist()
        total += len(places[-1])
        if total > LINKS_LIMIT:
            raise DataError(
                f"{len(features):,} images have over {LINKS_LIMIT:,} neighbours with a similarity of {threshold:.3g} "
                "or more, too many for memory; use a higher threshold, or cluster fewer images at once"
            )
    return np.cumsum(counts), np.concatenate(places)


def _agglomerative(features: Floats, threshold: float) -> Integers:
    """Average linkage until no two groups have a mean similarity of `threshold`; one number for each group (N,).

    Chains of nearest neighbours (Murtagh, The Computer Journal 1983) merge the same groups as merging the nearest two
    each time. The mean similarity of two groups is the product of the means of their features, of length 1. A group
    keeps only those others with a mean similarity of at least the threshold: that of a merged group is between those
    of its parts, so the others are never needed again.
    """
    starts, places = _neighbours(features, threshold)
    near = [places[start:stop] for start, stop in zip(starts[:-1], starts[1:])]
    lengths = np.sqrt(squared_norms(features))
    means = (features / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
    sizes = np.ones(len(features), np.int64)
    merged_into = np.arange(len(features))  # the group that a group has become part of; itself for one that is left

    def left(groups: npt.NDArray[Any]) -> npt.NDArray[Any]:
        while True:
            above = merged_into[groups]
            if np.array_equal(above, groups):
                return groups
            groups = above

    for first in range(len(features)):
        chain = [first] if merged_into[first] == first else []
        while chain:
            group = chain[-1]
            others = np.unique(left(near[group]))
            others = others[others != group]
            similar = means[others] @ means[group]
            keep = similar >= threshold - _ROUNDING
            near[group], similar = others[keep], similar[keep]
            best = int(np.argmax(similar)) if len(similar) else -1
            if best < 0:
                chain.pop()  # nothing will be near enough again
                continue
            other = int(near[group][best])
            if len(chain) > 1:
                before = np.flatnonzero(near[group] == chain[-2])
                # at a tie the way back; rounding must not lead round in circles
                if other in chain or (len(before) and similar[before[0]] >= similar[best] - _ROUNDING):
                    other = chain[-2]
            if len(chain) == 1 or other != chain[-2]:
                chain.append(other)
                continue
            del chain[-2:]
            small, large = sorted((group, other), key=lambda one: int(sizes[one]))
            total = sizes[small] + sizes[large]
            means[large] = (means[large] * sizes[large] + means[small] * sizes[small]) / total
            sizes[large] = total
            merged_into[small] = large
            near[large] = np.concatenate((near[large], near[small]))
            near[small] = near[small][:0]
            chain = chain or [large]
    return left(np.arange(len(features)))


def _dbscan(starts: Integers, places: npt.NDArray[np.int32], min_neighbours: int) -> Integers:
    try:
        from scipy.sparse import csr_matrix
        from sklearn.cluster import DBSCAN
    except ImportError as error:
        raise DependencyError(
            f'dbscan needs {error.name}, which cannot be imported: pip install "osnet[eval]"'
        ) from error
    size = len(starts) - 1
    graph = csr_matrix((np.ones(len(places), np.float32), places, starts), shape=(size, size))
    found: Integers = DBSCAN(eps=1, min_samples=min_neighbours, metric="precomputed").fit_predict(graph)
    return found.astype(np.int64)


def _by_size(raw: Integers) -> Integers:
    """Number groups from 0 by size and first image; images alone, and what is negative already, become `ALONE`."""
    names, firsts, places, sizes = np.unique(raw, return_index=True, return_inverse=True, return_counts=True)
    groups = np.flatnonzero((names >= 0) & (sizes > 1))
    groups = groups[np.lexsort((firsts[groups], -sizes[groups]))]
    numbers = np.full(len(names), ALONE, np.int64)
    numbers[groups] = np.arange(len(groups))
    labels: Integers = numbers[places.reshape(-1)]
    return labels


def near_duplicates(features: Any, threshold: float = NEAR_DUPLICATE) -> Integers:
    """Find images that are almost the same as an earlier one, such as frames of a person who stands still.

    In order of the rows, an image is kept unless it is near-duplicate of one that is kept already. So all images with
    -1 together are without near-duplicates, and each other image has one among them.

    Args:
        features: (N, D), any float type; N at least 2.
        threshold: least cosine similarity of near-duplicates, -1 to 1.

    Returns:
        int64 (N,): row of the most similar kept image, or -1 for an image that is kept.

    Raises:
        OptionError: a threshold outside -1 to 1.
        DataError: fewer than two images, or features that are not finite.
    """
    border = np.float32(1 - check_number("threshold", threshold, least=-1, most=1) + _ROUNDING)
    checked = _at_least_two(features)
    found = np.full(len(checked), -1, np.int64)
    kept = np.ones(len(checked), np.bool_)
    for rows, block in row_blocks(checked, checked, "cosine"):
        near = np.tril(block <= border, rows.start - 1)  # earlier images only
        for place in np.flatnonzero(near.any(axis=1)).tolist():
            row = rows.start + place
            candidates = np.flatnonzero(near[place] & kept)
            if len(candidates):
                found[row] = candidates[np.argmin(block[place, candidates])]
                kept[row] = False
    return found


@dataclass(frozen=True)
class ClusterScores:
    """How well groups are the known persons. A pair is two images; the pairwise figures count all of them.

    Attributes:
        precision: fraction of the pairs in one group that show one person; 1 if no two images are in one group.
        recall: fraction of the pairs of one person that are in one group; 1 if there is no such pair.
        f1: harmonic mean of both, 0 to 1.
        nmi: normalised mutual information (arithmetic mean), 0 to 1.
        images, persons: that were counted.
        groups: of two or more images; an image alone counts as a group of its own in all figures.
    """

    precision: float
    recall: float
    f1: float
    nmi: float
    images: int
    persons: int
    groups: int


def score_clusters(labels: Any, persons: Any) -> ClusterScores:
    """Compare groups with known persons.

    Args:
        labels: groups as `cluster` returns them, integers (N,); each -1 is a group of its own.
        persons: identities, integers (N,). Junk (-1) and distractors (0) are left out, as nobody knows who they show.

    Returns:
        A `ClusterScores`.

    Raises:
        DataError: not one label and one person for each image, or no image of a known person.
        DependencyError: scikit-learn is missing.
    """
    try:
        from sklearn.metrics import normalized_mutual_info_score
    except ImportError as error:
        raise DependencyError(f'scores need scikit-learn ({error}): pip install "osnet[eval]"') from error
    labels, persons = np.asarray(labels), np.asarray(persons)
    if labels.ndim != 1 or labels.shape != persons.shape:
        raise DataError(f"expected a label and a person for each image, got shapes {labels.shape} and {persons.shape}")
    known = persons > DISTRACTOR
    if not known.any():
        raise DataError("no image shows a known person: nothing to score")
    labels, persons = labels[known].astype(np.int64), persons[known]
    alone = np.flatnonzero(labels < 0)
    labels[alone] = labels.max(initial=0) + 1 + np.arange(len(alone))
    group = np.unique(labels, return_inverse=True)[1]
    people, person = np.unique(persons, return_inverse=True)
    cells = np.unique(group.astype(np.int64) * len(people) + person, return_counts=True)[1]  # of the contingency table
    both, grouped, same = _pairs(cells), _pairs(np.bincount(group)), _pairs(np.bincount(person))
    return ClusterScores(
        precision=both / grouped if grouped else 1.0,
        recall=both / same if same else 1.0,
        f1=2 * both / (grouped + same) if grouped + same else 1.0,
        nmi=min(1.0, float(normalized_mutual_info_score(person, group))),  # rounding can take it above
        images=len(persons),
        persons=len(people),
        groups=int((np.bincount(group) > 1).sum()),
    )


def _pairs(counts: npt.NDArray[Any]) -> int:
    """Pairs within sets of these sizes."""
    wide = counts.astype(np.int64)
    return int((wide * (wide - 1) // 2).sum())
