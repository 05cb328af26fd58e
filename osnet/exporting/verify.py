"""What a user of another program gets from an exported file: that program's own preprocessing, replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import OptionError, VerificationError
from osnet.exporting.consumers import Consumer, get_consumer
from osnet.exporting.export import cosines, read_pictures
from osnet.exporting.running import open_file
from osnet.files import PathLike
from osnet.inference.embedder import Embedder
from osnet.inference.images import ImageLike
from osnet.models.artefact import SUFFIXES, Interface, artefact_kind, read_interface, shape_text
from osnet.models.input_format import VALUES
from osnet.models.load import ModelLike, names_weights_file, read_weights
from osnet.variants import FEATURE_DIM, parse_size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from osnet.checkpoint.weights import Weights
    from osnet.hub.settings import FetchOptions

LEAST = 0.98
LEAST_RESIZED = 0.999
"""Bounds of `Verification.right`: of the mean cosine end to end, and of the least once the resize is left out."""

FEW_IMAGES = 4
"""How many are enough to find out what a file takes."""


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
        feeds: values and colours that the program feeds, such as ``unit rgb``.
        takes: those that give the network's features; None where none does.
    """

    path: Path
    consumer: str
    size: tuple[int, int]
    images: int
    least_cosine: float
    mean_cosine: float
    resized_least_cosine: float
    resized_mean_cosine: float
    feeds: str
    takes: str | None

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
    pictures = read_pictures(images)
    sides = interface.shape[1:3] if program.layout == "nhwc" else interface.shape[2:4]
    height, width = sides if len(sides) == 2 else (None, None)
    size = program.size(path, (height, width))
    made_for = interface.metadata.get("size")
    if made_for:
        own_size = parse_size(made_for)
    else:
        own_size = weights.input_size if height is None or width is None else (height, width)
    run = _Replay(path, program, interface, size)
    found = run(pictures)
    expected = Embedder(weights, precision="fp32", size=own_size)(pictures)
    resized = [np.rint(program.resize(picture, size)).astype(np.uint8) for picture in pictures]
    same_resize = Embedder(weights, precision="fp32", size=size)(resized)
    end_to_end, alone = cosines(found, expected), cosines(found, same_resize)
    feeds = f"{program.values} rgb"
    right = alone.min() >= LEAST_RESIZED
    return Verification(
        path=path,
        consumer=program.name,
        size=size,
        images=len(pictures),
        least_cosine=float(end_to_end.min()),
        mean_cosine=float(end_to_end.mean()),
        resized_least_cosine=float(alone.min()),
        resized_mean_cosine=float(alone.mean()),
        feeds=feeds,
        takes=feeds if right else _taken(run, pictures[:FEW_IMAGES], same_resize[:FEW_IMAGES]),
    )


def _weights(path: Path, interface: Interface, model: ModelLike | None, fetch: FetchOptions) -> Weights:
    name, sha256 = interface.metadata.get("model"), interface.metadata.get("checkpoint_sha256")
    if model is None and not name:
        raise OptionError(f"{path} does not say which weights it was made from; say it with model=... (--model)")
    if model is None and names_weights_file(name) and not Path(str(name)).exists():
        raise OptionError(f"{path} was made from the file {name}, which is not here; say where it is (--model)")
    weights = read_weights(name if model is None else model, **fetch)
    if sha256 and weights.sha256 != sha256:
        raise OptionError(
            f"{path} was made from a checkpoint with SHA-256 {sha256}, and {weights.source} has {weights.sha256}; "
            "give the checkpoint that it was made from (--model)"
        )
    return weights


class _Replay:
    """The file at `path`, fed as `program` feeds it at `size`."""

    def __init__(self, path: Path, program: Consumer, interface: Interface, size: tuple[int, int]) -> None:
        self.path, self.program, self.interface, self.size = path, program, interface, size
        self._run = open_file(path)
        self._copies = (interface.shape[0] or 1) if path.suffix.lower() in program.fills_batch else 1

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], values: str | None = None) -> NDArray[np.float32]:
        """Features (N, 512); of what it would feed if it fed `values`, where given."""
        rows = []
        for picture in pictures:
            x = np.concatenate([self.program.feed(picture, self.size, values)] * self._copies)
            if "float16" in self.interface.dtype and x.dtype == np.float32:
                x = x.astype(np.float16)  # all programs do
            try:
                features = self._run(x)
            except Exception as error:
                raise VerificationError(
                    f"{self.path} does not accept what {self.program.title} feeds, {x.dtype} {shape_text(x.shape)}: it "
                    f"takes {self.interface.dtype} {shape_text(self.interface.shape)}; export it again: osnet export "
                    f"MODEL FILE --for {self.program.name}"
                ) from error
            if features.ndim != 2 or features.shape[1] != FEATURE_DIM:
                raise VerificationError(
                    f"{self.path}: expected features of shape (B, {FEATURE_DIM}) as its first output, got "
                    f"{shape_text(features.shape)}; export the network without its classifier: osnet export"
                )
            rows.append(features[:1])
        return np.concatenate(rows)


def _taken(run: _Replay, pictures: Sequence[NDArray[np.uint8]], expected: NDArray[np.float32]) -> str | None:
    """The values and colours that give the features `expected` of `pictures`; None where none does."""
    kinds = VALUES if run.program.layout == "nchw" else ("bytes",)
    tried: list[tuple[float, str]] = []
    for colors, step in (("rgb", 1), ("bgr", -1)):
        fed = [np.ascontiguousarray(picture[..., ::step]) for picture in pictures]
        tried.extend((float(cosines(run(fed, values), expected).min()), f"{values} {colors}") for values in kinds)
    cosine, best = max(tried)
    return best if cosine >= LEAST_RESIZED else None
