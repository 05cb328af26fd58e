"""The help of every command, the options that they share, and shell completion."""

# Without annotations from __future__, as in osnet/cli: typer reads those of a test's own command.

import inspect
import os
import subprocess
import sys
from typing import Any

import click
import pytest
import typer.main
from typer.testing import CliRunner

from osnet.cli import options
from osnet.cli.app import app
from osnet.hub.settings import FetchOptions

FETCHING = (
    "osnet fetch", "osnet convert", "osnet embed", "osnet export", "osnet eval", "osnet demo", "osnet hub install",
    "osnet serve",
)  # fmt: skip


def commands(command: Any, name: str = "osnet") -> dict[str, Any]:
    """Every command and group by what is typed."""
    found = {name: command}
    for one, inner in getattr(command, "commands", {}).items():
        found |= commands(inner, f"{name} {one}")
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(name: str, flag: str) -> None:
    result = CliRunner().invoke(app, [*name.split()[1:], flag], prog_name="osnet")
    assert result.exit_code == 0
    assert f"Usage: {name} " in result.output
    assert COMMANDS[name].help.splitlines()[0].split()[0] in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_has_a_help_text(name: str) -> None:
    assert COMMANDS[name].help
    callback = inspect.unwrap(COMMANDS[name].callback) if COMMANDS[name].callback else None
    arguments = inspect.signature(callback).parameters.values() if callback else ()
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not (
            parameter.hidden or parameter.name in ("install_completion", "show_completion")
        ):
            assert parameter.help, parameter.name
            assert parameter.help.endswith("."), parameter.help
    for argument in arguments:
        for info in getattr(argument.annotation, "__metadata__", ()):
            assert info.help or getattr(info, "hidden", False), argument.name


@pytest.mark.parametrize("name", FETCHING)
def test_the_options_for_fetching_are_the_same_everywhere(name: str) -> None:
    assert set(options._FETCH_OPTIONS) == set(FetchOptions.__annotations__) - {"force", "progress"}
    shown = {
        parameter.name: parameter.help for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)
    }
    first = {p.name: p.help for p in COMMANDS["osnet fetch"].params if isinstance(p, click.Option)}
    for keyword in options._FETCH_OPTIONS:
        assert shown[keyword] == first[keyword]


def test_options_reach_the_command_as_keywords_of_fetch() -> None:
    given: list[dict[str, Any]] = []

    @options.with_fetch_options
    def command(model: options.ModelArgument, *, fetch: dict[str, Any], as_json: options.AsJson = False) -> None:
        given.append(fetch)

    small = typer.Typer()
    small.command()(command)
    words = ["m", "--offline", "--mirror", "a", "--mirror", "b", "--timeout", "3", "--json"]
    assert CliRunner().invoke(small, words).exit_code == 0
    assert CliRunner().invoke(small, ["m"]).exit_code == 0
    assert given == [{"offline": True, "mirrors": ["a", "b"], "timeout": 3.0}, {}]


@pytest.mark.slow
def test_completion() -> None:
    def osnet(**environment: str) -> str:
        command = [sys.executable, "-m", "osnet"]
        return subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
        ).stdout

    assert osnet(_OSNET_COMPLETE="complete_bash", COMP_WORDS="osnet ev", COMP_CWORD="1").split() == ["eval"]
    assert osnet(_OSNET_COMPLETE="complete_bash", COMP_WORDS="osnet embed --ov", COMP_CWORD="2").split() == [
        "--overwrite"
    ]
    assert "complete_bash" in osnet(_OSNET_COMPLETE="source_bash")
