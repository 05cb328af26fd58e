"""How far something long is, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from osnet.escaping import printable

Item = TypeVar("Item")

FIRST = 1.0
"""Seconds from the first report until something is shown: what is shorter stays silent."""
EVERY = 10.0
"""Seconds between two lines, where stderr is no terminal."""
lines_by_default = False
"""Whether ``show=None`` gives lines where stderr is no terminal. The commands of `osnet` set it."""


class Progress:
    """Shows how far something is. Call it with what is done, what there is of it, and a note.

    Args:
        what: name of the work, shown first.
        unit: what is counted, such as ``images``; ``B`` for bytes.
        show: True: a bar if stderr is a terminal, else lines. False: nothing. None: a bar if stderr is a terminal,
            else lines in a command, and nothing in a library.
    """

    def __init__(self, what: str, unit: str, *, show: bool | None = None) -> None:
        self._what, self._unit = printable(what), unit
        try:
            self._terminal = sys.stderr is not None and sys.stderr.isatty()
        except (OSError, ValueError):  # closed
            self._terminal, show = False, False
        self._shown = sys.stderr is not None and (self._terminal or lines_by_default if show is None else show)
        self._bar: Any = None
        self._next: float | None = None
        self._done = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        if not self._shown:
            return
        if self._terminal:
            self._show_bar(done, total, note)
            return
        now = time.monotonic()
        if self._next is None or done < self._done:  # the first report, or that of the next job
            self._next = now + FIRST
        elif now >= self._next:
            self._next = now + EVERY
            write_line(f"{self._what}: {self._count(done, total)}{', ' * bool(note)}{note}")
        self._done = done

    def _show_bar(self, done: int, total: int | None, note: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._what, initial=done, total=total, unit=self._unit if self._unit == "B" else f" {self._unit}",
                unit_scale=self._unit == "B", unit_divisor=1024, delay=FIRST, leave=False, file=sys.stderr,
            )  # fmt: skip
        self._bar.total = total
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def _count(self, done: int, total: int | None) -> str:
        if self._unit == "B":
            return f"{done / 1e6:.1f}{f' of {total / 1e6:.1f}' if total else ''} MB"
        return f"{done:,}{f' of {total:,}' if total else ''} {self._unit}"


def track(
    items: Iterable[Item], total: int | None, what: str, unit: str, *, show: bool | None = None
) -> Iterator[Item]:
    """Yield `items` and show how many of `total` are done; arguments as `Progress`."""
    with Progress(what, unit, show=show) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress(done, total)


def write_line(text: str) -> None:
    """Write one line to stderr, above the bar if one is shown."""
    if sys.stderr is None:
        return
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        print(text, file=sys.stderr, flush=True)
    else:
        tqdm.tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()
