"""Conditions as users give them."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from osnet.errors import OptionError
from osnet.gallery.filters import Filter, age_seconds, make_filter, seconds, value_text

HOUR_EAST = datetime.timezone(datetime.timedelta(hours=1))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1.5, 1.5),
        (np.float32(2), 2.0),
        (datetime.datetime(1970, 1, 1, 1, 0, 5, tzinfo=HOUR_EAST), 5.0),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T01:01:00+01:00", 60.0),
        ("1970-01-02", 86400.0),
        (" 1764075600.5", 1764075600.5),
    ],
)
def test_times(given: object, expected: float) -> None:
    assert seconds("time", given) == expected


@pytest.mark.parametrize(
    "given", ["yesterday", "", "1764", "1764075600000", True, float("nan"), 1e300, datetime.datetime(2026, 1, 1), b"1"]
)
def test_what_is_not_a_time_is_refused(given: object) -> None:
    with pytest.raises(OptionError, match=r"time: (expected|.* has no time zone)"):
        seconds("time", given)


@pytest.mark.parametrize(
    ("given", "expected"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("30d", 2592000), ("1w", 604800)]
)
def test_ages(given: str, expected: float) -> None:
    assert age_seconds("older_than", given) == expected
    assert age_seconds("older_than", datetime.timedelta(seconds=expected)) == expected
    assert age_seconds("older_than", expected) == expected


@pytest.mark.parametrize("given", ["30", "d", "-1d", "1y", -1, None])
def test_what_is_not_an_age_is_refused(given: object) -> None:
    with pytest.raises(OptionError, match="older_than: expected"):
        age_seconds("older_than", given)


def test_one_or_several() -> None:
    made = make_filter(identity=7, camera=["a", "b", "a"], where={"site": "north", "floor": [1, 2.0], "seen": True})
    assert made == Filter(
        identities=("7",),
        cameras=("a", "b"),
        where={"site": ('"north"',), "floor": ("1", "2"), "seen": ("true",)},
    )
    assert make_filter().is_empty
    assert make_filter(older_than="1d", now=86_500.0) == Filter(before=100.0)


def test_a_name_is_the_same_however_its_accents_are_written() -> None:
    composed, apart = "Jos\u00e9", "Jose\u0301"
    made = make_filter(identity=[composed, apart], where={apart: [composed, apart]})
    assert made == Filter(identities=(composed,), where={composed: (f'"{composed}"', f'"{composed}"')})


def test_a_number_is_not_its_text() -> None:
    texts = [value_text("a", value) for value in (1, 1.0, np.int64(1), True, np.bool_(True), "1", "true", 1.5)]
    assert texts == ["1", "1", "1", "true", "true", '"1"', '"true"', "1.5"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"identity": []}, "identity: expected at least one"),
        ({"identity": ""}, "identity: expected a text"),
        ({"identity": " \t"}, "identity: expected a text"),
        ({"camera": 1.5}, "camera: expected a text"),
        ({"camera": "a\0b"}, "camera: expected a text"),
        ({"camera": True}, "camera: expected a text"),
        ({"ids": "x" * 1001}, "id: expected a text"),
        ({"since": 5, "until": 5}, "since .* is not before until"),
        ({"where": "site=north"}, "where: expected attribute names"),
        ({"where": {"site": None}}, "attribute site: expected a text"),
        ({"where": {"site": float("nan")}}, "attribute site: expected a number"),
        ({"where": {3.5: 1}}, "attribute: expected a text"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_filter(**given)  # type: ignore[arg-type]
