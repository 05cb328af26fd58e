"""The report: whole in one file, right in what it frames, and a browser shows it."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osnet.errors import DiskError
from osnet.evaluation.evaluate import Evaluation
from osnet.evaluation.ranking import rank
from osnet.report.report import prepare_folder, write_report
from tests.data_sets import image
from tests.report.test_matches import made_up

pytestmark = pytest.mark.slow

PNGS = {"cmc.png", "roc.png", "similarities.png", "identities.png", "activation.png"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("crops")
    return [image(folder / f"{i}.png", seed=i) for i in range(8)]


class Page(HTMLParser):
    """Pictures, links, ids and the classes of figures, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.figures: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if "src" in found:
            self.sources.append(str(found["src"]))
        if "href" in found:
            self.links.append(str(found["href"]))
        if "id" in found:
            self.ids.add(str(found["id"]))
        if tag == "figure":
            self.figures.append(str(found["class"]))

    def handle_data(self, data: str) -> None:
        self.text += data


def check_whole(page: Page, folder: Path) -> None:
    """Nothing from outside, every picture a picture, every link inside the page."""
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.sources
    for source in page.sources:
        kind, _, content = source.partition(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
            picture.load()
    assert page.links
    assert {link.lstrip("#") for link in page.links} <= page.ids
    for file in folder.glob("*.png"):
        with Image.open(file) as picture:
            picture.load()
            assert min(picture.size) > 200


def test_ten_queries(crops: list[Path], tmp_path: Path) -> None:
    evaluation = made_up(1, queries=10, gallery=30, noise=3, paths=crops)
    path = write_report(evaluation, tmp_path / "deep" / "report")
    assert path == tmp_path / "deep" / "report" / "report.html"
    assert {file.name for file in path.parent.iterdir()} == PNGS | {"report.html"}
    page = Page(path)
    check_whole(page, path.parent)
    assert page.ids == {"queries", "confusions", "cmc", "thresholds", "identities", "activation", "how"}
    for words in ("Worst queries", "Median queries", "Best queries", f"{100 * evaluation.mAP:.1f}", "made of numbers"):
        assert words in page.text
    for kind in ("match", "non-match", "not-counted"):
        assert kind in page.figures
    lists = 3 * 3  # a third of the ten valid queries each
    assert page.figures.count("query") == lists + path.read_text().count('class="confusion"')
    # of each ranked list ten images count
    assert sum(page.text.count(f"{rank} · 0.") for rank in (10,)) == lists


def test_two_people_with_four_images(crops: list[Path], tmp_path: Path) -> None:
    """Too few images for a map of identities: the page does without it."""
    evaluation = made_up(18, queries=2, gallery=2, people=2, protocol="camera-blind", paths=crops)
    page = Page(write_report(evaluation, tmp_path))
    check_whole(page, tmp_path)
    assert "identities" not in page.ids
    assert "activation" in page.ids


def test_a_picture_that_fails_costs_itself_only(
    crops: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no <font> to be had")

    monkeypatch.setattr("osnet.report.charts.roc", fails)
    monkeypatch.setattr("osnet.report.report.identity_map", fails)
    with pytest.warns(UserWarning, match=r"report: roc\.png could not be drawn: RuntimeError: no <font>"):
        path = write_report(made_up(1, queries=10, gallery=30, paths=crops), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == PNGS - {"roc.png", "identities.png"} | {"report.html"}
    page = Page(path)
    check_whole(page, tmp_path)
    assert "identities.png could not be drawn: RuntimeError: no <font> to be had" in page.text


def test_what_is_framed_green_is_a_match(crops: list[Path], tmp_path: Path) -> None:
    evaluation = made_up(2, queries=10, gallery=30, noise=0.05, paths=crops)
    assert evaluation.mAP == 1
    page = Page(write_report(evaluation, tmp_path))
    first = page.figures.index("query")
    images = page.figures[first + 1 : page.figures.index("query", first + 1)]
    counted = [kind for kind in images if kind != "not-counted"]
    assert counted == sorted(counted, key=["match", "late"].index)  # no non-match before the last match
    assert {"match", "late"} <= set(counted)
    assert "Every query has a match at rank 1" in page.text


def test_names_from_the_data_are_text_not_markup(crops: list[Path], tmp_path: Path) -> None:
    evaluation = made_up(3, queries=10, gallery=30, paths=crops)
    names = {person: f"\udce9<s>$\\x{person}$" for person in range(1, 6)}  # not UTF-8, and no formula for matplotlib
    data = replace(evaluation.data, person_names=names, root=Path("<img src=x>\udce9"))
    path = write_report(replace(evaluation, data=data, model="<u>bold</u>"), tmp_path)
    page = Page(path)
    check_whole(page, tmp_path)
    assert not {"s", "u"} & set(page.tags)
    assert "<u>bold</u>" in page.text
    assert r"\udce9<s>$" in page.text
    assert r"<img src=x>\udce9" in page.text


def test_twenty_thousand_queries(crops: list[Path], tmp_path: Path) -> None:
    evaluation = made_up(4, queries=20_000, gallery=3_000, people=700, noise=2, paths=crops)
    path = write_report(evaluation, tmp_path)
    page = Page(path)
    check_whole(page, tmp_path)
    assert "20,000" in page.text
    assert len(page.figures) < 300
    assert path.stat().st_size < 8e6


def test_data_without_pairs_of_different_people_has_no_thresholds(crops: list[Path], tmp_path: Path) -> None:
    alone = made_up(5, queries=6, gallery=12, people=1, paths=crops)
    keep = [i for i, r in enumerate(alone.gallery) if r.person == 1]
    gallery = tuple(alone.gallery[i] for i in keep)
    alone = replace(alone, gallery=gallery, gallery_features=alone.gallery_features[keep])
    alone = replace(alone, ranking=rank(alone.query_features, alone.gallery_features, **alone.labels))
    page = Page(write_report(alone, tmp_path))
    assert "thresholds" not in page.ids
    assert not (tmp_path / "roc.png").exists()
    check_whole(page, tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="use another folder"):
        prepare_folder(tmp_path / "file")


def colour_count(pixels: np.ndarray, colour: str) -> int:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels.astype(int) - wanted).max(axis=2) <= 2).sum())


def screenshot(page: Path, out: Path, profile: Path) -> np.ndarray:
    assert CHROMIUM
    profile.mkdir()
    subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={profile}", "--window-size=1280,4200", f"--screenshot={out}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return np.asarray(Image.open(out).convert("RGB"))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; install Debian's package chromium to run this test")
def test_a_browser_shows_it(crops: list[Path], tmp_path: Path) -> None:
    evaluation: Evaluation = made_up(6, queries=12, gallery=40, noise=3, paths=crops)
    page = write_report(evaluation, tmp_path / "report")
    alone = tmp_path / "elsewhere" / "alone.html"  # without its PNGs beside it
    alone.parent.mkdir()
    shutil.copy(page, alone)
    pixels = screenshot(alone, tmp_path / "shot.png", tmp_path / "profile")
    assert pixels.shape == (4200, 1280, 3)
    assert colour_count(pixels, "#16212e") > 50_000  # the head of the page: its style was understood
    for frame in ("#18875a", "#cf3b3b"):  # match, non-match
        assert colour_count(pixels, frame) > 5_000, frame
    assert colour_count(pixels, "#2563c9") > 2_000  # the curves: pictures in the page are shown
    # the noise of the crops themselves
    assert len(np.unique(pixels[300:1500].reshape(-1, 3), axis=0)) > 10_000
