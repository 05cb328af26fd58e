"""OpenVINO on the CPU."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import OptionError
from osnet.models.artefact import Artefact, precision_of
from osnet.models.input_format import InputFormat, fill
from osnet.models.openvino_graph import build_openvino, openvino_core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.inference.backends import Source


class OpenVINOBackend:
    """The folded graph of `osnet.models.graph` on the CPU.

    Every batch size is compiled by itself, since OpenVINO is slow whenever a graph of variable size meets a new one:
    single crops, and batches for long streams. A call for one crop uses all cores for it.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        source: Source,
        precision: str,
        size: tuple[int, int],
        batch_size: int | None,
        device: str,
        *,
        forked: bool,
    ) -> None:
        if device not in ("auto", "cpu"):
            raise OptionError(f"device: the openvino backend runs on the CPU, got {device!r}; use 'cpu' or 'auto'")
        self._forked = forked
        self._core = openvino_core()
        self._hint = self._native(precision)
        self._source = source
        self._input = source.input_format if isinstance(source, Artefact) else InputFormat("bytes", "nhwc", size)
        self.precision = precision_of(source, self._hint)
        self._few_at_once = self._input.batch or 1
        self.batch_size = self._input.batch or batch_size or 8
        self._size = size
        self._lock = threading.Lock()
        self._programs: dict[tuple[int, str], _Program] = {}
        self._calls = 0  # under way, of a few crops each
        single = self._program(self._few_at_once, "THROUGHPUT")
        single(np.zeros((1, *size, 3), np.uint8))  # what is set up at a first run is not left to several threads
        self.parallel = single.parallel
        self._jobs = single.requests
        self._pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="osnet-openvino")

    def _native(self, precision: str) -> str:
        """What is computed with where `precision` is asked for."""
        names = {"bf16": "BF16", "fp16": "FP16"}
        native = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision in names and names[precision] not in native:
            title = {"bf16": "bfloat16", "fp16": "float16"}[precision]
            raise OptionError(
                f"precision {precision!r}: this processor has no {title} instructions; use 'fp32' or 'fast'"
            )
        if precision == "fast":
            return "bf16" if "BF16" in native else "fp32"
        return precision if precision in names else "fp32"

    def _program(self, batch: int, hint: str) -> _Program:
        with self._lock:
            key = (batch, hint)
            if key not in self._programs:
                self._programs[key] = _Program(self._core, self._graph(batch), self._input, hint, self._hint)
            return self._programs[key]

    def _graph(self, batch: int) -> Any:
        if not isinstance(self._source, Artefact):
            return build_openvino(self._source, self._input.with_batch(batch))
        graph = self._core.read_model(str(self._source.path))
        height, width = self._size
        graph.reshape([batch, height, width, 3] if self._input.layout == "nhwc" else [batch, 3, height, width])
        return graph

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
            parts = list(_parts(crops, self._few_at_once))
            if alone and not self._forked and len(parts) % self.parallel == 1:
                yield self._program(self._few_at_once, "LATENCY")(parts[0])
                parts = parts[1:]
            single = self._program(self._few_at_once, "THROUGHPUT")
            yield from self._in_order((single, part) for part in parts)
        finally:
            with self._lock:
                self._calls -= 1

    def _many(self, crops: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        few, many = (self._program(count, "THROUGHPUT") for count in (self._few_at_once, self.batch_size))

        def jobs() -> Iterator[tuple[_Program, NDArray[np.uint8]]]:
            for batch in _parts(crops, self.batch_size):
                if len(batch) == self.batch_size:
                    yield many, batch
                else:
                    yield from ((few, part) for part in _parts(batch, self._few_at_once))

        return self._in_order(jobs())

    def _in_order(self, jobs: Iterator[tuple[_Program, NDArray[np.uint8]]]) -> Iterator[NDArray[np.float32]]:
        """Results of ``program(batch)`` for each job, computed by the pool a few jobs ahead."""
        pending: deque[Future[NDArray[np.float32]]] = deque()
        try:
            for program, batch in jobs:
                pending.append(self._pool.submit(program, batch))
                if len(pending) > self._jobs:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def warm_up(self) -> None:
        hints = ("THROUGHPUT",) if self._forked else ("THROUGHPUT", "LATENCY")
        for batch, hint in (*((self._few_at_once, hint) for hint in hints), (self.batch_size, "THROUGHPUT")):
            self._program(batch, hint)(np.zeros((batch, *self._size, 3), np.uint8))

    def leave_to_parent(self) -> None:
        for program in self._programs.values():
            # To free it, OpenVINO would join threads that a fork does not copy.
            for thing in program.native:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _parts(crops: Iterable[NDArray[np.uint8]], count: int) -> Iterator[NDArray[np.uint8]]:
    """`crops` in batches of `count`; the last may have fewer."""
    crops = iter(crops)
    while part := list(islice(crops, count)):
        yield np.stack(part)


class _Program:
    """A graph compiled for one batch size, and the requests that run it: one for each thread at a time.

    Attributes:
        parallel: batches that are computed at the same time.
        requests: twice as many, so that OpenVINO has the next batch when it has finished one, and no core waits for
            Python's lock.
    """

    def __init__(self, core: Any, graph: Any, input_format: InputFormat, hint: str, precision: str) -> None:
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "fp16": "f16"}.get(precision, precision),
            "ENABLE_CPU_PINNING": False,  # pinned threads wait for their core while another program has it
        }
        compiled = core.compile_model(graph, "CPU", options)
        self._input = input_format
        self._batch = compiled.input().shape[0]
        self.parallel = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.requests = 2 * self.parallel
        self.native = [compiled, *(compiled.create_infer_request() for _ in range(self.requests))]
        self._free: SimpleQueue[Any] = SimpleQueue()
        for request in self.native[1:]:
            self._free.put(request)

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = self._input.feed(fill(crops, self._batch))
        request = self._free.get()
        try:
            request.infer([x], share_inputs=True, share_outputs=True)
            features: NDArray[np.float32] = request.get_output_tensor(0).data[: len(crops)].copy()
            return features
        finally:
            self._free.put(request)
