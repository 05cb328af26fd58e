"""Checks of arguments, in one grammar: ``name: expected what, got value``. Each returns the value in its plain type."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from osnet.errors import OptionError


def check_integer(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """`value` as an int; numpy's integers are accepted, bools and floats are not.

    Raises:
        OptionError: not an integer, or outside `least` to `most`.
    """
    fits = not isinstance(value, bool) and isinstance(value, Integral)
    if not fits or (least is not None and value < least) or (most is not None and value > most):
        raise OptionError(f"{name}: expected an integer{_range(least, most)}, got {value!r:.80}")
    return int(value)


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """`value` as a finite float; numpy's numbers are accepted, bools and texts are not.

    Args:
        name: of the argument, for the message.
        value: to be checked.
        least, most: bounds that are allowed themselves.
        above, below: bounds that are not.

    Raises:
        OptionError: not a finite number, or outside the bounds.
    """
    number = _finite(value)
    if (
        number is None
        or (least is not None and number < least)
        or (most is not None and number > most)
        or (above is not None and number <= above)
        or (below is not None and number >= below)
    ):
        limits = [_range(least, most)] if least is not None or most is not None else []
        limits += [f" above {above:g}"] if above is not None else []
        limits += [f" below {below:g}"] if below is not None else []
        raise OptionError(f"{name}: expected a number{' and'.join(limits)}, got {value!r:.80}")
    return number


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def check_bool(name: str, value: Any) -> bool:
    """`value` as a bool; numpy's bools are accepted, numbers and texts are not.

    Raises:
        OptionError: anything else.
    """
    if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):  # numpy's, without importing it
        raise OptionError(f"{name}: expected True or False, got {value!r:.80}")
    return bool(value)


def check_choice(name: str, value: Any, known: Iterable[str]) -> str:
    """`value`, which must be one of `known`.

    Raises:
        OptionError: it is not; the message lists the known ones and the nearest of them.
    """
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise OptionError(f"{name}: expected one of {', '.join(known)}, got {value!r:.80}{hint}")
    return value


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least:,} to {most:,}"
    return f" of at least {least:,}" if least is not None else f" of at most {most:,}" if most is not None else ""
