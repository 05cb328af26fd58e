"""Ctrl-C that waits for the step that is being done."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupt:
    """Notes a Ctrl-C.

    Attributes:
        wanted: Ctrl-C was pressed within `deferred`.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: Any = None

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Note the first SIGINT; a second one interrupts as usual. Outside the main thread nothing changes."""
        self._before = signal.getsignal(signal.SIGINT)  # None: not Python's, and left alone
        self.arm()
        try:
            yield
        finally:
            if self._before is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, self._before)
            self._before = None

    def arm(self) -> None:
        """Within `deferred`: take SIGINT back from mindspore.dataset, whose every start makes it end the process."""
        if self._before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        with contextlib.suppress(OSError):  # a handler may not use buffered files
            os.write(2, b"\nfinishing this step and saving; Ctrl-C again to stop at once\n")
