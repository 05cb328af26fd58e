"""MindSpore's ``.ckpt`` format, read and written without MindSpore or protobuf.

The file is one protobuf message (proto2, as ``checkpoint.proto`` of MindSpore says)::

    Checkpoint   repeated Value value = 1
    Value        required string tag = 1, and one of TensorProto tensor = 2, MapTensorProto maptensor = 3
    TensorProto  repeated int64 dims = 1, required string tensor_type = 2, required bytes tensor_content = 3

A tensor of over 512 MiB is written as neighbouring values of one tag, each with the dims of the whole and a slice of
its content. With ``save_checkpoint(..., crc_check=True)`` the file ends in ``crc_num`` and ten bytes, the big-endian
CRC-32 of everything before them. Scalars have no dims; older versions wrote one dimension of 0.

Unlike MindSpore's own reader, this one accepts only files whose sizes all agree, and it makes only views.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn, Union

import numpy as np

from osnet.checkpoint.arrays import BFLOAT16, MAX_DIMS, Array, array_from, most_entries, readable_name, shown
from osnet.errors import CheckpointError

Buffer = Union[bytes, bytearray, memoryview]

SLICE_BYTES = 512 << 20

_DTYPES = {
    b"Bool": np.dtype(np.bool_),
    b"Int8": np.dtype(np.int8),
    b"UInt8": np.dtype(np.uint8),
    b"Int16": np.dtype("<i2"),
    b"UInt16": np.dtype("<u2"),
    b"Int32": np.dtype("<i4"),
    b"UInt32": np.dtype("<u4"),
    b"Int64": np.dtype("<i8"),
    b"UInt64": np.dtype("<u8"),
    b"Float16": np.dtype("<f2"),
    b"Float32": np.dtype("<f4"),
    b"Float64": np.dtype("<f8"),
    b"BFloat16": BFLOAT16,
}
_WORDS = {dtype: word for word, dtype in _DTYPES.items() if dtype != BFLOAT16}
_CRC_WORD = b"crc_num"
_CRC_BYTES = len(_CRC_WORD) + 10
_ENCRYPTED = (0x7F3A5ED8).to_bytes(4, "little")

# A key is a field's number << 3 | its wire type: 0 is a varint, 2 is a length and then that many bytes.
_VALUE = _TAG = 1 << 3 | 2
_TENSOR = _TYPE = 2 << 3 | 2
_MAP_TENSOR = _CONTENT = 3 << 3 | 2
_DIM = 1 << 3


def read_ckpt(data: Buffer) -> dict[str, Array]:
    """Every tensor of a ``.ckpt``, in the file's order.

    Args:
        data: the whole file. It must not change while the arrays are in use.

    Returns:
        Read-only arrays: views of `data`, not always aligned. Only tensors in slices and ``BFloat16``, which is widened
        to float32 (exact), take new memory.

    Raises:
        CheckpointError: the file is not whole and well formed. The message names the tensor.
    """
    view = memoryview(data).cast("B").toreadonly()
    if not view:
        raise CheckpointError("the checkpoint is empty; fetch or write it again")
    if view[:4] == _ENCRYPTED:
        raise CheckpointError(
            "the checkpoint is encrypted; load it in MindSpore with dec_key and save it without enc_key"
        )
    arrays: dict[str, Array] = {}
    for name, slices in itertools.groupby(_entries(_without_crc(view)), lambda entry: entry.name):
        if name in arrays:
            _fail_twice(name)
        arrays[name] = _array(list(slices))
    return arrays


def _without_crc(view: memoryview) -> memoryview:
    if view[-_CRC_BYTES:-10] != _CRC_WORD:
        return view
    body, stated = view[:-_CRC_BYTES], int.from_bytes(view[-10:], "big")
    actual = zlib.crc32(body)
    if stated != actual:
        raise CheckpointError(
            f"the checkpoint's CRC-32 is wrong: the file says 0x{stated:08x}, its bytes give 0x{actual:08x}; "
            "the file is damaged, fetch it again"
        )
    return body


class _Entry(NamedTuple):
    name: str
    dims: tuple[int, ...]
    word: bytes
    content: memoryview


def _array(slices: list[_Entry]) -> Array:
    """The tensor of neighbouring entries of one name."""
    name, dims, word, content = slices[0]
    dtype = _DTYPES[word]
    if dims == (0,) and len(content) == dtype.itemsize:  # an old scalar
        dims = ()
    expected, found = math.prod(dims) * dtype.itemsize, 0
    for number, entry in enumerate(slices, 1):
        if number > 1 and found == expected:
            _fail_twice(name)
        if entry.dims != slices[0].dims or entry.word != word:
            raise CheckpointError(
                f"the name {name!r} occurs twice: with shape {dims} and type {shown(word)}, then with {entry.dims} and "
                f"{shown(entry.word)}; slices of one tensor agree in both"
            )
        found += len(entry.content)
        fits = found == expected if number == len(slices) else bool(entry.content) and found <= expected
        if not fits:
            inside = f" in {number} slices" if number > 1 else ""
            raise CheckpointError(
                f"{name} has shape {dims} and type {word.decode()}: expected {expected:,} bytes, "
                f"got {found:,}{inside}; the file is damaged, fetch it again"
            )
    if len(slices) > 1:
        content = memoryview(b"".join(entry.content for entry in slices))
    return array_from(content, dtype, dims, name)


def _entries(view: memoryview) -> Iterator[_Entry]:
    position, end, number = 0, len(view), 0
    most = most_entries(end)
    while position < end:
        number += 1
        if number > most:
            raise CheckpointError(f"the checkpoint has more than {most:,} entries, the most that its size allows")
        if view[position] != _VALUE:
            raise CheckpointError(
                f"byte {position:,} is 0x{view[position]:02x} where an entry should start with 0x0a or the file end; "
                "the file is damaged or not a MindSpore checkpoint"
            )
        where = f"entry {number}"
        start, position = _span(view, position + 1, end, where)
        yield _entry(view, start, position, where)


def _entry(view: memoryview, position: int, end: int, where: str) -> _Entry:
    name: str | None = None
    tensor: tuple[int, int] | None = None
    while position < end:
        key = view[position]
        if key == _TAG and name is None:
            start, position = _span(view, position + 1, end, where)
            name = readable_name(view[start:position], where)
        elif key == _TENSOR and tensor is None:
            tensor = _span(view, position + 1, end, where if name is None else name)
            position = tensor[1]
        elif key == _MAP_TENSOR:
            raise CheckpointError(f"{name or where} is a map tensor; only plain tensors can be read")
        else:
            _fail_key(key, name or where)
    if name is None:
        raise CheckpointError(f"{where} has no name")
    if tensor is None:
        raise CheckpointError(f"{name} has no tensor")
    return _tensor(view, *tensor, name)


def _tensor(view: memoryview, position: int, end: int, name: str) -> _Entry:
    dims: list[int] = []
    word: bytes | None = None
    content: memoryview | None = None
    while position < end:
        key = view[position]
        if key == _DIM:
            dim, position = _varint(view, position + 1, end, name)
            if dim > len(view):  # no item is smaller than a byte
                signed = dim - (1 << 64) if dim >> 63 else dim
                raise CheckpointError(f"{name} has the dimension {signed:,}; the file has {len(view):,} bytes")
            if len(dims) == MAX_DIMS:
                raise CheckpointError(f"{name} has more than {MAX_DIMS} dimensions")
            dims.append(dim)
        elif key == _TYPE and word is None:
            start, position = _span(view, position + 1, end, name)
            word = bytes(view[start:position])
        elif key == _CONTENT and content is None:
            start, position = _span(view, position + 1, end, name)
            content = view[start:position]
        else:
            _fail_key(key, name)
    if word is None:
        raise CheckpointError(f"{name} has no tensor_type")
    if content is None:
        raise CheckpointError(f"{name} has no tensor_content")
    if word not in _DTYPES:
        known = ", ".join(known.decode() for known in _DTYPES)
        raise CheckpointError(f"{name} has the tensor_type {shown(word)}; expected one of {known}")
    return _Entry(name, tuple(dims), word, content)


def _varint(view: memoryview, position: int, end: int, where: str) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, seven to a byte, the lowest first; and where it ends."""
    if position < end and view[position] < 0x80:  # most numbers have one byte
        return view[position], position + 1
    value = 0
    for shift in range(0, 64, 7):
        if position == end:
            raise CheckpointError(f"{where} is cut off at byte {position:,}; the file is damaged, fetch it again")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value < 1 << 64:
            return value, position
    raise CheckpointError(f"{where} has a number of more than 64 bits before byte {position:,}")


