"""A progress bar on stderr, for who looks: only on a terminal, and only after a second."""

from __future__ import annotations

import sys
from typing import Any

from osnet.escaping import printable


class Bar:
    """Counts the bytes of one download.

    Args:
        name: shown at the left.
        show: ``None``: when stderr is a terminal; ``True`` or ``False`` decide by name.
    """

    def __init__(self, name: str, show: bool | None = None) -> None:
        self._name = name
        self._show = _is_terminal() if show is None else show and sys.stderr is not None
        self._bar: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def start(self, size: int, total: int | None) -> None:
        """A body begins with `size` bytes there already, of `total` when that is known."""
        if not self._show:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=printable(self._name), unit="B", unit_scale=True, unit_divisor=1024, delay=1, leave=False,
                file=sys.stderr,
            )  # fmt: skip
        self._bar.total = total
        self._bar.n = size

    def update(self, size: int) -> None:
        """`size` bytes are there."""
        if self._bar is not None:
            self._bar.update(size - self._bar.n)


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (OSError, ValueError):
        return False
