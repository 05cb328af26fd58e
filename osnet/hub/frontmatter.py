"""The YAML at the top of a model card, read as plain text and nothing else.

The parser's events are walked by hand, so no constructor ever runs: a scalar is the text that stands there (``1.10``
is not ``1.1``), and tags, anchors, aliases, repeated keys and deep nesting are refused with the line they stand on.
"""

from __future__ import annotations

from typing import Any, NoReturn, Union

import yaml

from osnet.errors import CardError

MAX_BYTES = 64 * 1024
"""Largest card, in bytes."""

MAX_DEPTH = 8
MAX_TEXT = 4096
"""Longest value, in characters."""

Node = Union[str, "list[Any]", "dict[str, Any]"]


def decode(data: bytes, name: str) -> str:
    """`data` as text with ``\\n`` line ends; a byte order mark and CRLF are accepted.

    Raises:
        CardError: over 64 KiB, not UTF-8, or with control characters.
    """
    if len(data) > MAX_BYTES:
        raise CardError(f"{name}: expected a card of at most {MAX_BYTES} bytes, got {len(data)} or more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CardError(f"{name}, line {line}: expected UTF-8, got byte 0x{data[error.start]:02x}") from None
    text = text.replace("\r\n", "\n")
    for number, line_text in enumerate(text.split("\n"), 1):
        for character in line_text:
            if (character < " " and character != "\t") or character == "\x7f":
                raise CardError(
                    f"{name}, line {number}: expected text, got the control character 0x{ord(character):02x}"
                )
    return text


def split(text: str, name: str) -> tuple[str, int, str]:
    """(front matter, the number of its first line, body) of a card's text.

    The front matter stands between the first two lines that are ``---``; a heading may stand above it, and later such
    lines are rules in the body.
    """
    lines = text.split("\n")
    marks = [number for number, line in enumerate(lines) if line.rstrip() == "---"][:2]
    if len(marks) < 2:
        raise CardError(f"{name}: expected front matter between two lines '---', got {len(marks)} such line(s)")
    first, last = marks
    return "\n".join(lines[first + 1 : last]) + "\n", first + 2, "\n".join(lines[last + 1 :]).strip("\n")


def read_mapping(text: str, *, name: str, first_line: int) -> dict[str, Node]:
    """The mapping that the front matter `text` holds: values are text, lists or mappings of the same.

    Raises:
        CardError: naming the card and the line.
    """
    _check_depth(text, name, first_line)
    try:
        node = _Reader(text, name, first_line).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + first_line}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        raise CardError(f"{name}{line}: the front matter is not valid YAML: {problem}") from None
    if not isinstance(node, dict):
        raise CardError(f"{name}: expected the front matter to be 'key: value' lines, got {kind(node)}")
    return node


def _check_depth(text: str, name: str, first_line: int) -> None:
    """Refuse deep flow brackets before the parser sees them: its scanner is quadratic in unclosed ones."""
    for number, line in enumerate(text.split("\n"), first_line):
        if line.count("[") + line.count("{") > 8 * MAX_DEPTH:
            raise CardError(f"{name}, line {number}: expected lists nested at most {MAX_DEPTH} deep, got more brackets")


def kind(node: object) -> str:
    for kind_of, words in ((str, "text"), (list, "a list"), (dict, "a mapping")):
        if isinstance(node, kind_of):
            return words
    return "nothing"


class _Reader:
    """Builds the tree from parser events; never deeper than MAX_DEPTH, so recursion is bounded."""

    def __init__(self, text: str, name: str, first_line: int) -> None:
        self.events = yaml.parse(text, Loader=yaml.SafeLoader)
        self.name = name
        self.first_line = first_line

    def document(self) -> Node | None:
        node: Node | None = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.refuse(event, "expected one YAML document, got a second")
            elif isinstance(event, yaml.NodeEvent):
                node = self.node(event, 1)
        return node

    def node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            self.refuse(event, f"aliases are refused, got '*{event.anchor}'")
        if event.anchor is not None:
            self.refuse(event, f"anchors are refused, got '&{event.anchor}'")
        if event.tag is not None:
            self.refuse(event, f"tags are refused, got {event.tag!r:.120}")
        if depth > MAX_DEPTH:
            self.refuse(event, f"expected values nested at most {MAX_DEPTH} deep, got more")
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MAX_TEXT:
                self.refuse(event, f"expected at most {MAX_TEXT} characters in a value, got {len(event.value)}")
            return str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(depth)
        return self.mapping(depth)

    def sequence(self, depth: int) -> list[Node]:
        items: list[Node] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, depth + 1))
        return items

    def mapping(self, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.node(event, depth + 1)
            if not isinstance(key, str):
                self.refuse(event, f"expected a key that is text, got {kind(key)}")
            if key in found:
                self.refuse(event, f"the key {key!r} is given twice")
            found[key] = self.node(next(self.events), depth + 1)
        return found

    def refuse(self, event: Any, problem: str) -> NoReturn:
        raise CardError(f"{self.name}, line {event.start_mark.line + self.first_line}: {problem}")
