"""Folders of features: what is in them, runs that are killed, shards, and what is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from osnet.errors import DataError, DiskError, ImageError, OptionError, OsnetError
from osnet.inference import shards
from osnet.inference.embedder import Embedder
from osnet.inference.feature_files import read_features
from osnet.inference.images import prepare_boxes
from osnet.inference.shards import embed_shards, parse_shard
from osnet.inference.sources import Source
from tests.processes import finish, read_only, run_module, small_disk, start
from tests.recipe import recipe_weights


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(recipe_weights("osnet_x0_25"), precision="fp32", batch_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "crops"
    place.mkdir()
    rng = np.random.default_rng(0)
    for i in range(11):
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), np.uint8)).save(place / f"{i:02}.png")
    return place


def contents(out: Path) -> dict[str, object]:
    """The tables in a folder, features as bits, and what the manifest says."""
    found: dict[str, object] = {"manifest": json.loads((out / "manifest.json").read_text())}
    for path in sorted(out.iterdir()):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            found[path.name] = (table.schema.metadata, table.to_pydict())
    assert sorted(found) == sorted([path.name for path in out.iterdir() if path.suffix == ".parquet"] + ["manifest"])
    return found


def test_a_folder_holds_every_image_in_parts_of_one_size(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    done: list[int] = []
    result = embed_shards(
        embedder, Source([folder]), tmp_path / "new/out", part_size=4, progress=lambda count, _: done.append(count)
    )
    assert (result.parts, result.computed, result.written, result.failed) == (3, 3, 11, 0)
    assert done == sorted(done)
    assert done[-1] == 11
    names, features, about = read_features(tmp_path / "new/out")
    assert names == [str(path) for path in sorted(folder.iterdir())]
    np.testing.assert_allclose(features, embedder(names), atol=1e-6)
    assert about["sha256"] == "0" * 64
    parts = sorted((tmp_path / "new/out").glob("part-*"))
    assert [pq.read_metadata(part).num_rows for part in parts] == [4, 4, 3]
    assert {pq.read_metadata(part).row_group(0).column(1).compression for part in parts} == {"ZSTD"}
    assert not (tmp_path / "new/out/failed.parquet").exists()


def test_float16_is_read_as_float32(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    embed_shards(embedder, Source([folder]), tmp_path / "out", store="float16")
    names, features, _ = read_features(tmp_path / "out")
    assert features.dtype == np.float32
    assert 0 < np.abs(features - embedder(names)).max() < 1e-3
    lazy = read_features(tmp_path / "out", lazy=True)
    assert lazy.schema.field("feature").type == pa.list_(pa.float16(), 512)
    assert lazy.count_rows() == 11


def test_damaged_images_are_in_failed_parquet_and_nowhere_else(
    embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    (folder / "03.png").write_bytes(b"bad")
    (folder / "09.png").write_bytes((folder / "09.png").read_bytes()[:90])
    told: list[str] = []
    for _ in range(2):
        result = embed_shards(embedder, Source([folder]), tmp_path / "out", part_size=4, on_failure=told.append)
        assert (result.written, result.failed) == (9, 2)
    failed = pq.read_table(tmp_path / "out/failed.parquet").to_pylist()
    assert [(Path(one["path"]).name, one["row"]) for one in failed] == [("03.png", 3), ("09.png", 9)]
    assert [one["reason"] for one in failed] == told
    names, features, _ = read_features(tmp_path / "out")
    assert [Path(name).name for name in names] == [f"{i:02}.png" for i in range(11) if i not in (3, 9)]
    np.testing.assert_allclose(features, embedder(names), atol=1e-6)
    with pytest.raises(ImageError, match=r"03\.png"):
        embed_shards(embedder, Source([folder]), tmp_path / "strict", part_size=3, strict=True)
    assert [path.name for path in (tmp_path / "strict").glob("part-*")] == ["part-00000000.parquet"]


def test_a_disk_that_is_gone_is_not_ten_thousand_bad_images(embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("".join(f"gone/{i}.jpg\n" for i in range(250)))
    with pytest.raises(ImageError, match=r"none of the 100 images of part-00000000\.parquet could be read"):
        embed_shards(embedder, Source([tmp_path / "l.txt"]), tmp_path / "out", part_size=100)
    assert not list((tmp_path / "out").glob("part-*"))


def test_boxes_are_cut_out_of_a_photo_that_is_decoded_once(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    frames = {name: rng.integers(0, 256, (90, 120, 3), np.uint8) for name in ("a.png", "b.png")}
    for name, frame in frames.items():
        Image.fromarray(frame).save(tmp_path / name)
    rows = [("a.png", (1, 2, 60, 80)), ("b.png", (5.9, 5, 50, 70)), ("a.png", (-9, 0, 30, 300)), ("a.png", None),
            ("b.png", (200, 0, 300, 90)), ("a.png", (3, 3, "", 9))]  # fmt: skip
    lines = [",".join([name, *map(str, box or ("",) * 4), f"p{i}"]) for i, (name, box) in enumerate(rows)]
    (tmp_path / "t.csv").write_text("path,x1,y1,x2,y2,person\n" + "\n".join(lines) + "\n")
    decoded: list[str] = []

    def counted(path: str, *args: object, **kwargs: object) -> object:
        decoded.append(Path(path).name)
        return prepare_boxes(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "prepare_boxes", counted)
    result = embed_shards(embedder, Source([tmp_path / "t.csv"]), tmp_path / "out")
    assert sorted(decoded) == ["a.png", "b.png"]
    assert (result.written, result.failed) == (4, 2)
    table = read_features(tmp_path / "out", lazy=True).to_table()
    assert table["person"].to_pylist() == ["p0", "p1", "p2", "p3"]
    assert table["x1"].to_pylist() == [1, 5.9, -9, None]
    _, features, _ = read_features(tmp_path / "out")
    for feature, (name, box) in zip(features, rows):
        expected = embedder(frames[name], boxes=[box]) if box else embedder(frames[name])
        np.testing.assert_allclose(feature, expected[0], atol=1e-6)
    failed = pq.read_table(tmp_path / "out/failed.parquet").to_pylist()
    assert [one["row"] for one in failed] == [4, 5]
    assert "the box 200, 0, 300, 90 holds no pixel of the 120x90 image" in failed[0]["reason"]


def test_images_in_tar_files_give_the_features_of_the_files(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    (folder / "04.png").write_bytes(b"bad")
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(folder, "in")
    result = embed_shards(embedder, Source([tmp_path / "s.tar"]), tmp_path / "out", part_size=5)
    assert (result.written, result.failed) == (10, 1)
    names, features, _ = read_features(tmp_path / "out")
    assert set(names) == {f"{tmp_path}/s.tar/in/{i:02}.png" for i in range(11) if i != 4}
    np.testing.assert_allclose(features, embedder([str(folder / Path(name).name) for name in names]), atol=1e-6)


def test_further_columns_travel_with_their_types(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    times = pa.array([1_700_000_000_123_456_789 + i for i in range(11)], pa.timestamp("ns"))
    tags = pa.array([[f"t{i}", None] for i in range(11)], pa.list_(pa.string()))
    paths = [f"crops/{i:02}.png" for i in range(11)]
    table = pa.table({"time": times, "path": paths, "tags": tags, "camera": pa.array(range(11), pa.int16())})
    pq.write_table(table, tmp_path / "t.parquet")
    embed_shards(embedder, Source([tmp_path / "t.parquet"]), tmp_path / "out", part_size=4)
    found = read_features(tmp_path / "out", lazy=True).to_table()
    assert found.select(["time", "tags", "camera"]).equals(table.select(["time", "tags", "camera"]))
    assert read_features(tmp_path / "out/part-00000000.parquet")[0] == [str(tmp_path / path) for path in paths[:4]]


def test_shards_together_are_the_table_of_one_run(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    (folder / "03.png").write_bytes(b"bad")
    embed_shards(embedder, Source([folder]), tmp_path / "one", part_size=2)
    for number in (2, 0, 3):
        result = embed_shards(embedder, Source([folder]), tmp_path / "four", part_size=2, shard=(number, 4))
        assert result.parts == 6
    with pytest.raises(DataError, match="not finished, 4 of 6 parts are there"):
        read_features(tmp_path / "four")
    embed_shards(embedder, Source([folder]), tmp_path / "four", shard=(1, 4))
    assert contents(tmp_path / "four") == contents(tmp_path / "one")


@pytest.mark.parametrize("text", ["4/4", "-1/4", "1", "1/0", "a/b", "1/4/2", "1 / 4", ""])
def test_an_unknown_shard_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--shard: expected NUMBER/COUNT with numbers from 0"):
        parse_shard(text, "--shard")
    assert parse_shard("3/16") == (3, 16)


def test_what_is_missing_is_computed_again_bitwise(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed_shards(embedder, Source([folder]), out, part_size=4)
    before = contents(out)
    (out / "part-00000001.parquet").unlink()
    result = embed_shards(embedder, Source([folder]), out)
    assert (result.computed, result.there, result.written) == (1, 2, 11)
    assert contents(out) == before


def refused(embedder: Embedder, inputs: list[Path], out: Path, match: str, **settings: object) -> None:
    before = {path.name: path.read_bytes() for path in out.iterdir()} if out.is_dir() else None
    with pytest.raises(OsnetError, match=match) as caught:
        embed_shards(embedder, Source(inputs), out, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert before is None or {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_is_not_mixed(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    flipped = Embedder(recipe_weights("osnet_x0_25"), precision="fp32", flip=True)
    embed_shards(embedder, Source([folder]), out, part_size=4)
    embed_shards(flipped, Source([folder]), other, part_size=4)
    refused(flipped, [folder], out, r"made differently \(flip False, now True\); use another folder")
    refused(embedder, [folder], out, r"part_size 4, now 5", part_size=5)
    refused(embedder, [folder], out, r"store float32, now float16", store="float16")
    (out / "part-00000001.parquet").write_bytes((other / "part-00000001.parquet").read_bytes())
    refused(embedder, [folder], out, r"part-00000001\.parquet: holds .*flip True, now False")
    with pytest.raises(DataError, match=r"part-00000001\.parquet: holds"):
        read_features(out)
    (out / "part-00000001.parquet").write_bytes(b"PAR1")
    refused(embedder, [folder], out, r"part-00000001\.parquet: not a part of osnet embed .*; remove it")


def test_inputs_that_have_changed_are_refused(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed_shards(embedder, Source([folder]), out, part_size=4)
    (folder / "00a.png").write_bytes((folder / "00.png").read_bytes())
    refused(embedder, [folder], out, r"part-00000000\.parquet: was made from other inputs, which have changed")
    (folder / "00a.png").unlink()
    refused(embedder, [folder / f"{i:02}.png" for i in range(8)], out, "made from 3 parts of inputs, now there are 2")
    table = "path,person\n" + "".join(f"crops/{i:02}.png,{i}\n" for i in range(11))
    (tmp_path / "t.csv").write_text(table)
    embed_shards(embedder, Source([tmp_path / "t.csv"]), tmp_path / "table")
    (tmp_path / "t.csv").write_text(table.replace(",7\n", ",8\n"))
    refused(embedder, [tmp_path / "t.csv"], tmp_path / "table", "was made from other inputs")


def test_a_folder_of_somebody_else_is_not_touched(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    refused(embedder, [folder], folder, r"has 0\d\.png in it and no manifest\.json|has 10\.png")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/manifest.json").write_text('{"short_name": "app"}')
    refused(embedder, [folder], tmp_path / "theirs", "not a manifest of osnet embed")
    (tmp_path / "file").write_text("x")
    refused(embedder, [folder], tmp_path / "file", "cannot be used|not a manifest")
    refused(embedder, [folder], tmp_path / "file/out", "cannot be used")
    with pytest.raises(DataError, match=r"no manifest\.json in it"):
        read_features(folder)


def test_what_a_killed_run_left_is_removed_once_it_is_old(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    old, new, other = out / f".{'a' * 16}.part", out / f".{'b' * 16}.part", out / ".keep"
    for path in (old, new, other):
        path.write_bytes(b"x")
        os.utime(path, (1, 1))
    os.utime(new)
    embed_shards(embedder, Source([folder]), out)
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_a_folder_that_cannot_be_written(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed_shards(embedder, Source([folder]), out, part_size=4, shard=(0, 3))
    with read_only(out), pytest.raises(DiskError, match=r"cannot write .*part-00000001\.parquet"):
        embed_shards(embedder, Source([folder]), out)
    embed_shards(embedder, Source([folder]), out)
    assert len(read_features(out)[0]) == 11


def test_a_full_disk_loses_nothing(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    paths = [str(path) for path in sorted(folder.iterdir())] * 30
    (tmp_path / "l.txt").write_text("\n".join(paths))
    with small_disk(tmp_path / "disk", "64k") as disk:
        with pytest.raises(DiskError, match=r"cannot write .*No space left"):
            embed_shards(embedder, Source([tmp_path / "l.txt"]), disk / "out", part_size=40)
        there = sorted(path.name for path in (disk / "out").iterdir())
        assert len(there) > 1
        assert there == ["manifest.json", *(f"part-{i:08}.parquet" for i in range(len(there) - 1))]
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        result = embed_shards(embedder, Source([tmp_path / "l.txt"]), disk / "out")
        assert result.there == len(there) - 1
        assert read_features(disk / "out")[0] == paths


RUN = """
import sys, time
from osnet.inference.embedder import Embedder
from osnet.inference.shards import embed_shards, parse_shard
from osnet.inference.sources import Source
embedder = Embedder("osnet_x0_25_drawn", batch_size=4)
table, out, shard = sys.argv[1:]
began = []
def progress(done, of):
    if not began:
        began.append(time.monotonic())
        print("begun", flush=True)
