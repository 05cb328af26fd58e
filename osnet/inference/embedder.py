"""Pictures → features: the class that applications embed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from osnet.errors import ImageError, OptionError
from osnet.inference.backends import create_backend
from osnet.inference.images import ImageLike, check_color, crop_boxes, prepare
from osnet.models.reference import ModelLike, read_weights
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ZERO = 1e-12  # a feature shorter than this has no direction; torch's normalize has the same bound


class Embedder:
    """Turns pictures of people into features.

    Args:
        model: any model reference (see `osnet.read_weights`) or `Weights`.
        backend: ``auto`` (OpenVINO), ``openvino`` or ``mindspore``.
        precision: ``auto`` (bf16 where the processor has it, else fp32), ``fp32`` or ``bf16``.
        batch_size: crops computed together; None takes what suits the backend.
        normalize: features of length 1, so that their dot product is the cosine similarity. An all-zero feature stays.
        flip: average the features of each picture and its mirror image (before normalising); twice the work.
        color: channel order of arrays, ``rgb`` or ``bgr``. Files and PIL images know their own.
        **fetch: keywords of `osnet.fetch` (``offline``, ``mirrors``, ...).

    Attributes:
        weights: the `Weights` in use; ``weights.sha256`` names the checkpoint.
        precision, backend: what is really used.

    Raises:
        OptionError, UnknownModelError, CheckpointError and the errors of `osnet.fetch`.
    """

    def __init__(
        self,
        model: ModelLike = "osnet",
        *,
        backend: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        normalize: bool = True,
        flip: bool = False,
        color: str = "rgb",
        **fetch: Any,
    ) -> None:
        check_color(color)
        if batch_size is not None and (
            isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
        ):
            raise OptionError(f"batch_size: expected a whole number from 1 up or None, got {batch_size!r}")
        for option, value in (("normalize", normalize), ("flip", flip)):
            if not isinstance(value, bool):
                raise OptionError(f"{option}: expected True or False, got {value!r}")
        self.weights = read_weights(model, **fetch)
        self._backend = create_backend(backend, self.weights, precision=precision)
        self.backend = self._backend.name
        self.precision = self._backend.precision
        self.batch_size = batch_size or self._backend.batch_size
        self.normalize = normalize
        self.flip = flip
        self.color = color

    def __repr__(self) -> str:
        return (
            f"Embedder({self.weights.source!r}, {self.weights.variant.name}, backend={self.backend!r}, "
            f"precision={self.precision!r}, normalize={self.normalize}, flip={self.flip}, color={self.color!r})"
        )

    def __call__(self, images: ImageLike | Sequence[ImageLike], boxes: Any = None) -> NDArray[np.float32]:
        """Features of one or many pictures, or of the boxes of one video frame.

        Args:
            images: a path, a PIL image, an array (H, W, 3) uint8; a sequence of those; or an array (N, H, W, 3).
            boxes: (N, 4) of x1, y1, x2, y2 in pixels of the one frame `images`.

        Returns:
            float32 (N, 512): one row each, in order; (1, 512) for one picture, (0, 512) for none.

        Raises:
            ImageError: a picture or box that cannot be used; nothing is returned for the others.
        """
        pictures = self._pictures(images, boxes)
        if not pictures:
            return np.empty((0, FEATURE_DIM), np.float32)
        size = self._even_batches(len(pictures))
        return np.concatenate(list(self.stream(self._prepared(pictures), batch_size=size)))

    def stream(
        self, crops: Iterable[NDArray[np.uint8]], *, batch_size: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Features of a stream of any length, in bounded memory.

        Args:
            crops: uint8 (256, 128, 3) RGB, as `osnet.inference.images.prepare` gives them.
            batch_size: overrules that of the embedder.

        Yields:
            float32 (B, 512) for each batch, in order.
        """
        batches = _batches(crops, batch_size or self.batch_size)
        if self.flip:
            for both in self._backend.run(np.concatenate([b, b[:, :, ::-1]]) for b in batches):
                half = len(both) // 2
                yield self._finish((both[:half] + both[half:]) / 2)
        else:
            for features in self._backend.run(batches):
                yield self._finish(features)

    def _finish(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return normalise(features) if self.normalize else features

    def _pictures(self, images: Any, boxes: Any) -> list[Any]:
        if boxes is not None:
            frame = images
            if isinstance(images, (str, os.PathLike, Image.Image)):
                raise ImageError("boxes want the frame as a uint8 array (H, W, 3): numpy.asarray(PIL.Image.open(path))")
            return list(crop_boxes(frame, boxes, color=self.color))
        if isinstance(images, np.ndarray):
            return list(images) if images.ndim == 4 else [images]
        if isinstance(images, (str, os.PathLike, Image.Image)):
            return [images]
        if isinstance(images, Iterable) and not isinstance(images, (bytes, dict, set)):
            return list(images)
        return [images]  # prepare() says what is wrong with it

    def _prepared(self, pictures: list[Any]) -> Iterator[NDArray[np.uint8]]:
        def one(picture: Any) -> NDArray[np.uint8]:
            return prepare(picture, color=self.color)

        if len(pictures) < 2 * self.batch_size:
            return map(one, pictures)
        return prefetch(one, pictures)

    def _even_batches(self, count: int) -> int:
        """A size that keeps all streams busy when there are few pictures."""
        return max(1, min(self.batch_size, -(-count // self._backend.parallel)))


def normalise(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of (N, 512) scaled to Euclidean length 1; an all-zero row stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    scaled: NDArray[np.float32] = (features / np.maximum(lengths, _ZERO)[:, None]).astype(np.float32)
    return scaled


def prefetch(work: Callable[[Any], Any], items: Iterable[Any], *, ahead: int = 64) -> Iterator[Any]:
    """``work(item)`` for each item in order, computed by threads at most `ahead` items before they are asked for.
    Pillow lets go of Python's lock while it decodes and resizes."""
    waiting = iter(items)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="osnet-decode") as pool:
        pending = deque(pool.submit(work, item) for item in islice(waiting, ahead))
        try:
            while pending:
                yield pending.popleft().result()
                for item in islice(waiting, 1):
                    pending.append(pool.submit(work, item))
        finally:
            for future in pending:
                future.cancel()


def _batches(crops: Iterable[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    source = iter(crops)
    while True:
        batch = list(islice(source, size))
        if not batch:
            return
        yield np.stack(batch)
