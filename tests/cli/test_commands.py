"""Every command as a user types it, in a process of its own where exit codes and streams matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osnet.checkpoint.mindspore import write_ckpt
from osnet.inference.feature_files import read_features
from osnet.variants import VARIANTS
from tests.recipe import recipe_arrays

pytestmark = pytest.mark.slow


def osnet(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "osnet", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OSNET_OFFLINE": "1", **environment},
    )


def refused(run: subprocess.CompletedProcess[str], *parts: str) -> None:
    """One line on stderr, nothing on stdout, exit code 2."""
    assert run.returncode == 2, run.stdout + run.stderr
    assert run.stdout == ""
    assert len(run.stderr.strip().splitlines()) == 1, run.stderr
    for part in parts:
        assert part in run.stderr


def test_no_thread_to_be_had_is_one_line() -> None:
    code = (
        "import osnet.cli.models as models, sys\n"
        'def refuse(*args, **options): raise RuntimeError("can\'t start new thread")\n'
        "import osnet.hub.catalog; osnet.hub.catalog.list_cards = refuse\n"
        "sys.argv = ['osnet', 'list']\n"
        "from osnet.cli.app import main; main()\n"
    )
    refused(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True), "can't start new thread")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("w") / "own.ckpt"
    path.write_bytes(write_ckpt(recipe_arrays(VARIANTS["osnet_x0_25"])))
    return path


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    folder = tmp_path / "crops"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (128, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return folder


def test_list_names_networks_and_cards() -> None:
    found = json.loads(osnet("list", "--json").stdout)
    assert [n["name"] for n in found["networks"]] == list(VARIANTS)
    assert len(found["cards"]) >= 18
    text = osnet("list").stdout
    assert "mindspore/1.6/osnet_dukemtmc" in text
    assert "osnet_market1501" in text


def test_info_of_an_exported_file(checkpoint: Path, tmp_path: Path) -> None:
    run = osnet("export", checkpoint, tmp_path / "a.onnx", "--for", "boxmot", "--json")
    assert json.loads(run.stdout)["least_cosine"] > 0.99999
    found = json.loads(osnet("info", tmp_path / "a.onnx", "--json").stdout)
    assert (found["takes"], found["input"]) == ("images, float32, any x 3 x 256 x 128", "normalized")
    assert found["checkpoint_sha256"] == json.loads(osnet("info", checkpoint, "--json").stdout)["sha256"]
    refused(osnet("export", checkpoint, tmp_path / "a.onnx"), "exists; remove it or ask to overwrite it")


def test_info_of_a_card_a_network_and_a_file(checkpoint: Path) -> None:
    card = json.loads(osnet("info", "osnet_market1501", "--json").stdout)
    assert card["uid"] == "mindspore/1.10/osnet_market1501"
    assert card["claimed_evaluation"] == "mAP83.0"
    assert card["cached"] is False
    assert json.loads(osnet("info", "osnet_ain_x0_5", "--json").stdout)["network"] == "osnet_ain_x0_5"
    file = json.loads(osnet("info", checkpoint, "--json").stdout)
    assert file["batch_norm"] == "with statistics"
    assert (file["network"], file["classifier"]) == ("osnet_x0_25", 10)
    refused(osnet("info", "osnet_markt1501"), "osnet_market1501")


def test_embed_writes_features_and_json(checkpoint: Path, crops: Path, tmp_path: Path) -> None:
    run = osnet("embed", crops, "-m", checkpoint, "-o", tmp_path / "f.npz", "--precision", "fp32", "--json")
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert json.loads(run.stdout)["written"] == 3
    names, features, about = read_features(tmp_path / "f.npz")
    assert [Path(name).name for name in names] == ["0.jpg", "1.jpg", "2.jpg"]
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert about["sha256"] == json.loads(osnet("info", checkpoint, "--json").stdout)["sha256"]
    again = ("embed", crops / "1.jpg", "-m", checkpoint, "-o", tmp_path / "f.npz")
    refused(osnet(*again), "f.npz' exists", "--overwrite")
    assert len(read_features(tmp_path / "f.npz")[0]) == 3
    assert osnet(*again, "--overwrite").returncode == 0
    assert len(read_features(tmp_path / "f.npz")[0]) == 1


def test_embed_names_what_it_leaves_out(checkpoint: Path, crops: Path, tmp_path: Path) -> None:
    (crops / "1.jpg").write_bytes((crops / "1.jpg").read_bytes()[:300])
    run = osnet("embed", crops, "-m", checkpoint, "-o", tmp_path / "f.csv")
    assert run.returncode == 1
    assert "left out" in run.stderr
    assert "1.jpg" in run.stderr
    assert len(read_features(tmp_path / "f.csv")[0]) == 2
    refused(osnet("embed", crops, "-m", checkpoint, "-o", tmp_path / "g.csv", "--strict"), "1.jpg")
    assert not (tmp_path / "g.csv").exists()


def test_embed_refuses_what_makes_no_sense(checkpoint: Path, crops: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.mp4").write_bytes(b"x")
    (tmp_path / "resnet.safetensors").write_bytes(_resnet())
    refused(osnet("embed", tmp_path / "empty", "-m", checkpoint, "-o", out), "no images")
    refused(osnet("embed", tmp_path / "film.mp4", "-m", checkpoint, "-o", out), "video")
    refused(osnet("embed", tmp_path / "gone", "-m", checkpoint, "-o", out), "no such file")
    refused(osnet("embed", crops, "-m", checkpoint, "-o", tmp_path / "f.txt"), ".npz, .parquet, .csv")
    refused(osnet("embed", crops, "-m", tmp_path / "resnet.safetensors", "-o", out), "resnet.safetensors")
    refused(osnet("embed", crops, "-m", "osnet_x0_25", "-o", out), "no weights are published")
    refused(osnet("embed", crops, "-m", "osnet", "-o", out), "offline")
    refused(osnet("embed", crops, "-m", checkpoint, "-o", out, "--precision", "int8"), "auto, fp32, bf16")
    refused(osnet("embed", crops, "-m", checkpoint, "-o", out, "--colour", "bgr"), "--colour")
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def _resnet() -> bytes:
    from safetensors.numpy import save

    return save({"layer1.0.conv1.weight": np.zeros((4, 4, 3, 3), np.float32)})


def test_convert_there_and_back(checkpoint: Path, tmp_path: Path) -> None:
    assert osnet("convert", checkpoint, tmp_path / "a.pth").returncode == 0
    assert osnet("convert", tmp_path / "a.pth", tmp_path / "b.safetensors").returncode == 0
    run = osnet("convert", tmp_path / "b.safetensors", tmp_path / "c.ckpt", "--json")
    assert json.loads(run.stdout)["network"] == "osnet_x0_25"
    again = json.loads(osnet("convert", checkpoint, tmp_path / "d.ckpt", "--json").stdout)
    assert again["classifier"] == 10
    assert (tmp_path / "c.ckpt").read_bytes() == (tmp_path / "d.ckpt").read_bytes()
    refused(osnet("convert", checkpoint, tmp_path / "a.pth"), "exists")
    assert osnet("convert", "osnet_x0_25_drawn", tmp_path / "f.pth").returncode == 0
    refused(osnet("convert", Path("assets.md"), tmp_path / "e.pth"), "offline")
    refused(osnet("convert", "osnet_x0_25_drawn", tmp_path / "e.onnx"), "e.onnx")


def test_verify_a_file_and_the_cache(checkpoint: Path, tmp_path: Path) -> None:
    run = osnet("verify", checkpoint)
    assert run.returncode == 0
    assert "valid" in run.stdout
    assert "osnet_x0_25" in run.stdout
    (tmp_path / "cut.ckpt").write_bytes(checkpoint.read_bytes()[:-100])
    run = osnet("verify", tmp_path / "cut.ckpt", "--json")
    assert run.returncode == 1
    assert json.loads(run.stdout)[0]["state"] == "damaged"
    refused(osnet("verify", "osnet"), "offline")


def test_a_file_from_a_colleague_is_added(checkpoint: Path, tmp_path: Path) -> None:
    from osnet.hub.cache import cache_path
    from osnet.hub.catalog import get_card
    from osnet.hub.fetch import file_beside

    card = get_card("osnet_x0_25_drawn")
    run = osnet("cache", "add", file_beside(card), "--cache-dir", tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{cache_path(tmp_path, card)}\n", "")
    assert "valid" in osnet("verify", OSNET_CACHE=str(tmp_path)).stdout
    refused(osnet("cache", "add", checkpoint, "--cache-dir", tmp_path), "none of", "osnet/2.8/osnet_x0_25_drawn")


def test_a_damaged_cache_fails_and_can_be_emptied(tmp_path: Path) -> None:
    from osnet.hub.cache import cache_path
    from osnet.hub.catalog import get_card

    cached = cache_path(tmp_path, get_card("osnet"))
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"not it")
    run = osnet("verify", OSNET_CACHE=str(tmp_path))
    assert run.returncode == 1
    assert str(cached) in run.stdout
    listed = json.loads(osnet("cache", "--json", OSNET_CACHE=str(tmp_path)).stdout)
    assert [(row["path"], row["size"]) for row in listed] == [(str(cached), 6)]
    assert osnet("cache", "remove", "osnet", OSNET_CACHE=str(tmp_path)).returncode == 0
    assert not cached.exists()
    refused(osnet("cache", "remove", "osnet", OSNET_CACHE=str(tmp_path)), "osnet")


def test_ctrl_c_says_so_in_one_line(checkpoint: Path, crops: Path, tmp_path: Path) -> None:
    for i in range(300):
        (crops / f"more{i}.jpg").write_bytes((crops / "0.jpg").read_bytes())
    words = ["embed", str(crops), "-m", str(checkpoint), "-o", str(tmp_path / "f.npz"), "--batch-size", "1"]
    run = subprocess.Popen([sys.executable, "-m", "osnet", *words], stderr=subprocess.PIPE, text=True)
    waited = time.monotonic() + 30
    while not list(tmp_path.glob(".*.part")) and time.monotonic() < waited:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=30)
    assert run.returncode == 130
    assert stderr.strip() == "osnet: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


def test_conversion_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    counters = {f"counter{i}": np.array([i], np.int32) for i in range(20)}
    (tmp_path / "own.ckpt").write_bytes(write_ckpt({**recipe_arrays(VARIANTS["osnet_x0_25"]), **counters}))
    assert osnet("convert", tmp_path / "own.ckpt", tmp_path / "a.safetensors").returncode == 0
    for name in ("b.ckpt", "c.ckpt", "d.ckpt"):
        assert osnet("convert", tmp_path / "a.safetensors", tmp_path / name).returncode == 0
    assert len({(tmp_path / name).read_bytes() for name in ("b.ckpt", "c.ckpt", "d.ckpt")}) == 1


def test_a_cache_that_is_a_file_is_said(checkpoint: Path) -> None:
    for words in (["cache"], ["verify"], ["fetch"]):
        refused(osnet(*words, OSNET_CACHE=str(checkpoint)), "is not a folder; set OSNET_CACHE to one")


def test_version_help_and_debug(checkpoint: Path) -> None:
    from osnet import __version__

    assert osnet("--version").stdout.strip() == __version__
    run = osnet()
    assert run.returncode == 0
    assert "Commands" in run.stdout
    run = osnet("info", "nonsense", "--debug")
    assert run.returncode == 2
    assert "Traceback" in run.stderr
    refused(osnet("nonsense"), "nonsense")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    run = subprocess.run(f"{sys.executable} -m osnet list | head -n 1", shell=True, capture_output=True, text=True)
    assert run.stdout.startswith("Networks")
    assert "Traceback" not in run.stderr
