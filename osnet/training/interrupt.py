"""Ctrl-C that waits for the step that is being done."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""SIGTERM too: a cluster sends it before it kills, and so does MindSpore, whose graphs take SIGINT over at every call
and answer it with ``kill(getpid(), SIGTERM)``."""


class Interrupt:
    """Notes a Ctrl-C, or a SIGTERM.

    Attributes:
        wanted: one came within `deferred`.
    """

    def __init__(self) -> None:
        self.wanted = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Note the first signal; a second one interrupts at once. Outside the main thread nothing changes."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        if threading.current_thread() is not threading.main_thread() or None in before.values():  # not Python's
            yield
            return
        for number in _SIGNALS:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        with contextlib.suppress(OSError):  # a handler may not use buffered files
            os.write(2, b"\nfinishing this step and saving; Ctrl-C again to stop at once\n")
