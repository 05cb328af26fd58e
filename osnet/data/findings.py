"""One line of a data set's examination."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What is wrong, how often, where for example, and what to do about it.

    Attributes:
        severity: ``error`` where a result would be meaningless, ``warning`` where it would be doubtful.
        code: short name, the same in every version.
        message: one line for people; holds the count, the example and the advice.
        count: how many images, queries or people.
        example: one of them, or None.
    """

    severity: str
    code: str
    message: str
    count: int = 1
    example: str | None = None
