"""Ctrl-C waits for the step that is being done, and a second one does not wait."""

from __future__ import annotations

import contextlib
import signal
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


def test_the_handler_is_taken_back_from_a_library_that_set_its_own() -> None:
    interrupt = Interrupt()
    with interrupt.deferred():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # would end the process
        interrupt.arm()
        signal.raise_signal(signal.SIGINT)
    assert interrupt.wanted
    interrupt.arm()  # outside: nothing to take back
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_a_thread_nothing_changes() -> None:
    def deferred() -> object:
        with Interrupt().deferred():
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(deferred).result() is signal.default_int_handler
