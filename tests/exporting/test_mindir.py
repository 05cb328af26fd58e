"""MINDIR files: a fixed batch, the same features, a model like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osnet.errors import CheckpointError, OptionError
from osnet.exporting.export import draw_people, export
from osnet.exporting.verify import verify
from osnet.inference.embedder import Embedder

pytest.importorskip("mindspore")
pytestmark = pytest.mark.slow
MODEL = "osnet_x0_25_drawn"


def test_a_mindir_file_has_the_same_features_at_its_batch(tmp_path: Path) -> None:
    result = export(MODEL, tmp_path / "a.mindir", batch=2, size=(128, 64), input="bytes")
    assert result.files == (tmp_path / "a.mindir",)
    assert result.least_cosine > 0.99999
    people = draw_people(5)
    embedder = Embedder(tmp_path / "a.mindir")
    assert (embedder.backend, embedder.batch_size, embedder.size) == ("mindspore", 2, (128, 64))
    assert (embedder(people) * Embedder(MODEL, size=(128, 64))(people)).sum(axis=1).min() > 0.99999
    with pytest.raises(OptionError, match=r"backend 'openvino' cannot run .*expected mindspore"):
        Embedder(tmp_path / "a.mindir", backend="openvino")


def test_for_mindspore_lite_it_is_normalised_and_of_one_image(tmp_path: Path) -> None:
    result = export(MODEL, tmp_path / "a.mindir", consumer="mindspore-lite")
    assert (result.input_format.batch, result.input_format.values) == (1, "normalized")
    assert verify(tmp_path / "a.mindir", "mindspore-lite").right
    assert not verify(tmp_path / "a.mindir", "deepstream").right


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "a .mindir file is written in fp32"),
        ({"input": "bytes", "layout": "nhwc"}, "a .mindir file has layout 'nchw' and a fixed batch"),
    ],
)
def test_what_mindspores_exporter_cannot_do_is_said(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        export(MODEL, tmp_path / "a.mindir", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.mindir").write_bytes(b"\x0a\xff nothing")
    with pytest.raises(CheckpointError, match=r"a\.mindir cannot be read"):
        Embedder(tmp_path / "a.mindir", input="unit")


def test_the_device_is_one_that_mindspore_has() -> None:
    assert Embedder(MODEL, backend="mindspore", device="cpu").device == "cpu"
    with pytest.raises(OptionError, match="device: expected one of cpu, gpu, ascend"):
        Embedder(MODEL, backend="mindspore", device="cuda:0")
    with pytest.raises(OptionError, match="device 'ascend:0': MindSpore cannot use it here"):
        Embedder(MODEL, backend="mindspore", device="ascend:0")
    assert np.isfinite(Embedder(MODEL, backend="mindspore")(draw_people(1))).all()
