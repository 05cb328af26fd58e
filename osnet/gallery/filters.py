"""Which entries of a gallery: conditions on id, identity, camera, time and attributes, checked when they are made."""

from __future__ import annotations

import datetime
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from osnet.checks import check_number
from osnet.errors import OptionError

MAX_TEXT = 1000
"""Characters of an identity, a camera, or the name or text of an attribute."""


@dataclass(frozen=True)
class Filter:
    """Conditions that an entry must all meet; None or empty is no condition. `make_filter` makes one from what users
    give.

    Attributes:
        ids, identities, cameras: the entry's is one of these.
        since, until: the entry's time is known, and is at least `since` and less than `until`.
        before: the entry's time, or where it is not known the moment when it was added, is less than this.
        where: for each attribute the values that it may have, as `value_text` writes them.
    """

    ids: tuple[str, ...] | None = None
    identities: tuple[str, ...] | None = None
    cameras: tuple[str, ...] | None = None
    since: float | None = None
    until: float | None = None
    before: float | None = None
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether every entry meets it."""
        return self == Filter()


def make_filter(
    *,
    ids: Any = None,
    identity: Any = None,
    camera: Any = None,
    since: Any = None,
    until: Any = None,
    older_than: Any = None,
    where: Any = None,
    now: float | None = None,
) -> Filter:
    """Check conditions as users give them.

    Args:
        ids, identity, camera: one, or several of which any may be met; numbers are taken as text. No entry meets an
            empty list of ids; the others must not be empty.
        since, until: as `seconds` reads times.
        older_than: age as `age_seconds` reads it.
        where: attribute → value, or several values of which any may be met.
        now: seconds since 1970 from which `older_than` counts; None for the clock's.

    Raises:
        OptionError: a condition that makes no sense; the message names it.
    """
    since = None if since is None else seconds("since", since)
    until = None if until is None else seconds("until", until)
    if since is not None and until is not None and since >= until:
        raise OptionError(f"since ({since:.0f}) is not before until ({until:.0f}); expected since < until")
    before = None
    if older_than is not None:
        present = datetime.datetime.now(datetime.timezone.utc).timestamp() if now is None else now
        before = present - age_seconds("older_than", older_than)
    if where is not None and not isinstance(where, Mapping):
        raise OptionError(f"where: expected attribute names and values, such as {{'site': 'north'}}, got {where!r:.80}")
    return Filter(
        _several("id", ids, or_none=True),
        _several("identity", identity),
        _several("camera", camera),
        since,
        until,
        before,
        {
            check_text("attribute", name): tuple(
                value_text(f"attribute {name}", one)
                for one in (value if isinstance(value, (list, tuple, set, frozenset)) else [value])
            )
            for name, value in (where or {}).items()
        },
    )


def _several(name: str, given: Any, *, or_none: bool = False) -> tuple[str, ...] | None:
    if given is None:
        return None
    many = given if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [given]
    found = tuple(dict.fromkeys(check_text(name, one) for one in many))
    if not found and not or_none:
        raise OptionError(f"{name}: expected at least one, got an empty list")
    return found


def check_text(name: str, value: Any) -> str:
    """`value`, the `name` of something, as text: 1 to `MAX_TEXT` characters, not all spaces; a whole
    number is written out.

    Accents are composed (NFC): folders that a Mac made call the same person by other code points than a keyboard does.

    Raises:
        OptionError: anything else.
    """
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > MAX_TEXT or not text.strip() or re.search("[\0\ud800-\udfff]", text):
        raise OptionError(
            f"{name}: expected a text of 1 to {MAX_TEXT} characters, not only spaces, or an integer, got {value!r:.80}"
        )
    return unicodedata.normalize("NFC", text)


def value_text(name: str, value: Any) -> str:
    """The value of an attribute as JSON, in one way for each value: 1 and 1.0 are the same, "1" and True are not.

    Raises:
        OptionError: not a text, a finite number, or a bool.
    """
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        number = check_number(name, value)
        return json.dumps(int(number) if isinstance(value, float) and number.is_integer() else value)
    if isinstance(value, str) and len(value) <= MAX_TEXT and not re.search("[\0\ud800-\udfff]", value):
        return json.dumps(unicodedata.normalize("NFC", value), ensure_ascii=False)
    raise OptionError(
        f"{name}: expected a text of at most {MAX_TEXT} characters, a finite number, True or False, got {value!r:.80}"
    )


_SECONDS = re.compile(r"-?\d{9,}(\.\d+)?")  # fewer digits may be a date, such as 20261125


def seconds(name: str, value: Any) -> float:
    """A moment as seconds since 1970 (UTC): such a number, also as text, a datetime with its time zone, or ISO 8601
    text (``2026-11-25T14:00:00+01:00``; without a time zone it is UTC).

    Raises:
        OptionError: anything else.
    """
    if isinstance(value, str) and _SECONDS.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(re.sub("[Zz]$", "+00:00", value.strip()))
        except ValueError:
            raise OptionError(
                f"{name}: expected a time such as 2026-11-25T14:00:00+01:00 or seconds since 1970, got {value!r:.80}"
            ) from None
        value = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise OptionError(f"{name}: {value} has no time zone; expected one, such as datetime.timezone.utc")
        return value.timestamp()
    return check_number(name, value, least=-1e11, most=1e11)


def time_text(value: float) -> str:
    """Seconds since 1970 as ISO 8601 text in UTC."""
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    try:
        return (moment + datetime.timedelta(seconds=value)).isoformat(timespec="seconds").replace("+00:00", "Z")
    except OverflowError:
        return f"{value:.0f}"


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def age_seconds(name: str, value: Any) -> float:
    """A length of time in seconds: such a number, a timedelta, or text with a unit: ``90d`` (``s m h d w``).

    Raises:
        OptionError: anything else, or below 0.
    """
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", value)
        if not found:
            raise OptionError(
                f"{name}: expected a number and a unit, such as 30d (s, m, h, d, w; m is minutes), got {value!r:.80}"
            )
        value = float(found[1]) * _UNITS[found[2]]
    return check_number(name, value, least=0, most=1e11)
