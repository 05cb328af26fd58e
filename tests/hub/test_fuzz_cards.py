"""A short run of the card fuzzer, and proof that it sees faults."""

from __future__ import annotations

import pytest

from osnet.errors import CardError
from tests.hub import fuzz_cards


@pytest.mark.slow
def test_a_short_run() -> None:
    figures = fuzz_cards.run(count=300, seconds=None, seed=0)
    assert figures["cards"] == 300
    assert figures["read"] > figures["cards"] / 20
    assert figures["refused"] > figures["cards"] / 4


def test_the_same_seed_gives_the_same_cards() -> None:
    assert list(fuzz_cards.mutated(50, 3)) == list(fuzz_cards.mutated(50, 3))
    assert list(fuzz_cards.mutated(50, 3)) != list(fuzz_cards.mutated(50, 4))


@pytest.mark.parametrize("error", [OverflowError("x"), CardError("a\nb")], ids=["crash", "message"])
def test_it_sees_faults(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fuzz_cards, "parse_card", read)
    with pytest.raises(AssertionError, match=r"(for|from) b"):
        fuzz_cards.run(count=3, seconds=None, seed=0)
