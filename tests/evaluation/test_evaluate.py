"""A model on a data set: figures, cache, claims, and every refusal before anything is computed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import osnet
from osnet.checkpoint.weights import Weights
from osnet.data.doctor import examine
from osnet.data.load import load_records
from osnet.data.records import DataSet, Record
from osnet.errors import DataError, OptionError
from osnet.evaluation.claims import claims_of, why_not_comparable
from osnet.evaluation.evaluate import evaluate_all
from osnet.evaluation.ranking import rank_distances
from osnet.hub.inventory import list_cache
from osnet.inference.embedder import Embedder
from osnet.inference.feature_cache import FOLDER
from tests.data_sets import huge_png, image, touch
from tests.oracles import ranking as oracle
from tests.recipe import recipe_arrays, recipe_weights

NOT_READ = "no_such_file.ckpt"
"""A model that cannot be read: whatever is refused with it was refused before any weights were looked at."""


@pytest.fixture(scope="module")
def weights() -> Weights:
    return recipe_weights("osnet_x0_25")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people, two cameras, junk, a distractor: 6 queries, 8 in the gallery."""
    root = tmp_path_factory.mktemp("market")
    for i, person in enumerate((3, 4, 5)):
        for camera in (1, 2):
            image(root / "query" / f"{person:04d}_c{camera}s1_{i:06d}_00.jpg", seed=20 * i + camera)
            image(root / "bounding_box_test" / f"{person:04d}_c{camera}s1_{i:06d}_01.jpg", seed=20 * i + camera + 5)
    image(root / "bounding_box_test" / "-1_c1s1_000000_00.jpg", seed=90)
    image(root / "bounding_box_test" / "0000_c1s1_000000_00.jpg", seed=91)
    return root


@pytest.fixture
def copy(market: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(market, tmp_path / "copy"))


def cache_files() -> list[Path]:
    return sorted(Path(os.environ["OSNET_CACHE"], FOLDER).glob("*"))


# --- figures -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_figures_are_those_of_plain_loops(weights: Weights, market: Path, metric: str, flip: bool) -> None:
    found = osnet.evaluate(weights, market, metric=metric, flip=flip, precision="fp32")
    data = load_records(market)
    query, gallery = data.split("query"), data.split("gallery", junk=True)
    assert (len(query), len(gallery)) == (6, 8)
    features = Embedder(weights, precision="fp32", normalize=metric == "cosine", flip=flip)(
        [r.path for r in data.records]
    )
    by_path = dict(zip((r.path for r in data.records), features))
    matrix = [[oracle.distance(by_path[q.path], by_path[g.path], metric) for g in gallery] for q in query]
    expected = oracle.figures(
        matrix, *([r.person for r in side] for side in (query, gallery)),
        *([r.camera for r in side] for side in (query, gallery)),
    )  # fmt: skip
    assert found.mAP == pytest.approx(expected[0], abs=1e-9)
    assert found.ranking.cmc.tolist() == pytest.approx(expected[1])
    assert found.ranking.valid_queries == expected[3] == 6
    assert found.ranking.average_precision.tolist() == pytest.approx([one[0] for one in expected[4]])


@pytest.mark.slow
def test_a_checkpoint_is_evaluated_at_its_own_size_unless_told_otherwise(weights: Weights, market: Path) -> None:
    small = replace(weights, input_size=(64, 32))
    own = osnet.evaluate(small, market)
    told = osnet.evaluate(weights, market, size=(64, 32))
    usual = osnet.evaluate(small, market, size=(256, 128))
    assert (own.size, told.to_dict()["size"], usual.size) == ((64, 32), "64x32", (256, 128))
    np.testing.assert_array_equal(own.query_features, told.query_features)
    assert np.abs(own.query_features - usual.query_features).max() > 0.01
    with pytest.raises(OptionError, match="size, width: expected a multiple of 16, got 40"):
        osnet.evaluate(NOT_READ, market, size=(64, 40))


@pytest.mark.slow
def test_reranking_ranks_by_the_reranked_distances(weights: Weights, market: Path) -> None:
    found = osnet.evaluate(weights, market, rerank=True)
    plain = osnet.evaluate(weights, market)
    with pytest.warns(UserWarning, match="the gallery has 8"):
        distances = osnet.rerank(plain.query_features, plain.gallery_features)
    assert "the gallery has 8" in found.findings[-1]
    assert found.mAP == rank_distances(distances, **plain.labels).mAP
    np.testing.assert_array_equal(found.distances, distances)
    assert plain.distances is None


