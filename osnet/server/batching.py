"""Pictures of several requests in one run of the network."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from osnet.inference.embedder import Embedder
from osnet.server.metrics import Metrics

_AT_LEAST = 16
"""Pictures that may always wait, however slow the network is."""

_SHARE = 0.75
"""Fraction of the places that one client may hold."""

_log = logging.getLogger(__name__)


class BusyError(Exception):
    """There is no place for another picture, or another change.

    Attributes:
        client: whether this client alone holds too many; others still get a place.
    """

    def __init__(self, client: bool, what: str = "pictures") -> None:
        super().__init__(f"this client has too many {what} waiting" if client else f"too many {what} are waiting")
        self.client = client


class _Job(NamedTuple):
    pixels: NDArray[np.uint8]
    done: asyncio.Future[NDArray[np.float32]]


class Place:
    """The right of one picture to be decoded and computed; see `Batcher.place`."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher, self._coming = batcher, True
        batcher.coming += 1

    async def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Feature float32 (512,) of uint8 (height, width, 3), computed together with what else is there."""
        done: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self.leave()
        self._batcher.queue.put(_Job(pixels, done))
        return await done

    def leave(self) -> None:
        """Nobody need wait for this picture any more."""
        if self._coming:
            self._coming = False
            self._batcher.coming -= 1


class Batcher:
    """Runs the network for pictures that come one by one from coroutines of one event loop.

    A thread takes what is there, and waits up to `gather` seconds for pictures that hold a place but are still being
    decoded; a picture alone does not wait. There are as many places as the network can serve within `max_wait` seconds.

    Args:
        embedder: what computes features.
        gather, max_wait: seconds, see `osnet.server.settings.Settings`.
        metrics: counts the runs.
    """

    def __init__(self, embedder: Embedder, *, gather: float, max_wait: float, metrics: Metrics) -> None:
        self._embedder, self._gather, self._max_wait, self._metrics = embedder, gather, max_wait, metrics
        self._together = 4 * embedder.batch_size
        self._held: Counter[str] = Counter()  # places of each client
        self._seconds = self._measure()  # of the network for a picture, lately
        self._thread = threading.Thread(target=self._work, name="osnet-network", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.coming = 0  # places whose picture is not in the queue yet
        self.waiting = 0  # places that are held

    def _measure(self) -> float:
        self._embedder.warm_up()
        height, width = self._embedder.size
        crops = [np.zeros((height, width, 3), np.uint8)] * self._together
        start = time.perf_counter()
        for _ in self._embedder.stream(crops):
            pass
        return (time.perf_counter() - start) / len(crops)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Compute what waits, then end the thread."""
        if self._thread.is_alive():
            self.queue.put(None)
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether pictures are computed."""
        return self._thread.is_alive()

    @property
    def places(self) -> int:
        """Places that there are, as fast as the network is now."""
        return max(_AT_LEAST, int(self._max_wait / self._seconds))

    def check(self, client: str) -> None:
        """Raises:
        BusyError: `place` would raise it now.
        """
        places = self.places
        if self.waiting >= places:
            raise BusyError(client=False)
        if self._held[client] >= _SHARE * places:
            raise BusyError(client=True)

    @contextmanager
    def place(self, client: str) -> Iterator[Place]:
        """Hold a place for one picture, from before it is decoded until its feature is there.

        Raises:
            BusyError: there is none.
        """
        self.check(client)
        self._held[client] += 1
        self.waiting += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()
            self.waiting -= 1
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]

    def _work(self) -> None:
        while (first := self.queue.get()) is not None:
            jobs, more = self._gathered(first)
            jobs = [job for job in jobs if not job.done.cancelled()]
            if jobs:
                self._compute(jobs)
            if not more:
                return

    def _gathered(self, first: _Job) -> tuple[list[_Job], bool]:
        """What is computed together, and whether to go on after it."""
        jobs, until = [first], time.monotonic() + self._gather
        while len(jobs) < self._together:
            patience = until - time.monotonic() if self.coming else 0
            try:
                job = self.queue.get(timeout=max(0, min(patience, 0.001)))
            except queue.Empty:
                if patience <= 0:
                    break
                continue
            if job is None:
                return jobs, False
            jobs.append(job)
        return jobs, True

    def _compute(self, jobs: list[_Job]) -> None:
        features: NDArray[np.float32] | None = None
        start = time.perf_counter()
        try:
            features = np.concatenate(list(self._embedder.stream(job.pixels for job in jobs)))
        except Exception:  # noqa: BLE001 - each waiting request is told, and the thread goes on
            _log.exception("the network failed")
        seconds = time.perf_counter() - start
        self._seconds += 0.1 * (seconds / len(jobs) - self._seconds)
        self._metrics.runs.observe(len(jobs))
        self._metrics.run_seconds.inc(seconds)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(_deliver, jobs, features)


def _deliver(jobs: list[_Job], features: NDArray[np.float32] | None) -> None:
    for number, job in enumerate(jobs):
        if job.done.done():  # its request was given up
            continue
        if features is None:
            job.done.set_exception(RuntimeError("the network failed"))
        else:
            job.done.set_result(features[number])
