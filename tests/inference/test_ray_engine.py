"""Parts made by a real local Ray cluster of two workers, one of which is killed: the same folder as without Ray."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osnet.cli.app import app
from osnet.errors import DependencyError, OptionError
from osnet.inference.embedder import Embedder
from osnet.inference.shards import embed_shards
from osnet.inference.sources import Source

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray has no wheel for this Python")

RUN = """
import json, os, sys
from dataclasses import asdict
from osnet.errors import OsnetError
from osnet.inference.embedder import Embedder
from osnet.inference.ray_engine import embed_with_ray, import_ray
from osnet.inference.sources import Source
ray = import_ray()
ray.init(
    "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
    _node_ip_address="127.0.0.1",
)
embedder = Embedder("osnet_x0_25_drawn", batch_size=4)
failures = []
result = embed_with_ray(
    embedder, Source(["l.txt"]), "two", part_size=5, worker_cpus=1, on_failure=failures.append,
    progress=lambda done, _: print("done", done, flush=True),
)
print(json.dumps([asdict(result), failures]), flush=True)
for options in ({"strict": True, "out": "strict"}, {"part_size": 6, "out": "two"}):
    out = options.pop("out")
    try:
        embed_with_ray(embedder, Source(["l.txt"]), out, worker_cpus=1, **{"part_size": 5, **options})
    except OsnetError as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.mark.slow
@needs_ray
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the workers in /proc")
@pytest.mark.timeout(400)
def test_a_worker_that_is_killed_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), np.uint8)).save(tmp_path / f"in/{i:02}.png")
    (tmp_path / "in/07.png").write_bytes(b"bad")
    (tmp_path / "l.txt").write_text("".join(f"in/{i % 20:02}.png\n" for i in range(160)))
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("done"), process.stderr and process.stderr.read()
        below = descendants(process.pid)
        servers = [number for number, text in below.items() if "gcs_server" in text]
        for number in servers:  # Ray reports to nobody
            assert b"\0RAY_USAGE_STATS_ENABLED=0\0" in Path(f"/proc/{number}/environ").read_bytes()
        victims = [number for number, text in below.items() if text.startswith("ray::_remote_part")]
        assert servers
        assert victims
        os.kill(victims[0], signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err
    found, strict, mixed = out.splitlines()[-3:]
    result, failures = json.loads(found)
    assert (result["parts"], result["written"], result["failed"], result["there"]) == (32, 152, 8, 0)
    assert len(failures) == 8
    assert "in/07.png: not an image format" in failures[0]
    assert strict.startswith("ImageError in/07.png")
    assert mixed.startswith("DataError two: holds features that were made differently (part_size 5, now 6)")
    monkeypatch.chdir(tmp_path)
    embed_shards(Embedder("osnet_x0_25_drawn", batch_size=4), Source(["l.txt"]), "one", part_size=5)
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()
    }


def descendants(process: int) -> dict[int, str]:
    """Command lines of the processes that `process` and its descendants started."""
    parents, texts = {}, {}
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            number = int(path.name)
            parents[number] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            texts[number] = (path / "cmdline").read_bytes().decode(errors="replace")
    found: dict[int, str] = {}
    new = {process}
    while new:
        new = {number for number, parent in parents.items() if parent in new}
        found.update({number: texts[number] for number in new})
    return found


@needs_ray
@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--engine", "spark"], "--engine: expected one of local, ray, got 'spark'"),
        (["--engine", "ray", "--shard", "0/2"], "--shard divides parts among processes without Ray"),
        (["--engine", "ray", "--worker-cpus", "0"], "worker_cpus: expected an integer"),
        (["--worker-cpus", "2"], "--worker-cpus is for --engine ray"),
    ],
)
def test_the_command_refuses(options: list[str], match: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(OptionError, match=match):
        app(["embed", f"{tmp_path}/a.png", "-o", f"{tmp_path}/out/", "-m", "osnet_x0_25_drawn", *options],
            standalone_mode=False)  # fmt: skip


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DependencyError, match=r"--engine ray needs Ray \(.*\); install it: pip install 'osnet\[ray\]'"):
        app(["embed", f"{tmp_path}/a.png", "-o", f"{tmp_path}/out/", "--engine", "ray"], standalone_mode=False)
    assert not (tmp_path / "out").exists()
