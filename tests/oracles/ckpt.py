"""The .ckpt wire format spelled out field by field: an encoder that also lies on request, and a slow decoder."""

from __future__ import annotations

import struct

SIZES = {"Bool": 1, "Int8": 1, "UInt8": 1, "Int16": 2, "UInt16": 2, "Int32": 4, "UInt32": 4, "Int64": 8, "UInt64": 8}
SIZES.update({"Float16": 2, "Float32": 4, "Float64": 8})


def varint(number: int) -> bytes:
    if number < 0:
        number += 2**64
    digits = []
    while True:
        digits.append(number % 128)
        number //= 128
        if not number:
            return bytes([digit + 128 for digit in digits[:-1]] + digits[-1:])


def field(number: int, payload: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(payload)) + payload


def dim(size: int) -> bytes:
    return varint(1 * 8 + 0) + varint(size)


def tensor(dims=(), kind=b"Float32", content=b"") -> bytes:
    """The tensor message; None leaves a part out."""
    parts = [dim(size) for size in dims]
    if kind is not None:
        parts.append(field(2, kind))
    if content is not None:
        parts.append(field(3, content))
    return b"".join(parts)


def entry(name=b"a.b", dims=(), kind=b"Float32", content=b"") -> bytes:
    return field(1, field(1, name) + field(2, tensor(dims, kind, content)))


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


class Bad(Exception):
    pass


def _fields(data: bytes) -> list[tuple[int, object]]:
    found, place = [], 0

    def number() -> int:
        nonlocal place
        value = 0
        for digit in range(10):
            if place >= len(data):
                raise Bad("cut off")
            byte = data[place]
            place += 1
            value += (byte % 128) * 128**digit
            if byte < 128:
                if value >= 2**64:
                    raise Bad("over 64 bits")
                return value
        raise Bad("over ten bytes")

    while place < len(data):
        key = data[place]
        place += 1
        if key % 8 == 0:
            found.append((key // 8, number()))
        elif key % 8 == 2:
            length = number()
            if place + length > len(data):
                raise Bad("cut off")
            found.append((key // 8, data[place : place + length]))
            place += length
        else:
            raise Bad("wire type")
    return found


def _once(found, number, kind):
    values = [value for key, value in found if key == number]
    if len(values) != 1 or not isinstance(values[0], kind):
        raise Bad(f"field {number}")
    return values[0]


def decode(data: bytes) -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    """Name to (shape, type, content) of a checkpoint without crc and bfloat16; raises Bad."""
    whole: dict[str, tuple[tuple[int, ...], str, bytes]] = {}
    open_name = None
    if not data:
        raise Bad("empty")
    for key, value in _fields(data):
        if key != 1 or not isinstance(value, bytes):
            raise Bad("not a value")
        inside = _fields(value)
        if {number for number, _ in inside} != {1, 2}:
            raise Bad("fields of a value")
        raw = _once(inside, 1, bytes)
        fields = _fields(_once(inside, 2, bytes))
        if not {number for number, _ in fields} <= {1, 2, 3}:
            raise Bad("fields of a tensor")
        dims = tuple(size for number, size in fields if number == 1)
        kind, content = _once(fields, 2, bytes), _once(fields, 3, bytes)
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("name") from None
        if not name or len(raw) > 512 or not name.isprintable() or kind.decode("latin-1") not in SIZES:
            raise Bad("name or type")
        if len(dims) > 8 or any(not isinstance(size, int) or size > len(data) for size in dims):
            raise Bad("dims")
        kind = kind.decode()
        expected = SIZES[kind]
        for size in dims:
            expected *= size
        if open_name is not None:
            shape, old_kind, start = whole[open_name]
            if name != open_name or shape != dims or kind != old_kind or not content:
                raise Bad("slices")
            content = start + content
        elif name in whole:
            raise Bad("twice")
        if dims == (0,) and open_name is None and len(content) == SIZES[kind]:
            dims, expected = (), SIZES[kind]
        if len(content) > expected or (len(content) < expected and not content) or expected > len(data):
            raise Bad("size")
        whole[name] = dims, kind, content
        open_name = name if len(content) < expected else None
        if open_name is None and kind == "Bool" and set(content) - {0, 1}:
            raise Bad("bool")
    if open_name is not None:
        raise Bad("size")
    return whole
