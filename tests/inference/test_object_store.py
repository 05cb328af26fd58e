"""Inputs and outputs in an object store, against a real S3 server: the same tables, and what happens when it fails."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from osnet import locations
from osnet.cli.app import app
from osnet.errors import DataError, ImageError, OptionError, StoreError
from osnet.inference.embedder import Embedder
from osnet.inference.feature_files import read_features
from osnet.inference.shards import ShardResult, embed_shards
from osnet.inference.sources import Source
from tests.object_store import Store, running
from tests.processes import finish, run_module

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder("osnet_x0_25_drawn", batch_size=4)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven images in two folders, a table, a list and a tar file of them, and a file that is no image."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    names = [f"people/{'a' if i < 6 else 'b é'}/{i:02}.png" for i in range(11)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), np.uint8)).save(root / name)
    (root / "people/notes.md").write_text("x")
    (root / "lists").mkdir()
    rows = [f"../{name},{i // 4},{i % 2 + 1},{'query' if i % 4 == 0 else 'gallery'}" for i, name in enumerate(names)]
    (root / "lists/t.csv").write_text("path,person,camera,split\n" + "\n".join(rows) + "\n")
    (root / "lists/l.txt").write_text("".join(f"../{name}\n" for name in names))
    with tarfile.open(root / "lists/s.tar", "w") as archive:
        archive.add(root / "people", "people")
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Store]:
    with running(tmp_path_factory.mktemp("server")) as store:
        store.put(images, "in")
        yield store


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return used(server, monkeypatch)


def used(server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    locations._system_of.cache_clear()
    return server


def test_a_folder_in_a_store_is_bytewise_that_of_a_disk(
    embedder: Embedder, images: Path, store: Store, tmp_path: Path
) -> None:
    for out in (f"{tmp_path}/disk", "s3://crops/same/"):
        result = embed_shards(embedder, Source([images / "lists/t.csv"]), out, part_size=4)
        assert (result.parts, result.written) == (3, 11)
    copy = store.get("same", tmp_path / "copy")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "disk").iterdir()
    }
    names, features, about = read_features("s3://crops/same")
    expected = read_features(f"{tmp_path}/disk")
    assert (names, about) == (expected[0], expected[2])
    assert features.tobytes() == expected[1].tobytes()
    lazy = read_features("s3://crops/same/", lazy=True)
    assert lazy.to_table(columns=["person"])["person"].to_pylist() == [str(i // 4) for i in range(11)]
    assert len(read_features("s3://crops/same/part-00000001.parquet")[0]) == 4


@pytest.mark.parametrize("name", ["people", "lists/t.csv", "lists/l.txt", "lists/s.tar", "people/a/03.png"])
def test_every_kind_of_input(name: str, embedder: Embedder, images: Path, store: Store, tmp_path: Path) -> None:
    here = embed_shards(embedder, Source([images / name]), tmp_path / "here")
    there = embed_shards(embedder, Source([f"s3://crops/in/{name}"]), tmp_path / "there")
    assert here.ignored == there.ignored
    names, features, _ = read_features(tmp_path / "there")
    expected = read_features(tmp_path / "here")
    plain = [name.replace("lists/../", "") for name in expected[0]]
    assert names == [name.replace(str(images), "s3://crops/in") for name in plain]
    np.testing.assert_allclose(features, expected[1], atol=1e-6)


def test_shards_and_resuming(embedder: Embedder, images: Path, store: Store, tmp_path: Path) -> None:
    source = ["s3://crops/in/people", str(images / "people/a")]
    embed_shards(embedder, Source(source), tmp_path / "one", part_size=3)
    for number in (1, 0):
        assert embed_shards(embedder, Source(source), "s3://crops/two", part_size=3, shard=(number, 2)).computed == 3
        if number == 1:
            with pytest.raises(DataError, match=r"s3://crops/two: not finished, 3 of 6 parts are there"):
                read_features("s3://crops/two")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    store.client.delete_object(Bucket="crops", Key="two/part-00000001.parquet")
    result = embed_shards(embedder, Source(source), "s3://crops/two")
    assert (result.computed, result.there) == (1, 5)
    copy = store.get("two", tmp_path / "two")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == expected
    flipped = Embedder("osnet_x0_25_drawn", flip=True)
    with pytest.raises(DataError, match=r"s3://crops/two: holds features that were made differently \(flip"):
        embed_shards(flipped, Source(source), "s3://crops/two")
    with pytest.raises(DataError, match=r"s3://crops/in: has (lists|people) in it and no manifest\.json"):
        embed_shards(embedder, Source(source), "s3://crops/in")


def test_an_image_that_is_not_there_costs_itself_only(embedder: Embedder, store: Store, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(
        "s3://crops/in/people/a/00.png\ns3://crops/gone.png\ns3:///x.png\ns3://crops/x.mp4\n"
    )
    result = embed_shards(embedder, Source([tmp_path / "l.txt"]), "s3://crops/gone")
    assert (result.written, result.failed) == (1, 3)
    table = pq.read_table(store.get("gone", tmp_path / "gone") / "failed.parquet").to_pylist()
    assert table[0] == {"path": "s3://crops/gone.png", "row": 1, "reason": table[0]["reason"]}
    assert table[0]["reason"] == "s3://crops/gone.png: no such object; expected an image file"
    assert "names no bucket" in table[1]["reason"]
    (tmp_path / "l.txt").write_text("s3://crops/in/people/a/00.png\n")
    store.client.delete_object(Bucket="crops", Key="gone/part-00000000.parquet")
    embed_shards(embedder, Source([tmp_path / "l.txt"]), "s3://crops/gone")
    assert "failed.parquet" not in store.names("gone")


@pytest.mark.parametrize(
    ("out", "fault", "match"),
    [
        ("o1", "HEAD people/b", r"in/people/b é/\d\d\.png: cannot be read: access is denied; expected credentials"),
        ("o2", "GET people/b", r"in/people/b é/\d\d\.png: cannot be read: access is denied"),
        ("o3", "POST part-00000001", r"o3/part-00000001\.parquet: cannot be written: access is denied"),
        ("o4", "PUT part-00000001", r"o4/part-00000001\.parquet: cannot be written: access is denied"),
        ("o5", "GET list-type=2.*prefix=in", r"s3://crops/in\S*: cannot be (read|listed): access is denied"),
    ],
)
def test_what_the_store_refuses_ends_the_run_and_loses_nothing(
    out: str, fault: str, match: str, embedder: Embedder, store: Store
) -> None:
    def run() -> ShardResult:
        return embed_shards(embedder, Source(["s3://crops/in/people"]), f"s3://crops/{out}", part_size=4)

    with store.fault(fault), pytest.raises(StoreError, match=match) as caught:
        run()
    assert "\n" not in str(caught.value)
    assert not {"part-00000001.parquet", "failed.parquet"} & set(store.names(out))
    assert (run().written, run().there) == (11, 3)


def test_a_server_that_ends_in_the_middle(
    embedder: Embedder, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as server:
        used(server, monkeypatch)
        # one part is written while it is looked whether the next is there: either may notice it first
        noticed = r"s3://crops/out/part-0000000(1.*written|2.*read): the store does not answer; check"
        with server.fault("PUT part-00000001 KILL"), pytest.raises(StoreError, match=noticed):
            embed_shards(embedder, Source([images / "people"]), "s3://crops/out", part_size=4)
    locations._system_of.cache_clear()


def test_a_part_of_an_upload_that_fails_leaves_no_object(store: Store) -> None:
    where = locations.location("s3://crops/big")
    data = bytes(12 << 20)
    with store.fault("PUT crops/big.*partNumber=2"), pytest.raises(StoreError, match="cannot be written: access is"):
        locations.write_whole(where, data)
    with contextlib.suppress(KeyboardInterrupt), locations.whole_file(where) as private:
        private.write_bytes(b"half of it")
        raise KeyboardInterrupt
    assert "big" not in [one["Key"] for one in store.client.list_objects_v2(Bucket="crops")["Contents"]]
    locations.write_whole(where, b"old")
    with store.fault("PUT crops/big"), pytest.raises(StoreError):
        locations.write_whole(where, data)
    assert locations.open_file(where).read() == b"old"


@pytest.mark.parametrize(
    ("inputs", "out", "error", "match"),
    [
        ("s3://none/in", "s3://crops/o", ImageError, "s3://none/in: no such object, folder or bucket"),
        (
            "s3://crops/in/people",
            "s3://none/o",
            StoreError,
            "cannot be listed: there is no such bucket; check",
        ),
        ("s3://crops/no.csv", "s3://crops/o", ImageError, r"s3://crops/no\.csv: no such object"),
        ("http://crops/in", "s3://crops/o", OptionError, "expected a path, or an address that begins with"),
    ],
)
def test_what_is_not_there(
    inputs: str, out: str, error: type[Exception], match: str, embedder: Embedder, store: Store
) -> None:
    with pytest.raises(error, match=match):
        embed_shards(embedder, Source([inputs]), out)


def test_without_credentials(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    locations._system_of.cache_clear()
    with pytest.raises(StoreError, match=r"access is denied; expected credentials that allow it, in AWS_ACCESS_KEY_ID"):
        read_features("s3://crops/same")


def test_the_commands(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["embed", "-m", "osnet_x0_25_drawn"]
    out, _ = finish(run_module("-m", "osnet", *words, "s3://crops/in/lists/t.csv", "-o", "s3://crops/cli/"))
    assert out.startswith("s3://crops/cli: 11 features of osnet_x0_25")
    with pytest.raises(OptionError, match="goes a folder of parts; end its name with a /: -o s3://crops/no/"):
        app([*words, "s3://crops/in/people", "-o", "s3://crops/no"], standalone_mode=False)
    with pytest.raises(OptionError, match="s3://crops/in/people: tables, lists, tar files, - and object stores need"):
        app([*words, "s3://crops/in/people", "-o", f"{tmp_path}/f.npz"], standalone_mode=False)
    app(["eval", "--features", "s3://crops/cli/", "--json"], standalone_mode=False)
    assert '"data": "s3://crops/cli"' in capsys.readouterr().out
