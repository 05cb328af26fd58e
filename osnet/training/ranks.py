"""The devices that train together: who this process is, and how their values become one."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, ops
from numpy.typing import NDArray

from osnet.errors import DependencyError

Result = TypeVar("Result")

_PAUSE = 0.2


class Ranks:
    """All processes that ``msrun`` started, or this one alone.

    Attributes:
        rank: of this process, from 0; rank 0 writes.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._sum = ops.AllReduce() if size > 1 else None

    def mean(self, arrays: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the mean of each array over all devices."""
        return [total * np.float32(1 / self.size) for total in self._totals(arrays)] if self.size > 1 else list(arrays)

    def take_first(self, params: Sequence[Parameter]) -> None:
        """Give `params` the values of rank 0."""
        if self.size > 1:
            values = [p.asnumpy() * np.float32(self.rank == 0) for p in params]
            for p, value in zip(params, self._totals(values)):
                p.set_data(Tensor(value))

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any device; all wait for all."""
        return bool(self._totals([np.float32(flag)])[0] > 0) if self.size > 1 else flag

    def first_alone(self, work: Callable[[], Result]) -> Result | None:
        """Run `work` on rank 0 while the others wait, however long it takes; its result there, None elsewhere.

        On CPU, MindSpore's exchange of values fails when a rank waits for more than 30 s, and an evaluation can take
        minutes. So the ranks exchange a value all along, while `work` runs in a thread.
        """
        if self.size == 1:
            return work()
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(work) if self.rank == 0 else None
            while not self.any(running is not None and running.done()):
                time.sleep(_PAUSE)
        return None if running is None else running.result()

    def agree(self, params: Sequence[Parameter]) -> bool:
        """Whether `params` have the same bytes on all devices."""
        if self.size == 1:
            return True
        digest = 0
        for p in params:
            digest = zlib.crc32(p.asnumpy().tobytes(), digest)
        halves = np.array([digest >> 16, digest & 0xFFFF], np.float32)  # float32 adds these exactly
        differs = bool((self._totals([halves])[0] != self.size * halves).any())
        return not self.any(differs)

    def _totals(self, arrays: Sequence[Any]) -> list[NDArray[np.float32]]:
        """The sum of each array over all devices, in one exchange."""
        flat = np.concatenate([np.ravel(array) for array in arrays]).astype(np.float32, copy=False)
        total = self._sum(Tensor(flat)).asnumpy()  # type: ignore[misc]
        ends = np.cumsum([np.size(array) for array in arrays])
        return [part.reshape(np.shape(array)) for part, array in zip(np.split(total, ends[:-1]), arrays)]


def join_ranks() -> Ranks:
    """Return the processes that ``msrun`` started together with this one; alone when it was started otherwise.

    Raises:
        DependencyError: they do not find each other.
    """
    if "MS_ROLE" not in os.environ:
        return Ranks()
    from mindspore import communication

    try:
        communication.init()  # msrun's scheduler serves the others in here, and never comes back
        rank, size = communication.get_rank(), communication.get_group_size()
    except (RuntimeError, ValueError) as error:
        raise DependencyError(
            f"the processes of msrun did not find each other ({str(error).splitlines()[0]}); check --master_addr, "
            "--master_port and that all workers started"
        ) from error
    mindspore.set_auto_parallel_context(parallel_mode="stand_alone")
    return Ranks(rank, size)
