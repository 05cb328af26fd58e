"""Pictures that users give a gallery, and the model that makes features of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from osnet.errors import ImageError, OptionError
from osnet.gallery.entries import check_signature, check_vectors
from osnet.gallery.store import About
from osnet.inference.embedder import Embedder, Signature
from osnet.inference.images import prepare
from osnet.inference.prefetch import prefetch
from osnet.models.load import ModelLike

Floats = npt.NDArray[np.float32]
GalleryModel = Union[ModelLike, Embedder, Signature]
"""A model reference, an `Embedder`, or the `Signature` of features that were made elsewhere."""


class Model:
    """The model of a gallery: loaded when it is first used, and the one that the gallery was made with.

    Args:
        where: the gallery, for messages.
        about: what it is made with.
        model: as for `osnet.gallery.gallery.Gallery`; all but None is checked at once.
        options: keywords of `Embedder`.

    Raises:
        DataError: `model` is not the one that the gallery was made with.
        OptionError: an option that is fixed when a gallery is made.
    """

    def __init__(self, where: str, about: About, model: GalleryModel | None, options: dict[str, Any]) -> None:
        self._where, self._signature, self._options = where, about.signature, options
        self._reference = about.model if model is None or isinstance(model, Signature) else model
        self._embedder: Embedder | None = None
        if isinstance(model, Signature):
            check_signature(model, self._signature, "the signature")
        elif model is not None:
            self._embedder = self._load(model)

    @property
    def color(self) -> str:
        """Order of the channels of arrays."""
        return self._embedder.color if self._embedder else "rgb"

    @property
    def embedder(self) -> Embedder:
        """See `Gallery.embedder`."""
        if self._embedder is None:
            if self._reference is None:
                raise OptionError(
                    f"{self._where}: does not know where its model {self._signature.model} is; give it: "
                    "Gallery(where, model=...), --model"
                )
            self._embedder = self._load(self._reference)
        return self._embedder

    def _load(self, model: Any) -> Embedder:
        ours = self._signature
        if not isinstance(model, Embedder):
            settings: dict[str, Any] = {
                "precision": ours.precision, "size": (ours.height, ours.width), "normalize": ours.normalized,
                "flip": ours.flip,
            }  # fmt: skip
            changed = [name for name in self._options if name in settings]
            if changed:
                raise OptionError(f"{changed[0]}: is fixed when a gallery is made; leave it out")
            model = Embedder(model, **settings, **self._options)
        embedder: Embedder = model
        check_signature(embedder.signature, ours, f"the model {embedder.source.source}")
        return embedder

    def embed(self, pictures: Sequence[Any]) -> tuple[Floats, Sequence[bytes]]:
        """Features of the pictures, and the bytes that they were made from."""
        if any(one is None for one in pictures):
            raise ImageError("expected pictures, got None among them (cv2.imread gives None for a bad file)")
        embedder = self.embedder
        height, width = embedder.size
        contents: list[bytes] = []

        def crop_of(picture: Any) -> npt.NDArray[np.uint8]:
            return prepare(picture, color=embedder.color, height=height, width=width)

        def crops() -> Iterator[npt.NDArray[np.uint8]]:
            few = len(pictures) < 2 * embedder.batch_size
            for crop in map(crop_of, pictures) if few else prefetch(crop_of, pictures):
                contents.append(crop.tobytes())
                yield crop

        parts = list(embedder.stream(crops()))
        if not parts:
            raise ImageError("expected at least one picture or feature, got none")
        return check_vectors(np.concatenate(parts), self._signature), contents

    def contents(self, pictures: Sequence[Any]) -> Sequence[bytes]:
        """The bytes that ids are made of, as `embed` gives them."""
        ours, color = self._signature, self.color
        return [prepare(one, color=color, height=ours.height, width=ours.width).tobytes() for one in pictures]


def reference_of(embedder: Embedder) -> str | None:
    """What loads the embedder's model again, in any folder; None for a network in memory."""
    model = embedder._model
    return os.fspath(model) if isinstance(model, (str, Path, os.PathLike)) else None


def are_features(items: Any) -> bool:
    """Whether `items` are one or many features, not images."""
    if isinstance(items, np.ndarray):
        return bool(items.dtype.kind == "f")
    first = items[0] if isinstance(items, (list, tuple)) and len(items) else None
    if isinstance(first, (list, tuple)) and first:
        first = first[0]
    return isinstance(first, (float, np.floating)) or (
        isinstance(first, np.ndarray) and first.ndim == 1 and first.dtype.kind == "f"
    )


def listed(items: Any) -> list[Any]:
    """One or many images as a list."""
    if isinstance(items, np.ndarray):
        return list(items) if items.ndim == 4 else [items]
    if isinstance(items, (str, bytes, os.PathLike)) or not isinstance(items, Sequence):
        return [items]
    return list(items)
