"""The routes of the server, over real HTTP."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import osnet
from osnet.errors import DataError, OptionError
from osnet.evaluation.calibration import Calibration, write_calibration
from osnet.gallery.gallery import Gallery
from osnet.inference.images import prepare
from osnet.server.settings import Settings
from tests.server.conftest import Serve, calibration, client_of, running

pytestmark = pytest.mark.slow
JPEG = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def client(
    enrolled: Path, embedder: osnet.Embedder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Of one server for all tests that leave the gallery as it was."""
    gallery = tmp_path_factory.mktemp("shared") / "people.gallery"
    shutil.copy(enrolled, gallery)
    with running(gallery, embedder, Settings(port=0)) as server, client_of(server) as client:
        yield client


def picture(people: Path, number: int = 0) -> bytes:
    return sorted((people / "query").glob("*.jpg"))[number].read_bytes()


def test_embed_gives_the_features_of_the_embedder(client: httpx.Client, people: Path, embedder: osnet.Embedder) -> None:
    found = client.post("/api/embed", content=picture(people), headers=JPEG).json()
    expected = embedder([sorted((people / "query").glob("*.jpg"))[0]])[0]
    np.testing.assert_allclose(found["feature"], expected, atol=1e-6)
    assert found["signature"] == embedder.signature.to_dict()


def test_embed_of_a_box_is_embed_of_the_part(client: httpx.Client, people: Path, embedder: osnet.Embedder) -> None:
    person = Image.open(io.BytesIO(picture(people)))
    photo = Image.new("RGB", (200, 300), "grey")
    photo.paste(person, (30, 40))
    file = io.BytesIO()
    photo.save(file, "PNG")
    answer = client.post(
        "/api/embed", params={"box": "30.9,40,94,168"}, content=file.getvalue(), headers={"content-type": "image/png"}
    )
    np.testing.assert_allclose(answer.json()["feature"], embedder([person])[0], atol=1e-6)
    outside = client.post(
        "/api/embed", params={"box": "500,0,600,100"}, content=file.getvalue(), headers={"content-type": "image/png"}
    )
    assert outside.status_code == 422
    assert outside.json() == {"detail": "the box 500, 0, 600, 100 holds no pixel of the 200x300 picture"}


def test_search_finds_the_person_and_gives_the_similarities_of_the_gallery(
    client: httpx.Client, people: Path, enrolled: Path, embedder: osnet.Embedder
) -> None:
    for number, path in enumerate(sorted((people / "query").glob("*.jpg"))):
        found = client.post(
            "/api/search", params={"limit": 5, "threshold": 0.5}, content=picture(people, number), headers=JPEG
        ).json()
        with Gallery(enrolled, embedder) as gallery:
            (expected,) = gallery.search(path, limit=5, threshold=0.5)
        assert found["identity"] == expected.identity
        assert found["unknown"] is expected.unknown
        assert [match["entry"]["id"] for match in found["matches"]] == [match.entry.id for match in expected.matches]
        np.testing.assert_allclose(
            [match["similarity"] for match in found["matches"]],
            [match.similarity for match in expected.matches],
            atol=1e-6,
        )
    assert found["identity"] == path.name[:4]
    source = found["matches"][0]["entry"]["source"]
    assert source == Path(source).name  # no folder of the server


def test_filters_and_grouping(client: httpx.Client, people: Path) -> None:
    def search(**params: object) -> list[dict[str, object]]:
        answer = client.post("/api/search", params={"limit": 100, **params}, content=picture(people), headers=JPEG)
        return [match["entry"] for match in answer.json()["matches"]]

    assert len(search()) == 8
    assert {entry["camera"] for entry in search(camera="2")} == {"2"}
    assert {entry["identity"] for entry in search(identity=["0002", "0003"])} == {"0002", "0003"}
    assert len(search(group=True)) == len({entry["identity"] for entry in search()}) == 4
    times = [1_700_000_000 + 60 * n for n in range(2, 5)]
    assert sorted(entry["time"] for entry in search(since=times[0], until=times[-1] + 1)) == times
    assert (
        sorted(entry["time"] for entry in search(since="2023-11-14T22:15:20Z", until="2023-11-14T22:17:21Z")) == times
    )
    assert search(attributes='{"site": "north"}') == []


