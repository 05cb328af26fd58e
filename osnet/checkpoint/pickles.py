"""A pickle reader that makes plain values and nothing else.

Python's own unpickler calls whatever a pickle names, and hashes whatever stands as a key. Here `pickletools.genops`
splits a pickle into opcodes, and the machine below carries out those that plain values need. The caller says which
names are allowed. Time and memory are limited by the length of the pickle and `max_steps`.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable
from typing import Any

from osnet.errors import CheckpointError

MAX_ARGUMENTS = 16
"""Of one call. A pickle can pass the same long tuple to many calls."""

_MARK = object()
_KEYS = (str, bytes, int, float, bool, type(None))


class Built:
    """A value whose state the pickle may set after it is made."""

    def build(self, state: Any) -> None:
        raise NotImplementedError


def read_pickle(
    data: bytes,
    start: int,
    *,
    find: Callable[[str, str], Any],
    persistent: Callable[[Any], Any],
    max_steps: int,
) -> tuple[Any, int]:
    """Read the pickle that starts at byte `start` of `data`.

    Args:
        find: returns what a module and a name stand for: a function that is called with the pickle's arguments, or
            any other value. It raises CheckpointError for a name that is not allowed.
        persistent: returns the value for a persistent id.
        max_steps: cap on the opcodes that are carried out. An opcode of one byte can make an object of 64.

    Returns:
        The value of the pickle, and the position of the byte after it.

    Raises:
        CheckpointError: the pickle is damaged, or needs more than plain values and allowed names.
    """
    file = io.BytesIO(data)
    file.seek(start)
    machine = _Machine(find, persistent)
    try:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if step == max_steps:
                raise CheckpointError(f"the pickle in the file has more than {max_steps:,} steps, the most allowed")
            act = _OPCODES.get(opcode.name)
            if act is None:
                raise CheckpointError(
                    f"the pickle in the file uses opcode 0x{ord(opcode.code):02x} ({opcode.name}), which no tensor or "
                    "plain value needs; refused"
                )
            act(machine, argument)
        value = machine.pop()
    except (IndexError, struct.error, ValueError, TypeError, OverflowError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = f"{type(error).__name__}: {error}"[:200]
        raise CheckpointError(f"the pickle in the file is damaged or cut off ({reason})") from error
    if machine.stack:
        raise CheckpointError("the pickle in the file is damaged: values are left over at its end")
    return value, file.tell()


class _Machine:
    def __init__(self, find: Callable[[str, str], Any], persistent: Callable[[Any], Any]) -> None:
        self.find, self.persistent = find, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def ignore(self, _: Any) -> None:
        pass

    def text(self, text: str) -> None:
        text.encode()  # pickletools lets lone surrogates pass, which cannot be written again
        self.stack.append(text)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise CheckpointError("the pickle in the file is damaged: a mark stands in place of a value")
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
        value = self.pop()
        self.stack.append(value)
        self.memo[index] = value

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise CheckpointError("the pickle in the file is damaged: a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2]):
            # Hashing a tuple of tuples of tuples can take forever.
            if type(key) not in _KEYS:
                raise CheckpointError(f"the pickle in the file has a {type(key).__name__} as a key; refused")
            target[key] = value

    def reduce(self, _: Any) -> None:
        arguments, make = self.pop(), self.pop()
        if type(arguments) is not tuple or not callable(make):
            raise CheckpointError("the pickle in the file is damaged: a call of something that cannot be called")
        if len(arguments) > MAX_ARGUMENTS:
            raise CheckpointError(f"the pickle in the file has a call with {len(arguments):,} arguments; refused")
        self.stack.append(make(*arguments))

    def build(self, _: Any) -> None:
        state, value = self.pop(), self.stack[-1]
        if isinstance(value, Built):
            value.build(state)
        elif type(value) is not dict:  # an OrderedDict's own attributes, such as torch's _metadata, are not needed
            raise CheckpointError(f"the pickle in the file sets the state of a {type(value).__name__}; refused")

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise CheckpointError("the pickle in the file is damaged: a name that is not text")
        self.stack.append(self.find(module, name))


_Act = Callable[[_Machine, Any], Any]
_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "NONE")
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING")

_OPCODES: dict[str, _Act] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _Machine.ignore),
    **dict.fromkeys(_VALUES, lambda machine, value: machine.stack.append(value)),
    **dict.fromkeys(_TEXTS, _Machine.text),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE1": lambda machine, _: machine.stack.append((machine.pop(),)),
    "TUPLE2": lambda machine, _: machine.stack.append((machine.pop(), machine.pop())[::-1]),
    "TUPLE3": lambda machine, _: machine.stack.append((machine.pop(), machine.pop(), machine.pop())[::-1]),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, names: machine.stack.append(machine.find(*names.split(" ", 1))),
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "BUILD": _Machine.build,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: machine.stack.append(machine.memo[index])),
    "BINPERSID": lambda machine, _: machine.stack.append(machine.persistent(machine.pop())),
}
