"""What a user installs has every card, and the weights that come with the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from osnet.hub.catalog import CARDS, list_cards

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_holds_every_card(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "osnet", source / "osnet", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for card in list_cards():
            name = f"osnet/hub/cards/{card.uid}.md"
            assert archive.read(name) == (CARDS / f"{card.uid}.md").read_bytes()
        page = {path.name for path in (ROOT / "osnet" / "server" / "page").iterdir()}
        assert {"index.html", "page.css", "main.js", "icon.svg"} <= page
        assert {name.rpartition("/")[2] for name in archive.namelist() if "server/page/" in name} == page
        weights = list(CARDS.rglob("*.ckpt"))
        assert [path.stem for path in weights] == ["osnet_x0_25_drawn"]
        for path in weights:
            assert archive.read(f"osnet/hub/cards/{path.relative_to(CARDS).as_posix()}") == path.read_bytes()
