"""The one YAML reader: what it builds, and what it refuses in one line that names the place."""

from __future__ import annotations

import pytest

from osnet.errors import OptionError
from osnet.yaml_files import MAX_BYTES, decode, read_yaml

BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi"))
HOSTILE = {
    "bomb": (BOMB, "line 3: .*anchors"),
    "alias": ("a: *b", "line 3: .*aliases"),
    "tag": ("a: !!python/name:os.system x", "line 3: .*tags"),
    "twice": ("a: 1\na: 2", "line 4: .*'a' is given twice"),
    "deep": ("a:\n" + "".join(" " * depth + "-\n" for depth in range(1, 20)), "nested at most 8"),
    "brackets": ("a: " + "[" * 3000, "line 3: .*brackets"),
    "long": ("a: " + "9" * 5000, "line 3: .*4096 characters, got 5000|line 3: .*at most 4096"),
    "character": (r'a: "\UFFFFFFFF"', "cannot be read as YAML"),
    "directive": ("%YAML 1." + "1" * 5000 + "\n---\na: 1", "cannot be read as YAML"),
    "two": ("a: 1\n---\nb: 1", "line 4: .*single document|line 4: .*another document"),
    "cut": ("a: [1", "cannot be read as YAML"),
    "invisible": ("a: \ufffe", "cannot be read as YAML"),
}


@pytest.mark.parametrize("values_as_text", [False, True], ids=["typed", "text"])
@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_hostile_is_refused_in_one_line(case: str, values_as_text: bool) -> None:
    text, message = HOSTILE[case]
    with pytest.raises(OptionError, match=message) as caught:
        read_yaml(text, "x.yaml", error=OptionError, first_line=3, values_as_text=values_as_text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["a: 2001-99-99", "<<: {a: 1}", "1: 2", "? [a]\n: b"])
def test_what_only_the_typed_reader_could_misread(text: str) -> None:
    with pytest.raises(OptionError, match=r"x\.yaml"):
        read_yaml(text, "x.yaml", error=OptionError)


def test_values_are_typed_or_stay_as_they_are_written() -> None:
    text = "a: 1.10\nb: [083, yes, ~]\nc: {d: 2022-03-30, e: }\n"
    written = {"a": "1.10", "b": ["083", "yes", "~"], "c": {"d": "2022-03-30", "e": ""}}
    assert read_yaml(text, "x", error=OptionError, values_as_text=True) == written
    found = read_yaml(text, "x", error=OptionError)
    assert (found["a"], found["b"], found["c"]["e"]) == (1.1, ["083", True, None], None)


def test_bytes_that_are_no_text() -> None:
    assert decode(b"\xef\xbb\xbfa: 1\r\n", "x", error=OptionError) == "a: 1\n"
    for data, message in ((b"a\n\xff", "line 2: expected UTF-8"), (b"\x1b", "0x1b"), (b"x" * (MAX_BYTES + 1), "65536")):
        with pytest.raises(OptionError, match=message):
            decode(data, "x", error=OptionError)
