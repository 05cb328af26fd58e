"""``osnet gallery``: the commands, from an empty gallery to an empty gallery."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from osnet.cli.app import main
from osnet.drawn.dataset import draw_dataset
from osnet.evaluation.calibration import calibrate, write_calibration
from osnet.evaluation.verification import verify_pairs
from osnet.gallery.gallery import Gallery
from osnet.inference.bulk import embed_files
from osnet.inference.embedder import Embedder
from osnet.inference.feature_files import feature_writer
from tests.gallery.conftest import SIGNATURE, features

Answer = tuple[int, str, str]


def osnet(*arguments: object, folder: Path) -> Answer:
    """Exit code, output and errors of a command, run in this process, in `folder`."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr("sys.argv", ["osnet", *map(str, arguments)])
        os.chdir(folder)
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        finally:
            os.chdir(before)
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.slow
def test_people_are_enrolled_searched_and_removed(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "shop", identities=8, cameras=2, images_per_camera=2, seed=5, workers=1)
    model = ("-m", "osnet_x0_25_drawn")

    def run(*arguments: object, code: int = 0) -> str:
        found, out, err = osnet("gallery", *arguments, folder=tmp_path)
        assert found == code, err
        return out

    assert "an empty gallery for osnet_x0_25 in fp32" in run("create", "p.gallery", *model, "--thumbnails", "128x64")
    market = ("--labels", "market", "--attribute", "site=north", "--attribute", "floor=2")
    out = run("add", "p.gallery", "shop/bounding_box_test", *market, "--time", "2026-11-25T12:00:00Z", "--json")
    enrolled = json.loads(out)["entries"]
    assert json.loads(out) == {
        "gallery": "p.gallery",
        "read": enrolled,
        "new": enrolled,
        "failed": 0,
        "entries": enrolled,
    }
    query = next((tmp_path / "shop" / "query").glob("*.jpg"))
    person = query.name.partition("_")[0]
    found = json.loads(run("search", "p.gallery", query, "--threshold", 0.3, "--where", "floor=2", "--group", "--json"))
    assert (found[0]["identity"], found[0]["unknown"], found[0]["query"]) == (person, False, str(query))
    assert len({match["identity"] for match in found[0]["matches"]}) == 5
    assert "not decided (no threshold)" in run("search", "p.gallery", query, "--limit", 1)
    assert "unknown" in run("search", "p.gallery", query, "--threshold", 0.999)
    assert json.loads(run("search", "p.gallery", query, "--where", "floor=3", "--json"))[0]["matches"] == []
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    found = json.loads(run("search", "p.gallery", "broken.jpg", query, "--json", code=1))
    assert [(one["query"], one["matches"][0]["identity"]) for one in found] == [(str(query), person)]
    embed_files(Embedder("osnet_x0_25_drawn"), [query], tmp_path / "q.npz")
    assert json.loads(run("search", "p.gallery", "q.npz", "--json"))[0]["matches"][0]["identity"] == person
    assert "new; entries now" in run("add", "p.gallery", "q.npz", "--identity", "somebody")
    listed = json.loads(run("list", "p.gallery", "--identity", "somebody", "--json"))
    assert [entry["source"] for entry in listed] == [str(query)]
    assert f"{listed[0]['id']}  somebody" in run("list", "p.gallery", "--id", listed[0]["id"])
    assert "every checksum is right" in run("stats", "p.gallery", "--check")
    assert "somebody" not in run("export", "p.gallery", "-o", "all.parquet")
    assert f"{enrolled + 1} read, {enrolled + 1} new" in run("import", "copy.gallery", "all.parquet")
    assert f"{enrolled} of {enrolled + 1} entries" in run(
        "rebuild", "copy.gallery", "-o", "new.gallery", *model, code=1
    )
    receipt = json.loads(run("remove", "copy.gallery", "--identity", "somebody", "--receipt", "r.json", "--json"))
    assert receipt == json.loads((tmp_path / "r.json").read_text())
    assert (receipt["removed"], receipt["identities"], receipt["erased"]) == (1, ["somebody"], True)
    assert f"removed {enrolled} entries" in run("remove", "copy.gallery", "--everything")
    assert json.loads(run("stats", "copy.gallery", "--json"))["entries"] == 0


