"""What a user of another program gets from an exported file: that program's own preprocessing, replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import OptionError, VerificationError
from osnet.exporting.consumers import Consumer, get_consumer
from osnet.exporting.export import DRAWN_IMAGES, cosines, draw_people
from osnet.exporting.running import open_file
from osnet.files import PathLike
from osnet.inference.embedder import Embedder
from osnet.inference.images import ImageLike, load_image
from osnet.models.artefact import SUFFIXES, Interface, artefact_kind, read_interface
from osnet.models.load import ModelLike, read_weights
from osnet.variants import INPUT_HEIGHT, INPUT_WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from osnet.checkpoint.weights import Weights
    from osnet.hub.settings import FetchOptions

LEAST = 0.98
LEAST_RESIZED = 0.999
"""Bounds of `Verification.right`: of the mean cosine end to end, and of the least once the resize is left out."""


@dataclass(frozen=True)
class Verification:
    """How near the features that a program gets from a file are to `Embedder` in fp32.

    Attributes:
        path: the file.
        consumer: the program.
        size: height and width that the program resizes to.
        images: how many were compared.
        least_cosine, mean_cosine: end to end: the program's resize against Pillow's.
        resized_least_cosine, resized_mean_cosine: with `Embedder` on crops that were resized as the program does.
    """

    path: Path
    consumer: str
    size: tuple[int, int]
    images: int
    least_cosine: float
    mean_cosine: float
    resized_least_cosine: float
    resized_mean_cosine: float

    @property
    def right(self) -> bool:
        """Whether users of the program get this network's features."""
        return self.mean_cosine >= LEAST and self.resized_least_cosine >= LEAST_RESIZED

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**asdict(self), "path": str(self.path), "right": self.right}


def verify(
    path: PathLike,
    consumer: str,
    *,
    model: ModelLike | None = None,
    images: Sequence[ImageLike] | None = None,
    **fetch: Unpack[FetchOptions],
) -> Verification:
    """Run an exported file on images as `consumer` does, and compare the features with `Embedder`.

    Args:
        path: ``.onnx``, ``.xml`` or ``.mindir``, exported by this package or by others.
        consumer: the program whose preprocessing is replayed, see `export`.
        model: the weights that the file was made from; None for what the file says.
        images: paths, PIL images or arrays; None for drawn people.
        **fetch: keywords of `osnet.fetch`.

    Returns:
        A `Verification`: how near the features are to those of `Embedder`.

    Raises:
        OptionError: the file does not say what it was made from and `model` does not either, or `consumer` is unknown.
        VerificationError: the file does not accept what the program feeds.
        CheckpointError: the file cannot be read.
        Errors of `osnet.fetch` and `osnet.read_weights`.
    """
    path, program = Path(path), get_consumer(consumer)
    if artefact_kind(path) is None:
        raise OptionError(f"expected a file ending in {', '.join(SUFFIXES)}, got {str(path)!r}")
    interface = read_interface(path)
    weights = _weights(path, interface, model, fetch)
    pictures = [np.asarray(load_image(image)) for image in images] if images is not None else draw_people(DRAWN_IMAGES)
    size = _size(program, interface)
    found = _features(path, program, interface, pictures, size)
    expected = Embedder(weights, precision="fp32")(pictures)
    resized = [np.rint(program.resize(picture, size)).astype(np.uint8) for picture in pictures]
    same_resize = Embedder(weights, precision="fp32", size=size)(resized)
    end_to_end, alone = cosines(found, expected), cosines(found, same_resize)
    return Verification(
        path=path,
        consumer=program.name,
        size=size,
        images=len(pictures),
        least_cosine=float(end_to_end.min()),
        mean_cosine=float(end_to_end.mean()),
        resized_least_cosine=float(alone.min()),
        resized_mean_cosine=float(alone.mean()),
    )


def _weights(path: Path, interface: Interface, model: ModelLike | None, fetch: FetchOptions) -> Weights:
    name, sha256 = interface.metadata.get("model"), interface.metadata.get("checkpoint_sha256")
    if model is None and not name:
        raise OptionError(f"{path} does not say which weights it was made from; say it with model=... (--model)")
    weights = read_weights(name if model is None else model, **fetch)
    if sha256 and weights.sha256 != sha256:
        raise OptionError(
            f"{path} was made from a checkpoint with SHA-256 {sha256}, and {weights.source} has {weights.sha256}; "
            "give the checkpoint that it was made from (--model)"
        )
    return weights


def _size(program: Consumer, interface: Interface) -> tuple[int, int]:
    """What `program` resizes to: the size in the file where it can read one, else its own."""
    sides = interface.shape[1:3] if program.layout == "nhwc" else interface.shape[2:4]
    known = len(sides) == 2 and None not in sides
    return (int(sides[0]), int(sides[1])) if known else program.default_size or (INPUT_HEIGHT, INPUT_WIDTH)


def _features(
    path: Path, program: Consumer, interface: Interface, pictures: Sequence[NDArray[np.uint8]], size: tuple[int, int]
) -> NDArray[np.float32]:
    run = open_file(path)
    batch = interface.shape[0] or 1
    rows = []
    for picture in pictures:
        x = program.feed(picture, size)
        try:
            rows.append(run(np.concatenate([x] * batch))[:1])
        except Exception as error:
            raise VerificationError(
                f"{path} does not accept what {program.title} feeds, {x.dtype} {(batch, *x.shape[1:])}: it takes "
                f"{interface.dtype} {interface.shape}; export it with --for {program.name}"
            ) from error
    return np.concatenate(rows)
