"""Ctrl-C waits for the step that is being done, and a second one does not wait."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from osnet.training.interrupt import Interrupt


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_is_noted_and_the_second_interrupts(capfd: pytest.CaptureFixture[str]) -> None:
    interrupt = Interrupt()
    with interrupt.deferred():
        assert not interrupt.wanted
        signal.raise_signal(signal.SIGINT)
        assert interrupt.wanted
        assert "Ctrl-C again" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_the_handler_is_the_one_before() -> None:
    with contextlib.suppress(ValueError), Interrupt().deferred():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        raise ValueError("a step fails")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_library_that_answers_ctrl_c_with_sigterm_does_not_end_the_process() -> None:
    """As MindSpore's graphs do."""
    code = (
        "import os, signal\n"
        "from osnet.training.interrupt import Interrupt\n"
        "interrupt = Interrupt()\n"
        "with interrupt.deferred():\n"
        "    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print(interrupt.wanted)\n"
        "print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "True\nTrue\n")


def test_in_a_thread_nothing_changes() -> None:
    def deferred() -> object:
        with Interrupt().deferred():
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(deferred).result() is signal.default_int_handler
