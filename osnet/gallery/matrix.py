"""The features of a gallery in memory, as rows of length 1, with the columns that searches filter by.

Rows are only added at the end. A row that is removed is overwritten with zeros and counts no more, so a search that
has begun goes on undisturbed: it sees the rows that were there when it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.gallery.filters import Filter
from osnet.variants import FEATURE_DIM

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

_BLOCK = 1 << 16
_NONE = -1  # code of an identity or camera that is not known
_COLUMNS = {"number": np.int64, "identity": np.int32, "camera": np.int32, "time": np.float64, "added": np.float64}


class Matrix:
    """Rows of features and their columns.

    Attributes:
        count: rows, with those that were removed.
        live: number of rows that were not removed.
        last: number of the last row in the store; 0 without rows.
    """

    def __init__(self) -> None:
        self._blocks: list[Floats] = []
        self._columns: dict[str, Array] = {name: np.empty(0, kind) for name, kind in _COLUMNS.items()}
        self._counts: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._codes: dict[str, dict[str, int]] = {"identity": {}, "camera": {}}
        self.count = self.live = self.last = 0

    def add(
        self,
        numbers: Sequence[int],
        features: Floats,
        identities: Sequence[str | None],
        cameras: Sequence[str | None],
        times: Sequence[float | None],
        added: Sequence[float],
    ) -> None:
        """Add rows of the store, in rising `numbers`; `features` (N, 512) need not have the length 1."""
        start, stop = self.count, self.count + len(numbers)
        self._make_room(stop)
        new = slice(start, stop)
        lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64)).astype(np.float32)
        done = 0
        while start + done < stop:
            block, offset = divmod(start + done, _BLOCK)
            step = min(_BLOCK - offset, len(numbers) - done)
            part = slice(done, done + step)
            np.divide(features[part], lengths[part, None], out=self._blocks[block][offset : offset + step])
            done += step
        self._columns["number"][new] = numbers
        self._columns["identity"][new] = self._encoded("identity", identities)
        self._columns["camera"][new] = self._encoded("camera", cameras)
        self._columns["time"][new] = [np.nan if time is None else time for time in times]
        self._columns["added"][new] = added
        self._counts[new] = True
        self.last = int(numbers[-1]) if len(numbers) else self.last
        self.live += len(numbers)
        self.count = stop

    def remove(self, numbers: Array) -> None:
        """Remove rows by their number in the store, and overwrite their features."""
        places = np.searchsorted(self._columns["number"][: self.count], numbers)
        self.live -= int(self._counts[places].sum())
        self._counts[places] = False
        for place in places.tolist():
            self._blocks[place // _BLOCK][place % _BLOCK] = 0

    def numbers(self) -> Array:
        """Numbers in the store of the rows that were not removed, int64, rising."""
        numbers: Array = self._columns["number"][: self.count][self._counts[: self.count]]
        return numbers

    def snapshot(self) -> Snapshot:
        """What is there now, for a search."""
        return Snapshot(
            [block[: max(0, self.count - i * _BLOCK)] for i, block in enumerate(self._blocks)],
            {name: column[: self.count] for name, column in self._columns.items()},
            self._counts[: self.count],
            self._codes,
            self.live == self.count,
        )

    def _encoded(self, name: str, texts: Sequence[str | None]) -> list[int]:
        codes = self._codes[name]
        return [_NONE if text is None else codes.setdefault(text, len(codes)) for text in texts]

    def _make_room(self, rows: int) -> None:
        while len(self._blocks) * _BLOCK < rows:
            self._blocks.append(np.empty((_BLOCK, FEATURE_DIM), np.float32))
        room = len(self._counts)
        if rows > room:
            more = max(rows, 2 * room, 1024)
            for name, column in self._columns.items():
                self._columns[name] = np.concatenate([column, np.empty(more - room, column.dtype)])
            self._counts = np.concatenate([self._counts, np.zeros(more - room, np.bool_)])


class Snapshot:
    """The rows of a matrix at one moment."""

    def __init__(
        self,
        blocks: list[Floats],
        columns: dict[str, Array],
        counts: npt.NDArray[np.bool_],
        codes: dict[str, dict[str, int]],
        whole: bool,
    ) -> None:
        self.blocks = blocks
        self.numbers = columns["number"]
        self.identities = columns["identity"]
        self._columns, self._counts, self._codes, self._whole = columns, counts, codes, whole

    def penalty(self, filter: Filter, others: Array | None) -> Floats | None:
        """0 for each row that meets `filter` and -inf for the others, float32 (N,); None where all count.

        Args:
            filter: its `ids` and `where` are left out: they need the store.
            others: numbers of the rows that meet those, rising; None where `filter` has none.
        """
        mask = None if self._whole else self._counts.copy()

        def also(condition: Array) -> None:
            nonlocal mask
            mask = condition if mask is None else mask & condition

        with np.errstate(invalid="ignore"):  # times that are not known are NaN
            for name, texts in (("identity", filter.identities), ("camera", filter.cameras)):
                if texts is not None:
                    codes = [self._codes[name][text] for text in texts if text in self._codes[name]]
                    also(np.isin(self._columns[name], codes))
            if filter.since is not None:
                also(self._columns["time"] >= filter.since)
            if filter.until is not None:
                also(self._columns["time"] < filter.until)
            if filter.before is not None:
                times = self._columns["time"]
                also(np.where(np.isnan(times), self._columns["added"], times) < filter.before)
        if others is not None:
            also(np.isin(self.numbers, others, assume_unique=True))
        if mask is None:
            return None
        penalty = np.zeros(len(mask), np.float32)
        penalty[~mask] = -np.inf
        return penalty