@pytest.mark.slow
def test_pooling_makes_one_feature_of_a_tracklet(weights: Weights, market: Path, tmp_path: Path) -> None:
    lines = ["path,person,camera,split,tracklet"]
    for split, folder in (("query", "query"), ("gallery", "bounding_box_test")):
        for path in sorted((market / folder).glob("000[345]*")):
            person, camera = path.name[3], path.name[6]
            name = "" if split == "gallery" and person == "3" else f"{split}{person}"  # of both cameras, or none
            lines.append(f"{path},{person},{camera},{split},{name}")
    extra = image(tmp_path / "extra.jpg", seed=300)
    lines.append(f"{extra},4,1,query,query4")
    table = tmp_path / "set.csv"
    table.write_text("\n".join(lines))
    found = osnet.evaluate(weights, table, pool="mean", precision="fp32")
    assert [(r.person, r.camera) for r in found.query] == [(3, 1), (3, 2), (4, 1), (4, 2), (5, 1), (5, 2)]
    assert len(found.gallery) == 6
    two = [r.path for r in found.data.records if r.tracklet == "query4" and r.camera == 1]
    assert len(two) == 2
    expected = Embedder(weights, precision="fp32")(two).mean(axis=0)
    np.testing.assert_allclose(found.query_features[2], expected, atol=1e-5)
    with pytest.raises(DataError, match="column tracklet"):
        osnet.evaluate(NOT_READ, market, pool="mean")


@pytest.mark.slow
def test_the_summary_is_json_and_holds_thresholds_on_demand(weights: Weights, market: Path) -> None:
    found = osnet.evaluate(weights, market)
    row = json.loads(json.dumps(found.to_dict(thresholds=True), allow_nan=False))
    assert set(row["cmc"]) == {"1", "5", "10", "20"}
    assert row["verification"]["genuine_pairs"] == 6
    # each query against the gallery without its own two, without junk: 8 - 1 - 2
    assert row["verification"]["impostor_pairs"] == 6 * 5
    assert row["open_set"]["enrolled_queries"] + row["open_set"]["unenrolled_queries"] == 6
    assert (row["queries"], row["gallery"], row["dataset"], row["protocol"]) == (6, 8, "market1501", "market1501")
    assert "verification" not in found.to_dict()


@pytest.mark.slow
@pytest.mark.shared
def test_real_weights_find_the_real_crops_and_only_with_normalisation(shared: Path) -> None:
    from osnet.inference.images import prepare
    from osnet.models.openvino_graph import build_openvino, openvino_core

    weights = osnet.read_weights(shared / "data/real/osnet_x0_25_msmt17.ckpt")
    found = osnet.evaluate(weights, shared / "data/real/crops")
    assert found.mAP == 1
    assert found.ranking.cmc[0] == 1
    network = openvino_core().compile_model(build_openvino(weights), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    crops = [prepare(record.path) for record in (*found.query, *found.gallery)]
    raw = np.concatenate([network([np.float32(crop.transpose(2, 0, 1)[None] / 255)])[0] for crop in crops])
    without = osnet.rank(raw[: len(found.query)], raw[len(found.query) :], **found.labels)
    assert 0.9 < without.mAP < 0.95


# --- cache ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_run_computes_only_what_changed(weights: Weights, copy: Path) -> None:
    first = osnet.evaluate(weights, copy, precision="fp32")
    again = osnet.evaluate(weights, copy, precision="fp32")
    assert (first.computed, again.computed) == (14, 0)
    np.testing.assert_array_equal(first.query_features, again.query_features)
    np.testing.assert_array_equal(first.gallery_features, again.gallery_features)
    assert osnet.evaluate(weights, copy, precision="fp32", metric="euclidean").computed == 0
    assert osnet.evaluate(weights, copy, precision="fp32", flip=True).computed == 14
    assert osnet.evaluate(replace(weights, sha256="1" * 64), copy, precision="fp32").computed == 14
    assert len(cache_files()) == 3
    assert list_cache() == []  # no checkpoint among them

    # Other content under the same name, size and times; and the same content under another name.
    changed = first.query[0].path
    state, old = changed.stat(), changed.read_bytes()
    others = (image(copy / "other.jpg", seed=1000 + i).read_bytes() for i in range(100))
    changed.write_bytes(next(other for other in others if len(other) <= len(old)).ljust(len(old), b"\0"))
    os.utime(changed, ns=(state.st_atime_ns, state.st_mtime_ns))
    first.gallery[-1].path.rename(first.gallery[-1].path.with_name("0005_c2s9_000009_09.jpg"))
    third = osnet.evaluate(weights, copy, precision="fp32")
    assert third.computed == 1
    assert not np.allclose(third.query_features[0], first.query_features[0], atol=1e-3)
    np.testing.assert_allclose(third.query_features[0], Embedder(weights, precision="fp32")(changed)[0], atol=1e-5)
    np.testing.assert_array_equal(third.query_features[1:], first.query_features[1:])


@pytest.mark.slow
def test_equal_files_are_computed_once(weights: Weights, copy: Path) -> None:
    first = load_records(copy).split("query")[0].path
    shutil.copy(first, copy / "bounding_box_test" / "0009_c3s1_000000_05.jpg")
    found = osnet.evaluate(weights, copy)
    assert (found.computed, len(found.gallery)) == (14, 9)
    np.testing.assert_array_equal(found.gallery_features[-1], found.query_features[0])


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["garbage", "row", "unreadable"])
def test_a_damaged_cache_costs_time_only(weights: Weights, market: Path, damage: str) -> None:
    import sqlite3

    first = osnet.evaluate(weights, market)
    (file,) = cache_files()
    if damage == "garbage":
        file.write_bytes(b"no database" * 1000)
    elif damage == "row":
        with sqlite3.connect(file) as connection:
            connection.execute(
                "UPDATE features SET feature = zeroblob(2048) WHERE digest = (SELECT min(digest) FROM features)"
            )
        connection.close()
    else:
        file.unlink()
        file.mkdir()
    if damage == "unreadable":
        with pytest.warns(UserWarning, match="not cached"):
            again = osnet.evaluate(weights, market)
    else:
        again = osnet.evaluate(weights, market)
    assert again.computed == (1 if damage == "row" else 14)
    np.testing.assert_allclose(again.query_features, first.query_features, atol=1e-6)


