from __future__ import annotations

import doctest
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from osnet import escaping
from osnet.escaping import name_of_text, printable, text_of_name


def test_the_examples() -> None:
    assert doctest.testmod(escaping).failed == 0


@given(st.text())
@example("a\x1b[31m\r\n\x9b2J\u202e\udcff")
def test_printable_text_is_one_line_of_printable_characters(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


@given(st.text(st.sampled_from("\\u0d5cf8é\udc80\udfff\ud800"), max_size=20) | st.text())
@example("\\u005cudcff")
@example("\\\udcff")
@example("\\u005c\udcff")
def test_every_name_is_written_as_valid_text_and_read_back(name: str) -> None:
    written = text_of_name(name)
    written.encode()
    assert name_of_text(written) == name


@pytest.mark.parametrize("name", ["plain.jpg", "行人.jpg", "C:\\users\\data", "line\nbreak", "\\x41", "\\u0041"])
def test_names_that_are_valid_text_are_not_touched(name: str) -> None:
    assert text_of_name(name) == name
    assert name_of_text(name) == name


@pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
def test_a_name_in_latin_1() -> None:
    name = os.fsdecode("bébé.jpg".encode("latin-1"))
    assert text_of_name(name) == r"b\udce9b\udce9.jpg"
    assert os.fsencode(name_of_text(text_of_name(name))) == "bébé.jpg".encode("latin-1")
