"""A short run of the fuzzer, and proof that it sees faults."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.checkpoint import fuzz

WHOLE = fuzz.seeds("mindspore")


def slow() -> dict[str, object]:
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.READERS)
def test_a_short_run(kind: str) -> None:
    figures = fuzz.run(kind, count=1500, seconds=None, seed=0)
    assert figures["files"] == 1500
    assert figures["read"] > figures["files"] / 50
    assert figures["refused"] > figures["files"] / 2


def test_the_same_seed_gives_the_same_files() -> None:
    assert list(fuzz.mutated("torch", 200, 3)) == list(fuzz.mutated("torch", 200, 3))
    assert list(fuzz.mutated("torch", 200, 3)) != list(fuzz.mutated("torch", 200, 4))


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (lambda data: {} if data in WHOLE else [][0], "IndexError"),
        (lambda data: {"a": np.zeros(3 * len(data), np.uint8)}, "arrays of"),
        (lambda data: dict.fromkeys(range(len(bytearray(100_000)) * 0)), "bytes for"),
        (lambda data: slow(), r"\d\.\d s for"),
    ],
    ids=["crash", "too-much-read", "memory", "slow"],
)
def test_it_sees_faults(reader: object, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fuzz.READERS, "mindspore", reader)
    monkeypatch.setattr(fuzz, "SLOWEST_SECONDS", 0.05)
    with pytest.raises(AssertionError, match=message):
        fuzz.run("mindspore", count=10, seconds=None, seed=0)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--count", "300", "--seed", "1"]) == 0
    assert "300 mutated safetensors checkpoints" in capsys.readouterr().out