@pytest.mark.slow
def test_without_cache_nothing_is_written(weights: Weights, market: Path) -> None:
    assert osnet.evaluate(weights, market, cache=False).computed == 14
    assert osnet.evaluate(weights, market, cache=False).computed == 14
    assert osnet.evaluate(replace(weights, sha256=None), market).computed == 14
    assert cache_files() == []


# --- refusals ------------------------------------------------------------------------------------------------------


def bad_sets(root: Path) -> Iterator[tuple[str, Path, str]]:
    touch(
        root / "high" / "Market" / "v15", "query/0001_c1s1_000000_00.jpg", "bounding_box_test/0001_c2s1_000000_00.jpg"
    )
    yield "one folder too high", root / "high", "too high: the data set is in '.*v15'"
    image(root / "empty" / "query" / "0001_c1s1_000000_00.jpg")
    touch(root / "empty", "bounding_box_test/Thumbs.db")
    yield "empty gallery", root / "empty", "split gallery has none"
    for name, answer in (("unenrolled", "0002_c2"), ("same_camera", "0001_c1")):
        image(root / name / "query" / "0001_c1s1_000000_00.jpg")
        image(root / name / "bounding_box_test" / f"{answer}s1_000000_00.jpg", seed=1)
        image(root / name / "bounding_box_test" / "0003_c2s1_000000_00.jpg", seed=2)
    yield "identity that never appears", root / "unenrolled", "1 of 1 queries show people who are not in the gallery"
    yield "only the own camera", root / "same_camera", "no gallery image from another camera"
    touch(root / "void", "query/0001_c1s1_000000_00.jpg", "bounding_box_test/0001_c2s1_000000_00.jpg")
    yield "empty files", root / "void", "2 listed files are empty"
    table = root / "void" / "twice.csv"
    image(root / "void" / "a.png")
    table.write_text("path,person,camera,split\na.png,1,1,query\na.png,1,2,gallery\n")
    yield "query as its answer", table, "1 file is listed more than once, .* as a query and as its match"
    yield "nothing there", root / "gone", "no such file or folder"


BAD_SETS = ["one folder too high", "empty gallery", "identity that never appears", "only the own camera", "empty files"]


@pytest.mark.parametrize("what", [*BAD_SETS, "query as its answer", "nothing there"])
def test_a_data_set_that_cannot_tell_is_refused_before_any_weights_are_read(what: str, tmp_path: Path) -> None:
    data, message = {name: (data, message) for name, data, message in bad_sets(tmp_path)}[what]
    with pytest.raises(DataError, match=message):
        osnet.evaluate(NOT_READ, data)


