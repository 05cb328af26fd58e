"""Pictures → features: the class that applications embed."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from osnet._version import __version__
from osnet.checkpoint.weights import Weights
from osnet.checks import check_bool, check_choice, check_integer
from osnet.errors import DataError, HashError, ImageError, OptionError
from osnet.inference.backends import Backend, create_backend
from osnet.inference.images import ImageLike, check_color, crop_boxes, prepare
from osnet.inference.prefetch import prefetch
from osnet.models.artefact import Artefact, artefact_kind
from osnet.models.load import ModelLike, is_network, names_weights_file, read_model
from osnet.variants import FEATURE_DIM, check_size, size_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from osnet.hub.settings import FetchOptions

_ZERO = 1e-12  # a feature shorter than this has no direction; torch's normalize has the same bound
BAD_BOXES = ("raise", "nan")


@dataclass(frozen=True)
class Signature:
    """What features were made with: those of two equal signatures may be compared and kept together.

    Attributes:
        model: the network, such as ``osnet_x0_25``.
        sha256: of the checkpoint's file, also for what was exported from it; of the arrays without a file.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        height, width: of the network's input in pixels.
        normalized, flip: as `Embedder` has them.
        osnet_version: of this package.
    """

    model: str
    sha256: str
    precision: str
    height: int
    width: int
    normalized: bool
    flip: bool
    osnet_version: str

    def to_dict(self) -> dict[str, str]:
        """Texts, as a feature file holds them."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, texts: Mapping[str, str]) -> Signature:
        """The signature in what `read_features` says of a file; further texts are ignored.

        Raises:
            DataError: one of them is missing or makes no sense.
        """
        try:
            return cls(
                model=texts["model"],
                sha256=texts["sha256"],
                precision=texts["precision"],
                height=int(texts["height"]),
                width=int(texts["width"]),
                normalized={"True": True, "False": False}[texts["normalized"]],
                flip={"True": True, "False": False}[texts["flip"]],
                osnet_version=texts["osnet_version"],
            )
        except (KeyError, ValueError) as error:
            raise DataError(
                f"features that do not say what they were made with ({error} is missing or makes no sense); embed the "
                "images again with osnet embed"
            ) from None


