from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def osnet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "osnet", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "data"), "expected --out FOLDER for a new run, or --resume RUN"),
        (("train", "--out", "a", "--resume", "b"), "expected --out FOLDER"),
        (("train", "--resume", "b", "--epochs", "3"), "epochs cannot be changed"),
        (("train", "data", "--out", "a", "--set", "epoch=3"), "did you mean 'epochs'"),
        (("train", "data", "--out", "a", "--set", "epochs"), "expected KEY=VALUE, got 'epochs'"),
        (("train", "data", "--out", "a", "--set", "epochs=[1"), "--set epochs, line 1: cannot be read as YAML"),
        (("train", "data", "--out", "a", "--set", "epochs=2001-99-99"), "--set epochs: cannot be read as YAML: month"),
        (("synth", "out", "--video", "--workers", "2"), "--workers cannot be used with --video"),
        (("synth", "out", "--fps", "5"), "--fps cannot be used without --video"),
        (("synth", "out", "--video", "--size", "640"), "--size: expected WIDTHxHEIGHT in pixels, such as 640x360"),
        (("publish", "nothing"), "no run in 'nothing'"),
    ],
)
def test_used_wrongly_it_says_so_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = osnet(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


DEPRECATED = "--train-share is deprecated; use --train-fraction\n"


@pytest.mark.parametrize(("flag", "said"), [("--train-fraction", ""), ("--train-share", DEPRECATED)])
def test_synth_draws(flag: str, said: str, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    sizes = ("--identities", "3", "--cameras", "2", "--images-per-camera", "2", flag, "0.3")
    done = osnet("synth", str(out), *sizes, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == said
    found = json.loads(done.stdout)
    assert found["train"] == len(list((out / "bounding_box_train").iterdir())) == 4


def test_synth_draws_video(tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    sizes = ("--identities", "4", "--cameras", "2", "--seconds", "1", "--fps", "4", "--size", "160x90", "--seed", "3")
    done = osnet("synth", str(out), "--video", *sizes)
    assert done.returncode == 0, done.stderr
    boxes = sum(len((out / name / "gt" / "gt.txt").read_text().splitlines()) for name in ("camera1", "camera2"))
    assert done.stdout == f"{out}: 2 sequences, 8 frames, {boxes} boxes, {boxes} detections\n"
    assert "imWidth=160\nimHeight=90\n" in (out / "camera2" / "seqinfo.ini").read_text()
