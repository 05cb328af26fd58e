"""The .ckpt reader and writer against the format spelled out in tests/oracles/ckpt.py."""

from __future__ import annotations

import re
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from osnet.checkpoint import mindspore
from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.errors import CheckpointError
from tests.oracles.ckpt import Bad, decode, dim, entry, field, floats, tensor, varint

DTYPES = ["?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=140)
arrays = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4)))
checkpoints = st.dictionaries(names, arrays, min_size=1, max_size=6)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    def facts(arrays: dict[str, np.ndarray]) -> list[tuple[object, ...]]:
        return [(name, array.shape, array.dtype.str, array.tobytes()) for name, array in arrays.items()]

    return facts(first) == facts(second)


@given(checkpoints, st.booleans(), st.sampled_from([3, 64, 1 << 20]))
def test_what_is_written_is_read(given_arrays: dict[str, np.ndarray], crc: bool, slice_bytes: int) -> None:
    assert same(read_ckpt(write_ckpt(given_arrays, crc=crc, slice_bytes=slice_bytes)), given_arrays)


@given(checkpoints)
def test_the_bytes_are_those_of_the_format(given_arrays: dict[str, np.ndarray]) -> None:
    kinds = {dtype: word.decode() for dtype, word in mindspore._WORDS.items()}
    decoded = decode(write_ckpt(given_arrays))
    assert list(decoded.items()) == [(n, (a.shape, kinds[a.dtype], a.tobytes())) for n, a in given_arrays.items()]


def outcome(data: bytes) -> object:
    try:
        return {name: (array.shape, array.tobytes()) for name, array in read_ckpt(data).items()}
    except CheckpointError:
        return "refused"


def expected_outcome(data: bytes) -> object:
    try:
        return {name: (shape, content) for name, (shape, _, content) in decode(data).items()}
    except Bad:
        return "refused"


