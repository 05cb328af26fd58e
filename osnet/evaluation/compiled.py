"""Numba's compiler, asked for in one place: machine code that runs without the interpreter's lock and is kept on
disk, so that only the first call ever waits for it."""

from __future__ import annotations

from typing import Any, Callable, TypeVar, cast

from osnet.errors import DependencyError

try:
    import numba
except ImportError as error:
    raise DependencyError(
        f'ranking needs numba, which cannot be imported ({error}): pip install "osnet[eval]"'
    ) from error

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function, *, reorder_sums: bool = False) -> Function:
    """Compile `function` at its first call, ``nogil`` so that threads run it side by side.

    `reorder_sums` lets the vector unit add floats in an order of its own.

    Numba's own ``parallel=True`` is not used: it compiles for seconds, and its fallback scheduler ends the process
    when two threads rank at once.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract"} if reorder_sums else False}
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor a cache folder can be written
        return cast(Function, numba.njit(**options)(function))
