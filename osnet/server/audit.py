"""A line for each enrolment, change of name and removal: who, when, from where; never the picture."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from osnet.errors import DiskError


class Audit:
    """Appends lines of JSON to a file, or to standard error.

    Args:
        path: of the file, made with access for its owner only; None for standard error.

    Raises:
        DiskError: it cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._own: TextIO | None = None
        if path is not None:
            try:
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            except OSError as error:
                raise DiskError(
                    f"{path}: the audit file cannot be written: {error.strerror}; name a file in a folder of yours"
                ) from error
            self._own = os.fdopen(handle, "a", encoding="ascii")

    def write(self, action: str, client: str, **told: Any) -> None:
        """One line: ``action`` is ``enrol``, ``rename`` or ``remove``."""
        moment = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "audit": action, "client": client, **told})
        with self._lock, contextlib.suppress(OSError, ValueError):
            stream = self._own or sys.stderr
            if stream is not None:
                stream.write(line + "\n")
                stream.flush()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._own is not None:
                self._own.close()