@settings(max_examples=300)
@given(st.data())
def test_damaged_files_are_read_or_refused_as_the_oracle_does(data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.sampled_from(_PARTS), min_size=1, max_size=5))
    raw = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        if data.draw(st.booleans()):
            raw[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
        else:
            del raw[place : place + data.draw(st.integers(1, 4))]
    assert outcome(bytes(raw)) == expected_outcome(bytes(raw))


_PARTS = [
    entry(b"a.b", (2,), content=floats(1, 2)),
    entry(b"c", (), content=floats(3)),
    entry(b"old.scalar", (0,), content=floats(3)),
    entry(b"e", (2, 1), b"Int16", b"\1\0\2\0"),
    entry(b"bool", (2,), b"Bool", b"\0\1"),
    entry(b"slices", (3,), content=floats(1, 2)),
    entry(b"slices", (3,), content=floats(3)),
    entry(b"n" * 130, (2, 2), content=floats(1, 2, 3, 4)),
    field(1, field(2, tensor((2,), content=floats(1, 2))) + field(1, b"backwards")),
]


def test_arrays_are_read_only_views_of_the_bytes() -> None:
    data = write_ckpt({"a": np.arange(5, dtype="f4"), "b": np.float64(2).reshape(())})
    whole = np.frombuffer(data, np.uint8)
    for array in read_ckpt(data).values():
        assert np.shares_memory(array, whole)
        assert not array.flags.writeable
    changeable = bytearray(data)
    assert not read_ckpt(changeable)["a"].flags.writeable


def test_fields_in_another_order_are_read() -> None:
    inner = field(3, floats(1, 2)) + field(2, b"Float32") + dim(2)
    assert read_ckpt(field(1, field(2, inner) + field(1, b"a")))["a"].tolist() == [1, 2]


def test_a_long_name_is_not_taken_for_a_short_one() -> None:
    # Read as one byte, the name's length 0x80 0x20 (4096) would be 128 and everything after it would fit.
    short = field(1, b"x" * 128) + field(2, tensor((1,), content=floats(1)))
    assert read_ckpt(field(1, short))
    mistaken = b"\x0a\x80\x20" + short[4:]
    with pytest.raises(CheckpointError, match="entry 1 is cut off: 4,096 bytes declared"):
        read_ckpt(field(1, mistaken))


def test_bfloat16_is_widened_exactly() -> None:
    found = read_ckpt(entry(b"a", (3,), b"BFloat16", bytes.fromhex("c03f 1040 80ff")))["a"]
    assert found.dtype == np.float32
    assert found.tolist() == [1.5, 2.25, -np.inf]
    assert not found.flags.writeable


def test_old_scalars_have_one_dimension_of_zero() -> None:
    assert read_ckpt(entry(b"a", (0,), content=floats(7)))["a"].shape == ()
    assert read_ckpt(entry(b"a", (0,), content=b""))["a"].shape == (0,)


def test_big_endian_and_strided_arrays_are_written_as_their_values() -> None:
    array = np.arange(12, dtype=">f8").reshape(3, 4)[:, ::2]
    assert read_ckpt(write_ckpt({"a": array}))["a"].tolist() == array.tolist()


BIG = 10**8
PARTS = field(1, b"x.y"), dim(2) + field(2, b"Float32")
REFUSED = [
    ("44-cut-inside-a-content", entry(content=floats(1))[:-1], r"cut off.*fetch it again"),
    ("44-cut-inside-a-length", b"\x0a\x80", "entry 1 is cut off"),
    ("45-content-too-short", entry(b"x.y", (3,), content=floats(1, 2)), r"x\.y .*expected 12 bytes, got 8"),
    ("45-content-too-long", entry(b"x.y", (1,), content=floats(1, 2)), r"x\.y .*expected 4 bytes, got 8"),
    ("45-no-content-for-a-shape", entry(b"x.y", (3,)) + entry(b"x.y", (3,)), r"x\.y .*expected 12 bytes, got 0"),
    ("45-content-half-an-item", entry(b"x.y", (), content=b"\0\0\0"), r"x\.y .*expected 4 bytes, got 3"),
    (
        "45-content-shorter-than-its-field",
        field(1, PARTS[0] + field(2, PARTS[1] + b"\x1a\x04" + floats(1, 2))),
        r"x\.y has the unexpected field 0",
    ),
    (
        "45-content-longer-than-its-field",
        field(1, PARTS[0] + field(2, PARTS[1] + b"\x1a\x09" + floats(1, 2))),
        r"x\.y is cut off: 9 bytes declared at byte \d+, 8 are there",
    ),
    (
        "45-tensor-shorter-than-its-field",
        field(1, PARTS[0] + b"\x12\x0f" + PARTS[1] + field(3, floats(1, 2))),
        r"x\.y has the unexpected field 16",
    ),
    (
        "45-tensor-longer-than-its-field",
        field(1, PARTS[0] + b"\x12\x16" + PARTS[1] + field(3, floats(1, 2))),
        r"x\.y is cut off: 22 bytes declared at byte \d+, 21 are there",
    ),
    ("46-negative-dimension", entry(b"x.y", (-1,)), r"x\.y has the dimension -1;"),
    ("46-two-negative-dimensions", entry(b"x.y", (-1, -1), content=floats(1)), r"x\.y has the dimension -1;"),
    ("46-absurd-dimension", entry(b"x.y", (BIG,)), r"x\.y has the dimension 100,000,000"),
    ("46-absurd-dimension-beside-0", entry(b"x.y", (0, BIG)), r"x\.y has the dimension 100,000,000"),
    ("46-absurd-product", entry(b"x.y", (90,) * 8, content=bytes(90)), r"x\.y .*expected 17,218,688,400,000,000 bytes"),
    ("46-nine-dimensions", entry(b"x.y", (1,) * 9, content=floats(1)), r"x\.y has more than 8 dimensions"),
    ("46-dimension-over-64-bits", field(1, field(1, b"x") + field(2, b"\x08" + b"\xff" * 9 + b"\x02")), "64 bits"),
    ("46-dimension-over-ten-bytes", field(1, field(1, b"x") + field(2, b"\x08" + b"\x80" * 11 + b"\0")), "64 bits"),
    (
        "47-unknown-type",
        entry(b"x.y", (), b"Float31", floats(1)),
        r"x\.y has the tensor_type 'Float31'; expected one of",
    ),
    ("47-str", entry(b"x.y", (1,), b"str", b"a\0\0\0"), r"x\.y has the tensor_type 'str'"),
    ("47-int4", entry(b"x.y", (2,), b"Int4", b"a"), r"x\.y has the tensor_type 'Int4'"),
    (
        "47-hostile-type",
        entry(b"x.y", (), b"\x1b[2J" + b"z" * 200, floats(1)),
        r"tensor_type '\\x1b\[2Jz+'\.\.\.; expected one of",
    ),
    ("47-map-tensor", field(1, field(1, b"x.y") + field(3, b"")), r"x\.y is a map tensor"),
    ("47-map-tensor-first", field(1, field(3, b"") + field(1, b"x.y")), "entry 1 is a map tensor"),
    ("47-no-name", field(1, field(2, tensor(content=floats(1)))), "entry 1 has no name"),
    ("47-no-tensor", field(1, field(1, b"x.y")), r"x\.y has no tensor"),
    ("47-no-type", entry(b"x.y", (), None, floats(1)), r"x\.y has no tensor_type"),
    ("47-no-content", entry(b"x.y", (), b"Float32", None), r"x\.y has no tensor_content"),
    ("47-unknown-field", field(1, field(1, b"x.y") + field(4, b"")), r"x\.y has the unexpected field 4"),
    ("47-two-names", field(1, field(1, b"x.y") * 2), r"x\.y has the unexpected field 1"),
    ("47-two-types", field(1, field(1, b"x.y") + field(2, field(2, b"Bool") * 2)), r"x\.y has the unexpected field 2"),
    ("47-bool-of-2", entry(b"x.y", (2,), b"Bool", b"\1\2"), r"x\.y is Bool and holds bytes other than 0 and 1"),
    ("48-twice", entry(b"x.y", (), content=floats(1)) * 2, r"'x\.y' occurs twice"),
    (
        "48-twice-apart",
        entry(b"x.y", content=floats(1)) + entry(b"z", content=floats(1)) + entry(b"x.y", content=floats(1)),
        r"'x\.y' occurs twice",
    ),
    (
        "48-slices-apart",
        entry(b"x.y", (2,), content=floats(1))
        + entry(b"z", content=floats(1))
        + entry(b"x.y", (2,), content=floats(1)),
        r"x\.y .*expected 8 bytes, got 4",
    ),
    (
        "48-slices-too-long",
        entry(b"x.y", (3,), content=floats(1)) + entry(b"x.y", (3,), content=floats(1, 2, 3)),
        r"x\.y .*expected 12 bytes, got 16 in 2 slices",
    ),
    (
        "48-slices-of-two-shapes",
        entry(b"x.y", (2,), content=floats(1)) + entry(b"x.y", (1, 2), content=floats(1)),
        r"'x\.y' occurs twice.*\(2,\).*\(1, 2\)",
    ),
    (
        "48-slices-of-two-types",
        entry(b"x.y", (2,), content=floats(1)) + entry(b"x.y", (2,), b"Int32", floats(1)),
        r"'x\.y' occurs twice.*Float32.*Int32",
    ),
    (
        "48-empty-slice",
        entry(b"x.y", (2,), content=floats(1)) + entry(b"x.y", (2,)) + entry(b"x.y", (2,), content=floats(1)),
        r"x\.y .*expected 8 bytes, got 4 in 2 slices",
    ),
    ("49-empty-name", entry(b""), "entry 1 has an empty name"),
    ("49-overlong-name", entry(b"n" * 513), r"name of 513 bytes, at most 512 are read: 'n{64}'\.\.\."),
    ("49-control-characters", entry(b"a\x1b[31m\n"), r"not printable.*'a\\x1b\[31m\\n'"),
    ("49-invalid-utf8", entry(b"a\xff"), r"not printable.*'a\\\\xff'"),
    ("53-trailing-zero", entry(content=floats(1)) + b"\0", r"byte 24 is 0x00 where an entry should start"),
    ("53-trailing-text", entry(content=floats(1)) + b"crc_num", r"byte 24 is 0x63"),
    ("53-another-file", b"GIF89a", "byte 0 is 0x47.*not a MindSpore checkpoint"),
    ("empty", b"", "empty"),
    ("encrypted", bytes.fromhex("d85e3a7f") + bytes(40), "encrypted.*dec_key"),
]


@pytest.mark.parametrize(
    ("data", "message"), [case[1:] for case in REFUSED], ids=[f"fault-{case[0]}" for case in REFUSED]
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        read_ckpt(data)
    assert str(caught.value).isprintable()


def test_fault_46_nothing_is_allocated_for_an_absurd_shape() -> None:
    data = [entry(b"x", (10**8,)), entry(b"x", (200,) * 8, content=bytes(200)), entry(b"x", (10**18, 0))]
    tracemalloc.start()
    for one in data:
        with pytest.raises(CheckpointError):
            read_ckpt(one)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_fault_48_declared_slices_are_one_tensor() -> None:
    parts = [entry(b"x", (2, 2), content=content) for content in (floats(1), floats(2, 3), floats(4))]
    found = read_ckpt(b"".join(parts) + entry(b"y", content=floats(5)))
    assert found["x"].tolist() == [[1, 2], [3, 4]]
    assert not found["x"].flags.writeable
    assert list(found) == ["x", "y"]


def test_fault_50_a_cap_on_the_number_of_entries() -> None:
    entries = [entry(b"%d" % index, (0,)) for index in range(12_000)]
    assert len(read_ckpt(b"".join(entries[:10_900]))) == 10_900
    with pytest.raises(CheckpointError, match=r"more than 11,0.. entries, the most that its size allows"):
        read_ckpt(b"".join(entries))


def test_fault_53_the_crc_suffix_is_checked() -> None:
    body = entry(content=floats(1))
    suffix = b"crc_num" + zlib.crc32(body).to_bytes(10, "big")
    assert read_ckpt(body + suffix)["a.b"] == 1
    for wrong in (zlib.crc32(body) ^ 1, zlib.crc32(body) + 2**32):
        with pytest.raises(CheckpointError, match=r"CRC-32 is wrong: the file says 0x.*fetch it again"):
            read_ckpt(body + b"crc_num" + wrong.to_bytes(10, "big"))
    with pytest.raises(CheckpointError):
        read_ckpt(body[:-1] + b"\0" + suffix)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("c", np.zeros(2, "c8"), "c is complex64"),
        ("o", np.zeros(2, object), "o is object"),
        ("nine", np.zeros((1,) * 9, "f4"), "nine is float32 with 9 dimensions"),
        ("", np.zeros(2, "f4"), "empty name"),
        ("a\nb", np.zeros(2, "f4"), "not printable"),
        ("\udcff", np.zeros(2, "f4"), "not printable"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(name: str, array: np.ndarray, message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        write_ckpt({name: array})


def test_varints_of_the_oracle() -> None:
    assert varint(300) == b"\xac\x02"
    assert varint(-1) == b"\xff" * 9 + b"\x01"