def test_a_search_errs_as_often_as_was_asked(tmp_path: Path) -> None:
    rows = features(40)
    found = verify_pairs(
        rows, rows, query_ids=np.arange(40) // 2, gallery_ids=np.arange(40) // 2, protocol="camera-blind"
    )
    measured = calibrate(found, checkpoint_sha256=SIGNATURE.sha256, data=["noise"])
    write_calibration(tmp_path / "t.json", measured)
    with Gallery.create(tmp_path / "p.gallery", SIGNATURE) as gallery:
        gallery.add(features(4, seed=1), identity=["ann", "bob", "cy", "di"])
    with feature_writer(tmp_path / "q.npz", SIGNATURE.to_dict()) as writer:
        writer.write(["bob.jpg", "eve.jpg"], np.stack([features(2, seed=1)[1], features(1, seed=2)[0]]))
    for rate, least, said in (
        ("--far", measured.for_search(0.01, 4).threshold, "FAR 0.01 of a search of 4 entries"),
        ("--fpr", measured.threshold(0.01), "FPR 0.01 of a pair"),
    ):
        words = ("search", "p.gallery", "q.npz", "--calibration", "t.json", rate, 0.01, "--json")
        code, out, err = osnet("gallery", *words, folder=tmp_path)
        assert (code, err) == (0, f"osnet: threshold {least:.3f}: {said}\n")
        assert [(one["identity"], one["threshold"]) for one in json.loads(out)] == [("bob", least), (None, least)]


def test_receipts_are_lines_of_a_file(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "p.gallery", SIGNATURE) as gallery:
        ids = gallery.add(features(3), identity=["ann", "bob", "bob"], time=[0, None, None])
    words = ("remove", "p.gallery", "--identity", "bob", "--receipt")
    code, _, err = osnet("gallery", *words, "no/r.jsonl", folder=tmp_path)
    assert (code, err) == (2, "osnet: no/r.jsonl: No such file or directory\n")
    assert osnet("gallery", *words, "r.jsonl", folder=tmp_path)[0] == 0
    assert osnet("gallery", *words, "r.jsonl", folder=tmp_path)[0] == 0  # again, as after erased: false
    assert (
        osnet("gallery", "remove", "p.gallery", "--older-than", "30d", "--receipt", "r.jsonl", folder=tmp_path)[0] == 0
    )
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    told = [(line["ids"], line["identities"], line["remaining"], line["erased"]) for line in lines]
    assert told == [(ids[1:], ["bob"], 1, True), ([], [], 1, True), (ids[:1], ["ann"], 0, True)]
    assert (tmp_path / "r.jsonl").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("list no.gallery", "no.gallery: no such gallery"),
        ("list q.txt", "q.txt: damaged, or not a gallery"),
        ("create p.gallery -m osnet_x0_25_drawn", "'p.gallery' exists"),
        ("create q.gallery -m osnet_x0_25_drawn --thumbnails 128", "--thumbnails: expected height x width"),
        ("add p.gallery a.jpg --labels names", "--labels: expected one of folder, market"),
        ("add p.gallery a.jpg --labels folder --identity ann", "exclude each other"),
        ("add p.gallery a.jpg --attribute site", "--attribute: expected NAME=VALUE"),
        ("add p.gallery a.jpg -m osnet_x0_25_drawn", "made differently from the features of the gallery (sha256"),
        ("search p.gallery a.jpg --fpr 0.01", "--calibration FILE"),
        ("search p.gallery a.jpg --far 0.01", "--calibration FILE"),
        ("search p.gallery a.jpg --calibration t.json", "say how often an answer may be wrong: --far 0.01"),
        ("search p.gallery a.jpg --calibration t.json --far 0.01 --fpr 0.01", "--far 0.01 for one in 100 searches"),
        ("search p.gallery a.jpg --calibration t.json --far 0.01 -t 0.5", "--threshold and --calibration exclude"),
        ("search p.gallery a.jpg --calibration q.txt --far 0.01", "not valid JSON"),
        ("search p.gallery a.jpg --since noon", "since: expected a time such as"),
        ("search p.gallery a.jpg", "does not know where its model"),
        ("remove p.gallery", "expected conditions"),
        ("remove p.gallery --older-than 90", "older_than: expected a number and a unit"),
        ("export p.gallery -o all.csv", "expected a name that ends in .parquet"),
        ("import p.gallery q.txt", "not a feature file|expected a name ending"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: str, message: str, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "p.gallery", SIGNATURE) as gallery:
        gallery.add(features(3))
    (tmp_path / "q.txt").write_text("hello" * 100)
    (tmp_path / "a.jpg").write_bytes(b"")
    code, out, err = osnet("gallery", *words.split(), folder=tmp_path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert any(one in err for one in message.split("|")) or re.search(message, err), err
    with Gallery(tmp_path / "p.gallery") as gallery:
        assert len(gallery) == 3
