"""What runs a network: OpenVINO or ONNX Runtime for graphs, MindSpore wherever MindSpore runs; one file each.

A backend takes a stream of decoded crops and gives their features in the same order, a few crops at a time, so that a
stream of any length runs in the same memory. Any number of threads may use one backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, Union

from osnet.checks import check_choice
from osnet.errors import OptionError
from osnet.models.artefact import Artefact
from osnet.models.load import require_mindspore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights

Source = Union["Weights", Artefact]

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "fast")
_RUN_BY = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",), "mindspore": ("mindspore",)}
BACKENDS = ("auto", "openvino", "onnxruntime", "mindspore")


class Backend(Protocol):
    """What runs a network.

    Attributes:
        name: ``openvino``, ``onnxruntime`` or ``mindspore``.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``: what is really computed with.
        device: where, such as ``cpu`` or ``cuda:0``.
        batch_size: crops computed together when there are many.
        parallel: batches under way at once.
    """

    name: str
    precision: str
    device: str
    batch_size: int
    parallel: int

    def run(self, crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Features (B, 512), not normalised, of crops uint8 (height, width, 3) RGB: in order, B at a time."""
        ...

    def warm_up(self) -> None:
        """Compile now what would else be compiled when it is first used."""
        ...

    def leave_to_parent(self) -> None:
        """In a forked process: make sure that nothing of this backend is ever freed here."""
        ...


def create_backend(
    name: str,
    source: Source,
    *,
    precision: str = "auto",
    size: tuple[int, int],
    batch_size: int | None = None,
    device: str = "auto",
    forked: bool = False,
) -> Backend:
    """The backend `name` with the network `source` loaded.

    Args:
        name: ``openvino``, ``onnxruntime``, ``mindspore``, or ``auto``: OpenVINO, but ONNX Runtime for ``.onnx`` and
            MindSpore for ``.mindir``.
        source: weights, or an exported network.
        precision: ``fp32`` or ``auto``: as the file computes, fp32 for weights; ``bf16``; ``fp16``; or ``fast``: bf16
            (OpenVINO) or fp16 (a GPU) where the device computes with it natively.
        size: height and width of the crops in pixels.
        batch_size: crops computed together when there are many; None takes what suits the backend.
        device: ``auto`` (the CPU; for MindSpore what its context names), or one that the backend knows.
        forked: this process was forked from one that used a backend.

    Raises:
        OptionError: an unknown name, or a precision or device that this machine or backend does not have.
        DependencyError: the package behind it is missing.
    """
    check_choice("backend", name, BACKENDS)
    check_choice("precision", precision, PRECISIONS)
    kind = source.kind if isinstance(source, Artefact) else None
    if name == "auto":
        name = "onnxruntime" if kind == "onnx" else kind or "openvino"
    if kind is not None and name not in _RUN_BY[kind]:
        raise OptionError(f"backend {name!r} cannot run {source.source}; expected {' or '.join(_RUN_BY[kind])}")
    if name == "openvino":
        from osnet.inference.backends.openvino import OpenVINOBackend

        return OpenVINOBackend(source, precision, size, batch_size, device, forked=forked)
    if name == "onnxruntime":
        from osnet.inference.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(source, precision, size, batch_size, device)
    require_mindspore()
    from osnet.inference.backends.mindspore import MindSporeBackend

    return MindSporeBackend(source, precision, size, batch_size, device)