def test_a_feature_and_an_entry_can_be_searched_for(
    client: httpx.Client, people: Path, embedder: osnet.Embedder
) -> None:
    path = sorted((people / "query").glob("*.jpg"))[0]
    by_picture = client.post("/api/search", content=picture(people), headers=JPEG).json()
    by_feature = client.post("/api/search/feature", json={"feature": embedder([path])[0].tolist()}).json()
    assert [m["entry"]["id"] for m in by_feature["matches"]] == [m["entry"]["id"] for m in by_picture["matches"]]
    id = by_picture["matches"][0]["entry"]["id"]
    similar = client.get(f"/api/entries/{id}/similar", params={"limit": 2}).json()["matches"]
    assert similar[0]["entry"]["id"] == id
    assert similar[0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert client.post("/api/search/feature", json={"feature": [0.0] * 512}).status_code == 422


def test_what_is_enrolled_is_found_listed_shown_and_removed(
    client: httpx.Client, people: Path, embedder: osnet.Embedder
) -> None:
    told = {
        "identity": "Ann B. & co", "camera": "door", "time": "2026-11-25T14:00:00+01:00",
        "attributes": json.dumps({"site": "north", "seen": 3}), "box": "2,0,60,120", "source": "door/1.jpg",
    }  # fmt: skip
    first = client.post("/api/entries", params=told, content=picture(people), headers=JPEG)
    assert first.status_code == 201
    id = first.json()["id"]
    again = client.post("/api/entries", params=told, content=picture(people), headers=JPEG)
    assert (again.status_code, again.json()) == (200, {"id": id, "new": False})
    entry = client.get(f"/api/entries/{id}").json()
    assert entry["identity"] == "Ann B. & co"
    assert entry["time"] == 1_795_611_600
    assert (entry["box"], entry["source"]) == ([2, 0, 60, 120], "1.jpg")
    assert entry["attributes"] == {"site": "north", "seen": 3}
    assert client.get("/api/entries", params={"camera": "door"}).json() == {"entries": [entry], "more": False}
    found = client.post(
        "/api/search", params={"attributes": '{"site": "north"}'}, content=picture(people), headers=JPEG
    ).json()
    assert [match["entry"] for match in found["matches"]] == [entry]
    thumbnail = client.get(f"/api/entries/{id}/thumbnail")
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(thumbnail.content)).size == (64, 128)
    removed = client.delete(f"/api/entries/{id}").json()
    assert (removed["ids"], removed["identities"], removed["remaining"]) == ([id], ["Ann B. & co"], 8)
    for path in (f"/api/entries/{id}", f"/api/entries/{id}/thumbnail", f"/api/entries/{id}/similar"):
        assert client.get(path).status_code == 404
    assert client.delete(f"/api/entries/{id}").status_code == 404


def test_an_entry_has_the_id_and_feature_that_the_gallery_itself_would_give(
    client: httpx.Client, people: Path, embedder: osnet.Embedder, tmp_path: Path
) -> None:
    id = client.post("/api/entries", params={"identity": "x"}, content=picture(people), headers=JPEG).json()["id"]
    path = sorted((people / "query").glob("*.jpg"))[0]
    with Gallery.create(tmp_path / "own.gallery", embedder, thumbnails=(128, 64)) as own:
        assert own.add(Image.open(path), identity="x") == [id]
        np.testing.assert_allclose(client.work.gallery.features([id]), own.features([id]), atol=1e-6)
        assert client.work.gallery.thumbnail(id) == own.thumbnail(id)
    client.delete(f"/api/entries/{id}")


@pytest.fixture
def nameless(enrolled: Path, embedder: osnet.Embedder, people: Path, tmp_path: Path) -> Path:
    """The gallery, and two pictures in it of people who are not named; only the second has a time."""
    path = tmp_path / "nameless.gallery"
    shutil.copy(enrolled, path)
    with Gallery(path, embedder) as gallery:
        gallery.add(sorted((people / "query").glob("*.jpg"))[:2], camera=["1", "2"], time=[None, 1_700_000_500])
    return path


