"""The documents: their links lead somewhere, the commands in them exist, and the README's first lines run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

import osnet
from osnet.cli.app import app
from osnet.drawn.dataset import draw_dataset
from osnet.inference.bulk import embed_files
from osnet.inference.shards import embed_shards
from osnet.inference.sources import Source

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(ROOT.glob("docs/*.md"))
PLACES = r"`((?:osnet|tests|docs|examples|benchmarks)/[\w./-]+\.(?:py|md|yaml|json|npz|jinja)|(?:osnet|tests)/[\w/]+/)`"


def blocks(path: Path, *languages: str) -> Iterator[str]:
    for language, block in re.findall(r"^ *```(\w+)\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.S | re.M):
        if language in languages:
            yield block


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http:", "https:")):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    for place in re.findall(PLACES, text):
        assert (ROOT / place).exists(), place


def test_file_names_without_a_folder_are_files_of_the_package() -> None:
    known = {
        path.name for folder in ("osnet", "tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
    }
    known |= {path.name for path in ROOT.glob("*.py")}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert set(re.findall(r"`(\w+\.py)`", text)) <= {*known, "eval.py"}, document  # the model zoo's


def test_every_question_of_the_architecture_has_one_file_as_its_answer() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (Where .+\?) \| `(\S+)` \|$", text, re.M)
    assert len(rows) >= 20
    assert len(rows) == text.count("| Where ")
    for question, place in rows:
        assert (ROOT / place).exists(), question


def commands(path: Path) -> Iterator[list[str]]:
    for block in blocks(path, "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if "osnet" in line.split("#")[0] else []
            if words and words[0] == "osnet":
                yield words[1:]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_their_options_exist(document: Path) -> None:
    for words in commands(document):
        command = typer.main.get_command(app)
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            assert words[0] in command.commands, words
            command, words = command.commands[words[0]], words[1:]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
        assert used <= {*known, "--help", "-h"}, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_are_python(document: Path) -> None:
    for block in blocks(document, "python"):
        compile(block, document.name, "exec")


def test_the_architecture_names_every_folder_and_every_file_at_the_top() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "osnet"
    folders = {f"`osnet/{path.parent.name}/`" for path in package.glob("*/__init__.py")}
    files = {f"`osnet/{path.name}`" for path in package.glob("*.py")} - {"`osnet/__main__.py`", "`osnet/_version.py`"}
    assert {name for name in folders | files if name not in text} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["embed.md", "evaluate.md"])
def test_the_python_blocks_of_a_document_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_dataset("shop", identities=6, cameras=2, images_per_camera=2, seed=5, workers=1)
    first, second = sorted(Path("shop/query").glob("*.jpg"))[:2]
    shutil.copy(first, "a.jpg")
    shutil.copy(second, "b.jpg")
    embed_files(osnet.Embedder("osnet_x0_25_drawn"), ["a.jpg", "b.jpg"], "features.npz")
    Path("boxes.csv").write_text("path,x1,y1,x2,y2,person\na.jpg,0,0,60,120,ann\nb.jpg,,,,,bob\n")
    embed_shards(osnet.Embedder("osnet_x0_25_drawn"), Source(["boxes.csv"]), "features")
    names = {"frame": np.zeros((300, 200, 3), np.uint8), "xyxy": [[10, 10, 60, 150], [500, 10, 560, 150]]}
    code = list(blocks(ROOT / "docs" / name, "python"))
    assert code
    for block in code:
        exec(block.replace("osnet_msmt17", "osnet_x0_25_drawn").replace("own.ckpt", "osnet_x0_25_drawn"), names)
    if name == "embed.md":
        assert np.asarray(names["files"]).tolist() == ["a.jpg", "b.jpg"]
        assert names["features"].shape == (2, 512)
        assert names["people"]["person"].to_pylist() == ["ann", "bob"]
    else:
        assert names["found"].ranking.valid_queries == 6


@pytest.mark.slow
def test_the_first_lines_of_the_readme_run(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shell = next(block for block in blocks(ROOT / "README.md", "sh") if "osnet synth" in block)
    for line in shell.splitlines():
        words = shlex.split(line, comments=True)
        run = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
        )
        assert run.returncode == 0, run.stderr
    assert (tmp_path / "report" / "report.html").exists()
    code = next(blocks(ROOT / "README.md", "python"))
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    similarities = [float(line.split()[0]) for line in run.stdout.splitlines()]
    assert len(similarities) == 5
    assert similarities[0] == pytest.approx(1, abs=1e-3)
    assert similarities == sorted(similarities, reverse=True)
