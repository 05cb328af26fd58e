"""int8 files: calibrated on the user's images, near fp32, and what cannot be calibrated on is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osnet.errors import DependencyError, ImageError, OptionError
from osnet.exporting import quantise as module
from osnet.exporting.export import draw_people, export
from osnet.inference.embedder import Embedder

MODEL = "osnet_x0_25_drawn"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_int8_file_is_near_fp32_and_keeps_sensitive_layers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nncf")
    people = draw_people(40)
    result = export(MODEL, tmp_path / "a.xml", precision="int8", images=people[:24], size=(128, 64))
    assert capfd.readouterr().out == "", "NNCF's progress must not mix with --json"
    embedder = Embedder(tmp_path / "a.xml")
    assert embedder.precision == "int8"
    assert embedder.source.metadata["calibrated_on"] == "24 images"
    others = people[24:]
    cosines = (embedder(others) * Embedder(MODEL, size=(128, 64))(others)).sum(axis=1)
    assert 0.98 < cosines.min() < 0.99999
    assert result.mean_cosine > 0.99
    export(MODEL, tmp_path / "b.xml", size=(128, 64))
    assert (tmp_path / "a.bin").stat().st_size < 0.6 * (tmp_path / "b.bin").stat().st_size
    assert not _quantised_inputs(tmp_path / "a.xml", {"conv1.conv", "fc.0"})
    assert _quantised_inputs(tmp_path / "a.xml", {"conv5.conv"})


def _quantised_inputs(path: Path, names: set[str]) -> list[str]:
    """Names of FakeQuantize nodes that lead into the layers `names`."""
    from osnet.models.openvino_graph import openvino_core

    graph = openvino_core().read_model(str(path))
    return [
        node.input_value(0).get_node().get_friendly_name()
        for node in graph.get_ops()
        if node.get_friendly_name() in names and node.input_value(0).get_node().get_type_name() == "FakeQuantize"
    ]


@pytest.mark.parametrize(
    ("name", "images", "error", "message"),
    [
        ("a.xml", None, ImageError, r"int8 is calibrated on images like those it will see: .*--images"),
        ("a.xml", draw_people(3), ImageError, "expected at least 16, got 3"),
        ("a.xml", draw_people(1) * 20, ImageError, "these 20 are all alike"),
        ("a.onnx", draw_people(20), OptionError, r"int8' is written as OpenVINO's \.xml"),
    ],
    ids=["none", "few", "alike", "onnx"],
)
def test_what_cannot_be_calibrated_is_said(
    name: str, images: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        export(MODEL, tmp_path / name, precision="int8", images=images)
    assert list(tmp_path.iterdir()) == []


def test_without_nncf_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(DependencyError, match=r'pip install "osnet\[int8\]"'):
        module.quantise(None, module.InputFormat(), draw_people(16))  # type: ignore[arg-type]


def test_of_many_images_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from osnet.exporting import export as exporting

    monkeypatch.setattr(exporting, "MOST_IMAGES", 4)
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(10)]
    assert [int(picture[0, 0, 0]) for picture in exporting.read_pictures(pictures)] == [0, 3, 6, 9]
