"""The devices that train together: who this process is, and how their values become one."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, ops

from osnet.errors import DependencyError


class Ranks:
    """All processes that ``msrun`` started, or this one alone.

    Attributes:
        rank: of this process, from 0; rank 0 writes.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._sum = ops.AllReduce() if size > 1 else None

    def average_parameters(self, params: Sequence[Parameter]) -> None:
        """Give `params` their mean over all devices."""
        if self.size > 1:
            self._exchange(params, 1 / self.size)

    def take_first(self, params: Sequence[Parameter]) -> None:
        """Give `params` the values of rank 0."""
        if self.size > 1:
            self._exchange(params, float(self.rank == 0), before=True)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any device; all wait for all."""
        if self.size == 1:
            return flag
        return bool(self._reduced(np.array([flag], np.float32))[0] > 0)

    def agree(self, params: Sequence[Parameter]) -> bool:
        """Whether `params` have the same bytes on all devices."""
        if self.size == 1:
            return True
        digest = 0
        for p in params:
            digest = zlib.crc32(p.asnumpy().tobytes(), digest)
        halves = np.array([digest >> 16, digest & 0xFFFF], np.float32)  # float32 adds these exactly
        differs = bool((self._reduced(halves) != self.size * halves).any())
        return not self.any(differs)

    def _exchange(self, params: Sequence[Parameter], factor: float, *, before: bool = False) -> None:
        values = [p.asnumpy() for p in params]
        flat = np.concatenate([v.reshape(-1) for v in values])
        flat = self._reduced(flat * np.float32(factor)) if before else self._reduced(flat) * np.float32(factor)
        start = 0
        for p, v in zip(params, values):
            p.set_data(Tensor(flat[start : start + v.size].reshape(v.shape)))
            start += v.size

    def _reduced(self, flat: Any) -> Any:
        return self._sum(Tensor(np.ascontiguousarray(flat, np.float32))).asnumpy()  # type: ignore[misc]


def join_ranks() -> Ranks:
    """The processes that ``msrun`` started together with this one; alone when it was started otherwise.

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
