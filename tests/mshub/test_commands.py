"""`osnet hub install`, `check` and `remove`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from osnet.cli import app as cli
from osnet.hub.card import Card
from tests.mshub.conftest import FILE, UID


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., object]:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["osnet", "hub", *words])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return (int(caught.value.code or 0), *capsys.readouterr())

    return run


def test_install_check_remove(card: Card, hub_dir: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    to = ("--hub-dir", str(hub_dir))
    assert run("check", *to)[0] == 2
    code, out, _ = run("install", str(card.path), *to)
    assert (code, out.split()[2]) == (0, str(hub_dir / "mindspore/1.6" / FILE))
    code, out, _ = run("check", *to)
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["ok"] * 4)
    (hub_dir / "mindspore/1.6" / FILE).write_bytes(b"")
    code, out, _ = run("check", str(card.path), "--json", *to)
    assert (code, [row["good"] for row in json.loads(out)]) == (1, [True, True, False, True])
    code, out, _ = run("remove", *to)
    assert (code, len(out.splitlines())) == (0, 2)  # the damaged file is not what was installed: it stays
    assert run("remove", *to)[0] == 2


def test_the_folder_is_mindspore_hubs_own(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert run("install", str(card.path))[0] == 0
    assert (tmp_path / f"me/.mscache/{UID}.md").is_file()
