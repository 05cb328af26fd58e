from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from osnet.checkpoint.mindspore import write_ckpt
from osnet.checkpoint.weights import read_weights_file
from osnet.errors import DataError, DiskError, ImageError, OptionError, TrainingError, WeightsError
from osnet.training.config import TrainConfig
from osnet.training.cost import CostWarning, costs
from osnet.training.run import Run
from osnet.training.trainer import resume, train
from osnet.variants import get_variant
from tests.checkpoint.samples import folded
from tests.processes import small_disk
from tests.recipe import recipe_arrays

pytestmark = pytest.mark.slow
pytest.importorskip("mindspore")

STEPS = 4


@pytest.fixture(scope="module")
def undisturbed(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(config, tmp_path_factory.mktemp("undisturbed") / "run")


def start(run: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "osnet", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=run.parent)


def test_a_run_is_whole(undisturbed: Run, config: TrainConfig) -> None:
    assert undisturbed.config == config
    lines = undisturbed.metrics()
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    assert steps == list(range(1, STEPS + 1))
    assert [line["epoch"] for line in evaluations] == [1, 2]
    assert all(0 <= line["mAP"] <= 1 and line["valid_queries"] == 4 for line in evaluations)
    weights = read_weights_file(undisturbed.last)
    assert (weights.variant.name, weights.num_classes) == ("osnet_x0_25", 4)
    assert int(weights.extras["step_num"]) == STEPS
    assert weights.input_size == read_weights_file(undisturbed.best).input_size == (32, config.width)
    assert np.abs(weights.extras["moment1.classifier.weight"]).max() > 0
    assert (undisturbed.root / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.timeout(900)
def test_killed_and_resumed_it_ends_with_the_same_bytes(undisturbed: Run, config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config.save(tmp_path / "config.yaml")
    process = start(run, "--config", "config.yaml", "--out", "run")
    while not (run / "last.ckpt").is_file():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert read_weights_file(run / "last.ckpt").extras["step_num"] < STEPS
    finished = resume(run)
    assert finished.last.read_bytes() == undisturbed.last.read_bytes()
    assert finished.best.read_bytes() == undisturbed.best.read_bytes()
    keys = ("kind", "step", "loss", "accuracy", "mAP")
    assert [[line.get(key) for key in keys] for line in finished.metrics()] == [
        [line.get(key) for key in keys] for line in undisturbed.metrics()
    ]
    before = finished.last.stat().st_mtime_ns
    resume(run)  # nothing is left to do
    assert finished.last.stat().st_mtime_ns == before


def test_what_fails_after_an_epoch_does_not_cost_it(
    undisturbed: Run, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ImageError("a query is gone")

    with monkeypatch.context() as patch:
        patch.setattr("osnet.training.loop.measure", fails)
        with pytest.raises(ImageError):
            train(config, tmp_path / "run")
    assert read_weights_file(tmp_path / "run" / "last.ckpt").extras["step_num"] == STEPS // 2
    monkeypatch.setattr("osnet.training.loop.draw_curves", fails)
    with pytest.warns(UserWarning, match=r"no curves\.png: ImageError: a query is gone"):
        finished = resume(tmp_path / "run")
    assert finished.last.read_bytes() == undisturbed.last.read_bytes()
    assert finished.best.read_bytes() == undisturbed.best.read_bytes()


def test_tensorboard_has_the_losses_and_evaluations(config: TrainConfig, tmp_path: Path) -> None:
    run = train(config.replace(epochs=1, tensorboard=True), tmp_path / "run")
    (events,) = (run.root / "tensorboard").iterdir()
    data = events.read_bytes()
    assert events.name.startswith("events.out.tfevents.")
    for tag in (b"loss", b"learning_rate", b"mAP"):
        assert tag in data


@pytest.mark.timeout(300)
def test_ctrl_c_saves_first(config: TrainConfig, undisturbed: Run, tmp_path: Path) -> None:
    config.replace(save_every=0, eval_every=0, epochs=40).save(tmp_path / "config.yaml")
    process = start(tmp_path / "run", "--config", "config.yaml", "--out", "run")
    metrics = tmp_path / "run/metrics.jsonl"
    while not metrics.is_file() or b'"step", ' not in metrics.read_bytes():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"osnet train --resume run" in errors
    done = [line["step"] for line in Run.open(tmp_path / "run").metrics() if line["kind"] == "step"]
    assert int(read_weights_file(tmp_path / "run/last.ckpt").extras["step_num"]) == done[-1] < 80


def test_a_diverging_run_says_what_to_try_and_keeps_the_last_good_checkpoint(
    config: TrainConfig, tmp_path: Path
) -> None:
    wild = config.replace(learning_rate=1e30, optimizer="sgd", schedule="constant", eval_every=0)
    with pytest.raises(TrainingError, match=r"^step [234]: the loss is .* try a lower learning_rate.*step \d is kept"):
        train(wild, tmp_path / "run")
    assert int(read_weights_file(tmp_path / "run/last.ckpt").extras["step_num"]) >= 1


@pytest.mark.filterwarnings("ignore::osnet.training.cost.CostWarning")
def test_the_base_is_frozen_in_the_first_stage(undisturbed: Run, config: TrainConfig, tmp_path: Path) -> None:
    staged = config.replace(model=str(undisturbed.best), epochs=2, frozen_epochs=1, save_every=0, accumulation=2)
    base = read_weights_file(undisturbed.best).without_classifier()
    run = train(staged, tmp_path / "run")
    assert run.origin["base_sha256"] == base.sha256
    steps = [line for line in run.metrics() if line["kind"] == "step"]
    assert steps[0]["learning_rate"] == staged.frozen_learning_rate
    assert len(steps) == 2
    assert not np.array_equal(read_weights_file(run.last).arrays["conv1.conv.weight"], base.arrays["conv1.conv.weight"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": ""}, DataError, "osnet synth"),
        ({"batch_size": 16}, DataError, "needs 8 identities"),
        ({"val_identities": 3}, DataError, "at most 2"),
        ({"start_fraction": 0.5}, OptionError, "expected weights to start from, got the fresh network 'osnet_x0_25'"),
        ({"other_data": "nowhere"}, DataError, "no data set at 'nowhere'"),
        ({"network": "osnet_x1_0"}, WeightsError, "expected osnet_x1_0, got osnet_x0_25"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_work_is_said_before_a_folder_is_made(
    config: TrainConfig, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(config.replace(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def folded_file(tmp_path: Path) -> Path:
    path = tmp_path / "folded.ckpt"
    path.write_bytes(write_ckpt(folded(recipe_arrays(get_variant("osnet_x0_25"), 4))))
    return path


def test_folded_batch_norm_is_refused_with_the_way_out(config: TrainConfig, folded_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"batch norm was folded.*--set freeze_norm=true.*not folded"):
        train(config.replace(model=str(folded_file)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = train(config.replace(model=str(folded_file), freeze_norm=True, epochs=1), tmp_path / "run")
    start, end = read_weights_file(folded_file).arrays, read_weights_file(run.last).arrays
    for name in start:
        if not name.startswith("classifier."):
            assert np.array_equal(start[name], end[name]) == ("moving" in name), name


@pytest.mark.filterwarnings("ignore::osnet.training.cost.CostWarning")
def test_what_a_run_costs_and_a_share_of_the_start(
    undisturbed: Run, config: TrainConfig, crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    start = tmp_path / "start.ckpt"
    start.write_bytes(undisturbed.best.read_bytes())
    run = train(
        config.replace(model=str(start), start_fraction=0.25, other_data=str(crops), eval_every=0), tmp_path / "run"
    )
    lines = [line for line in run.metrics() if line["kind"] != "step"]
    kinds = ("evaluation", "other_evaluation")
    assert [(line["kind"], line["epoch"]) for line in lines] == [(kind, epoch) for epoch in (0, 2) for kind in kinds]
    held_out, other = costs(run)
    assert (held_out.before, held_out.after) == (lines[0]["mAP"], lines[2]["mAP"])
    assert (other.before, other.after) == (held_out.before, held_out.after)  # here they are the same people
    assert str(held_out) in capsys.readouterr().err
    files = (start, run.last, run.best)
    before, trained, result = (read_weights_file(path).without_classifier().arrays for path in files)
    for name in result:
        np.testing.assert_allclose(result[name], 0.25 * before[name] + 0.75 * trained[name], rtol=1e-5, atol=1e-7)
    assert not np.array_equal(result["conv1.conv.weight"], trained["conv1.conv.weight"])
    resume(run.root)  # nothing is left to do or to measure
    assert len([line for line in run.metrics() if line["kind"] != "step"]) == 4
    start.write_bytes(write_ckpt(recipe_arrays(get_variant("osnet_x0_25"), 4)))
    with pytest.raises(DataError, match=r"is not the file that .* began with: SHA-256 expected"):
        resume(run.root)


def test_without_held_out_people_it_says_so_and_the_last_epoch_is_the_result(
    undisturbed: Run, config: TrainConfig, crops: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/bounding_box_train").symlink_to(crops / "bounding_box_train")
    alone = config.replace(data=str(tmp_path / "data"), model=str(undisturbed.best), epochs=1)
    with pytest.warns(CostWarning, match="no people are held out: set val_identities, or other_data"):
        run = train(alone, tmp_path / "run")
    assert run.best.read_bytes() == run.last.read_bytes()
    assert costs(run) == []


def test_one_identity_or_one_image_of_each(crops: Path, config: TrainConfig, tmp_path: Path) -> None:
    sources = sorted((crops / "bounding_box_train").iterdir())
    for name, chosen, message in (("one", sources[:4], "show 1 identity"), ("each", sources[::4], "has one image")):
        folder = tmp_path / name / "bounding_box_train"
        folder.mkdir(parents=True)
        for path in chosen:
            (folder / path.name).write_bytes(path.read_bytes())
        with pytest.raises(DataError, match=message):
            train(config.replace(data=str(folder.parent)), tmp_path / "run")


def test_a_folder_in_use_and_one_without_a_run(undisturbed: Run, config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"is not empty.*--resume"):
        train(config.replace(model="no_such_model"), undisturbed.root)  # said before weights are looked for
    with pytest.raises(OptionError, match="no run in"):
        resume(tmp_path)


def test_other_data_is_not_resumed(config: TrainConfig, undisturbed: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for path in undisturbed.root.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    (copy / "origin.json").write_text(
        (copy / "origin.json").read_text().replace('"fingerprint": "', '"fingerprint": "0')
    )
    with pytest.raises(DataError, match="is not the data set"):
        resume(copy)


def test_a_disk_that_fills_up_leaves_the_last_good_checkpoint(config: TrainConfig, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:  # holds one checkpoint of 2.5 MB and not the next beside it
        with pytest.raises(DiskError, match=r"last\.ckpt.*room to write"):
            train(config.replace(eval_every=0), disk / "run")
        assert int(read_weights_file(disk / "run/last.ckpt").extras["step_num"]) == 1
        assert not list((disk / "run").glob("*.part"))


def test_a_save_that_is_cut_short_leaves_the_one_before(undisturbed: Run, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the kernel refuses the write in the middle."""
    import resource

    from osnet.models.load import network_from_weights, weights_of
    from osnet.training.state import Progress, save_state

    path = tmp_path / "last.ckpt"
    path.write_bytes(undisturbed.last.read_bytes())
    network = network_from_weights(read_weights_file(path), 4)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(DiskError, match=r"last\.ckpt.*room to write"):
            save_state(path, weights_of(network), {}, Progress(step=9), 0.1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == undisturbed.last.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
