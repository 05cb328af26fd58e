"""Safe reading of YAML from users: cards, configurations, ``--set``.

PyYAML's safe loader runs no code, but an alias bomb fills the memory, the last of two equal keys wins, and a date
or character that cannot be raises what Python likes. Tags, anchors, aliases, equal keys, deep nesting and long values
are refused.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from osnet.errors import OsnetError

MAX_BYTES = 64 * 1024
"""Largest file, in bytes."""

MAX_DEPTH = 8
MAX_TEXT = 4096
"""Longest value, in characters."""


def decode(data: bytes, name: str, *, error: type[OsnetError]) -> str:
    """`data` as text with ``\\n`` line ends; a byte order mark and CRLF are accepted.

    Args:
        data: the file's bytes, or its first `MAX_BYTES` + 1.
        name: of the file, for the message.
        error: what is raised.

    Raises:
        OsnetError: over 64 KiB, not UTF-8, or with control characters.
    """
    if len(data) > MAX_BYTES:
        raise error(f"{name}: expected at most {MAX_BYTES} bytes, got {len(data)} or more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise error(f"{name}, line {line}: expected UTF-8, got byte 0x{data[problem.start]:02x}") from None
    text = text.replace("\r\n", "\n")
    for number, line_text in enumerate(text.split("\n"), 1):
        for character in line_text:
            if (character < " " and character != "\t") or character == "\x7f":
                raise error(f"{name}, line {number}: expected text, got the control character 0x{ord(character):02x}")
    return text


def read_yaml(
    text: str, name: str, *, error: type[OsnetError], first_line: int = 1, values_as_text: bool = False
) -> Any:
    """What the YAML document `text` holds: mappings with keys that are text, lists, and values.

    Args:
        text: one document.
        name: where it came from, for the message.
        error: what is raised.
        first_line: its line in the file.
        values_as_text: leave each value as it is written: ``1.10`` is not the number 1.1.

    Raises:
        OsnetError: not YAML, or refused; the message names the line.
    """
    for number, line_text in enumerate(text.split("\n"), first_line):  # PyYAML is quadratic in a line's open brackets
        if line_text.count("[") + line_text.count("{") > 8 * MAX_DEPTH:
            raise error(f"{name}, line {number}: expected lists nested at most {MAX_DEPTH} deep, got more brackets")
    try:
        loader = (_TextLoader if values_as_text else _Loader)(text)
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError) as problem:  # of "%YAML 1.<5,000 digits>", "\UFFFFFFFF"
        mark = getattr(problem, "problem_mark", None)
        line = f", line {mark.line + first_line}" if mark else ""
        reason = getattr(problem, "problem", None) or getattr(problem, "reason", None) or str(problem)
        raise error(f"{name}{line}: cannot be read as YAML: {reason:.200}") from None


def kind(value: object) -> str:
    """`value`'s kind in the words of a message."""
    for kind_of, words in ((str, "text"), (list, "a list"), (dict, "a mapping"), (type(None), "nothing")):
        if isinstance(value, kind_of):
            return words
    return f"{value!r:.80}"


class _Loader(yaml.SafeLoader):
    """The safe loader, with what is refused checked before anything is built of it."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            _refuse(event, f"aliases are refused, got '*{event.anchor}'")
        if event.anchor is not None:
            _refuse(event, f"anchors are refused, got '&{event.anchor}'")
        if event.tag is not None:
            _refuse(event, f"tags are refused, got {event.tag!r}")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_TEXT:
            _refuse(event, f"expected at most {MAX_TEXT} characters in a value, got {len(event.value)}")
        if self.depth >= MAX_DEPTH:
            _refuse(event, f"expected values nested at most {MAX_DEPTH} deep, got more")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                _refuse(key_node, f"expected a key that is text, got {kind(key)}")
            if key in found:
                _refuse(key_node, f"the key {key!r:.80} is given twice")
            found[key] = self.construct_object(value_node, deep=deep)
        return found


class _TextLoader(_Loader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the base class declares it


def _refuse(event: Any, problem: str) -> None:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
