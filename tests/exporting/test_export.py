"""Exported files: run before they appear, whole or not at all, models like any other."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import osnet
from osnet.checkpoint.weights import Weights
from osnet.errors import CheckpointError, DiskError, ExistsError, OptionError, UnknownModelError, VerificationError
from osnet.exporting import export as module
from osnet.exporting.export import draw_people, export
from osnet.exporting.verify import verify
from osnet.inference.embedder import Embedder

pytest.importorskip("onnxruntime")
MODEL = "osnet_x0_25_drawn"


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    return draw_people(5)


@pytest.fixture(scope="module")
def expected(people: list[np.ndarray]) -> np.ndarray:
    return Embedder(MODEL)(people)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.onnx", {}),
        ("a.onnx", {"consumer": "ultralytics"}),
        ("a.onnx", {"consumer": "deepstream", "batch": 3}),
        ("a.onnx", {"input": "bytes", "layout": "nhwc", "any_size": True}),
        ("a.onnx", {"precision": "fp16"}),
        ("a.xml", {}),
        ("a.xml", {"consumer": "openvino", "batch": 2}),
        ("a.xml", {"input": "bytes", "layout": "nhwc", "any_size": True}),
        ("a.xml", {"precision": "fp16"}),
    ],
    ids=str,
)
@pytest.mark.slow
def test_an_exported_file_is_a_model_with_the_same_features(
    name: str, options: dict[str, Any], people: list[np.ndarray], expected: np.ndarray, tmp_path: Path
) -> None:
    result = export(MODEL, tmp_path / name, **options)
    assert sorted(tmp_path.iterdir()) == sorted(result.files)
    assert result.least_cosine > (0.999 if "any_size" in options else 0.99999)
    embedder = Embedder(tmp_path / name)
    assert embedder.backend == ("openvino" if name.endswith("xml") else "onnxruntime")
    assert embedder.signature.sha256 == osnet.read_weights(MODEL).sha256
    assert embedder.precision == options.get("precision", "fp32")
    features = embedder(people * 4)
    assert (features * np.concatenate([expected] * 4)).sum(axis=1).min() > 0.9999
    again = pickle.loads(pickle.dumps(embedder))
    assert np.array_equal(again(people[0]), embedder(people[0]))


@pytest.mark.slow
def test_openvino_runs_onnx_too_and_onnx_runtime_runs_weights(
    people: list[np.ndarray], expected: np.ndarray, tmp_path: Path
) -> None:
    export(MODEL, tmp_path / "a.onnx")
    for model, backend in ((tmp_path / "a.onnx", "openvino"), (MODEL, "onnxruntime")):
        embedder = Embedder(model, backend=backend)
        assert (embedder.backend, embedder.device) == (backend, "cpu")
        assert (embedder(people) * expected).sum(axis=1).min() > 0.99999


@pytest.mark.slow
def test_the_size_of_the_checkpoint_or_another(people: list[np.ndarray], tmp_path: Path) -> None:
    export(MODEL, tmp_path / "a.onnx", size=(128, 64))
    embedder = Embedder(tmp_path / "a.onnx")
    assert embedder.size == (128, 64)
    assert (embedder(people) * Embedder(MODEL, size=(128, 64))(people)).sum(axis=1).min() > 0.99999
    with pytest.raises(OptionError, match="takes 128x64, got 256x128"):
        Embedder(tmp_path / "a.onnx", size=(256, 128))


def test_nothing_is_written_where_features_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: Any) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((16, 512)).astype(np.float32)

    monkeypatch.setattr(module, "run_file", other)
    with pytest.raises(VerificationError, match=r"a\.xml is not written: .* expected at least 0\.99999 for fp32"):
        export(MODEL, tmp_path / "a.xml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_files_that_are_there_stay_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(ExistsError, match=r"a\.bin' exists"):
        export(MODEL, tmp_path / "a.xml")
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    export(MODEL, tmp_path / "a.xml", overwrite=True)
    assert Embedder(tmp_path / "a.xml").precision == "fp32"


def test_a_full_disk_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two files does not fit."""
    files = {"a.xml": b"old network", "a.bin": b"old weights"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    real, copied = module.shutil.copyfile, []

    def full(source: Path, target: Path) -> None:
        copied.append(target)
        if len(copied) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)

    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(DiskError, match="No space left"):
        export(MODEL, tmp_path / "a.xml", overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.tflite", {}, r"expected a file ending in \.onnx, \.xml, \.mindir, got '\.tflite'"),
        ("a.xml", {"consumer": "ultralytics"}, r"Ultralytics .* takes \.onnx, got '\.xml'"),
        ("a.onnx", {"consumer": "boxmot", "input": "unit"}, "input: BoxMOT .* feeds 'normalized', got 'unit'"),
        ("a.onnx", {"consumer": "boxmt"}, "consumer: expected one of .*did you mean 'boxmot'"),
        ("a.onnx", {"layout": "nhwc"}, "layout 'nhwc' holds uint8"),
        ("a.onnx", {"any_size": True}, "any_size needs layout 'nhwc'"),
        ("a.onnx", {"batch": 0}, "batch: expected an integer of at least 1"),
        ("a.onnx", {"precision": "fp8"}, "precision: expected one of"),
        ("a.onnx", {"size": (100, 50)}, "multiple of 16"),
        ("a.onnx", {"images": []}, "expected at least one image"),
    ],
)
def test_what_does_not_go_together_is_said(name: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export(MODEL, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_from_elsewhere_must_be_described(
    people: list[np.ndarray], expected: np.ndarray, tmp_path: Path
) -> None:
    from osnet.models.onnx_graph import build_onnx

    weights = osnet.read_weights(MODEL)
    (tmp_path / "theirs.onnx").write_bytes(build_onnx(weights).SerializeToString())
    with pytest.raises(OptionError, match=r"theirs\.onnx was not exported by osnet .*--input"):
        Embedder(tmp_path / "theirs.onnx")
    embedder = Embedder(tmp_path / "theirs.onnx", input="normalized")
    assert (embedder(people) * expected).sum(axis=1).min() > 0.99999
    assert (embedder.source.network, embedder.signature.sha256) == ("theirs", embedder.source.sha256)
    with pytest.raises(OptionError, match="input: only for exported networks"):
        Embedder(MODEL, input="unit")


@pytest.mark.parametrize(("name", "content"), [("a.onnx", b"no protobuf"), ("a.xml", b"<net"), ("a.onnx", b"")])
def test_a_damaged_file_is_one_clear_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")) as caught:
        Embedder(tmp_path / name, input="unit")
    assert "\n" not in str(caught.value)


def test_weights_are_needed_where_a_network_is_built(tmp_path: Path) -> None:
    export(MODEL, tmp_path / "a.onnx")
    with pytest.raises(UnknownModelError, match="is an exported network, and weights are needed"):
        osnet.read_weights(tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="has no weights to read"):
        _ = Embedder(tmp_path / "a.onnx").weights


@pytest.mark.parametrize("made_for", ["boxmot", "ultralytics", "deepstream", "triton"])
@pytest.mark.slow
def test_verify_tells_the_right_program_from_the_others(made_for: str, tmp_path: Path) -> None:
    export(MODEL, tmp_path / "a.onnx", consumer=made_for)
    for program in ("boxmot", "ultralytics", "deepstream", "triton"):
        if (made_for == "triton") != (program == "triton"):
            with pytest.raises(VerificationError, match="does not accept what"):
                verify(tmp_path / "a.onnx", program)
        else:
            assert verify(tmp_path / "a.onnx", program).right == (program == made_for)


def test_verify_needs_the_weights_that_a_file_was_made_from(tmp_path: Path) -> None:
    weights = Weights.from_arrays({k: v * 1.01 for k, v in osnet.read_weights(MODEL).arrays.items()})
    export(MODEL, tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="was made from a checkpoint with SHA-256"):
        verify(tmp_path / "a.onnx", "boxmot", model=weights)


@pytest.mark.slow
def test_a_file_says_where_its_weights_were(tmp_path: Path) -> None:
    from osnet.checkpoint.convert import convert

    convert(osnet.fetch(MODEL), tmp_path / "mine.safetensors")
    export(tmp_path / "mine.safetensors", tmp_path / "a.onnx", size=(128, 64))
    with pytest.raises(OptionError, match=r"was made from the file mine\.safetensors, which is not here"):
        verify(tmp_path / "a.onnx", "boxmot")
    assert verify(tmp_path / "a.onnx", "boxmot", model=tmp_path / "mine.safetensors").right
