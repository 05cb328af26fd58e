"""One grammar of argument checks: what passes, in which type it comes back, and what the message says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from osnet.checks import check_bool, check_choice, check_integer, check_number
from osnet.errors import OptionError


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_come_back_as_int(value: Any) -> None:
    assert type(check_integer("n", value, least=3, most=3)) is int


@pytest.mark.parametrize("value", [True, np.bool_(True), 3.0, np.float32(3), "3", None, [3]])
def test_what_is_not_an_integer_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match=r"^n: expected an integer, got "):
        check_integer("n", value)


@pytest.mark.parametrize(
    ("limits", "text"),
    [({"least": 4}, " of at least 4"), ({"most": 2}, " of at most 2"), ({"least": 4, "most": 9}, " from 4 to 9")],
)
def test_an_integer_out_of_range_names_the_range(limits: dict[str, int], text: str) -> None:
    with pytest.raises(OptionError, match=f"^n: expected an integer{text}, got 3$"):
        check_integer("n", 3, **limits)


@pytest.mark.filterwarnings("error")  # numpy 2 compares float32 with a float64 in float32
@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5), np.int64(1)])
def test_numbers_come_back_as_float(value: Any) -> None:
    assert type(check_number("x", value, least=0, most=1)) is float


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), 10**400, "0.5", None, 1j])
def test_what_is_not_a_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match=r"^x: expected a number, got "):
        check_number("x", value)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"least": 0.6}, " of at least 0.6"),
        ({"most": 0.4}, " of at most 0.4"),
        ({"above": 0.5}, " above 0.5"),
        ({"below": 0.5}, " below 0.5"),
        ({"least": 0, "below": 0.5}, " of at least 0 and below 0.5"),
        ({"above": 0.5, "below": 1}, " above 0.5 and below 1"),
    ],
)
def test_a_number_out_of_range_names_the_range(limits: dict[str, float], text: str) -> None:
    with pytest.raises(OptionError, match=f"^x: expected a number{text}, got 0.5$"):
        check_number("x", 0.5, **limits)


def test_bools() -> None:
    assert check_bool("b", True) is True
    assert check_bool("b", np.bool_(False)) is False
    for value in (1, 0, "yes", None):
        with pytest.raises(OptionError, match=r"^b: expected True or False, got "):
            check_bool("b", value)


def test_choices_list_the_known_and_the_nearest() -> None:
    assert check_choice("metric", "cosine", ("cosine", "euclidean")) == "cosine"
    message = r"^metric: expected one of cosine, euclidean, got 'cosin' \(did you mean 'cosine'\?\)$"
    with pytest.raises(OptionError, match=message):
        check_choice("metric", "cosin", ("cosine", "euclidean"))
    with pytest.raises(OptionError, match=r"^metric: expected one of cosine, euclidean, got 3$"):
        check_choice("metric", 3, ("cosine", "euclidean"))
