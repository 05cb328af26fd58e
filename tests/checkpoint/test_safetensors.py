"""The .safetensors reader and writer against the safetensors package itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from safetensors import numpy as package

from osnet.checkpoint.safetensors import read_safetensors, write_safetensors
from osnet.errors import CheckpointError
from tests.checkpoint.test_mindspore import checkpoints, same


def by_hand(header: dict[str, object], content: bytes) -> bytes:
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + content


@given(checkpoints)
def test_what_is_written_is_read(arrays: dict[str, np.ndarray]) -> None:
    data = write_safetensors(arrays)
    assert same(dict(sorted(read_safetensors(data).items())), dict(sorted(arrays.items())))
    assert same(dict(sorted(package.load(data).items())), dict(sorted(arrays.items())))
    assert data == write_safetensors(arrays)


def test_strided_and_big_endian_arrays() -> None:
    array = np.arange(12, dtype=">f8").reshape(3, 4)[:, ::2]
    assert read_safetensors(write_safetensors({"a": array}))["a"].tolist() == array.tolist()


def test_bfloat16_is_widened_exactly() -> None:
    data = by_hand({"a": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}, bytes.fromhex("c03f 1040 80ff"))
    found = read_safetensors(data)["a"]
    assert found.dtype == np.float32
    assert found.tolist() == [1.5, 2.25, -np.inf]
    assert not found.flags.writeable


HEADER: dict[str, object] = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
REFUSED = {
    "empty": (b"", "cut off"),
    "header-cut": (by_hand(HEADER, b"")[:-1], "cut off"),
    "content-cut": (by_hand(HEADER, bytes(3)), "damaged"),
    "content-too-long": (by_hand(HEADER, bytes(5)), "damaged"),
    "header-absurd": (b"\xff" * 8 + b"{}", "cut off"),
    "no-json": ((2).to_bytes(8, "little") + b"{[", "damaged"),
    "unknown-type": (
        by_hand({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}, b"a"),
        "a has the dtype",
    ),
    "bool-of-2": (by_hand({"a": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\2"), "other than 0 and 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, message = REFUSED[name]
    with pytest.raises(CheckpointError, match=message):
        read_safetensors(data)


def test_what_the_format_does_not_have_is_not_written() -> None:
    with pytest.raises(CheckpointError, match="a is object"):
        write_safetensors({"a": np.zeros(1, object)})
