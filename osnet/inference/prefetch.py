"""Work that threads do ahead of who asks for it, such as decoding images."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Any

_PATIENCE = 0.05
"""Seconds that a caller of `prefetch` waits, with no result ready in between, until a thread is added."""


def prefetch(
    work: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    ahead: int = 128,
    workers: int | None = None,
    together: int = 16,
) -> Iterator[Any]:
    """``work(item)`` for each item in order, computed by threads before it is asked for.

    Threads of Python get in each other's way where images are small: two took a quarter more processor time for crops
    than one, which was fast enough. So it begins with one, and another is added whenever the caller has to wait.

    Args:
        work: what is done with each item. Pillow lets go of Python's lock while it decodes and resizes.
        items: of any number.
        ahead: how many items are computed before they are asked for, at most.
        workers: number of threads, at most; None: one for each core, at most 8.
        together: items that a thread takes at once.
    """
    waiting = iter(items)
    workers = workers or min(8, os.cpu_count() or 1)
    tasks: SimpleQueue[tuple[Future[list[Any]], list[Any]] | None] = SimpleQueue()
    pending: deque[Future[list[Any]]] = deque()
    threads: list[threading.Thread] = []

    def submit() -> None:
        if group := list(islice(waiting, together)):
            pending.append(Future())
            tasks.put((pending[-1], group))

    def compute() -> None:
        while task := tasks.get():
            future, group = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result([work(item) for item in group])
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                    future.set_exception(error)

    def add_thread() -> None:
        threads.append(threading.Thread(target=compute, name=f"osnet-decode_{len(threads)}", daemon=True))
        threads[-1].start()

    for _ in range(max(1, ahead // together)):
        submit()
    add_thread()
    waited = 0.0
    try:
        while pending:
            start, ready = time.monotonic(), pending[0].done()
            results = pending.popleft().result()
            waited = 0.0 if ready else waited + time.monotonic() - start
            if waited > _PATIENCE and len(threads) < workers:
                add_thread()
                waited = 0.0
            yield from results
            submit()
    finally:
        for future in pending:
            future.cancel()
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.join()