def test_entries_without_a_name_are_listed_named_and_removed(
    serve: Serve, nameless: Path, embedder: osnet.Embedder, people: Path, tmp_path: Path
) -> None:
    client = serve(gallery=nameless, audit=tmp_path / "audit.jsonl")
    assert client.get("/api/entries").json()["entries"][:8] == client.get("/api/entries?limit=8").json()["entries"]
    found = client.get("/api/entries", params={"unnamed": True}).json()["entries"]
    assert [(entry["identity"], entry["camera"]) for entry in found] == [(None, "1"), (None, "2")]
    one = client.get("/api/entries", params={"unnamed": True, "limit": 1, "offset": 1}).json()
    assert (one["entries"], one["more"]) == (found[1:], False)

    old = found[0]["id"]
    feature, thumbnail = client.work.gallery.features([old]), client.work.gallery.thumbnail(old)
    new = client.patch(f"/api/entries/{old}", params={"identity": "Ann 安"}).json()["id"]
    assert client.get(f"/api/entries/{old}").status_code == 404
    assert client.get(f"/api/entries/{new}").json() == {**found[0], "id": new, "identity": "Ann 安"}
    assert np.array_equal(client.work.gallery.features([new]), feature)
    assert client.work.gallery.thumbnail(new) == thumbnail
    assert client.patch(f"/api/entries/{new}", params={"identity": "Ann 安"}).json() == {"id": new}
    assert client.patch(f"/api/entries/{old}", params={"identity": "x"}).status_code == 404
    assert client.patch(f"/api/entries/{new}", params={"identity": "\0"}).status_code == 422
    again = client.patch(f"/api/entries/{new}").json()["id"]
    assert client.get(f"/api/entries/{again}").json()["identity"] is None
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["audit"], line["ids"], line["identities"]) for line in lines] == [
        ("rename", [old, new], [None, "Ann 安"]),
        ("rename", [new, again], ["Ann 安", None]),
    ]

    assert client.delete("/api/entries", params={"unnamed": True, "camera": "2"}).json()["ids"] == [found[1]["id"]]
    assert client.delete("/api/entries", params={"unnamed": True}).json()["ids"] == [again]
    assert client.delete("/api/entries", params={"unnamed": True}).json()["remaining"] == 8
    assert b"Ann" not in nameless.read_bytes()


def test_removing_needs_a_condition(serve: Serve) -> None:
    client = serve()
    assert client.delete("/api/entries").status_code == 422
    assert client.delete("/api/entries", params={"identity": "0002"}).json()["remaining"] == 6
    assert client.get("/api/gallery").json()["entries"] == 6


def test_people_are_listed_by_name(client: httpx.Client) -> None:
    whole = client.get("/api/people").json()
    assert [person["identity"] for person in whole["people"]] == ["0002", "0003", "0004", "0005"]
    assert whole["people"][0]["cameras"] == ["1", "2"]
    assert whole["people"][0]["entries"] == 2
    some = client.get("/api/people", params={"limit": 1, "offset": 1}).json()
    assert ([person["identity"] for person in some["people"]], some["more"]) == (["0003"], True)
    assert [person["identity"] for person in client.get("/api/people", params={"name": "5"}).json()["people"]] == [
        "0005"
    ]


def test_entries_come_in_pages(client: httpx.Client) -> None:
    whole = client.get("/api/entries").json()["entries"]
    pages = [client.get("/api/entries", params={"limit": 3, "offset": start}).json() for start in (0, 3, 6)]
    assert [entry for page in pages for entry in page["entries"]] == whole
    assert [page["more"] for page in pages] == [True, True, False]


def test_what_the_gallery_is_and_the_calibration(serve: Serve, embedder: osnet.Embedder, tmp_path: Path) -> None:
    measured = calibration(embedder)
    write_calibration(tmp_path / "c.json", measured)
    about = serve(calibration=tmp_path / "c.json").get("/api/gallery").json()
    assert (about["name"], about["entries"], about["identities"]) == ("people.gallery", 8, 4)
    assert [(one["threshold"], one["fpr"], one["tpr"]) for one in about["calibration"]["points"]] == [
        (0.4, 0.5, 1.0), (0.6, 0.01, 0.9), (0.8, 0.001, 0.7),
    ]  # fmt: skip
    other = Calibration(**{**vars(measured), "checkpoint_sha256": "0" * 64})
    write_calibration(tmp_path / "other.json", other)
    with pytest.raises(DataError, match="not for these features"):
        serve(calibration=tmp_path / "other.json", gallery=tmp_path / "people.gallery")


def test_health_readiness_and_metrics(serve: Serve, people: Path) -> None:
    client = serve()
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    client.post("/api/embed", content=picture(people), headers=JPEG)
    client.get("/no/such/path")
    text = client.get("/metrics").text
    assert 'osnet_requests_total{method="POST",route="/api/embed",status="200"} 1.0' in text
    assert 'osnet_requests_total{method="any",route="other",status="404"} 1.0' in text
    assert "osnet_gallery_entries 8.0" in text
    assert "osnet_network_pictures_sum 1.0" in text
    client.work.batcher.stop()
    assert client.get("/ready").status_code == 503


