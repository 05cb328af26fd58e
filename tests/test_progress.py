"""Progress: a bar on a terminal, else a line now and then, and nothing for what is short."""

from __future__ import annotations

import io
import sys
import time

import pytest

from osnet import progress
from osnet.progress import EVERY, FIRST, Progress, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; a test sets it."""
    now = [100.0]
    monkeypatch.setattr("osnet.progress.time.monotonic", lambda: now[0])
    return now


def lines(clock: list[float], capsys: pytest.CaptureFixture[str], show: bool | None, *, seconds: int) -> list[str]:
    """What a job prints that reports ten times a second."""
    with Progress("embedding", "images", show=show) as report:
        for done in range(10 * seconds):
            report(done, 10_000)
            clock[0] += 0.1
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_line_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(clock, capsys, True, seconds=60)
    assert 1 + 58 / EVERY - 1 <= len(found) <= 1 + 60 / EVERY
    assert found[0].startswith("embedding: 1")
    assert all(line.endswith(" of 10,000 images") for line in found)


def test_nothing_for_what_takes_less_than_a_second(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert FIRST >= 1
    assert lines(clock, capsys, True, seconds=1) == []


@pytest.mark.parametrize(("in_a_command", "shown"), [(True, True), (False, False)])
def test_only_commands_print_lines_unasked(
    in_a_command: bool,
    shown: bool,
    clock: list[float],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "lines_by_default", in_a_command)
    assert bool(lines(clock, capsys, None, seconds=5)) == shown
    assert lines(clock, capsys, False, seconds=5) == []


def test_bytes_and_notes(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("x.ckpt", "B", show=True) as report:
        report(0, None)
        clock[0] += FIRST
        report(1_500_000, 30_000_000)
        clock[0] += EVERY
        report(2_500_000, None, "slow")
    assert capsys.readouterr().err.splitlines() == ["x.ckpt: 1.5 of 30.0 MB", "x.ckpt: 2.5 MB, slow"]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("osnet.progress.FIRST", 0)
    for _ in track(range(3), 3, "drawing", "pictures"):
        time.sleep(0.15)  # the bar is drawn ten times a second at most
    assert "drawing" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "3/3" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_one_bar_for_several_jobs_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("osnet.progress.FIRST", 0)
    with Progress("embedding", "images") as report:
        for total in (5, 2):
            for done in range(total + 1):
                report(done, total)
                time.sleep(0.15)
    assert "5/5" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "2/2" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_short_jobs_in_turn_print_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("embedding", "images", show=True) as report:
        for _ in range(5):
            for done in range(1, 8):
                report(done, 7)
                clock[0] += 0.1
    assert capsys.readouterr().err == ""


def test_without_a_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert list(track(range(3), 3, "drawing", "pictures", show=True)) == [0, 1, 2]
