"""A short run of the fuzzer, and proof that it sees faults."""

from __future__ import annotations

import os

import numpy as np
import pytest

from osnet.errors import OptionError
from tests.inference import fuzz_features


@pytest.mark.slow
def test_a_short_run() -> None:
    figures = fuzz_features.run(count=800, seconds=None, seed=0)
    assert figures["files"] == 800
    assert figures["read"] > figures["files"] / 50
    assert figures["refused"] > figures["files"] / 2


def test_the_same_seed_gives_the_same_files() -> None:
    assert list(fuzz_features.mutated(50, 3)) == list(fuzz_features.mutated(50, 3))
    assert list(fuzz_features.mutated(50, 3)) != list(fuzz_features.mutated(50, 4))


def refuse(text: str) -> None:
    raise OptionError(text)


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (lambda path: [][0], "IndexError"),
        (lambda path: (["a"], np.zeros((2, 512), np.float32), {}), "for 1 names"),
        (lambda path: refuse("a\nb"), "for "),
        (lambda path: refuse(f"{len(bytearray(16 << 20))}") if "case" in os.fspath(path) else refuse(""), "bytes for"),
    ],
    ids=["crash", "shape", "message", "memory"],
)
def test_it_sees_faults(reader: object, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_features, "read_features", reader)
    with pytest.raises(AssertionError, match=message):
        fuzz_features.run(count=10, seconds=None, seed=0)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_features.main(["--count", "100", "--seed", "1"]) == 0
    assert "100 damaged feature files" in capsys.readouterr().out
