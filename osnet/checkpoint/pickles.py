"""A pickle reader that can make plain values and nothing else.

Python's own unpickler calls whatever a pickle names and trusts its sizes. This one knows the opcodes of protocols 2 to
5 that data needs, asks its caller for the few names that may stand in a file, and takes neither time nor memory beyond
what the length of the pickle and `max_steps` account for.

Reference: the opcodes are described in CPython's ``Lib/pickletools.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from osnet.errors import CheckpointError

MAX_ARGUMENTS = 16
"""Of one call. A pickle can hand the same long tuple to many."""

Make = Callable[..., Any]
"""Stands for a name in a pickle: called with the arguments that the pickle gives, it returns the value."""

_MARK = object()
_KEYS = (str, bytes, int, float, bool, type(None))


class Built:
    """A value whose state may be set by the pickle after it is made."""

    def build(self, state: Any) -> None:
        raise NotImplementedError


def read_pickle(
    data: memoryview,
    start: int,
    *,
    find: Callable[[str, str], Any],
    persistent: Callable[[Any], Any],
    max_steps: int,
) -> tuple[Any, int]:
    """The value of the pickle that starts at byte `start` of `data`, and the byte after it.

    Args:
        find: module and name to what stands for them: a `Make`, or any other value as it is. It raises
            CheckpointError for a name that is not allowed.
        persistent: what the pickle calls by a persistent id to the value.
        max_steps: cap on the opcodes that are carried out. One of a single byte can make an object of 64.

    Raises:
        CheckpointError: a damaged pickle, or one that asks for anything but plain values and allowed names.
    """
    try:
        return _Machine(data, start, find, persistent).run(max_steps)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError, TypeError, OverflowError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"the pickle in the file is damaged ({type(error).__name__}: {error})") from error


class _Machine:
    def __init__(
        self, data: memoryview, start: int, find: Callable[[str, str], Any], persistent: Callable[[Any], Any]
    ) -> None:
        self.data, self.position = data, start
        self.find, self.persistent = find, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, max_steps: int) -> tuple[Any, int]:
        data, opcodes = self.data, _OPCODES
        for _ in range(max_steps):
            code = data[self.position]
            self.position += 1
            if code == _STOP:
                value = self.pop()
                if self.stack:
                    raise CheckpointError("the pickle in the file is damaged: values are left over at its end")
                return value, self.position
            act = opcodes.get(code)
            if act is None:
                raise CheckpointError(
                    f"the pickle in the file uses opcode 0x{code:02x}, which no tensor or plain value needs; refused"
                )
            act(self)
        raise CheckpointError(f"the pickle in the file has more than {max_steps:,} steps, the most that is read")

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if end > len(self.data):
            raise CheckpointError(f"the pickle in the file is cut off at byte {len(self.data):,}")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise CheckpointError("the pickle in the file is damaged: a mark stands where a value should")
        return value

    def pop_to_mark(self) -> list[Any]:
        stack = self.stack
        for index in range(len(stack) - 1, -1, -1):
            if stack[index] is _MARK:
                items = stack[index + 1 :]
                del stack[index:]
                return items
        raise CheckpointError("the pickle in the file is damaged: a mark is missing")

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise CheckpointError(f"the pickle in the file is damaged: expected a {kind.__name__} to fill")
        return value

    def put(self, index: int) -> None:
        value = self.stack[-1]
        if value is _MARK:
            raise CheckpointError("the pickle in the file is damaged: a mark stands where a value should")
        self.memo[index] = value

    def line(self) -> str:
        window = bytes(self.data[self.position : self.position + 256])
        length = window.index(b"\n")
        self.position += length + 1
        return window[:length].decode("ascii")

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise CheckpointError("the pickle in the file is damaged: a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2]):
            # The hash of a tuple of tuples of tuples can take for ever.
            if type(key) not in _KEYS:
                raise CheckpointError(f"the pickle in the file has a {type(key).__name__} as a key; refused")
            target[key] = value

    def reduce(self) -> None:
        arguments, make = self.pop(), self.pop()
        if type(arguments) is not tuple or not callable(make):
            raise CheckpointError("the pickle in the file is damaged: a call of something that cannot be called")
        if len(arguments) > MAX_ARGUMENTS:
            raise CheckpointError(f"the pickle in the file has a call with {len(arguments):,} arguments; refused")
        self.stack.append(make(*arguments))

    def build(self) -> None:
        state, value = self.pop(), self.stack[-1]
        if isinstance(value, Built):
            value.build(state)
        elif type(value) is not dict:  # an OrderedDict's own attributes, such as torch's _metadata, are not needed
            raise CheckpointError(f"the pickle in the file sets the state of a {type(value).__name__}; refused")

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise CheckpointError("the pickle in the file is damaged: a name that is not text")
        self.stack.append(self.find(module, name))


_STOP = ord(".")
_Act = Callable[[_Machine], Any]


def _push(read: Callable[[_Machine], Any]) -> _Act:
    return lambda machine: machine.stack.append(read(machine))


def _constant(value: Any) -> _Act:
    return lambda machine: machine.stack.append(value)


def _text(size: int) -> _Act:
    return _push(lambda machine: str(machine.take(machine.number(size)), "utf-8"))


def _raw(size: int) -> _Act:
    return _push(lambda machine: bytes(machine.take(machine.number(size))))


def _old_text(size: int) -> _Act:
    """Python 2's str."""
    return _push(lambda machine: str(machine.take(machine.number(size)), "latin-1"))