def _span(view: memoryview, position: int, end: int, where: str) -> tuple[int, int]:
    """Where the bytes of a field start and stop, from the length before them."""
    length, start = _varint(view, position, end, where)
    if length > end - start:
        raise CheckpointError(
            f"{where} is cut off: {length:,} bytes declared at byte {position:,}, {end - start:,} are there; "
            "the file is damaged, fetch it again"
        )
    return start, start + length


def _fail_key(key: int, where: str) -> NoReturn:
    raise CheckpointError(
        f"{where} has the unexpected field {key >> 3} (wire type {key & 7}), or one twice; the file is damaged"
    )


def _fail_twice(name: str) -> NoReturn:
    raise CheckpointError(f"the name {name!r} occurs twice in the checkpoint")


def write_ckpt(arrays: Mapping[str, Array], *, crc: bool = False, slice_bytes: int = SLICE_BYTES) -> bytes:
    """Return the ``.ckpt`` with `arrays` in their order, byte for byte as MindSpore's ``save_checkpoint`` writes it.

    Args:
        arrays: name to array; bool, integers of 8 to 64 bits, float16, float32 or float64.
        crc: add the CRC-32 at the end, as ``save_checkpoint(..., crc_check=True)`` does.
        slice_bytes: larger tensors are written in slices of this many bytes.

    Raises:
        CheckpointError: a name or dtype that the format, or `read_ckpt`, does not allow.
    """
    parts: list[bytes | memoryview] = []
    for name, array in arrays.items():
        tag = name.encode("utf-8", "surrogateescape")
        readable_name(tag, "an array")
        array = np.asarray(array)
        little = array.dtype.newbyteorder("<")
        word = _WORDS.get(little)
        if word is None or array.ndim > MAX_DIMS:
            known = ", ".join(map(str, _WORDS))
            raise CheckpointError(
                f"{name} is {array.dtype} with {array.ndim} dimensions; a .ckpt holds up to {MAX_DIMS} and {known}"
            )
        dims = b"".join(b"\x08" + _number(dim) for dim in array.shape)
        head = dims + _field(_TYPE, len(word)) + word
        content = np.ascontiguousarray(array, dtype=little).reshape(-1).view(np.uint8).data
        for start in range(0, len(content) or 1, slice_bytes):
            piece = content[start : start + slice_bytes]
            inner = head + _field(_CONTENT, len(piece))
            outer = _field(_TAG, len(tag)) + tag + _field(_TENSOR, len(inner) + len(piece))
            parts += _field(_VALUE, len(outer) + len(inner) + len(piece)), outer, inner, piece
    if crc:
        total = 0
        for part in parts:
            total = zlib.crc32(part, total)
        parts.append(_CRC_WORD + total.to_bytes(10, "big"))
    return b"".join(parts)


def _number(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _field(key: int, length: int) -> bytes:
    return bytes((key,)) + _number(length)
