"""What other programs feed and look for: their resize and size rules, the files beside, and files of other people."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import osnet
from osnet.cli.export import verify_file
from osnet.errors import ExistsError, ImageError, OptionError, VerificationError
from osnet.exporting import export as module
from osnet.exporting.consumers import CONSUMERS, bilinear, bilinear_bytes
from osnet.exporting.export import export
from osnet.exporting.verify import verify
from osnet.models.input_format import InputFormat
from osnet.models.onnx_graph import build_onnx

onnx = pytest.importorskip("onnx")
MODEL = "osnet_x0_25_drawn"


@pytest.fixture(autouse=True)
def _three_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWN_IMAGES", 3)


def save(path: Path, input_format: InputFormat = InputFormat(), change: Any = None) -> Path:  # noqa: B008 - frozen
    """A file as others export it: without our metadata; `change` gets the model before."""
    model = build_onnx(osnet.read_weights(MODEL), input_format)
    if change is not None:
        change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_bilinear_by_hand() -> None:
    crop = np.array([[0, 10], [20, 30]], np.uint8)[..., None].repeat(3, axis=2)
    # Centres at 1/4, 3/4, 5/4 and 7/4 of the old pixels: shares 0, 1/4, 3/4 and 1 of the second.
    column = np.array([0, 20 / 4, 20 * 3 / 4, 20])
    row = np.array([0, 10 / 4, 10 * 3 / 4, 10])
    assert np.allclose(bilinear(crop, (4, 4))[..., 1], column[:, None] + row)
    assert np.array_equal(bilinear_bytes(crop, (4, 4)), np.rint(bilinear(crop, (4, 4))))
    # Without antialiasing, a quarter of the size takes two of eight pixels.
    line = np.array([[0, 0, 0, 8, 16, 0, 0, 0]], np.uint8)[..., None].repeat(3, axis=2)
    assert bilinear(line, (1, 2))[0, :, 0].tolist() == [0, 0]
    assert bilinear(line, (1, 1))[0, :, 0].tolist() == [12]


@pytest.mark.parametrize(
    ("program", "name", "sides", "size"),
    [
        ("boxmot", "a.onnx", (192, 96), (192, 96)),
        ("boxmot", "a.onnx", (None, None), (256, 128)),
        ("boxmot", "a.xml", (192, 96), (256, 128)),
        ("boxmot", "verified.xml", (192, 96), (256, 256)),
        ("boxmot", "sized.xml", (256, 128), (192, 96)),
        ("boxmot", "sized.onnx", (None, None), (192, 96)),
        ("boxmot", "broken.xml", (192, 96), (256, 128)),
        ("ultralytics", "a.onnx", (192, 96), (192, 96)),
        ("ultralytics", "a.onnx", (None, None), (224, 224)),
        ("ultralytics", "a.onnx", (192, None), (192, 192)),
        ("ultralytics", "a.onnx", (None, 96), (224, 96)),
        ("ultralytics", "a.xml", (256, 128), (224, 224)),
        ("deepstream", "a.onnx", (192, 96), (192, 96)),
    ],
)
def test_the_size_that_a_program_takes(
    program: str, name: str, sides: tuple[int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    about = json.dumps({"model_kwargs": {"img_size": [192, 96]}})
    (tmp_path / "sized.xml.metadata.json").write_text(about)
    (tmp_path / "sized.onnx.metadata.json").write_text(about)
    (tmp_path / "broken.xml.metadata.json").write_text('{"model_kwargs": []}')
    assert CONSUMERS[program].size(tmp_path / name, sides) == size


class TestFilesBeside:
    def test_boxmot(self, tmp_path: Path) -> None:
        result = export(MODEL, tmp_path / "a.onnx", consumer="boxmot", size=(128, 64))
        assert result.files == (tmp_path / "a.onnx.metadata.json", tmp_path / "a.onnx")
        about = json.loads((tmp_path / "a.onnx.metadata.json").read_text())
        assert about["model_kwargs"] == {"img_size": [128, 64]}
        assert (about["schema_version"], about["model_kwargs_schema_version"]) == (1, 1)

    @pytest.mark.parametrize("folder", ["plain", "a_openvino_model"])
    @pytest.mark.slow
    def test_boxmot_takes_the_size_of_openvino_from_beside(self, folder: str, tmp_path: Path) -> None:
        path = tmp_path / folder / "a.xml"
        path.parent.mkdir()
        files = export(MODEL, path, consumer="boxmot", size=(128, 64)).files
        assert (path.parent / "manifest.json" in files) == (folder == "a_openvino_model")
        found = verify(path, "boxmot")
        assert (found.size, found.right) == ((128, 64), True)
        (path.parent / "a.xml.metadata.json").unlink()
        with pytest.raises(VerificationError, match="does not accept what BoxMOT"):
            verify(path, "boxmot")

    def test_ultralytics(self, tmp_path: Path) -> None:
        export(MODEL, tmp_path / "😀 a.onnx", consumer="ultralytics")
        settings = yaml.safe_load((tmp_path / "😀 a-botsort.yaml").read_text(encoding="utf-8"))
        assert settings["with_reid"] is True
        assert Path(settings["model"]).samefile(tmp_path / "😀 a.onnx")
        assert settings["tracker_type"] == "botsort"
        thresholds = ("track_high", "track_low", "new_track", "match", "proximity", "appearance")
        assert all(0 < settings[f"{name}_thresh"] <= 1 for name in thresholds)
        assert {"track_buffer", "fuse_score", "gmc_method"} <= set(settings)

    def test_deepstream(self, tmp_path: Path) -> None:
        export(MODEL, tmp_path / "a.onnx", consumer="deepstream", size=(128, 64), batch=7)
        section = yaml.safe_load((tmp_path / "a-reid.yml").read_text())["ReID"]
        assert Path(section.pop("onnxFile")).samefile(tmp_path / "a.onnx")
        assert section == {
            "reidType": 2,
            "batchSize": 7,
            "workspaceSize": 1000,
            "reidFeatureSize": 512,
            "reidHistorySize": 100,
            "inferDims": [3, 128, 64],
            "networkMode": 0,
            "inputOrder": 0,
            "colorFormat": 0,
            "offsets": [0, 0, 0],
            "netScaleFactor": 1,
            "keepAspc": 0,
            "addFeatureNormalization": 1,
        }

    @pytest.mark.parametrize(
        ("name", "options", "largest", "dims"),
        [
            ("model.onnx", {}, 64, [256, 128, 3]),
            ("model.xml", {}, 64, [256, 128, 3]),
            ("model.onnx", {"batch": 3}, 0, [3, 256, 128, 3]),
            ("model.onnx", {"any_size": True}, 64, [-1, -1, 3]),
        ],
    )
    def test_triton(self, name: str, options: dict[str, Any], largest: int, dims: list[int], tmp_path: Path) -> None:
        path = tmp_path / "osnet" / "1" / name
        path.parent.mkdir(parents=True)
        export(MODEL, path, consumer="triton", **options)
        text = (tmp_path / "osnet" / "config.pbtxt").read_text()
        runs = 'platform: "onnxruntime_onnx"' if name == "model.onnx" else 'backend: "openvino"'
        assert text.startswith(f'{runs}\ndefault_model_filename: "{name}"\nmax_batch_size: {largest}\n')
        assert ("dynamic_batching" in text) == (largest > 0)
        put = r'put \[ { name: "(\w+)" data_type: (\w+) dims: (\[.*?\]) } \]'
        (source, kind, shape), (output, *_, features) = re.findall(put, text)
        assert (source, kind, json.loads(shape)) == ("images", "TYPE_UINT8", dims)
        assert (output, json.loads(features)) == ("features", [*dims[:-3], 512])

    @pytest.mark.parametrize(
        ("consumer", "name"),
        [
            ("boxmot", "a.onnx.metadata.json"),
            ("ultralytics", "a-botsort.yaml"),
            ("deepstream", "a-reid.yml"),
            ("triton", "config.pbtxt"),
        ],
    )
    def test_files_that_are_there_stay_unless_asked_for(
        self, consumer: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / name).write_text("mine")
        with monkeypatch.context() as patched:
            patched.setattr(module, "run_file", None)  # refused before anything is run
            with pytest.raises(ExistsError, match=re.escape(f"{name}' exists")):
                export(MODEL, tmp_path / "a.onnx", consumer=consumer)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        export(MODEL, tmp_path / "a.onnx", consumer=consumer, overwrite=True)
        assert (tmp_path / name).read_text() != "mine"

    def test_none_unless_a_program_is_named(self, tmp_path: Path) -> None:
        assert export(MODEL, tmp_path / "a.onnx").files == (tmp_path / "a.onnx",)


@pytest.mark.parametrize(("program", "name"), [("boxmot", "a.xml"), ("ultralytics", "a.onnx")])
@pytest.mark.slow
def test_a_program_that_does_not_fill_up_a_fixed_batch(program: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"batch: .* with any number of crops, got 4"):
        export(MODEL, tmp_path / name, consumer=program, batch=4)
    export(MODEL, tmp_path / name, input=CONSUMERS[program].values, batch=4)
    with pytest.raises(VerificationError, match=r"float32 \(1, 3, 256, 128\): it takes float32 \(4, 3, 256, 128\)"):
        verify(tmp_path / name, program)
    export(MODEL, tmp_path / name, consumer=program, batch=1, overwrite=True)
    assert verify(tmp_path / name, program).right


def test_nothing_is_written_where_features_are_not_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_file", lambda *_: np.full((3, 512), np.nan, np.float32))
    with pytest.raises(VerificationError, match="is not written"):
        export(MODEL, tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("values", "program"), [("unit", "boxmot"), ("normalized", "ultralytics"), ("normalized", "deepstream")]
)
@pytest.mark.slow
def test_a_foreign_file_for_another_program_is_told(
    values: str, program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "theirs.onnx", InputFormat(values))
    with pytest.raises(OptionError, match=r"theirs\.onnx does not say which weights .*--model"):
        verify(path, program)
    found = verify(path, program, model=MODEL)
    assert (found.right, found.takes) == (False, f"{values} rgb")
    assert verify_file(path, program, MODEL, None, {}, False) == 1
    expected = f"WRONG: the file takes {values} rgb, and {program} feeds {found.feeds}; export it again with --for "
    assert capsys.readouterr().out.startswith(expected)


@pytest.mark.slow
def test_a_foreign_file_that_takes_bgr_is_told(tmp_path: Path) -> None:
    def reverse(model: Any) -> None:
        kernel = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
        for constant in model.graph.initializer:
            array = onnx.numpy_helper.to_array(constant)
            if constant.name == kernel or array.shape == (1, 3, 1, 1):  # the mean and the scale
                turned = np.ascontiguousarray(array[:, ::-1])
                constant.CopyFrom(onnx.numpy_helper.from_array(turned, constant.name))

    found = verify(save(tmp_path / "bgr.onnx", InputFormat("unit"), reverse), "ultralytics", model=MODEL)
    assert (found.right, found.takes) == (False, "unit bgr")


@pytest.mark.slow
def test_other_weights_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def noise(model: Any) -> None:
        for kernel in model.graph.initializer:
            array = onnx.numpy_helper.to_array(kernel)
            if array.ndim == 4 and array.size > 1000:
                other = np.random.default_rng(0).permutation(array.ravel()).reshape(array.shape)
                kernel.CopyFrom(onnx.numpy_helper.from_array(other, kernel.name))

    path = save(tmp_path / "other.onnx", change=noise)
    assert verify(path, "boxmot", model=MODEL).takes is None
    assert verify_file(path, "boxmot", MODEL, None, {}, False) == 1
    assert "it holds other weights" in capsys.readouterr().out


class TestFilesThatNobodyPlannedFor:
    @pytest.mark.slow
    def test_an_input_in_half_precision(self, tmp_path: Path) -> None:
        def halve(model: Any) -> None:
            (source,) = model.graph.input
            source.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
            for node in model.graph.node:
                node.input[:] = ["full" if name == "images" else name for name in node.input]
            cast = onnx.helper.make_node("Cast", ["images"], ["full"], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)

        assert verify(save(tmp_path / "half.onnx", change=halve), "boxmot", model=MODEL).right

    @pytest.mark.slow
    def test_another_size_than_that_of_the_checkpoint(self, tmp_path: Path) -> None:
        path = save(tmp_path / "small.onnx", InputFormat(size=(128, 64)))
        found = verify(path, "boxmot", model=MODEL)
        assert (found.size, found.right) == ((128, 64), True)

    def test_class_scores_before_the_features(self, tmp_path: Path) -> None:
        def score(model: Any) -> None:
            weight = onnx.numpy_helper.from_array(np.ones((512, 751), np.float32), "classes")
            model.graph.initializer.append(weight)
            model.graph.node.append(onnx.helper.make_node("MatMul", ["features", "classes"], ["scores"]))
            kind = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["batch", 751])
            model.graph.output.insert(0, kind)

        path = save(tmp_path / "scores.onnx", change=score)
        with pytest.raises(VerificationError, match=r"expected features of shape \(B, 512\) .*got \(1, 751\)"):
            verify(path, "boxmot", model=MODEL)

    @pytest.mark.slow
    def test_an_input_of_any_size_in_a_program_with_a_size_of_its_own(self, tmp_path: Path) -> None:
        def free(model: Any) -> None:
            for side, name in ((2, "height"), (3, "width")):
                model.graph.input[0].type.tensor_type.shape.dim[side].dim_param = name

        path = save(tmp_path / "free.onnx", InputFormat("unit"), free)
        found = verify(path, "ultralytics", model=MODEL)
        assert (found.size, found.right) == ((224, 224), False)  # not what the network was trained at
        assert found.takes == found.feeds

    def test_no_images(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="expected at least one image"):
            verify(save(tmp_path / "a.onnx"), "boxmot", model=MODEL, images=[])

    @pytest.mark.slow
    def test_images_of_one_pixel(self, tmp_path: Path) -> None:
        one = [np.full((1, 1, 3), 9, np.uint8)]
        assert verify(save(tmp_path / "a.onnx"), "boxmot", model=MODEL, images=one).right


@pytest.mark.slow
def test_a_right_file_is_told_with_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(MODEL, tmp_path / "a.onnx", consumer="ultralytics")
    assert verify_file(tmp_path / "a.onnx", "ultralytics", None, None, {}, False) == 0
    assert re.match(
        r"right: 3 images at 256x128, cosine to osnet embed: mean \d\.\d{4}, least", capsys.readouterr().out
    )