embed_shards(embedder, Source([table]), out, part_size=20, shard=parse_shard(shard), progress=progress)
print(time.monotonic() - began[0])
"""


def table_of(folder: Path, count: int) -> Path:
    """A table of `count` boxes in the images of `folder` and one file that is missing."""
    path = folder / "t.csv"
    names = [path.name for path in sorted(folder.glob("*.png"))]
    rows = [f"{names[i % len(names)]},{i % 7},{i % 5},{20 + i % 9},60,{i}" for i in range(count)]
    rows[count // 2] = f"gone.png,0,0,9,9,{count // 2}"
    path.write_text("path,x1,y1,x2,y2,person\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_ends_as_one_that_was_not(folder: Path, tmp_path: Path) -> None:
    table = table_of(folder, 1000)
    out, _ = finish(start(RUN, table, tmp_path / "calm", "0/1"))
    seconds = float(out.split()[1])
    codes = []
    rng = random.Random(0)
    for _ in range(10):
        process = start(RUN, table, tmp_path / "killed", "0/1")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, seconds / 8))
        process.kill()
        process.communicate()
        codes.append(process.returncode)
    there = len(list((tmp_path / "killed").glob("part-*")))
    assert codes[:5] == [-signal.SIGKILL] * 5, "the runs ended before they were killed: give them more rows"
    assert there > 0
    finish(start(RUN, table, tmp_path / "killed", "0/1"))
    for path in (tmp_path / "killed").glob(".*.part"):
        path.unlink()
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
    names, features, _ = read_features(tmp_path / "killed")
    assert len(names) == len(features) == 999
    people = read_features(tmp_path / "killed", lazy=True).to_table(columns=["person"])["person"].to_pylist()
    assert people == [str(i) for i in range(1000) if i != 500]


@pytest.mark.slow
def test_four_processes_at_once_are_one(folder: Path, tmp_path: Path) -> None:
    table = table_of(folder, 200)
    processes = [start(RUN, table, tmp_path / "four", f"{number}/4") for number in range(4)]
    for process in processes:
        finish(process)
    finish(start(RUN, table, tmp_path / "one", "0/1"))
    assert contents(tmp_path / "four") == contents(tmp_path / "one")
    assert pq.read_table(tmp_path / "four/failed.parquet")["row"].to_pylist() == [100]


PEAK = """
import resource, sys
from osnet.inference.embedder import Embedder
from osnet.inference.shards import embed_shards
from osnet.inference.sources import Source
embed_shards(Embedder("osnet_x0_25_drawn"), Source([sys.argv[1]]), sys.argv[2], part_size=100)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_parts(folder: Path, tmp_path: Path) -> None:
    peaks = []
    for count in (200, 2200):
        (tmp_path / "l.txt").write_text("crops/00.png\n" * count)
        out, _ = finish(start(PEAK, tmp_path / "l.txt", tmp_path / f"out{count}"))
        peaks.append(int(out) / 1024)
    # 2,000 features alone are 4 MB, their decoded crops 196 MB
    assert peaks[1] - peaks[0] < 12, peaks


