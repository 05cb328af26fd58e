"""Training images: read and augmented by threads, in batches, the same at every resume.

Which images come in which order is a pure function of the seed and the epoch, and each random change a pure function of
the image and a random generator: a run can go on anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osnet.data.records import Record
from osnet.errors import DataError, ImageError
from osnet.inference.images import prepare_boxes
from osnet.inference.prefetch import prefetch
from osnet.training.config import TrainConfig
from osnet.training.dataset import TrainingImages

Image = NDArray[np.uint8]
Integers = NDArray[np.int64]


def crop(record: Record, size: tuple[int, int]) -> Image:
    """The image of `record`, or its box in it, as the network takes it: uint8 (height, width, 3), RGB.

    Raises:
        ImageError: the file cannot be read, or the box holds no pixel of it.
    """
    (found,) = prepare_boxes(record.path, [record.box], height=size[0], width=size[1])
    if isinstance(found, ImageError):
        raise found
    return found


class Samples:
    """One device's images of one epoch, by position.

    An image's randomness is that of (seed, epoch, position among all devices' images), so it depends neither on the
    number of threads nor on where the run was resumed.

    Args:
        images: records and labels.
        config: ``seed``, input size and augmentation are used.
        order: `epoch_order`, (passes, ranks, batch): indices of `images`.
        epoch: from 0.
        rank: whose images.
        first: passes before it are left out.
    """

    def __init__(
        self, images: TrainingImages, config: TrainConfig, order: Integers, *, epoch: int, rank: int = 0, first: int = 0
    ) -> None:
        self._images, self._config, self._epoch = images, config, epoch
        self._indices = order[first:, rank].reshape(-1)
        self._places = np.arange(order.size).reshape(order.shape)[first:, rank].reshape(-1)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[Image, np.int32]:
        """uint8 (H, W, 3) and the class."""
        index, config = self._indices[position], self._config
        image = crop(self._images.train[index], (config.height, config.width))
        rng = np.random.default_rng([config.seed, self._epoch, int(self._places[position])])
        return augmented(image, config, rng), np.int32(self._images.labels[index])


def batches(samples: Samples, config: TrainConfig) -> Iterator[tuple[Any, Any]]:
    """Yield tensors uint8 (B, H, W, 3) and int32 (B,), in order, read ahead by ``config.workers`` threads.

    Raises:
        ImageError: an image of `samples` cannot be read.
    """
    from mindspore import Tensor

    size = config.batch_size
    read = prefetch(samples.__getitem__, range(len(samples)), ahead=2 * size, workers=config.workers, together=1)
    while batch := list(islice(read, size)):
        images, labels = zip(*batch)
        yield Tensor(np.stack(images)), Tensor(np.array(labels, np.int32))


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
        none of its images again before all have been used.

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
    per_batch = config.batch_size // config.images_per_identity * ranks
    if len(of_person) < per_batch:
        raise DataError(
            f"a batch needs {per_batch} identities ({ranks} x batch_size {config.batch_size} / images_per_identity "
            f"{config.images_per_identity}), the training images have {len(of_person)}: lower batch_size"
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
        for person in people[: len(people) // per_batch * per_batch]:
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


_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_ERASING_ATTEMPTS = 100


def augmented(image: Image, config: TrainConfig, rng: np.random.Generator) -> Image:
    """Return `image` after the random changes that `config` allows: a new uint8 (H, W, 3), C-contiguous.

    The same generator state gives the same image. ``flip``, ``crop_padding``, ``color_jitter`` and ``erasing`` are
    used; see `osnet.training.config.TrainConfig`.
    """
    if rng.random() < config.flip:
        image = image[:, ::-1]
    if config.crop_padding:
        image = pad_and_crop(image, config.crop_padding, rng)
    if config.color_jitter:
        image = jitter(image, config.color_jitter, rng)
    if rng.random() < config.erasing:
        image = erase(image, rng)
    return np.ascontiguousarray(image)


def pad_and_crop(image: Image, padding: int, rng: np.random.Generator) -> Image:
    """`image` shifted by up to `padding` pixels each way; black comes in."""
    height, width = image.shape[:2]
    top, left = rng.integers(0, 2 * padding + 1, 2)
    padded = np.zeros((height + 2 * padding, width + 2 * padding, 3), np.uint8)
    padded[padding : padding + height, padding : padding + width] = image
    cropped: Image = padded[top : top + height, left : left + width]
    return cropped


def jitter(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Brightness, contrast and saturation, in this order, each times a factor in 1 - strength .. 1 + strength."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    x = image.astype(np.float32) * brightness
    mean = float((x.mean(axis=(0, 1)) * _GREY).sum())
    x = mean + (x - mean) * contrast
    grey = (x @ _GREY)[..., None]
    x = grey + (x - grey) * saturation
    rounded: Image = np.clip(np.rint(x), 0, 255).astype(np.uint8)
    return rounded


def erase(image: Image, rng: np.random.Generator) -> Image:
    """Random erasing (Zhong et al., AAAI 2020, algorithm 1): one rectangle becomes noise.

    Its area is 0.02 to 0.4 of the image's, height over width 0.3 to 1 / 0.3.
    """
    height, width = image.shape[:2]
    for _ in range(_ERASING_ATTEMPTS):
        area = rng.uniform(0.02, 0.4) * height * width
        ratio = rng.uniform(0.3, 1 / 0.3)
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < h <= height and 0 < w <= width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            image = image.copy()
            image[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, 3), np.uint8)
            break
    return image