def test_requests_that_come_together_share_a_run_and_get_their_own_features(
    serve: Serve, people: Path, embedder: osnet.Embedder
) -> None:
    client = serve(gather=0.2)
    paths = sorted((people / "query").glob("*.jpg"))
    expected = embedder(paths)
    start = threading.Barrier(8)

    def ask(number: int) -> list[float]:
        start.wait()
        content = paths[number].read_bytes()
        return client.post("/api/embed", content=content, headers=JPEG).json()["feature"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    runs = client.work.metrics.runs._sum.get(), sum(bucket.get() for bucket in client.work.metrics.runs._buckets)
    assert runs[0] == 8
    assert runs[1] < 6


def test_accepted_requests_are_answered_when_the_server_stops(
    serve: Serve, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    stream = client.work.batcher._embedder.stream

    class Slow:
        def stream(self, crops: object) -> object:
            time.sleep(0.5)
            return stream(crops)

    client.work.batcher._embedder = Slow()
    paths = sorted((people / "query").glob("*.jpg"))
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(
                client.post, "/api/entries", params={"identity": f"p{n}"}, content=path.read_bytes(), headers=JPEG
            )
            for n, path in enumerate(paths[:4])
        ]
        time.sleep(0.3)
        client.server.stop()
        assert [answer.result().status_code for answer in asked] == [201] * 4


def test_the_schema_documents_every_route_and_error(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/api/embed", "/api/search", "/api/search/feature", "/api/entries", "/api/entries/{id}", "/api/gallery",
        "/api/drawn", "/api/drawn/{number}",
        "/api/entries/{id}/thumbnail", "/api/entries/{id}/similar", "/api/people", "/health", "/ready", "/metrics",
    }  # fmt: skip
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            assert operation.get("description"), path
            if path.startswith("/api/"):
                assert {"413", "422", "429", "503"} <= set(operation["responses"])
    assert "HTTPValidationError" not in json.dumps(schema)


def test_every_parameter_has_a_limit_and_is_held_to_it(client: httpx.Client, people: Path) -> None:
    beyond = {
        "maxLength": lambda most: "x" * (most + 1), "maximum": lambda most: most + 1, "pattern": lambda _: "x",
        "maxItems": lambda most: ["x"] * (most + 1), "minimum": lambda least: least - 1,
        "minLength": lambda least: "x" * (least - 1),
    }  # fmt: skip
    tried = 0
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", []):
                name, schema = parameter["name"], parameter["schema"]
                schema = {**schema, **schema.get("anyOf", [{}])[0]}
                assert schema["type"] == "boolean" or {"maxLength", "maximum", "pattern", "maxItems"} & set(schema), (
                    name
                )
                for limit in beyond.keys() & set(schema):
                    value = beyond[limit](schema[limit])
                    params = {"identity": "x"} if (method, path) == ("post", "/api/entries") else {}
                    place = path
                    if parameter["in"] == "path":
                        place = path.replace(f"{{{name}}}", str(value))
                    else:
                        params[name] = value
                    answer = client.request(
                        method, place.replace("{id}", 32 * "0"), params=params, content=picture(people), headers=JPEG
                    )
                    assert answer.status_code == 422, (method, path, name, limit)
                    assert answer.json()["detail"].startswith(f"{name}: "), answer.text
                    tried += 1
    assert tried > 60


def test_features_of_pictures_can_be_given(people: Path, embedder: osnet.Embedder, tmp_path: Path) -> None:
    paths = sorted((people / "query").glob("*.jpg"))[:2]
    crops = [prepare(path) for path in paths]
    features = embedder(paths)
    with Gallery.create(tmp_path / "a.gallery", embedder, thumbnails=(64, 32)) as gallery:
        ids = gallery.add(crops, features=features, thumbnail=[Image.open(path) for path in paths], identity=["a", "b"])
        assert np.array_equal(gallery.features(ids), features)
        with Gallery.create(tmp_path / "b.gallery", embedder, thumbnails=(64, 32)) as plain:
            assert plain.add([Image.open(path) for path in paths], identity=["a", "b"]) == ids
            assert plain.thumbnail(ids[0]) == gallery.thumbnail(ids[0])
        with pytest.raises(OptionError, match="one for each of 2 images"):
            gallery.add(crops, features=features[:1])