def _tuple(size: int) -> _Act:
    return _push(lambda machine: tuple([machine.pop() for _ in range(size)][::-1]))


_OPCODES: dict[int, _Act] = {
    0x80: lambda machine: machine.take(1),  # PROTO
    0x95: lambda machine: machine.take(8),  # FRAME
    ord("("): _constant(_MARK),
    ord("0"): lambda machine: machine.stack.pop(),
    ord("1"): lambda machine: machine.pop_to_mark(),
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("J"): _push(lambda machine: int.from_bytes(machine.take(4), "little", signed=True)),
    ord("K"): _push(lambda machine: machine.number(1)),
    ord("M"): _push(lambda machine: machine.number(2)),
    0x8A: _push(lambda machine: int.from_bytes(machine.take(machine.number(1)), "little", signed=True)),  # LONG1
    ord("G"): _push(lambda machine: struct.unpack(">d", machine.take(8))[0]),
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("B"): _raw(4),
    ord("C"): _raw(1),
    0x8E: _raw(8),
    ord("T"): _old_text(4),
    ord("U"): _old_text(1),
    ord(")"): _tuple(0),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): _push(lambda machine: tuple(machine.pop_to_mark())),
    ord("]"): lambda machine: machine.stack.append([]),
    ord("a"): lambda machine: machine.extend([machine.pop()]),
    ord("e"): lambda machine: machine.extend(machine.pop_to_mark()),
    ord("}"): lambda machine: machine.stack.append({}),
    ord("s"): lambda machine: machine.set_items([machine.pop(), machine.pop()][::-1]),
    ord("u"): lambda machine: machine.set_items(machine.pop_to_mark()),
    ord("c"): _push(lambda machine: machine.find(machine.line(), machine.line())),
    0x93: _Machine.stack_global,
    ord("R"): _Machine.reduce,
    0x81: _Machine.reduce,  # NEWOBJ
    ord("b"): _Machine.build,
    ord("q"): lambda machine: machine.put(machine.number(1)),
    ord("r"): lambda machine: machine.put(machine.number(4)),
    0x94: lambda machine: machine.put(len(machine.memo)),  # MEMOIZE
    ord("h"): _push(lambda machine: machine.memo[machine.number(1)]),
    ord("j"): _push(lambda machine: machine.memo[machine.number(4)]),
    ord("Q"): _push(lambda machine: machine.persistent(machine.pop())),
}
