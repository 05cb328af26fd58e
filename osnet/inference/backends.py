"""Two ways to run a network: OpenVINO on CPUs, MindSpore wherever MindSpore runs.

A backend takes batches of decoded crops and gives their features in the same order. It holds a bounded number of
batches at a time, so that a stream of any length runs in the same memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from osnet.errors import DependencyError, OptionError
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights

PRECISIONS = ("auto", "fp32", "bf16")
BACKENDS = ("auto", "openvino", "mindspore")


class Backend(Protocol):
    """What runs a network.

    Attributes:
        name: ``openvino`` or ``mindspore``.
        precision: ``fp32`` or ``bf16``: what is really computed with.
        batch_size: crops in a batch that this backend likes best.
        parallel: batches under way at once.
    """

    name: str
    precision: str
    batch_size: int
    parallel: int

    def run(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Features (B, 512), not normalised, of each batch uint8 (B, 256, 128, 3) RGB, in order."""
        ...


def create_backend(name: str, weights: Weights, *, precision: str = "auto") -> Backend:
    """The backend `name` with `weights` loaded.

    Args:
        name: ``openvino``, ``mindspore``, or ``auto``, which is OpenVINO.
        weights: the network.
        precision: ``fp32``; ``bf16``; or ``auto``: bf16 where the processor computes with it natively, else fp32.

    Raises:
        OptionError: an unknown name, or a precision that this machine or backend has not.
        DependencyError: the package behind it is missing.
    """
    if name not in BACKENDS:
        raise OptionError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    if precision not in PRECISIONS:
        raise OptionError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    return MindSporeBackend(weights, precision) if name == "mindspore" else OpenVINOBackend(weights, precision)


class OpenVINOBackend:
    """The folded graph of `osnet.models.graph` on the CPU, several batches at once."""

    name = "openvino"
    batch_size = 8

    def __init__(self, weights: Weights, precision: str = "auto") -> None:
        try:
            import openvino
        except ImportError as error:
            raise DependencyError(f"OpenVINO cannot be imported ({error}); install it: pip install openvino") from error
        from osnet.models.graph import build_graph

        core = openvino.Core()
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not native:
            raise OptionError("precision 'bf16': this processor has no bfloat16 instructions; use 'fp32' or 'auto'")
        self.precision = "bf16" if native and precision != "fp32" else "fp32"
        compiled = core.compile_model(
            build_graph(weights, images=True),
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            },
        )
        self.parallel = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests = [compiled.create_infer_request() for _ in range(self.parallel)]

    def run(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        free = list(self._requests)
        busy: deque[Any] = deque()
        try:
            for batch in batches:
                if not free:
                    yield self._finish(busy, free)
                request = free.pop()
                request.start_async([batch], share_inputs=True)
                busy.append((request, batch))  # the batch must outlive the request that reads it
            while busy:
                yield self._finish(busy, free)
        finally:
            for request, _ in busy:
                request.wait()

    @staticmethod
    def _finish(busy: deque[Any], free: list[Any]) -> NDArray[np.float32]:
        request, _ = busy[0]
        request.wait()
        busy.popleft()
        features: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
        free.append(request)
        return features


class MindSporeBackend:
    """The MindSpore cell on the device that MindSpore's context names."""

    name = "mindspore"
    precision = "fp32"
    batch_size = 16
    parallel = 1

    def __init__(self, weights: Weights, precision: str = "auto") -> None:
        if precision == "bf16":
            raise OptionError("precision 'bf16': the mindspore backend computes in fp32; use 'fp32' or 'auto'")
        from osnet.models.load import network_from_weights

        self._network = network_from_weights(weights.without_classifier())

    def run(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        import mindspore

        from osnet.models.graph import IMAGE_MEAN, IMAGE_STD

        mean = 255 * np.asarray(IMAGE_MEAN, np.float32)
        scale = 1 / (255 * np.asarray(IMAGE_STD, np.float32))
        graph_mode = mindspore.get_context("mode") == mindspore.GRAPH_MODE
        for batch in batches:
            count = len(batch)
            if graph_mode and count < self.batch_size:  # each new shape compiles for seconds
                padding = np.zeros((self.batch_size - count, *batch.shape[1:]), batch.dtype)
                batch = np.concatenate([batch, padding])
            x = ((batch - mean) * scale).transpose(0, 3, 1, 2)
            features = self._network(mindspore.Tensor(np.ascontiguousarray(x))).asnumpy()[:count]
            yield np.ascontiguousarray(features, np.float32).reshape(count, FEATURE_DIM)
