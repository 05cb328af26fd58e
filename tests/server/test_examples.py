"""The examples of services run against a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Serve

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
TOKEN = "t" * 20


def said(*command: object) -> list[str]:
    environment = {**os.environ, "OSNET_TOKEN": TOKEN}
    words = [str(word) for word in command]
    run = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.slow
def test_the_service_in_python(serve: Serve, people: Path) -> None:
    client = serve(token=TOKEN)
    query = sorted((people / "query").glob("0003*.jpg"))[0]
    command = (sys.executable, ROOT / "examples/service.py", client.base_url, query, "--enrol", f"ann={query}")
    lines = said(*command, "--camera", "door")
    assert lines[:3] == ["ann: enrolled", f"{query}: ann", "1.000  ann  door"]
    assert len(lines) == 2 + 5
    assert said(*command, "--camera", "door")[0] == "ann: was there already"


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="no node here; install Node.js to run the example in JavaScript")
def test_the_service_in_javascript(serve: Serve, people: Path) -> None:
    client = serve(token=TOKEN)
    query = sorted((people / "bounding_box_test").glob("0003*.jpg"))[0]
    lines = said(NODE, ROOT / "examples/service.mjs", client.base_url, query)
    assert lines[:2] == [f"{query}: 0003", "1.000  0003  1"]
    assert len(lines) == 1 + 4
