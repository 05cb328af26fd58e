"""What leaves the commands: one printable line for each thing said, and streams that are closed or full."""

from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import osnet.cli
from osnet.cli.options import print_json, say

HOSTILE = "a\x1b]0;title\x07\x9b2J\nosnet: all is well\r\u202egpj\udcff"
CLI = Path(osnet.cli.__file__).parent


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`command` by bash, `osnet` in it being this interpreter's."""
    osnet_here = f"{shlex.quote(sys.executable)} -m osnet"
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; osnet() {{ {osnet_here} "$@"; }}; {command}'],
        capture_output=True,
        text=True,
        env={**os.environ, "OSNET_OFFLINE": "1", **environment},
    )


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_commands_print_in_one_way_only(path: Path) -> None:
    if path.stem == "options":
        return
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not {"print", "typer.echo", "click.echo", "sys.stdout.write", "sys.stderr.write"} & set(
        map(ast.unparse, calls)
    )


@pytest.mark.parametrize("err", [False, True])
def test_a_hostile_value_is_one_line_that_a_terminal_does_not_obey(
    err: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    say(f"file {HOSTILE}", err=err)
    captured = capsys.readouterr()
    line = captured.err if err else captured.out
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert r"\x1b]0;title\x07\x9b2J\nosnet: all is well\r\u202egpj\udcff" in line


def test_json_is_printable_valid_and_the_same_value(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"path": HOSTILE, "行人": [1, None, True, 0.5, "\x7f\U000e0001é"]}
    print_json(value)
    text = capsys.readouterr().out
    text.encode()
    assert all(line.isprintable() for line in text.splitlines())
    assert "行人" in text
    found = json.loads(text)
    assert found["行人"] == value["行人"]
    assert found["path"] == HOSTILE.replace("\udcff", r"\udcff")


@pytest.mark.slow
def test_errors_warnings_and_logs_are_escaped(tmp_path: Path) -> None:
    """Through `main`: a hostile argument, a card with a hostile value, and the same with --debug."""
    card = tmp_path / "bad.md"
    seed = Path(__file__).parents[2].joinpath("assets.md").read_text()
    card.write_text(seed.replace("license:", r'"\e[31mkey\nosnet: fine": x' + "\nlicense:", 1))
    for words in (f"info {shlex.quote(HOSTILE[:-1])}", f"info {card}", f"--debug info {shlex.quote(HOSTILE[:-1])}"):
        run = shell(f"osnet {words}")
        assert all(line.isprintable() for line in (run.stdout + run.stderr).splitlines()), (words, run.stderr)
        assert "\nosnet: all is well" not in run.stderr
        assert "\nosnet: fine" not in run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("osnet list | head -1 >/dev/null", 141, ""),
        ("osnet list >&-", 2, "osnet: cannot write to standard output: it is closed\n"),
        ("osnet list --json >&-", 2, "osnet: cannot write to standard output: it is closed\n"),
        ("osnet list >&- 2>&-", 2, ""),
        ("osnet list >/dev/full", 2, "osnet: cannot write to standard output: No space left on device\n"),
        ("osnet info nobody 2>&-", 2, ""),
        ("osnet info nobody 2>/dev/full", 2, ""),
        ("osnet doctor nowhere 2>&- >&-", 2, ""),
    ],
)
def test_a_stream_that_is_closed_or_full_is_said_in_one_line(command: str, code: int, said: str) -> None:
    run = shell(command)
    assert (run.returncode, run.stderr) == (code, said)


@pytest.mark.slow
def test_an_ascii_terminal_gets_escapes(tmp_path: Path) -> None:
    run = shell("osnet verify /tmp/zwölf.ckpt", PYTHONIOENCODING="ascii")
    assert r"/tmp/zw\xf6lf.ckpt" in run.stdout
