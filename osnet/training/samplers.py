"""Which images come in which order: a pure function of the seed and the epoch, so that a run can go on anywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from osnet.errors import DataError
from osnet.training.config import TrainConfig

Integers = NDArray[np.int64]


def epoch_order(labels: Integers, config: TrainConfig, *, epoch: int, ranks: int = 1) -> Integers:
    """Indices of the images of one epoch, for all devices.

    Args:
        labels: class of each image (N,).
        config: ``sampler``, ``batch_size``, ``accumulation``, ``images_per_identity`` and ``seed`` are used.
        epoch: from 0.
        ranks: number of devices.

    Returns:
        int64 (passes, ranks, batch_size), ``passes`` a multiple of ``accumulation``: ``[:, r]`` is the shard of rank r.
        Random: every image at most once. PK: every identity equally often within one (each batch has different ones),
        its images without repetition until all had their turn.

    Raises:
        DataError: no full optimizer step can be filled.
    """
    rng = np.random.default_rng([config.seed, epoch])
    step = config.batch_size * ranks * config.accumulation
    flat = rng.permutation(len(labels)) if config.sampler == "random" else _identity_order(labels, config, rng, ranks)
    passes = len(flat) // step * config.accumulation
    if not passes:
        raise DataError(
            f"{len(labels)} images of {len(np.unique(labels))} identities do not fill one step of {ranks} x "
            f"{config.batch_size} x {config.accumulation} images with sampler {config.sampler!r}: lower batch_size"
        )
    return flat[: passes * config.batch_size * ranks].reshape(passes, ranks, config.batch_size).astype(np.int64)


def _identity_order(labels: Integers, config: TrainConfig, rng: np.random.Generator, ranks: int) -> Integers:
    """P x K (Hermans et al., 2017): groups of K images of one identity, different identities within a global batch."""
    of_person = [np.flatnonzero(labels == person) for person in np.unique(labels)]
    wanted = config.batch_size // config.images_per_identity * ranks
    if len(of_person) < wanted:
        raise DataError(
            f"a batch wants {wanted} identities ({ranks} x batch_size {config.batch_size} / images_per_identity "
            f"{config.images_per_identity}), the training images show {len(of_person)}: lower batch_size"
        )
    k = config.images_per_identity
    # As many groups as images allow, the same number for everybody, so that no long tracklet rules the epoch.
    rounds = max(1, round(len(labels) / k / len(of_person)))
    queues = [_cycled(images, rounds * k, k, rng) for images in of_person]
    taken = np.zeros(len(of_person), np.int64)
    groups: list[Integers] = []
    for _ in range(rounds):
        people = rng.permutation(len(of_person))
        # What a round leaves over would mix with the next one and could repeat an identity in a batch.
        for person in people[: len(people) // wanted * wanted]:
            start = taken[person]
            groups.append(queues[person][start : start + k])
            taken[person] += k
    return np.concatenate(groups)


def _cycled(images: Integers, count: int, k: int, rng: np.random.Generator) -> Integers:
    """`count` of `images`, each permutation whole before the next; no group of `k` repeats one if there are `k`."""
    queue = rng.permutation(images)
    while len(queue) < count:
        fresh = rng.permutation(images)
        begun = np.isin(fresh, queue[len(queue) // k * k :])
        queue = np.concatenate([queue, fresh[~begun], fresh[begun]])
    cycled: Integers = queue[:count]
    return cycled
