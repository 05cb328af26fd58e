"""`osnet eval`, `osnet doctor` and `osnet demo` as a user types them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from osnet.checkpoint.mindspore import write_ckpt
from osnet.escaping import text_of_name
from osnet.evaluation.calibration import read_calibration
from osnet.variants import VARIANTS
from tests.cli.test_commands import osnet, refused
from tests.data_sets import good_market, image
from tests.recipe import recipe_arrays

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("w") / "own.ckpt"
    path.write_bytes(write_ckpt(recipe_arrays(VARIANTS["osnet_x0_25"])))
    return path


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good_market(tmp_path_factory.mktemp("data") / "market")  # a parent of its own, for "too high"


def test_the_documentation_names_real_options() -> None:
    import typer

    from osnet.cli.app import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    options = [option for name in ("eval", "doctor", "demo", "embed") for option in commands[name].params]
    known = {word for option in options for word in (*option.opts, *option.secondary_opts)}
    text = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)) <= known


def test_all_pairs_as_json_in_the_promised_schema(checkpoint: Path, market: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    for i, name in enumerate(("ann_cam1", "ann_cam2", "bob_cam1", "bob_cam2")):
        image(folder / name[:3] / f"{name}.jpg", seed=i)
        image(folder / name[:3] / f"{name}_more.jpg", seed=i + 10)
    run = osnet("eval", "-m", checkpoint, "-d", market, "-d", folder, "--json")
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    results = json.loads(run.stdout)["results"]
    assert [(row["model"], row["data"]) for row in results] == [
        (str(checkpoint), str(market)),
        (str(checkpoint), str(folder)),
    ]
    for row in results:
        assert {"model", "data", "mAP", "cmc", "mINP", "valid_queries"} <= set(row)
        assert set(row["cmc"]) == {"1", "5", "10", "20"}
        assert 0 <= row["mAP"] <= 1
        assert row["valid_queries"] == 4
    assert [row["dataset"] for row in results] == ["market1501", "folder"]


def test_table_calibration_and_report(checkpoint: Path, market: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    run = osnet("eval", "-m", checkpoint, "-d", market, "--calibrate", out, "--report", tmp_path / "report", "--flip")
    assert run.returncode == 0, run.stderr
    for words in (
        "own.ckpt",
        "Rank-1",
        "flip",
        "Rank-k is CMC at k",
        "unreliable: too few",
        str(tmp_path / "report"),
    ):
        assert words in run.stdout
    calibration = read_calibration(out)
    assert calibration.checkpoint_sha256 == json.loads(osnet("info", checkpoint, "--json").stdout)["sha256"]
    assert (calibration.flip, calibration.data, calibration.genuine_pairs) == (True, (str(market),), 4)
    made_by = (calibration.backend, calibration.precision, calibration.pool)
    assert f"{made_by[1]} by {made_by[0]}" in run.stdout
    assert made_by[2] is None
    assert (tmp_path / "report" / "report.html").stat().st_size > 100_000


def test_an_exported_network_is_scored_itself(checkpoint: Path, market: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.xml"
    assert osnet("export", checkpoint, file).returncode == 0
    run = osnet("eval", "-m", checkpoint, "-m", file, "-d", market, "--report", tmp_path / "report", "--json")
    assert run.returncode == 0, run.stderr
    weights, exported = json.loads(run.stdout)["results"]
    assert exported["model"] == str(file)
    for key in ("network", "sha256", "size"):
        assert exported[key] == weights[key]
    assert exported["mAP"] == pytest.approx(weights["mAP"], abs=0.1)  # random weights: rounding can turn two ranks
    needs_weights = "Activation maps need the weights"
    assert needs_weights not in (tmp_path / "report" / "1" / "report.html").read_text()
    page = (tmp_path / "report" / "2" / "report.html").read_text()
    assert needs_weights in page
    assert "could not be drawn" not in page
    assert not (tmp_path / "report" / "2" / "activation.png").exists()


def test_names_that_are_not_utf_8_from_end_to_end(checkpoint: Path, tmp_path: Path) -> None:
    """An archive with Latin-1 names, as it is unpacked on Linux."""
    accent = os.fsdecode(b"\xe9")
    folder, cache = tmp_path / f"donn{accent}es", tmp_path / f"ca{accent}"
    for i, person in enumerate((f"andr{accent}", "bo")):
        for camera in (1, 2):
            for shot in "ab":
                image(folder / person / f"{shot}{accent}_cam{camera}.jpg", seed=20 * i + 10 * camera + ord(shot))
    out = tmp_path / f"r{accent}"
    run = osnet(
        "eval", "-m", checkpoint, "-d", folder, "--cache-dir", cache, "--report", out, "--calibrate", f"{out}.json"
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert r"donn\udce9es" in run.stdout
    assert r"\udce9_cam1.jpg" in (out / "report.html").read_text(encoding="utf-8")
    assert read_calibration(f"{out}.json").data == (text_of_name(str(folder)),)
    run = osnet("doctor", folder, "--json")
    assert json.loads(run.stdout)["data"].endswith(r"donn\udce9es")
    kept = image(cache / f"lost{accent}.ckpt.png").rename(cache / f"lost{accent}.ckpt")
    (listed,) = [row["path"] for row in json.loads(osnet("cache", "--cache-dir", cache, "--json").stdout)]
    assert osnet("cache", "remove", listed, "--cache-dir", cache).stdout == f"removed {text_of_name(str(kept))}\n"
    assert not kept.exists()


def test_figures_stand_when_the_report_fails(checkpoint: Path, market: Path, tmp_path: Path) -> None:
    (tmp_path / "report" / "report.html").mkdir(parents=True)  # a folder where the page would go
    run = osnet(
        "eval",
        "-m",
        checkpoint,
        "-d",
        market,
        "--rerank",
        "--k1",
        3,
        "--lambda",
        0.5,
        "--report",
        tmp_path / "report",
        "--json",
    )
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "report.html" in run.stderr
    (row,) = json.loads(run.stdout)["results"]
    assert row["valid_queries"] == 4
    assert row["rerank_settings"] == {"k1": 3, "k2": 6, "lambda": 0.5}


def test_figures_stand_when_the_next_data_set_fails(checkpoint: Path, market: Path, tmp_path: Path) -> None:
    broken = good_market(tmp_path / "broken")
    for victim in sorted((broken / "query").iterdir(), reverse=True):
        victim.write_bytes(victim.read_bytes()[:100])
    run = osnet("eval", "-m", checkpoint, "-d", market, "-d", broken, "--rerank")
    assert run.returncode == 2
    assert "own.ckpt" in run.stdout
    assert "rerank (k1 20, k2 6, lambda 0.3)" in run.stdout
    assert "k1 = 20 nearest images, but the gallery has 4" in run.stdout
    assert len(run.stderr.splitlines()) == 1
    assert victim.name in run.stderr


def test_eval_refuses_what_makes_no_sense(checkpoint: Path, market: Path, tmp_path: Path) -> None:
    refused(osnet("eval", "-m", checkpoint, "-d", market.parent), "too high", str(market))
    refused(osnet("eval", "-m", checkpoint, "-d", market, "-d", market, "--calibrate", tmp_path / "t"), "one data set")
    refused(osnet("eval", "-m", checkpoint, "-d", market, "--calibrate", tmp_path / "a" / "t"), "does not exist")
    refused(osnet("eval", "-m", checkpoint, "-d", market, "--calibrate", tmp_path), "is a folder; name a file")
    refused(osnet("eval", "-m", checkpoint, "-d", market, "--report", checkpoint), "use another folder")
    refused(osnet("eval", "-m", checkpoint, "-d", market, "--protocol", "x"), "market1501, cuhk03, camera-blind")
    refused(osnet("eval", "-m", "osnet", "-d", market), "offline")
    refused(osnet("eval", "-m", checkpoint), "--data")


def test_doctor_says_what_is_wrong_and_fails_where_it_matters(market: Path, tmp_path: Path) -> None:
    run = osnet("doctor", market)
    assert run.returncode == 0, run.stdout
    assert "ready to evaluate on" in run.stdout
    broken = good_market(tmp_path / "broken")
    victim = next((broken / "query").iterdir())
    victim.write_bytes(victim.read_bytes()[:100])
    run = osnet("doctor", broken)
    assert run.returncode == 0
    assert "1 of 12 images cannot be decoded and are left out, such as" in run.stdout
    assert victim.name in run.stdout
    for victim in (broken / "query").iterdir():
        victim.write_bytes(victim.read_bytes()[:100])
    assert osnet("doctor", broken, "--quick").returncode == 0
    run = osnet("doctor", broken)
    assert run.returncode == 1
    assert "1 error: do not evaluate on this data set" in run.stdout
    run = osnet("doctor", broken, "--json")
    assert run.returncode == 1
    found = json.loads(run.stdout)
    assert not found["ok"]
    assert [finding["code"] for finding in found["findings"]] == ["missing-split", "unreadable"]
    run = osnet("doctor", market.parent)
    assert run.returncode == 1
    assert "too high" in run.stdout
    refused(osnet("doctor", market, "--dataset", "markt"), "dataset: expected one of auto, market1501", "did you mean")
    refused(osnet("doctor", market, "--for", "fun"), "expected one of evaluate, train")


def test_demo_runs_offline_with_the_built_in_weights_and_says_what_they_are_not(tmp_path: Path) -> None:
    run = osnet("demo", "--offline", "--cache-dir", tmp_path / "empty", "--report", tmp_path / "report")
    assert run.returncode == 0, run.stderr
    assert "trained on drawings" in run.stdout
    assert "osnet_msmt17" in run.stdout
    assert (tmp_path / "report" / "report.html").is_file()
    assert not (tmp_path / "empty").exists()


def test_demo_shows_the_main_job_or_says_how_to_get_weights(checkpoint: Path) -> None:
    run = osnet("demo", "--model", checkpoint)
    assert run.returncode == 0, run.stderr
    for words in ("own.ckpt", "drawn people", "mAP", "osnet eval --model"):
        assert words in run.stdout
    run = osnet("demo", "--model", "osnet_market1501")
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    for words in ("osnet demo --model PATH", "make demo MODEL=PATH", "OSNET_MIRROR=URL make demo"):
        assert words in run.stderr
