"""Escaping of text that leaves the program: what a terminal or a spreadsheet would execute, and invalid Unicode.

Inside the package a file name that is not UTF-8 (an archive with GBK or Latin-1 names, unpacked on Linux) is a ``str``
as Python's ``surrogateescape`` gives it: byte ``ff`` is the lone surrogate U+DCFF, and `open` finds the file again.
UTF-8 cannot hold that character, so in feature files, tables, JSON and HTML it is written as the six characters
``\\udcff``; `name_of_text` gives the name back.
"""

from __future__ import annotations

import re

_SURROGATE = r"ud[89a-f][0-9a-f]{2}"
_TO_WRITE = re.compile(rf"[\ud800-\udfff]|\\(?=(?:u005c)*{_SURROGATE})")
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_TO_READ = re.compile(rf"\\(?:{_SURROGATE}|u005c(?=(?:u005c)*{_SURROGATE}))")


def printable(text: object) -> str:
    r"""`text` as one line without terminal control characters.

    What `str.isprintable` refuses (escape sequences, line breaks, marks that turn the direction of writing) is shown
    as in a Python literal.

    >>> print(printable("a\x1b[31m\nosnet: all is well"))
    a\x1b[31m\nosnet: all is well
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def text_of_name(name: str) -> str:
    r"""`name` as valid Unicode: each lone surrogate as ``\udc80`` to ``\udfff``. All other names stay as they are.

    A backslash already before such digits becomes ``\u005c``, so that `name_of_text` is exact.

    >>> print(text_of_name("b\udce9b\udce9.jpg"))
    b\udce9b\udce9.jpg
    """
    return _TO_WRITE.sub(lambda found: f"\\u{ord(found[0]):04x}", name)


def name_of_text(text: str) -> str:
    r"""The name that `text_of_name` wrote as `text`.

    >>> name_of_text(r"b\udce9b\udce9.jpg") == "b\udce9b\udce9.jpg"
    True
    """
    return _TO_READ.sub(lambda found: chr(int(found[0][2:], 16)), text)


def cell_of_text(text: str) -> str:
    r"""`text` as a cell of a CSV file that no spreadsheet takes for a formula: ``'`` goes before ``=``, ``+``, ``-``,
    ``@`` (also in full width) and white space at its beginning.

    >>> print(cell_of_text("=1+1.jpg"), cell_of_text("a=1.jpg"))
    '=1+1.jpg a=1.jpg
    """
    return f"'{text}" if _FORMULA.match(text) else text


def text_of_cell(cell: str) -> str:
    """The text that `cell_of_text` wrote as `cell`."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell
