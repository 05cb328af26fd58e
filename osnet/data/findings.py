"""A finding of `osnet doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A problem of a data set: how often it occurs, an example, and what to do.

    Attributes:
        severity: ``error`` if a result would be meaningless, ``warning`` if it would be doubtful.
        code: short name, the same in every version.
        message: one line with the count, the example and the advice.
        count: how many images, queries or people.
        example: one of them, or None.
    """

    severity: str
    code: str
    message: str
    count: int = 1
    example: str | None = None
