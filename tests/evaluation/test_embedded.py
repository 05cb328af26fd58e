"""Features that were embedded before give the figures of the images."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from osnet.drawn.dataset import draw_dataset
from osnet.errors import DataError, OptionError
from osnet.evaluation.calibration import read_calibration, threshold_for
from osnet.evaluation.embedded import evaluate_features
from osnet.evaluation.evaluate import Evaluation, evaluate
from osnet.inference.bulk import embed_files
from osnet.inference.embedder import Embedder
from osnet.inference.frames import FrameSource
from osnet.inference.shards import embed_shards
from osnet.inference.sources import Source
from osnet.report.pictures import Pictures
from tests.videos import film, sequence

MODEL = "osnet_x0_25_drawn"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(MODEL)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    draw_dataset(tmp_path / "people", identities=8, cameras=3, images_per_camera=2, seed=3, workers=1)
    return tmp_path / "people"


def assert_same_figures(found: Evaluation, expected: Evaluation) -> None:
    assert found.mAP == pytest.approx(expected.mAP)
    assert found.ranking.mINP == pytest.approx(expected.ranking.mINP)
    np.testing.assert_allclose(found.ranking.cmc, expected.ranking.cmc)
    assert found.ranking.valid_queries == expected.ranking.valid_queries
    assert found.verification.eer == pytest.approx(expected.verification.eer)


def test_names_of_market_1501_give_the_figures_of_its_images(people: Path, tmp_path: Path, embedder: Embedder) -> None:
    expected = evaluate(MODEL, people, cache=False)
    embed_shards(embedder, Source([people]), tmp_path / "out", part_size=16)
    embed_files(embedder, [people], tmp_path / "f.npz")
    shutil.rmtree(people)
    for path in (tmp_path / "out", tmp_path / "f.npz"):
        found = evaluate_features(path)
        assert_same_figures(found, expected)
        assert (len(found.query), len(found.gallery)) == (len(expected.query), len(expected.gallery))
        row = found.to_dict()
        assert (row["network"], row["sha256"]) == ("osnet_x0_25", expected.weights.sha256 if expected.weights else "")
    rerank = evaluate_features(tmp_path / "out", rerank=True, k1=4, k2=2)
    assert rerank.distances is not None
    assert not np.allclose(rerank.distances, 1 - rerank.query_features @ rerank.gallery_features.T)


def table(people: Path, path: Path, **columns: str) -> Path:
    """A table of the test images; `columns` says what to write for each."""
    lines = [",".join(["path", *columns])]
    for image in sorted([*people.glob("query/*.jpg"), *people.glob("bounding_box_test/*.jpg")]):
        person, camera = image.name.split("_")[0], image.name.split("_")[1][1]
        split = "query" if image.parent.name == "query" else "gallery"
        text = {name: form.format(person=person, camera=camera, split=split) for name, form in columns.items()}
        lines.append(",".join([str(image), *text.values()]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_of_the_table_give_the_same_figures(people: Path, tmp_path: Path, embedder: Embedder) -> None:
    expected = evaluate(MODEL, people, cache=False)
    file = table(people, tmp_path / "t.csv", person="p{person}", camera="hall {camera}", split="{split}")
    embed_shards(Embedder(MODEL, normalize=False), Source([file]), tmp_path / "out", part_size=10)
    found = evaluate_features(tmp_path / "out")
    np.testing.assert_allclose(found.gallery_features, expected.gallery_features, atol=1e-6)
    plain = evaluate(MODEL, people, metric="euclidean", cache=False)
    assert_same_figures(evaluate_features(tmp_path / "out", metric="euclidean"), plain)
    assert found.protocol == "market1501"
    assert_same_figures(found, expected)
    drawn = table(people, tmp_path / "u.csv", person="{person}", camera="{camera}")
    embed_shards(embedder, Source([drawn]), tmp_path / "drawn")
    np.testing.assert_array_equal(
        [record.path.name for record in evaluate_features(tmp_path / "drawn", seed=2).query],
        [record.path.name for record in evaluate(MODEL, drawn, seed=2, cache=False).query],
    )


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"person": ""}, r"the person of .*\.jpg is empty"),
        ({"person": "{person}", "split": "test"}, "the split of .* is 'test'; expected one of train"),
        ({"person": "{person}", "split": "gallery"}, "no images to evaluate on: split query has none"),
    ],
)
def test_features_that_cannot_be_evaluated(
    columns: dict[str, str], match: str, people: Path, tmp_path: Path, embedder: Embedder
) -> None:
    embed_shards(embedder, Source([table(people, tmp_path / "t.csv", **columns)]), tmp_path / "out")
    with pytest.raises(DataError, match=match) as caught:
        evaluate_features(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_people_must_be_known(people: Path, tmp_path: Path, embedder: Embedder) -> None:
    shutil.copy(next(people.glob("query/*.jpg")), tmp_path / "a.jpg")
    embed_files(embedder, [tmp_path / "a.jpg"], tmp_path / "f.npz")
    with pytest.raises(DataError, match=r"has no column person, and 'a\.jpg' is not named <person>_c<camera>"):
        evaluate_features(tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ([], "expected either --data or --features"),
        (["--features", "out", "--data", "x"], "expected either --data or --features"),
        (["--features", "out", "--model", "osnet"], "--model does not go with --features"),
        (["--features", "out", "--features", "b", "--calibrate", "c.json"], "--calibrate needs one model and one data"),
    ],
)
def test_the_command_refuses_what_needs_images(options: list[str], match: str) -> None:
    from osnet.cli.app import app

    with pytest.raises(OptionError, match=match):
        app(["eval", *options], standalone_mode=False)


def test_the_command(people: Path, tmp_path: Path, embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    from osnet.cli.app import app

    embed_shards(embedder, Source([people]), tmp_path / "out")
    shutil.rmtree(people)
    app(["eval", "--features", str(tmp_path / "out"), "--thresholds"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "osnet_x0_25_drawn.ckpt" in printed
    assert "protocol market1501, cosine distance" in printed
    assert "threshold for two images of one person" in printed


@pytest.mark.slow
def test_a_calibration_of_features_is_that_of_the_images(people: Path, tmp_path: Path, embedder: Embedder) -> None:
    from osnet.cli.app import app

    embed_shards(embedder, Source([people]), tmp_path / "out")
    of_images, of_features = tmp_path / "images.json", tmp_path / "features.json"
    words = ["eval", "-m", MODEL, "-d", str(people), "--no-cache", "--calibrate", str(of_images)]
    app(words, standalone_mode=False)
    shutil.rmtree(people)
    app(["eval", "--features", str(tmp_path / "out"), "--calibrate", str(of_features)], standalone_mode=False)
    expected, found = read_calibration(of_images), read_calibration(of_features)
    assert [point.threshold for point in found.thresholds] == pytest.approx(
        [point.threshold for point in expected.thresholds], abs=1e-5
    )
    assert replace(found, data=(), eer=0, eer_threshold=0, thresholds=()) == replace(
        expected, data=(), eer=0, eer_threshold=0, thresholds=()
    )
    assert threshold_for(of_features, embedder.signature, 1e-2) == found.threshold(1e-2)


@pytest.mark.slow
def test_a_report_of_features_has_the_pictures_that_are_still_there(
    people: Path, tmp_path: Path, embedder: Embedder
) -> None:
    from osnet.cli.app import app

    embed_shards(embedder, Source([people]), tmp_path / "out")
    words = ["eval", "--features", str(tmp_path / "out"), "--report"]
    app([*words, str(tmp_path / "with")], standalone_mode=False)
    page = (tmp_path / "with/report.html").read_text()
    assert page.count("<figure") == page.count('<img src="data:image/jpeg') > 20
    assert "cannot be shown" not in page
    shutil.rmtree(people)
    app([*words, str(tmp_path / "without")], standalone_mode=False)
    page = (tmp_path / "without/report.html").read_text()
    assert '<img src="data:image/jpeg' not in page
    assert "pictures of people cannot be shown, such as the first: " in page
    assert "no such file" in page
    assert (tmp_path / "without/identities.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frames", "video"])
def test_a_report_of_boxes_shows_what_is_inside_them(kind: str, tmp_path: Path, embedder: Embedder) -> None:
    frames = [np.full((64, 96, 3), 255, np.uint8) for _ in range(6)]
    for frame in frames:
        frame[8:48, 8:28], frame[8:48, 60:80] = (200, 0, 0), (0, 0, 200)
    place = sequence(tmp_path / "S", frames) if kind == "frames" else film(tmp_path / "v.mp4", frames=frames)
    lines = [
        f"{number},{person},{left + 1},9,20,40,1,1,1\n" for number in range(1, 7) for person, left in ((1, 8), (2, 60))
    ]
    (tmp_path / "gt.txt").write_text("".join(lines))
    embed_shards(embedder, FrameSource([place], tmp_path / "gt.txt"), tmp_path / "out")
    found = evaluate_features(tmp_path / "out")
    with Pictures(may_be_missing=False) as shown:
        for record in (*found.query, *found.gallery):
            picture = shown.of(record)
            assert picture is not None
            red, _, blue = np.asarray(picture).reshape(-1, 3).mean(axis=0)
            assert (red > 150 and blue < 60) if record.person == 1 else (blue > 150 and red < 60)
