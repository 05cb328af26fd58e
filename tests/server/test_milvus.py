"""`osnet serve` of a gallery on a Milvus server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import osnet
from osnet.gallery.gallery import Gallery
from tests.gallery.milvus_server import run_milvus
from tests.server.conftest import MODEL
from tests.server.test_api import JPEG


@pytest.mark.slow
def test_a_gallery_on_a_milvus_server(people: Path, embedder: osnet.Embedder, tmp_path: Path) -> None:
    query, other = sorted((people / "query").glob("*.jpg"))[:2]
    with run_milvus(tmp_path) as (address, milvus):
        where = f"{address}/people"
        with Gallery.create(where, embedder, thumbnails=(128, 64)) as gallery:
            gallery.add(other, camera="door")
        command = [sys.executable, "-m", "osnet", "serve", where, "--port", "0", "--model", MODEL]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                name, _, own = process.stdout.readline().rstrip().rpartition(": ")
                assert name == where
                with httpx.Client(base_url=own, timeout=30) as client:
                    assert client.get("/ready").json() == {"status": "ready"}
                    enrolled = client.post("/api/entries?identity=Ann", content=query.read_bytes(), headers=JPEG)
                    assert (enrolled.status_code, enrolled.json()["new"]) == (201, True)
                    again = client.post("/api/entries?identity=Ann", content=query.read_bytes(), headers=JPEG)
                    assert again.json() == {"id": enrolled.json()["id"], "new": False}
                    found = client.post("/api/search?threshold=0.99", content=query.read_bytes(), headers=JPEG).json()
                    assert found["identity"] == "Ann"
                    about = client.get("/api/gallery").json()
                    assert (about["name"], about["entries"], about["unidentified"]) == ("people", 2, 1)
                    (nameless,) = client.get("/api/entries?unnamed=true").json()["entries"]
                    new = client.patch(f"/api/entries/{nameless['id']}?identity=Bob").json()["id"]
                    assert client.get(f"/api/entries/{new}/thumbnail").headers["content-type"] == "image/jpeg"
                    assert [one["identity"] for one in client.get("/api/people").json()["people"]] == ["Ann", "Bob"]
                    assert client.delete("/api/entries?identity=Ann").json()["remaining"] == 1
                    milvus.kill()
                    assert client.get("/ready").status_code == 503
                    gone = client.get("/api/gallery")
                    assert (gone.status_code, set(gone.json())) == (500, {"detail"})
                    assert client.get("/health").status_code == 200
            finally:
                process.terminate()
                assert process.wait(30) == 0
