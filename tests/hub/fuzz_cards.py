"""Mutated cards against the readers of cards and of configurations: each is read or refused with the one error that is
promised, soon. `python -m tests.hub.fuzz_cards --seconds 30 --seed 0`, or `--count 100000`.

The same seed gives the same cards; a failure prints the card.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from osnet.errors import CardError, OptionError
from osnet.hub.card import parse_card, render_card
from osnet.yaml_files import decode, read_yaml
from tests.fuzzing import damaged

SLOWEST_SECONDS = 1.0
HANG_SECONDS = 60

_SEED = (Path(__file__).parents[2] / "assets.md").read_bytes()
_FRONT = _SEED[: _SEED.index(b"\n---\n\n##") + 5]
_PIECES = [
    *(b"---\n", b": ", b"- ", b"? ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"!!int ", b"!<x> ", b"|\n", b">\n", b"#"),
    *(b"'", b'"', b"\n", b"\r", b"\t", b"\0", b"\x85", b"\xff", b"\\", b"%YAML 1.1\n", b"%TAG ! x\n", b"<<: ", b"~"),
    *(b'"\\UFFFFFFFF"', b'"\\ud800"', b'"\\x', b"2001-99-99", b"1:2:3.4", b"0x", b"0b", b"1_0", b".inf", b"1e999"),
    *(b"%YAML 1." + b"1" * 5000 + b"\n", b"9" * 5000, b"[" * 100, b"- " * 100, b"a: &a [*a]\n", b"\xef\xbb\xbf", b"="),
    *(b"\n  ", b"evaluation: x\n", b"asset:\n", b"asset-sha256: ", b"2022-02-30", b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80"),
]


def mutated(count: int | None, seed: int) -> Iterator[bytes]:
    choose = random.Random(seed)
    number = 0
    while count is None or number < count:
        number += 1
        yield damaged(choose.choice((_FRONT, _FRONT, _FRONT, _SEED)), choose, _PIECES)


def run(count: int | None, seconds: float | None, seed: int) -> dict[str, float]:
    """Feed the readers until `count` cards or `seconds` are over; raises AssertionError at the first fault."""
    figures: dict[str, float] = {"cards": 0, "read": 0, "refused": 0, "slowest_ms": 0}
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    try:
        for data in mutated(count, seed):
            if time.monotonic() > end:
                break
            if figures["cards"] % 100 == 0:
                faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.__stderr__)
            start, message = time.process_time(), ""
            try:
                card = parse_card(data, path="x.md")
                assert parse_card(render_card(card), path="x.md") == card, f"rendered otherwise: {data!r}"
            except CardError as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(f"{error!r} from {data!r}") from error
            took = time.process_time() - start
            _read_as_configuration(data)
            assert took < SLOWEST_SECONDS, f"{took:.1f} s for {data!r}"
            assert "\n" not in message, f"{message!r} for {data!r}"
            assert len(message) < 1000, f"{message!r} for {data!r}"
            figures["cards"] += 1
            figures["refused" if message else "read"] += 1
            figures["slowest_ms"] = max(figures["slowest_ms"], took * 1e3)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return figures


def _read_as_configuration(data: bytes) -> None:
    front = data.split(b"---\n")[1] if data.count(b"---\n") > 1 else data
    message = ""
    try:
        read_yaml(decode(front, "x", error=OptionError), "x", error=OptionError)
    except OptionError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{error!r} from {data!r} as a configuration") from error
    assert "\n" not in message, f"{message!r} for {data!r}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="stop after so long (default 30 without --count)")
    parser.add_argument("--count", type=int, help="stop after so many cards")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    start = time.monotonic()
    figures = run(given.count, 30.0 if given.seconds is None and given.count is None else given.seconds, given.seed)
    print(
        f"{figures['cards']:,.0f} damaged cards in {time.monotonic() - start:.0f} s: {figures['read']:,.0f} read, "
        f"{figures['refused']:,.0f} refused, slowest {figures['slowest_ms']:.1f} ms"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