class Embedder:
    """Turns pictures of people into features.

    Any number of threads may call one embedder. A forked child that inherits one loads the weights anew at its first
    call. It can be copied and pickled: as its model's name or path, with the SHA-256 that the weights must still have
    when it is loaded again, or with the weights themselves when it was made from `Weights` or a network.

    Args:
        model: any model reference (see `osnet.read_weights`), or an exported network (``.onnx``, ``.xml``). The
            parameters of a network in memory are copied: what it learns later changes nothing here.
        backend: ``auto`` (OpenVINO, but ONNX Runtime for ``.onnx``), ``openvino``, ``onnxruntime`` or ``mindspore``.
        precision: ``auto`` and ``fp32`` give the same features on every machine, as features that are kept must be.
            ``bf16`` is about twice as fast on processors that have it and gives other features (cosine to fp32 on
            6,732 real crops: 0.999 in the mean, 0.991 at least); ``fp16`` where the device has it; ``fast`` is bf16
            where the processor has it, fp16 on a GPU. An exported network computes in its own precision.
        size: height and width that pictures are resized to, multiples of 16; None for the size that the
            checkpoint was trained at (`Weights.input_size`).
        batch_size: crops computed together when there are many; None takes what suits the backend.
        normalize: features of length 1, so that their dot product is the cosine similarity. An all-zero feature stays.
        flip: average the features of each picture and its mirror image (before normalising); twice the work.
        color: channel order of arrays, ``rgb`` or ``bgr``. Files and PIL images know their own.
        on_bad_box: for a box that is not finite, or holds no pixel of the frame: ``raise`` an ImageError, or ``nan``:
            its row is NaN and the others are right, so that a tracker does not lose them. (BoxMOT embeds a black crop
            there, Ultralytics gives None.)
        device: ``auto`` (the CPU; for MindSpore what its context names), ``cpu``; for ONNX Runtime ``cuda:0``,
            ``tensorrt:0``, ``coreml``, ``directml:0``; for MindSpore ``gpu:0``, ``ascend:0``.
        input: for an exported network that does not say it: ``normalized``, ``unit`` or ``bytes``, what its input
            takes (see `osnet.models.input_format.InputFormat`).
        **fetch: keywords of `osnet.fetch` (``offline``, ``mirrors``, ...).

    Attributes:
        source: the `Weights` or the exported network in use; ``source.sha256`` names the file.
        precision, backend, device: what is really used.
        signature: what the features are made with; see `Signature`.

    Raises:
        OptionError, UnknownModelError, CheckpointError and the errors of `osnet.fetch`.

    >>> import osnet
    >>> embedder = osnet.Embedder("own.ckpt")
    >>> features = embedder(["shop/ann/a_cam1.jpg", "shop/bob/a_cam1.jpg"])
    >>> features.shape, features.dtype.name
    ((2, 512), 'float32')
    """

    def __init__(
        self,
        model: ModelLike = "osnet",
        *,
        backend: str = "auto",
        precision: str = "auto",
        size: tuple[int, int] | None = None,
        batch_size: int | None = None,
        normalize: bool = True,
        flip: bool = False,
        color: str = "rgb",
        on_bad_box: str = "raise",
        device: str = "auto",
        input: str | None = None,
        **fetch: Unpack[FetchOptions],
    ) -> None:
        check_color(color)
        if size is not None:
            size = check_size(size)
        if batch_size is not None:
            check_integer("batch_size", batch_size, least=1)
        self.normalize = check_bool("normalize", normalize)
        self.flip = check_bool("flip", flip)
        self.color = color
        self.on_bad_box = check_choice("on_bad_box", on_bad_box, BAD_BOXES)
        self.source = read_model(model, values=input, **fetch)
        self.size = size or self.source.input_size
        if isinstance(self.source, Artefact) and self.size != self.source.input_size:
            raise OptionError(
                f"size: {self.source.source} takes {size_text(self.source.input_size)}, got {size_text(self.size)}; "
                "leave it out, or export the network with that size"
            )
        self._model = self.source if isinstance(model, Weights) or is_network(model) else _lasting(model)
        self._input, self._fetch = input, fetch
        self._begin(backend, precision, batch_size, device)

    def _begin(self, backend: str, precision: str, batch_size: int | None, device: str) -> None:
        self._lock = threading.Lock()
        self._backend: Backend | None = create_backend(
            backend, self.source, precision=precision, size=self.size, batch_size=batch_size, device=device
        )
        self.backend, self.precision = self._backend.name, self._backend.precision
        self.device = self._backend.device
        self._asked = precision if isinstance(self.source, Artefact) else self.precision
        self.batch_size = self._backend.batch_size
        _EMBEDDERS.add(self)

    def _running(self) -> Backend:
        with self._lock:
            if self._backend is None:  # a forked child
                self._backend = create_backend(
                    self.backend,
                    self.source,
                    precision=self._asked,
                    size=self.size,
                    batch_size=self.batch_size,
                    device=self.device,
                    forked=True,
                )
            return self._backend

    def _after_fork(self) -> None:
        self._lock = threading.Lock()  # another thread may have held the old one
        if self._backend is not None:
            self._backend.leave_to_parent()
            self._backend = None

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in vars(self).items() if key not in ("_lock", "_backend")}
        state["_fetch"] = {key: value for key, value in self._fetch.items() if key != "force"}
        if self._model is self.source and isinstance(self.source, Weights):  # without an optimizer's state
            state["_model"] = state["source"] = replace(self.source, extras={})
        else:
            del state["source"]
        return {**state, "_sha256": self.source.sha256}

    def __setstate__(self, state: dict[str, Any]) -> None:
        expected = state.pop("_sha256")
        vars(self).update(state)
        if "source" not in state:
            self.source = read_model(self._model, values=self._input, **self._fetch)
            if self.source.sha256 != expected:
                raise HashError(
                    f"the weights of {self._model!r} are not those that this embedder was pickled with: expected "
                    f"SHA-256 {expected}, got {self.source.sha256}; bring that file back, or make a new embedder"
                )
        self._begin(self.backend, self._asked, self.batch_size, self.device)

    @property
    def weights(self) -> Weights:
        """The `Weights` in use.

        Raises:
            OptionError: the model is an exported network.
        """
        if isinstance(self.source, Artefact):
            raise OptionError(f"{self.source.source} is an exported network: it has no weights to read")
        return self.source

    @property
    def signature(self) -> Signature:
        height, width = self.size
        return Signature(
            model=self.source.network,
            sha256=self._checkpoint_sha256(),
            precision=self.precision,
            height=height,
            width=width,
            normalized=self.normalize,
            flip=self.flip,
            osnet_version=__version__,
        )

    def _checkpoint_sha256(self) -> str:
        if isinstance(self.source, Artefact):
            return self.source.checkpoint_sha256
        return self.source.sha256 or _digest(self.source)

    def __repr__(self) -> str:
        return (
            f"Embedder({self.source.source!r}, {self.source.network}, backend={self.backend!r}, "
            f"precision={self.precision!r}, normalize={self.normalize}, flip={self.flip}, color={self.color!r})"
        )

    def __call__(self, images: ImageLike | Sequence[ImageLike], boxes: Any = None) -> NDArray[np.float32]:
        """Features of one or many pictures, or of the boxes of one video frame.

        Args:
            images: a path, a PIL image, an array (H, W, 3) uint8; a sequence of those; or an array (N, H, W, 3).
            boxes: (N, 4) of x1, y1, x2, y2 in pixels of the one frame `images`: an array of any kind that a picture may
                be. Corners are cut down to whole pixels.

        Returns:
            float32 (N, 512): one row each, in order; (1, 512) for one picture, (0, 512) for none. NaN for bad boxes
            under ``on_bad_box="nan"``.

        Raises:
            ImageError: a picture or box that cannot be used; nothing is returned for the others.
        """
        pictures = self._pictures(images, boxes)
        used = [picture for picture in pictures if picture is not None]
        parts = list(self.stream(self._prepared(used)))
        features = np.concatenate(parts) if parts else np.empty((0, FEATURE_DIM), np.float32)
        if boxes is None or len(used) == len(pictures):
            return features
        rows = np.full((len(pictures), FEATURE_DIM), np.nan, np.float32)
        rows[[picture is not None for picture in pictures]] = features
        return rows

    def warm_up(self) -> None:
        """Compile now what the first calls with one, with few and with many pictures would wait for."""
        self._running().warm_up()

    def stream(self, crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Features of a stream of any length, in bounded memory.

        Args:
            crops: uint8 (height, width, 3) RGB, as `osnet.inference.images.prepare` gives them.

        Yields:
            float32 (B, 512) for the next B crops, in order; B varies.
        """
        features = self._running().run(_with_mirror(crops) if self.flip else crops)
        for part in _mean_of_pairs(features) if self.flip else features:
            yield normalise(part) if self.normalize else part

    def _pictures(self, images: Any, boxes: Any) -> list[Any]:
        if boxes is not None:
            frame = images
            if isinstance(images, (str, os.PathLike, Image.Image)):
                raise ImageError("boxes need the frame as a uint8 array (H, W, 3): numpy.asarray(PIL.Image.open(path))")
            return list(crop_boxes(frame, boxes, color=self.color, on_bad_box=self.on_bad_box))
        if isinstance(images, np.ndarray):
            return list(images) if images.ndim == 4 else [images]
        if isinstance(images, (str, os.PathLike, Image.Image)):
            return [images]
        if isinstance(images, Iterable) and not isinstance(images, (bytes, dict, set)):
            pictures = list(images)
            if any(picture is None for picture in pictures):
                raise ImageError("expected pictures, got None among them (cv2.imread gives None for a bad file)")
            return pictures
        return [images]  # prepare() says what is wrong with it

    def _prepared(self, pictures: list[Any]) -> Iterator[NDArray[np.uint8]]:
        height, width = self.size

        def one(picture: Any) -> NDArray[np.uint8]:
            return prepare(picture, color=self.color, height=height, width=width)

        if len(pictures) < 2 * self.batch_size:
            return map(one, pictures)
        return prefetch(one, pictures)


_EMBEDDERS: weakref.WeakSet[Embedder] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for embedder in list(_EMBEDDERS):
        embedder._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _lasting(model: Any) -> Any:
    """`model` so that it means the same in another process: paths are absolute."""
    if (
        isinstance(model, os.PathLike)
        or names_weights_file(model)
        or artefact_kind(model)
        or str(model).endswith(".md")
    ):
        return os.path.abspath(model)  # noqa: PTH100 (keeps links, unlike resolve)
    return model


def _digest(weights: Weights) -> str:
    digest = hashlib.sha256()
    for name, array in weights.arrays.items():
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _with_mirror(crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    for crop in crops:
        yield crop
        yield crop[:, ::-1]


def _mean_of_pairs(parts: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    left = np.empty((0, FEATURE_DIM), np.float32)
    for part in parts:
        rows = np.concatenate([left, part])
        whole = len(rows) // 2 * 2
        if whole:
            yield (rows[0:whole:2] + rows[1:whole:2]) / 2
        left = rows[whole:]


def normalise(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of (N, 512) scaled to Euclidean length 1; an all-zero row stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    scaled: NDArray[np.float32] = (features / np.maximum(lengths, _ZERO)[:, None]).astype(np.float32)
    return scaled
