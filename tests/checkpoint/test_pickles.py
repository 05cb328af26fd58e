"""The pickle reader against Python's own pickler, and against pickles that mean harm."""

from __future__ import annotations

import os
import pickle
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osnet.checkpoint.pickles import read_pickle
from osnet.errors import CheckpointError


def nothing(*asked: Any) -> Any:
    raise CheckpointError(f"asked for {'.'.join(map(str, asked))}")


def read(data: bytes) -> Any:
    value, end = read_pickle(data, 0, find=nothing, persistent=nothing, max_steps=1_000_000)
    assert end == len(data)
    return value


keys = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=300) | st.binary(max_size=300)
scalars = keys | st.floats(allow_nan=False)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=30,
)


@given(values, st.sampled_from([3, 4, 5]))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


@given(values)
def test_a_value_used_twice_is_one_value(value: Any) -> None:
    shared = [value]
    first, second = read(pickle.dumps([shared, shared], 4))
    assert first is second


def test_text_of_python_2() -> None:
    assert read(b"\x80\x02U\x02ab.") == "ab"
    assert read(b"\x80\x02T\x03\0\0\0a\xe9c.") == "aéc"


@given(st.binary(max_size=60))
def test_noise_is_read_or_refused(data: bytes) -> None:
    try:
        read_pickle(b"\x80\x02" + data, 0, find=nothing, persistent=nothing, max_steps=1000)
    except CheckpointError as error:
        assert str(error).isprintable()  # noqa: PT017


@given(values, st.data())
def test_a_damaged_pickle_is_read_or_refused(value: Any, data: st.DataObject) -> None:
    raw = bytearray(pickle.dumps(value, 4))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_pickle(bytes(raw), 0, find=nothing, persistent=nothing, max_steps=1000)
    except CheckpointError as error:
        assert str(error).isprintable()  # noqa: PT017


class Harm:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nothing_is_called(protocol: int, tmp_path: Any) -> None:
    data = pickle.dumps(Harm(os.mkdir, str(tmp_path / "made")), protocol)
    with pytest.raises(CheckpointError, match=r"asked for (posix|nt)\.mkdir"):
        read(data)
    assert not list(tmp_path.iterdir())


NESTED_TUPLES = b")" + b"q\0h\0\x86" * 60  # each holds the one before twice, so hashing it takes 2**60 steps
REFUSED = {
    "cut-off": (b"\x80\x02X\x05\0\0\0ab", "cut off"),
    "no-stop": (b"\x80\x02N", "damaged"),
    "left-over": (b"\x80\x02NN.", "left over"),
    "text-of-4-gigabytes": (b"\x80\x02X\xff\xff\xff\xffab.", "cut off"),
    "text-of-16-exabytes": (b"\x80\x04\x8d" + b"\xff" * 8 + b"ab.", "cut off"),
    "bytes-of-16-exabytes": (b"\x80\x04\x8e" + b"\xff" * 8 + b"ab.", "cut off"),
    "empty-stack": (b"\x80\x020.", "damaged"),
    "unknown-memo": (b"\x80\x02h\x07.", "damaged"),
    "mark-as-a-value": (b"\x80\x02(.", "mark"),
    "mark-in-the-memo": (b"\x80\x02(q\0.", "mark"),
    "mark-missing": (b"\x80\x02Nt.", "mark is missing"),
    "key-of-tuples": (b"\x80\x02}" + NESTED_TUPLES + b"Ns.", "tuple as a key"),
    "key-of-lists": (b"\x80\x02}]Ns.", "list as a key"),
    "key-without-value": (b"\x80\x02}(Nu.", "key without a value"),
    "append-to-a-tuple": (b"\x80\x02)Na.", "expected a list"),
    "set-in-a-list": (b"\x80\x02]NNs.", "expected a dict"),
    "call-of-text": (b"\x80\x02U\x01a)R.", "cannot be called"),
    "call-without-a-tuple": (b"\x80\x02U\x01aNR.", "cannot be called"),
    "state-of-text": (b"\x80\x02U\x01a}b.", "state of a str"),
    "invalid-text": (b"\x80\x02X\x01\0\0\0\xff.", "damaged"),
    "instance": (b"(ios\nsystem\n.", "opcode 0x69"),
    "object": (b"\x80\x02(cos\nsystem\nNo.", "asked for os.system"),
    "extension-registry": (b"\x80\x02\x82\x01.", "opcode 0x82"),
    "number-as-text": (b"I9\n.", "opcode 0x49"),
    "endless-number-as-text": (b"I" + b"9" * 200_000 + b"\n.", "damaged"),
    "text-that-cannot-be-written": (b"\x80\x02X\x03\0\0\0\xed\xa0\x80.", "damaged"),
    "endless-name": (b"\x80\x02c" + b"a" * 100_000, "damaged"),
    "name-that-is-no-text": (b"\x80\x04NN\x93.", "not text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, message = REFUSED[name]
    start = time.process_time()
    with pytest.raises(CheckpointError, match=message) as caught:
        read(data)
    assert time.process_time() - start < 1
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_a_large_memo_index_takes_no_memory() -> None:
    data = b"\x80\x02Nr\xff\xff\xff\xffj\xff\xff\xff\xff\x86."
    tracemalloc.start()
    assert read(data) == (None, None)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_deep_nesting_is_no_recursion() -> None:
    value = read(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    for _ in range(99_999):
        (value,) = value
    assert value == []


def test_a_cap_on_the_steps() -> None:
    def steps(count: int) -> Any:
        data = b"\x80\x02N" + b"0N" * count + b"."
        return read_pickle(data, 0, find=nothing, persistent=nothing, max_steps=100)[0]

    assert steps(40) is None
    with pytest.raises(CheckpointError, match="more than 100 steps"):
        steps(50)


def test_a_long_tuple_is_not_handed_to_many_calls() -> None:
    data = b"\x80\x02(" + b"N" * 17 + b"tq\0ca\nb\nh\0R."
    with pytest.raises(CheckpointError, match="a call with 17 arguments; refused"):
        read_pickle(data, 0, find=lambda *_: print, persistent=nothing, max_steps=100)
