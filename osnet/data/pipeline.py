"""Training images through `mindspore.dataset`: read, augmented and batched by its threads, the same at every resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osnet.data.augment import Augmentation
from osnet.errors import OsnetError

Loader = Callable[[Path], NDArray[np.uint8]]


class Samples:
    """One device's images of one epoch, by position: what `mindspore.dataset.GeneratorDataset` reads.

    An image's randomness is that of (seed, epoch, position among all devices' images), so it depends neither on the
    number of threads nor on where the run was taken up.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: NDArray[np.int64],
        order: NDArray[np.int64],
        *,
        load: Loader,
        augmentation: Augmentation,
        seed: int,
        epoch: int,
        rank: int = 0,
        first: int = 0,
    ) -> None:
        """`order` (passes, ranks, batch) indexes `paths`; passes before `first` are left out."""
        passes, ranks, batch = order.shape
        places = np.arange(order.size).reshape(passes, ranks, batch)
        self._indices = order[first:, rank].reshape(-1)
        self._places = places[first:, rank].reshape(-1)
        self._paths, self._labels = paths, labels
        self._load, self._augmentation = load, augmentation
        self._key = (seed, epoch)
        self.batch_size = batch
        self.failure: OsnetError | None = None

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """uint8 (H, W, 3) and the class."""
        index = int(self._indices[position])
        try:
            image = self._load(self._paths[index])
        except OsnetError as error:
            self.failure = error
            raise
        rng = np.random.default_rng([*self._key, int(self._places[position])])
        return self._augmentation(image, rng), np.int32(self._labels[index])  # type: ignore[return-value]


def batches(samples: Samples, *, workers: int = 2) -> Iterator[tuple[Any, Any]]:
    """Tensors uint8 (B, H, W, 3) and int32 (B,), in order, read ahead by `workers` threads.

    Raises:
        OsnetError: what `samples` met: an image that cannot be read.
    """
    import mindspore.dataset as ds

    dataset = ds.GeneratorDataset(
        samples,
        ["image", "label"],
        shuffle=False,
        num_parallel_workers=max(1, min(workers, len(samples))),
        python_multiprocessing=False,
    ).batch(samples.batch_size, drop_remainder=True)
    try:
        yield from dataset.create_tuple_iterator(num_epochs=1)
    except RuntimeError:
        if samples.failure is not None:
            raise samples.failure from None
        raise