@pytest.mark.slow
def test_the_command(folder: Path, tmp_path: Path) -> None:
    (folder / "03.png").write_bytes(b"bad")
    words = ("-m", "osnet", "embed", "-m", "osnet_x0_25_drawn", "-o", f"{tmp_path}/out/")
    run = run_module(*words, "-", "--part-size", 4, "--store", "float16", "--json", stdin=subprocess.PIPE)
    out, err = run.communicate("".join(f"{path}\n" for path in sorted(folder.iterdir())))
    assert run.returncode == 1, err
    assert "03.png" in err
    found = json.loads(out)
    assert (found["parts"], found["computed"], found["written"], found["failed"]) == (3, 3, 10, 1)
    run = run_module(*words, folder)
    out, err = run.communicate()
    assert "parts: 0 computed, 3 there before, 3 in all shards" in out
    assert f"1 images could not be read and were left out; see {tmp_path}/out/failed.parquet" in err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["-o", "OUT/", "--shard", "4/4"], "--shard: expected NUMBER/COUNT"),
        (["-o", "OUT/", "--part-size", "0"], "part_size: expected an integer from 1 to 25,000, got 0"),
        (["-o", "OUT/", "--store", "int8"], "store: expected"),
        (["-o", "OUT/", "--overwrite"], "--overwrite replaces a file"),
        (["-o", "f.npz", "--shard", "0/4"], "--shard is for a folder of parts; end the output with a /: -o f.npz/"),
    ],
)
def test_the_command_refuses(options: list[str], match: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from osnet.cli.app import app

    with pytest.raises(OptionError, match=match):
        app(["embed", str(folder), "-m", "osnet_x0_25_drawn", *options], standalone_mode=False)


def test_streams_go_to_folders_only(tmp_path: Path) -> None:
    from osnet.cli.app import app

    (tmp_path / "t.csv").write_text("path\n")
    with pytest.raises(OptionError, match=r"t\.csv: tables, lists, tar files, - and object stores need a folder"):
        app(["embed", str(tmp_path / "t.csv"), "-o", str(tmp_path / "f.npz")], standalone_mode=False)