def test_one_camera_is_refused_under_every_protocol_that_leaves_the_own_camera_out(tmp_path: Path) -> None:
    data = {name: data for name, data, _ in bad_sets(tmp_path)}["only the own camera"]
    with pytest.raises(DataError, match="1 of 1 queries have no gallery image from another camera"):
        osnet.evaluate(NOT_READ, data, protocol="cuhk03")


@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ({"metric": "manhattan"}, "one of cosine, euclidean"),
        ({"protocol": "market"}, "one of market1501, cuhk03, camera-blind"),
        ({"pool": "max"}, "pool: expected one of mean"),
        ({"dataset": "market"}, "one of auto, market1501"),
    ],
)
def test_unknown_names_list_the_known_ones(market: Path, keyword: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        osnet.evaluate(NOT_READ, market, **keyword)


def test_the_device_and_the_backend_are_the_embedders(weights: Weights, market: Path) -> None:
    with pytest.raises(OptionError, match="device: the openvino backend runs on the CPU, got 'cuda:0'"):
        osnet.evaluate(weights, market, device="cuda:0")
    pytest.importorskip("onnxruntime")
    with pytest.raises(OptionError, match="device 'tensorrt:0': this onnxruntime has no TensorrtExecutionProvider"):
        osnet.evaluate(weights, market, backend="onnxruntime", device="tensorrt:0")


def test_every_data_set_is_checked_before_the_first_is_evaluated(
    weights: Weights, market: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="gone"):
        evaluate_all([weights], [market, tmp_path / "gone"])


@pytest.mark.slow
def test_camera_blind_by_name_lets_a_single_camera_through(weights: Weights, tmp_path: Path) -> None:
    for i, folder in enumerate(("query", "bounding_box_test")):
        for person in (1, 2):
            image(tmp_path / folder / f"{person:04d}_c1s1_00000{i}_00.jpg", seed=2 * i + person)
    with pytest.raises(DataError, match="camera-blind"):
        osnet.evaluate(NOT_READ, tmp_path)
    assert osnet.evaluate(weights, tmp_path, protocol="camera-blind").ranking.valid_queries == 2


@pytest.mark.slow
def test_features_that_are_not_finite_are_refused(market: Path) -> None:
    from osnet.variants import get_variant

    arrays = recipe_arrays(get_variant("osnet_x0_25"))
    arrays["fc.0.bias"][0] = np.inf
    broken = Weights.from_arrays(arrays, allow_nonfinite=True)
    with pytest.raises(DataError, match="NaN"):
        osnet.evaluate(broken, market)


@pytest.mark.slow
def test_unreadable_images_are_left_out_and_named(weights: Weights, copy: Path) -> None:
    """The figures are those of a data set that never had the files, and nothing that was computed is lost."""
    records = load_records(copy)
    bad = [records.split("query")[0].path, records.split("gallery")[-1].path, records.split("gallery")[0].path]
    whole = [path.read_bytes() for path in bad]
    bad[0].write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n")
    bad[1].write_bytes(huge_png(12_000, 9_000))
    bad[2].write_bytes(b"")
    found = osnet.evaluate(weights, copy)
    assert len(found.left_out) == 3
    for path in bad:
        assert any(str(path) in message for message in found.left_out)
    assert any("2 of 13 images cannot be decoded and are left out" in finding for finding in found.findings)
    assert any("1 listed file is empty and left out" in finding for finding in found.findings)
    assert found.to_dict()["left_out"] == list(found.left_out)
    for path in bad:
        path.unlink()
    without = osnet.evaluate(weights, copy)
    assert (without.computed, without.left_out) == (0, ())
    assert (without.mAP, without.ranking.valid_queries) == (found.mAP, found.ranking.valid_queries)
    np.testing.assert_array_equal(without.gallery_features, found.gallery_features)
    for path, content in zip(bad, whole):
        path.write_bytes(content)
    assert osnet.evaluate(weights, copy).computed == 3


@pytest.mark.slow
@pytest.mark.parametrize("split", ["query", "gallery"])
def test_doctor_and_evaluation_agree_when_too_little_is_left(split: str, weights: Weights, copy: Path) -> None:
    for record in load_records(copy).split(split, junk=True):
        record.path.write_bytes(b"x")
    assert examine(copy, quick=True).ok
    assert not examine(copy).ok
    with pytest.raises(DataError, match=f"cannot be decoded and are left out, such as .*split {split} has none"):
        osnet.evaluate(weights, copy)


# --- claims --------------------------------------------------------------------------------------------------------


def test_claims_of_one_file_may_differ() -> None:
    seed = osnet.get_card("osnet")
    claims = claims_of("osnet", seed.checkpoint.sha256)
    assert [(claim.text, claim.mAP) for claim in claims] == [("mAP67", 0.67), ("mAP74", 0.74)]
    assert [claim.text for claim in claims_of("some.ckpt", seed.checkpoint.sha256)] == ["mAP74", "mAP67"]
    assert claims_of("osnet_market1501", None)[0].mAP == pytest.approx(0.83)
    assert claims_of("some.ckpt", "0" * 64) == ()
    assert claims_of(replace(seed, evaluation="good"), None)[0].mAP is None


def test_the_documentation_says_what_the_cards_claim() -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    documented = {}
    for start, claims in re.findall(r"^\| `([0-9a-f]{8})\.\.\.` \|.*\|([^|]*)\|$", text, re.MULTILINE):
        documented[start] = set(re.findall(r"mAP[0-9.]*[0-9]", claims))
    published: dict[str, set[str]] = {}
    for card in osnet.list_cards():
        if card.user_id.lower() == "mindspore":
            published.setdefault(card.checkpoint.sha256[:8], set()).add(card.evaluation)
    assert documented == published


def _published(name: str, queries: int, gallery: int) -> DataSet:
    records = [Record(Path(f"q{i}"), 1, 1, "query") for i in range(queries)]
    records += [Record(Path(f"g{i}"), -1 if i % 5 else 1, 2, "gallery") for i in range(gallery)]
    return DataSet(name, Path("d"), "market1501", tuple(records))


def test_a_claim_is_compared_only_with_what_it_is_about() -> None:
    (claim, *_) = claims_of("osnet_market1501", None)
    plain = {"protocol": "market1501", "metric": "euclidean", "rerank": False, "flip": False, "pool": None}
    plain["other_size"] = None
    market = _published("market1501", 3368, 19732)
    assert why_not_comparable(claim, market, plain) is None
    assert "this has 3367" in str(why_not_comparable(claim, _published("market1501", 3367, 19732), plain))
    assert "this data set is dukemtmcreid" in str(
        why_not_comparable(claim, _published("dukemtmcreid", 2228, 17661), plain)
    )
    assert "rerank and flip" in str(why_not_comparable(claim, market, {**plain, "rerank": True, "flip": True}))
    assert "own input size, and this is 128x64" in str(
        why_not_comparable(claim, market, {**plain, "other_size": "128x64"})
    )
    assert "cuhk03" in str(why_not_comparable(claim, market, {**plain, "protocol": "cuhk03"}))
    assert "use --metric euclidean" in str(why_not_comparable(claim, market, {**plain, "metric": "cosine"}))
    assert why_not_comparable(replace(claim, metric=None), market, {**plain, "metric": "cosine"}) is None
    assert claims_of("osnet_msmt17", None)[0].metric == "cosine"
    assert claims_of(replace(osnet.get_card("osnet"), repository="https://example.org/own"), None)[0].metric is None
    assert "no mAP" in str(why_not_comparable(replace(claim, mAP=None), market, plain))
    duke = claims_of("osnet_dukemtmc", None)[0]
    assert why_not_comparable(duke, _published("dukemtmcreid", 2228, 17661), plain) is None


@pytest.mark.slow
def test_the_claim_stands_beside_the_figure(weights: Weights, market: Path) -> None:
    sha256 = osnet.get_card("osnet").checkpoint.sha256
    found = osnet.evaluate(replace(weights, sha256=sha256), market, metric="euclidean")
    beside = found.claim_beside()
    assert beside is not None
    assert (beside["text"], beside["difference"]) == ("mAP74", None)
    assert "this data set is market1501" in beside["not_comparable"]
    assert beside["others"] == [{"text": "mAP67", "card": "mindspore/1.6/osnet_dukemtmc"}]
    records = _published("dukemtmcreid", 2228, 17661)
    beside = replace(found, data=records).claim_beside()
    assert beside is not None
    assert beside["difference"] == pytest.approx(found.mAP - 0.74)


@pytest.mark.parametrize("name", ["rerank", "flip", "distractors", "cache"])
def test_a_word_is_no_yes_or_no(market: Path, name: str) -> None:
    with pytest.raises(OptionError, match=f"^{name}: expected True or False, got 'false'"):
        osnet.evaluate("no-such-model", market, **{name: "false"})
