"""Re-association: the figures against plain loops, and whole evaluations of drawn video."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from osnet.drawn.video import draw_video
from osnet.errors import DataError, OptionError, OsnetError
from osnet.evaluation.films import FilmEvaluation, evaluate_films, parse_gaps
from osnet.evaluation.reassociation import reassociate
from osnet.inference.embedder import Embedder
from tests.videos import film

MODEL = "osnet_x0_25_drawn"


def crowd(seed: int, count: int = 300) -> dict[str, np.ndarray]:
    """People who come and go in three sequences, with features that lie."""
    rng = np.random.default_rng(seed)
    where = np.unique(rng.integers((0, 1, 0), (3, 25, 6), (count, 3)), axis=0)
    rng.shuffle(where)
    centre = rng.standard_normal((3, 6, 8))
    features = centre[where[:, 0], where[:, 2]] + rng.standard_normal((len(where), 8))
    return {"features": features, "sequences": where[:, 0], "frames": where[:, 1], "persons": where[:, 2]}


def by_loops(data: dict[str, np.ndarray], gaps: list[int], stride: int) -> dict[str, object]:
    """The definition, one query at a time."""
    unit = data["features"] / np.linalg.norm(data["features"], axis=1, keepdims=True)
    rows = list(zip(data["sequences"], data["frames"], data["persons"], unit))
    ranks, same, different, left, alone = [], [], [], 0, 0
    for sequence, frame, person, feature in rows:
        if frame % stride:
            continue
        later = [(p, float(feature @ f)) for s, n, p, f in rows if (s, n) == (sequence, frame + gaps[sequence])]
        same += [value for p, value in later if p == person]
        different += [value for p, value in later if p != person]
        own = [value for p, value in later if p == person]
        if len(later) < 2:
            alone += 1
        elif not own:
            left += 1
        else:
            ranks.append(1 + sum(value >= own[0] for p, value in later if p != person))
    wins = [(a > b) + (a == b) / 2 for a in same for b in different]
    return {
        "rank1": sum(rank == 1 for rank in ranks) / len(ranks), "mrr": sum(1 / rank for rank in ranks) / len(ranks),
        "queries": len(ranks), "left": left, "alone": alone, "auc": sum(wins) / len(wins),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_the_definition(seed: int) -> None:
    data = crowd(seed)
    for gaps, stride in (([1, 1, 1], 1), ([2, 5, 3], 2), ([10, 10, 10], 3)):
        found = reassociate(**data, gap=gaps, stride=stride)
        for name, value in by_loops(data, gaps, stride).items():
            assert getattr(found, name) == pytest.approx(value), name
        assert len(found.wrong) == found.queries - round(found.rank1 * found.queries)


def test_what_can_be_read_off_by_eye() -> None:
    features = np.eye(3)[[0, 1, 0, 1, 2, 1]]
    labels = {"sequences": [0] * 6, "frames": [1, 1, 2, 2, 2, 3], "persons": [1, 2, 1, 3, 2, 1]}
    found = reassociate(features, **labels, gap=1, stride=1)
    # person 1 is first; person 2 looks like person 3 then (0 against 1, and a tie with person 1 counts against it)
    assert (found.rank1, found.mrr, found.queries) == (1 / 2, (1 + 1 / 3) / 2, 2)
    assert (found.left, found.alone, found.candidates) == (0, 4, 3)
    assert found.wrong.tolist() == [[1, 4, 3]]
    assert found.similarities.tolist() == [[0, 1]]
    assert found.label == "1 frame"
    assert found.pairs is not None
    assert (found.pairs.genuine_pairs, found.pairs.impostor_pairs) == (3, 6)


def test_what_cannot_be_measured_is_one_line() -> None:
    data = crowd(0)
    for change, error, match in (
        ({"gap": 100}, DataError, "gap of 100 frames: no person is seen again among two or more people"),
        ({"gap": 0}, OptionError, "gap: expected an integer of at least 1"),
        ({"gap": 1, "stride": 0}, OptionError, "stride: expected an integer of at least 1"),
        ({"gap": 1, "metric": "l1"}, OptionError, "metric"),
        ({"gap": 1, "persons": np.zeros(len(data["persons"]))}, DataError, "a person is twice in one frame"),
        ({"gap": 1, "features": data["features"][1:]}, DataError, "one label for each feature"),
    ):
        with pytest.raises(error, match=match) as caught:
            reassociate(**{**data, **change})  # type: ignore[arg-type]
        assert isinstance(caught.value, OsnetError)
        assert "\n" not in str(caught.value)


def test_gaps_are_frames_or_seconds() -> None:
    assert parse_gaps("1,5, 30") == ((1, False), (5, False), (30, False))
    assert parse_gaps("0.5s,2s,2s") == ((0.5, True), (2, True))
    for text in ("", "0", "1.5", "-1", "1m", "1,,2", "0s"):
        with pytest.raises(OptionError, match="--gaps: expected frames such as 1,5,10,30 or seconds"):
            parse_gaps(text, "--gaps")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("video") / "walk"
    draw_video(place, people=5, cameras=2, seconds=4, fps=5, width=160, height=120, seed=2)
    return place


@pytest.fixture(scope="module")
def found(walk: Path) -> FilmEvaluation:
    return evaluate_films(MODEL, walk, gaps=((1, False), (1, True)), stride=2)


@pytest.mark.slow
def test_crops_are_those_of_the_boxes(walk: Path, found: FilmEvaluation) -> None:
    from PIL import Image

    embedder = Embedder(MODEL, normalize=False)
    for row in (0, len(found.records) // 2, len(found.records) - 1):
        record = found.records[row]
        frame = np.asarray(Image.open(record.path).convert("RGB"))
        np.testing.assert_allclose(found.features[row], embedder(frame, boxes=[record.box])[0], atol=1e-4)
    assert found.sequences == ("camera1", "camera2")
    assert [gap.label for gap in found.gaps] == ["1 frame", "1 s"]
    later = reassociate(
        found.features, sequences=[record.camera or 0 for record in found.records], frames=found.frames,
        persons=found.persons, gap=5, stride=2,
    )  # fmt: skip
    assert {**later.to_dict(), "label": "1 s", "gap": 5.0} == {**found.gaps[1].to_dict(), "gap": 5.0}
    assert found.gaps[0].rank1 > 0.8
    drawn = sorted(path.name for path in walk.rglob("*"))
    assert not any(name.endswith(".npz") for name in drawn)


@pytest.mark.slow
def test_a_video_in_the_place_of_its_frames(walk: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "S"
    shutil.copytree(walk / "camera1", folder)
    frames = [np.asarray(Image.open(path)) for path in sorted((folder / "img1").iterdir())]
    expected = evaluate_films(MODEL, folder, gaps=((1, False),), stride=2)
    shutil.rmtree(folder / "img1")
    film(folder / "camera.mp4", frames=frames, crf="1")
    found = evaluate_films(MODEL, folder, gaps=((1, False),), stride=2)
    assert [(r.person, r.frame) for r in found.records] == [(r.person, r.frame) for r in expected.records]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(found.features, expected.features)]
    assert min(cosines) > 0.9


@pytest.mark.slow
def test_data_that_is_not_a_sequence(walk: Path, tmp_path: Path) -> None:
    from osnet.data.load import load_records

    for place, match in (
        (tmp_path, "no sequence in MOT format"),
        (tmp_path / "gone", "expected a folder with sequences"),
        (walk / "camera1/img1", "no sequence in MOT format"),
    ):
        with pytest.raises(DataError, match=match):
            evaluate_films(MODEL, place)
    shutil.copytree(walk / "camera1", tmp_path / "S")
    (tmp_path / "S/gt/gt.txt").unlink()
    with pytest.raises(DataError, match=r"det\.txt: no box of a pedestrian with an id"):
        evaluate_films(MODEL, tmp_path / "S")
    (tmp_path / "S/seqinfo.ini").unlink()
    (tmp_path / "S/det/det.txt").write_text("1,1,1,1,9,9,1\n")
    with pytest.raises(OptionError, match="a gap in seconds needs frameRate in its"):
        evaluate_films(MODEL, tmp_path / "S", gaps=((1, True),))
    for place in (walk, walk / "camera1"):
        with pytest.raises(DataError, match="has sequences in MOT format: evaluate them with osnet eval --protocol"):
            load_records(place)


@pytest.mark.slow
def test_the_command_and_its_page(walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from osnet.cli.app import app

    words = ["eval", "--protocol", "reassociation", "-m", MODEL, "-d", str(walk)]
    app([*words, "--gaps", "1,10", "--stride", "1", "--report", str(tmp_path)], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "queries from frames that 1 divides" in printed
    assert "10 frames" in printed
    page = (tmp_path / "report.html").read_text()
    found = evaluate_films(MODEL, walk, gaps=((1, False), (10, False)), stride=1)
    mistakes = sum(len(gap.wrong) for gap in found.gaps)
    assert 0 < mistakes <= 24
    assert page.count('<div class="mistake">') == mistakes
    assert page.count('<img src="data:image/jpeg') == 3 * mistakes


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--protocol", "reassociation", "--rerank"], "--rerank does not go with --protocol reassociation"),
        (["--protocol", "reassociation", "--gaps", "x"], "--gaps: expected frames"),
        (["--gaps", "1"], "--gaps is for --protocol reassociation"),
        (["--stride", "1"], "--stride is for --protocol reassociation"),
    ],
)
def test_the_command_refuses(options: list[str], match: str) -> None:
    from osnet.cli.app import app

    with pytest.raises(OptionError, match=match):
        app(["eval", "-d", "x", *options], standalone_mode=False)
