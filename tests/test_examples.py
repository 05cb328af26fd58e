"""Every example runs, and prints what it promises."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import osnet
from osnet.drawn.dataset import draw_dataset

ROOT = Path(__file__).parents[1]
MODEL = ("--model", "osnet_x0_25_drawn")


def run(example: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / example), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("examples") / "people"
    draw_dataset(root, identities=6, cameras=2, images_per_camera=2, seed=5, workers=1)
    return root


def test_there_is_a_test_for_each() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    services = Path(__file__).with_name("server").joinpath("test_examples.py").read_text(encoding="utf-8")
    for path in (ROOT / "examples").glob("*.*"):
        assert f'run("{path.name}"' in source or f'"examples/{path.name}"' in services or path.suffix == ".ipynb"


@pytest.mark.slow
def test_embed_a_folder_and_search_it(drawn: Path, tmp_path: Path) -> None:
    features = tmp_path / "gallery.npz"
    (drawn / "bounding_box_test" / "broken.jpg").write_bytes(b"no image")
    said = run("embed_folder.py", drawn / "bounding_box_test", features, *MODEL)
    assert "1 could not be read" in said
    assert "broken.jpg" in said
    query = min((drawn / "bounding_box_test").glob("0*_c1*.jpg"))
    first = run("search.py", features, query, *MODEL, "--count", 1)
    assert first.split() == ["1.000", str(query)]


@pytest.mark.slow
def test_boxes_of_a_video(drawn: Path, tmp_path: Path) -> None:
    people = sorted((drawn / "query").glob("*_c1*.jpg"))[:2]
    frame = np.full((160, 200, 3), 90, np.uint8)
    for number, lefts in enumerate([(10, 110), (110, 10)], 1):  # the two change places
        for left, path in zip(lefts, people):
            with Image.open(path) as picture:
                frame[10:138, left : left + 64] = picture
        Image.fromarray(frame).save(tmp_path / f"{number:06}.jpg", quality=95)
    boxes = [f"{n},-1,{left},10,64,128,1" for n in (1, 2) for left in (10, 110)]
    (tmp_path / "det.txt").write_text("\n".join([*boxes, "2,-1,900,10,64,128,1\n"]))
    said = run("video_boxes.py", tmp_path, tmp_path / "det.txt", *MODEL)
    assert re.findall(r"box (\d): box (\d)", said) == [("0", "1"), ("1", "0")]  # and nothing about the box outside


@pytest.mark.slow
def test_fine_tuning_with_a_loop_of_ones_own(drawn: Path, tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    for path in (drawn / "bounding_box_train").glob("*.jpg"):
        person = tmp_path / "people" / path.name[:4]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, person)
    said = run("fine_tune.py", tmp_path / "people", tmp_path / "mine.ckpt", *MODEL, "--steps", 3, "--batch-size", 8)
    losses = [float(value) for value in re.findall(r"loss ([\d.]+)", said)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert "(1, 512)" in said


@pytest.mark.slow
def test_the_notebook_runs_and_its_stored_output_is_what_it_prints(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cells = json.loads((ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in codes] == list(range(1, len(codes) + 1))  # stored as run from the top
    names: dict[str, object] = {}
    printed, stored = [], []
    for cell in codes:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        printed.append(capsys.readouterr().out)
        stored.append("".join("".join(output.get("text", [])) for output in cell["outputs"]))
    without_numbers = [re.sub(r"\d+(\.\d+)?|\s+", " ", text) for text in (*printed, *stored)]
    assert without_numbers[: len(codes)] == without_numbers[len(codes) :]
    found = names["found"]
    assert isinstance(found, osnet.Evaluation)
    assert [f"mAP {found.mAP:.3f}" in text for text in printed[5:7]] == [True, True]  # `rank` and `evaluate` agree
    (shown,) = re.findall(r"mAP ([\d.]+)", stored[6])
    assert found.mAP == pytest.approx(float(shown), abs=0.05)  # another Pillow draws slightly other people


def test_the_notebook_is_small_and_names_no_folder_of_its_author() -> None:
    text = (ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|Users)/", text)
    pictures = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", []) if "data" in output]
    assert len(pictures) == 4
    for output in pictures:
        with Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))) as picture:
            picture.load()
