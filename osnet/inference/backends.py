"""Two ways to run a network: OpenVINO on CPUs, MindSpore wherever MindSpore runs.

A backend takes a stream of decoded crops and gives their features in the same order, a few crops at a time, so that a
stream of any length runs in the same memory. Any number of threads may use one backend.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from osnet.checks import check_choice
from osnet.errors import OptionError
from osnet.models.graph import build_graph, openvino_core
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights

PRECISIONS = ("auto", "fp32", "bf16", "fast")
BACKENDS = ("auto", "openvino", "mindspore")


class Backend(Protocol):
    """What runs a network.

    Attributes:
        name: ``openvino`` or ``mindspore``.
        precision: ``fp32`` or ``bf16``: what is really computed with.
        batch_size: crops computed together when there are many.
        parallel: batches under way at once.
    """

    name: str
    precision: str
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
    weights: Weights,
    *,
    precision: str = "auto",
    size: tuple[int, int],
    batch_size: int | None = None,
    forked: bool = False,
) -> Backend:
    """The backend `name` with `weights` loaded.

    Args:
        name: ``openvino``, ``mindspore``, or ``auto``, which is OpenVINO.
        weights: the network.
        precision: ``fp32`` or ``auto``, which is fp32 too; ``bf16``; or ``fast``: bf16 where the processor computes
            with it natively, else fp32.
        size: height and width of the crops in pixels.
        batch_size: crops computed together when there are many; None takes what suits the backend.
        forked: this process was forked from one that used a backend.

    Raises:
        OptionError: an unknown name, or a precision that this machine or backend does not have.
        DependencyError: the package behind it is missing.
    """
    check_choice("backend", name, BACKENDS)
    check_choice("precision", precision, PRECISIONS)
    if name != "mindspore":
        return OpenVINOBackend(weights, precision, size, batch_size, forked=forked)
    return MindSporeBackend(weights, precision, size, batch_size)


class OpenVINOBackend:
    """The folded graph of `osnet.models.graph` on the CPU.

    Every batch size is compiled by itself, since OpenVINO is slow whenever a graph of variable size meets a new one:
    single crops, and batches for long streams. A call for one crop uses all cores for it.
    """

    name = "openvino"

    def __init__(
        self, weights: Weights, precision: str, size: tuple[int, int], batch_size: int | None, *, forked: bool
    ) -> None:
        self._forked = forked
        self._core = openvino_core()
        native = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not native:
            raise OptionError("precision 'bf16': this processor has no bfloat16 instructions; use 'fp32' or 'fast'")
        self.precision = "bf16" if native and precision in ("bf16", "fast") else "fp32"
        self.batch_size = batch_size or 8
        self._weights, self._size = weights, size
        self._lock = threading.Lock()
        self._programs: dict[tuple[int, str], _Program] = {}
        self._calls = 0  # under way, of a few crops each
        single = self._program(1, "THROUGHPUT")
        single(np.zeros((1, *size, 3), np.uint8))  # what is set up at a first run is not left to several threads
        self.parallel = single.requests
        self._pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="osnet-openvino")

    def _program(self, batch: int, hint: str) -> _Program:
        with self._lock:
            key = (batch, hint)
            if key not in self._programs:
                height, width = self._size
                graph = build_graph(self._weights, images=True, height=height, width=width, batch=batch)
                self._programs[key] = _Program(self._core, graph, hint, self.precision)
            return self._programs[key]

    def run(self, crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        crops = iter(crops)
        first = list(islice(crops, self.batch_size * self.parallel))
        if len(first) < self.batch_size * self.parallel:
            return self._few(first)
        return self._many(chain(first, crops))

    def _few(self, crops: list[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        with self._lock:
            self._calls += 1
            alone = self._calls == 1
        try:
            # One core each would leave the others idle at the end. A forked process has siblings for them, and
            # OpenVINO hung now and then when it compiled for several threads there.
            if alone and not self._forked and len(crops) % self.parallel == 1:
                yield self._program(1, "LATENCY")(crops[0][None])
                crops = crops[1:]
            single = self._program(1, "THROUGHPUT")
            yield from self._in_order((single, crop[None]) for crop in crops)
        finally:
            with self._lock:
                self._calls -= 1

    def _many(self, crops: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        single, whole = self._program(1, "THROUGHPUT"), self._program(self.batch_size, "THROUGHPUT")

        def jobs() -> Iterator[tuple[_Program, NDArray[np.uint8]]]:
            while batch := list(islice(crops, self.batch_size)):
                if len(batch) == self.batch_size:
                    yield whole, np.stack(batch)
                else:
                    yield from ((single, crop[None]) for crop in batch)

        return self._in_order(jobs())

    def _in_order(self, jobs: Iterator[tuple[_Program, NDArray[np.uint8]]]) -> Iterator[NDArray[np.float32]]:
        """Results of ``program(batch)`` for each job, computed by the pool a few jobs ahead."""
        pending: deque[Future[NDArray[np.float32]]] = deque()
        try:
            for program, batch in jobs:
                pending.append(self._pool.submit(program, batch))
                if len(pending) > self.parallel:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def warm_up(self) -> None:
        hints = ("THROUGHPUT",) if self._forked else ("THROUGHPUT", "LATENCY")
        for batch, hint in (*((1, hint) for hint in hints), (self.batch_size, "THROUGHPUT")):
            self._program(batch, hint)(np.zeros((batch, *self._size, 3), np.uint8))

    def leave_to_parent(self) -> None:
        for program in self._programs.values():
            # To free it, OpenVINO would join threads that a fork does not copy.
            for thing in program.native:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class _Program:
    """A graph compiled for one batch size, and the requests that run it: one for each thread at a time."""

    def __init__(self, core: Any, graph: Any, hint: str, precision: str) -> None:
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "ENABLE_CPU_PINNING": False,  # pinned threads wait for their core while another program has it
        }
        compiled = core.compile_model(graph, "CPU", options)
        self.requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.native = [compiled, *(compiled.create_infer_request() for _ in range(self.requests))]
        self._free: SimpleQueue[Any] = SimpleQueue()
        for request in self.native[1:]:
            self._free.put(request)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        request = self._free.get()
        try:
            request.infer([np.ascontiguousarray(batch)], share_inputs=True, share_outputs=True)
            features: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
            return features
        finally:
            self._free.put(request)


class MindSporeBackend:
    """The MindSpore cell on the device that MindSpore's context names; one thread at a time computes."""

    name = "mindspore"
    precision = "fp32"
    parallel = 1

    def __init__(self, weights: Weights, precision: str, size: tuple[int, int], batch_size: int | None) -> None:
        if precision == "bf16":
            raise OptionError("precision 'bf16': the mindspore backend computes in fp32; use 'fp32' or 'auto'")
        from osnet.models.load import network_from_weights

        self._network = network_from_weights(weights.without_classifier())
        self._size = size
        self._lock = threading.Lock()
        self.batch_size = batch_size or 16

    def run(self, crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        import mindspore

        from osnet.models.graph import IMAGE_MEAN, IMAGE_STD

        mean = 255 * np.asarray(IMAGE_MEAN, np.float32)
        scale = 1 / (255 * np.asarray(IMAGE_STD, np.float32))
        graph_mode = mindspore.get_context("mode") == mindspore.GRAPH_MODE
        crops = iter(crops)
        while group := list(islice(crops, self.batch_size)):
            batch, count = np.stack(group), len(group)
            if graph_mode and count < self.batch_size:  # each new shape compiles for seconds
                padding = np.zeros((self.batch_size - count, *batch.shape[1:]), batch.dtype)
                batch = np.concatenate([batch, padding])
            x = np.ascontiguousarray(((batch - mean) * scale).transpose(0, 3, 1, 2))
            with self._lock:
                features = self._network(mindspore.Tensor(x)).asnumpy()[:count]
            yield np.ascontiguousarray(features, np.float32).reshape(count, FEATURE_DIM)

    def warm_up(self) -> None:
        next(self.run([np.zeros((*self._size, 3), np.uint8)]))

    def leave_to_parent(self) -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._network))
