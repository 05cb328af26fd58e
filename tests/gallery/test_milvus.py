"""What is particular to galleries on a Milvus server. What users see of every store is in test_gallery.py."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import osnet
from osnet.errors import DataError, DependencyError, ExistsError, GalleryError, OptionError
from osnet.gallery import milvus_rows
from osnet.gallery.filters import make_filter
from osnet.gallery.milvus import MilvusStore
from osnet.gallery.milvus_address import Address
from osnet.gallery.milvus_rows import condition_of
from tests.gallery.conftest import SIGNATURE, features, new_name
from tests.gallery.milvus_server import run_milvus


def test_addresses() -> None:
    assert Address.parse("http://host") == Address("http://host:19530", None, "people")
    assert Address.parse("https://host/") == Address("https://host:443", None, "people")
    found = Address.parse("http://[::1]:7/site/crowd?index=flat&partition=day")
    assert found == Address("http://[::1]:7", "site", "crowd", "FLAT", "day")
    assert str(found) == "http://[::1]:7/site/crowd"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("ftp://host/people", "expected an address such as http://host:19530/people, got ftp://host/people"),
        ("http://:19530/people", "expected an address such as"),
        ("http://host:port/people", "expected an address such as"),
        ("http://host/a/b/c", "expected an address such as"),
        ("http://root:secret@host/people", "without a password; set OSNET_MILVUS_TOKEN, or give token="),
        ("http://host/people-1", "people-1 cannot be the name of a collection"),
        ("http://host/people?index=BTREE", "index: expected one of HNSW, FLAT"),
        ("http://host/people?partition=person", "partition: expected one of camera, day, got 'person'"),
        ("http://host/people?indx=FLAT", "did you mean 'index'"),
    ],
)
def test_addresses_that_make_no_sense(where: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        osnet.Gallery(where)
    assert "secret" not in str(caught.value)


def test_a_token_is_for_a_server(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="token: is for a server"):
        osnet.Gallery.create(tmp_path / "a.gallery", SIGNATURE, token="root:Milvus")


def test_a_missing_pymilvus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(DependencyError, match=r'pip install "osnet\[milvus\]"'):
        osnet.Gallery("http://127.0.0.1:1/people")


def test_conditions_quote_every_text() -> None:
    filter = make_filter(identity='a" or id != "', camera=["1", "Tür\n2"], since=-5, where={'x"': 'y" or "'})
    digest = milvus_rows._digest('x"', '"y\\" or \\""')
    assert condition_of(filter, None) == (
        'number >= 0 and identity in ["a\\" or id != \\""] and camera in ["1", "Tür\\n2"] and time >= -5.0 '
        f'and array_contains_any(attributes, ["{digest}"])'
    )


def test_conditions_choose_partitions() -> None:
    day = 86_400.0
    cameras, days = make_filter(camera=[1, 2]), make_filter(since=-day / 2, until=1.5 * day)
    assert condition_of(cameras, "camera").endswith(' and part in ["1", "2"]')
    assert condition_of(days, "day").endswith(' and part in ["-1", "0", "1"]')
    for filter, partition in (
        (cameras, "day"),
        (days, "camera"),
        (make_filter(since=0), "day"),
        (make_filter(since=0, until=367 * day), "day"),
    ):
        assert "part" not in condition_of(filter, partition)


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["camera", "day"])
def test_partitions_change_no_answer(milvus_server: str, partition: str) -> None:
    where = f"{milvus_server}/{new_name()}"
    osnet.Gallery.create(f"{where}?partition={partition}&index=flat", SIGNATURE).close()
    with osnet.Gallery(where) as gallery:
        assert (gallery._store._index, gallery._store._partition) == ("FLAT", partition)  # type: ignore[attr-defined]
        ids = gallery.add(features(6), camera=["1", "2", None] * 2, time=[None, 0, 90_000, 180_000, 180_001, 180_002])
        assert [entry.id for entry in gallery.list(camera="2")] == [ids[1], ids[4]]
        assert [entry.id for entry in gallery.list(since=90_000, until=180_001)] == ids[2:4]
        found = gallery.search(features(6)[4], camera="2", since=1)[0].matches
        assert [match.entry.id for match in found] == [ids[4]]
        assert gallery.remove(camera="1").ids == (ids[0], ids[3])


@pytest.fixture
def gallery(milvus_server: str) -> osnet.Gallery:
    return osnet.Gallery.create(f"{milvus_server}/{new_name()}", SIGNATURE, thumbnails=(1024, 1024))


@pytest.mark.slow
def test_similarities_are_exact_whatever_the_index_says(
    gallery: osnet.Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = features(8)
    ids = gallery.add(rows)
    query = rows[3] + 0.05 * features(1, seed=9)[0]
    query /= np.linalg.norm(query)
    store = gallery._store
    assert isinstance(store, MilvusStore)

    def approximate(*_: object, **__: object) -> list[list[dict[str, object]]]:
        return [[{"id": id, "distance": 0.5} for id in [*ids, "about", "0" * 32]]]

    monkeypatch.setattr(store._client, "search", approximate)
    found = gallery.search(query, limit=5)[0].matches
    order = np.argsort(-(rows @ query))[:5]
    assert [match.entry.id for match in found] == [ids[row] for row in order]
    assert [match.similarity for match in found] == pytest.approx((rows @ query)[order].tolist(), abs=1e-6)


@pytest.mark.slow
def test_the_description_is_no_entry(gallery: osnet.Gallery) -> None:
    gallery.add(features(2))
    with pytest.raises(GalleryError, match="has no entry about"):
        gallery.features(["about"])
    assert [len(result.matches) for result in gallery.search(np.eye(1, 512, dtype=np.float32))] == [2]
    assert gallery.remove(ids="about").ids == gallery.remove(ids=[]).ids == ()
    assert len(gallery.remove(everything=True).ids) == 2
    osnet.Gallery(gallery.where).close()


@pytest.mark.slow
def test_adding_goes_in_several_requests(gallery: osnet.Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    store = gallery._store
    assert isinstance(store, MilvusStore)
    upsert = store._client.upsert
    monkeypatch.setattr(milvus_rows, "REQUEST_BYTES", 10_000)
    monkeypatch.setattr(
        store._client, "upsert", lambda name, rows, **more: (sizes.append(len(rows)), upsert(name, rows, **more))
    )
    ids = gallery.add(features(7))
    assert sizes == [3, 3, 1]
    assert [entry.id for entry in gallery.list()] == ids


@pytest.mark.slow
def test_what_is_too_large_for_milvus_is_refused(gallery: osnet.Gallery) -> None:
    large = {f"{i:0999d}": "x" * 1000 for i in range(40)}
    with pytest.raises(DataError, match="at most 65,535 bytes of attributes and source of an entry, got 80"):
        gallery.add(features(2), attributes=[{}, large])
    noise = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), np.uint8)
    with pytest.raises(DataError, match="bytes of thumbnail in base64"):
        gallery.add(features(2), thumbnail=[None, noise])
    assert len(gallery) == 0


@pytest.mark.slow
def test_a_damaged_entry_is_named(gallery: osnet.Gallery) -> None:
    ids = gallery.add(features(3), identity="ann")
    store = gallery._store
    assert isinstance(store, MilvusStore)
    assert gallery.check() == []
    row = store._rows([ids[1]], ["*"])[0]
    store._client.upsert(store._address.collection, [{**row, "identity": "bob"}])
    assert [ids[1] in line and "damaged" in line for line in gallery.check()] == [True]


@pytest.mark.slow
def test_other_collections_are_refused(milvus_server: str, gallery: osnet.Gallery) -> None:
    from pymilvus import MilvusClient

    with pytest.raises(GalleryError, match="no such gallery; make one with `osnet gallery create`"):
        osnet.Gallery(f"{milvus_server}/{new_name()}")
    with pytest.raises(ExistsError, match=f"{gallery.where} exists"):
        osnet.Gallery.create(gallery.where, SIGNATURE)
    with pytest.raises(DataError, match=r"the signature: .*precision bf16, the gallery has fp32"):
        osnet.Gallery(gallery.where, replace(SIGNATURE, precision="bf16"))
    client, name = MilvusClient(milvus_server), new_name()
    client.create_collection(name, dimension=512)
    with pytest.raises(GalleryError, match="another collection; expected one that"):
        osnet.Gallery(f"{milvus_server}/{name}")
    store = gallery._store
    assert isinstance(store, MilvusStore)
    about = store._rows(["about"], ["*"])[0]
    told = json.dumps({**json.loads(about["told"]), "format": 2})
    client.upsert(store._address.collection, [{**about, "told": told}])
    with pytest.raises(GalleryError, match="a gallery of format 2, written by a newer osnet"):
        osnet.Gallery(gallery.where)
    client.delete(store._address.collection, ids=["about"])
    with pytest.raises(GalleryError, match="its description is missing"):
        osnet.Gallery(gallery.where)


@pytest.mark.slow
def test_a_wrong_token_and_a_server_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_milvus(tmp_path, token="root:Milvus") as (server, process):
        for token in (None, "root:wrong"):
            with pytest.raises(GalleryError, match="the server refuses the token; set OSNET_MILVUS_TOKEN") as caught:
                osnet.Gallery.create(f"{server}/people", SIGNATURE, token=token)
            assert "\n" not in str(caught.value)
        gallery = osnet.Gallery.create(f"{server}/people", SIGNATURE, token="root:Milvus")
        monkeypatch.setenv("OSNET_MILVUS_TOKEN", "root:Milvus")
        osnet.Gallery(f"{server}/people").close()
        ids = gallery.add(features(3))
        process.kill()
        process.wait()
        for use in (
            lambda: gallery.search(features(1)),
            lambda: gallery.add(features(5)),
            lambda: gallery.remove(ids=ids[0]),
            lambda: list(gallery.list()),
            lambda: osnet.Gallery(f"{server}/people"),
        ):
            with pytest.raises(GalleryError, match=r"no Milvus server answers .* what is there already") as caught:
                use()
            assert "\n" not in str(caught.value)
