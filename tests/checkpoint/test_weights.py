"""Which network a set of arrays is, and what is said when it is none."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from osnet.checkpoint.convert import convert
from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.checkpoint.safetensors import write_safetensors
from osnet.checkpoint.torch import write_torch
from osnet.checkpoint.weights import Weights, read_weights_file, weights_from_bytes
from osnet.errors import CheckpointError, WeightsError
from osnet.variants import VARIANTS, get_variant, parameters
from tests.checkpoint.samples import drawn, folded, published, torchreid_named
from tests.checkpoint.test_mindspore import same

ARRAYS = drawn()
TOTAL = len(ARRAYS)


@pytest.mark.parametrize("num_classes", [0, 1, 702])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_recognised(name: str, num_classes: int) -> None:
    expected = parameters(get_variant(name), num_classes)
    arrays = {parameter.name: np.zeros(parameter.shape, np.float32) for parameter in reversed(expected)}
    for named in (arrays, torchreid_named(arrays), torchreid_named(arrays, "module.")):
        weights = Weights.from_arrays(named)
        assert (weights.variant.name, weights.num_classes) == (name, num_classes)
        assert list(weights.arrays) == [parameter.name for parameter in expected]


def test_arrays_are_read_only_aligned_and_as_given() -> None:
    weights = weights_from_bytes(write_ckpt(ARRAYS), "a.ckpt")
    assert same(dict(weights.arrays), ARRAYS)
    for array in weights.arrays.values():
        assert array.flags.c_contiguous
        assert array.flags.aligned
        assert not array.flags.writeable
    with pytest.raises(TypeError):
        weights.arrays["x"] = 1  # type: ignore[index]


def test_the_callers_arrays_stay_the_callers() -> None:
    arrays = {name: array.copy() for name, array in ARRAYS.items()}
    weights = Weights.from_arrays(arrays)
    arrays["fc.0.bias"][:] = 7
    assert same(dict(weights.arrays), ARRAYS)
    assert arrays["fc.0.bias"].flags.writeable


def test_what_is_set_aside_is_not_lost() -> None:
    entries = published(ARRAYS)
    weights = weights_from_bytes(write_ckpt(entries), "a.ckpt")
    assert same(dict(weights.arrays), ARRAYS)
    assert same(dict(weights.extras), {name: array for name, array in entries.items() if name not in ARRAYS})
    counters = Weights.from_arrays(torchreid_named(ARRAYS, "module."), extras={"epoch": 3}).extras
    assert counters["module.fc.1.num_batches_tracked"] == 5
    assert counters["epoch"] == 3
    assert len(counters) == sum(name.endswith("moving_mean") for name in ARRAYS) + 1


def test_the_optimizers_state_of_a_classifier_that_is_gone() -> None:
    entries = {name: array for name, array in published(ARRAYS).items() if not name.startswith("classifier")}
    weights = Weights.from_arrays(entries)
    assert weights.num_classes == 0
    assert "moment1.classifier.weight" in weights.extras


def test_the_published_order() -> None:
    ordered = list(Weights.from_arrays(ARRAYS).published_order())
    assert ordered == list(published(ARRAYS))[:TOTAL]
    assert sorted(ordered) == sorted(ARRAYS)


def test_the_published_layout_of_the_reference(shared: Path) -> None:
    import json

    layout = json.loads((shared / "reference" / "published_checkpoint_layout.json").read_text())
    arrays = {name: np.zeros(shape, kind.lower()) for name, shape, kind in layout}
    weights = Weights.from_arrays(arrays)
    assert (weights.variant.name, weights.num_classes) == ("osnet_x1_0", 702)
    assert list(weights.published_order()) + list(weights.extras) == [name for name, _, _ in layout]


def test_without_classifier() -> None:
    weights = weights_from_bytes(write_ckpt(ARRAYS), "a.ckpt")
    bare = weights.without_classifier()
    assert bare.num_classes == 0
    assert list(bare.arrays) == [name for name in ARRAYS if not name.startswith("classifier")]
    assert (bare.sha256, bare.source) == (weights.sha256, weights.source)
    assert list(bare.without_classifier().arrays) == list(bare.arrays)


def test_weights_travel_between_processes() -> None:
    weights = Weights.from_arrays(ARRAYS, source="a.ckpt", sha256="ab", extras={"epoch": 3})
    for twin in (pickle.loads(pickle.dumps(weights)), copy.deepcopy(weights)):
        assert same(dict(twin.arrays), ARRAYS)
        assert (twin.variant, twin.num_classes, twin.sha256, twin.source) == (weights.variant, 3, "ab", "a.ckpt")
        assert dict(twin.extras) == {"epoch": 3}
        assert not any(array.flags.writeable for array in twin.arrays.values())


def test_printing_weights_is_short() -> None:
    assert len(repr(Weights.from_arrays(ARRAYS, source="a.ckpt"))) < 500


@pytest.mark.parametrize("length", [1, 100, TOTAL - 3, TOTAL - 1])
def test_fault_44_cut_at_a_values_border(length: int) -> None:
    entries = published(ARRAYS)
    cut = write_ckpt({name: entries[name] for name in list(entries)[:length]})
    assert len(read_ckpt(cut)) == length
    classes = 3 if length >= TOTAL - 3 else 0
    whole = TOTAL if classes else TOTAL - 2
    with pytest.raises(WeightsError) as caught:
        weights_from_bytes(cut, "a.ckpt")
    message = str(caught.value)
    assert message.startswith("a.ckpt: ")
    assert f"{whole - length} of {whole} parameters missing" in message
    first = next(name for name in weights_order(classes) if name not in list(entries)[:length])
    assert f"missing ({first}" in message


def weights_order(num_classes: int) -> list[str]:
    return [parameter.name for parameter in parameters(get_variant("osnet_x0_25"), num_classes)]


def test_everything_wrong_is_in_one_message() -> None:
    arrays = dict(ARRAYS)
    del arrays["fc.0.bias"], arrays["conv1.bn.gamma"]
    arrays["conv1.conv.weight"] = np.zeros((16, 3, 3, 3), np.float32)
    arrays["fc.1.beta"] = np.zeros(512, np.int32)
    arrays["conv9.weight"] = arrays["conv9.bias"] = np.zeros(1, np.float32)
    with pytest.raises(WeightsError) as caught:
        Weights.from_arrays(arrays, source="x.ckpt")
    assert str(caught.value) == (
        "x.ckpt: not whole as osnet_x0_25 with 3 classes, the nearest network: "
        "2 of 487 parameters missing (conv1.bn.gamma, fc.0.bias); 2 unexpected (conv9.weight, conv9.bias); "
        "2 of the wrong shape or type (conv1.conv.weight (expected (16, 3, 7, 7), got (16, 3, 3, 3)), "
        "fc.1.beta (expected floats, got int32)); fetch the file again, or give one of this network"
    )


def test_weights_of_another_network() -> None:
    resnet = {f"layer{i}.0.conv{j}.weight": np.zeros((4, 4, 3, 3), np.float32) for i in range(4) for j in range(3)}
    with pytest.raises(
        WeightsError, match=r"not the weights of an OSNet: of 12 arrays \(layer0\.0\.conv0\.weight, .*\.\.\.\) 0 have"
    ):
        Weights.from_arrays(resnet)
    with pytest.raises(WeightsError, match="not the weights of an OSNet: of 0 arrays"):
        Weights.from_arrays({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier.weight": np.zeros((3, 100), "f4")}, r"classifier.weight \(expected \(3, 512\), got \(3, 100\)\)"),
        ({"classifier.weight": np.float32(1)}, r"classifier.weight \(expected an array, got float32\)"),
        ({"classifier.weight": np.zeros((), "f4")}, r"classifier.weight \(expected .*, got \(\)\)"),
        ({"classifier.bias": np.zeros(4, "f4")}, r"classifier.bias \(expected \(3,\), got \(4,\)\)"),
        ({"fc.0.weight": "text"}, r"fc.0.weight \(expected an array, got str\)"),
        ({"fc.0.weight": [[1.0]]}, r"fc.0.weight \(expected an array, got list\)"),
        ({"fc.1.weight": np.zeros(512, "f4")}, "'fc.1.gamma' and 'fc.1.weight' are both the parameter"),
        ({3: np.zeros(3, "f4")}, "names that are text, got 3"),
        ({"a.b\x1b": np.zeros(3, "f4")}, r"1 unexpected \('a\.b\\x1b'\)"),
        ({"fc.1.moving_variance": np.full(512, -1, "f4")}, "fc.1.moving_variance is a variance and holds negative"),
    ],
)
def test_refused(change: dict[object, object], message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        Weights.from_arrays({**ARRAYS, **change})  # type: ignore[dict-item]
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_fault_51_nan_and_infinity(bad: float) -> None:
    arrays = {name: array.copy() for name, array in ARRAYS.items()}
    arrays["fc.0.bias"][3] = bad
    arrays["fc.1.moving_variance"][0] = bad
    data = write_ckpt(arrays)
    with pytest.raises(WeightsError, match=r"in 2 of 487 parameters \(fc\.0\.bias, fc\.1\.moving_variance\).*diverged"):
        weights_from_bytes(data, "a.ckpt")
    assert same(dict(weights_from_bytes(data, "a.ckpt", allow_nonfinite=True).arrays), arrays)


@pytest.mark.parametrize(("dtype", "note"), [("f2", "exactly"), ("f8", "487 of them rounded"), (">f4", "")])
def test_other_floats_are_cast(dtype: str, note: str) -> None:
    random = np.random.default_rng(1)
    arrays = {name: random.random(array.shape).astype(dtype) for name, array in ARRAYS.items()}
    weights = Weights.from_arrays(arrays)
    assert same(dict(weights.arrays), {name: array.astype("=f4") for name, array in arrays.items()})
    assert weights.notes == ((f"487 arrays cast from {np.dtype(dtype)} to float32, {note}",) if note else ())


def test_float64_beyond_float32_is_no_silent_infinity() -> None:
    arrays = {name: array.astype("f8") for name, array in ARRAYS.items()}
    assert Weights.from_arrays(arrays).notes == ("487 arrays cast from float64 to float32, exactly",)
    arrays["fc.0.bias"][0] = 1e300
    with pytest.raises(WeightsError, match="NaN or infinity"):
        Weights.from_arrays(arrays)


WRITERS = {
    "a.ckpt": write_ckpt,
    "a.pth": write_torch,
    "a.PTH.tar": write_torch,
    "a.pt": write_torch,
    "a.safetensors": write_safetensors,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("named", [ARRAYS, torchreid_named(ARRAYS)], ids=["mindspore", "torchreid"])
def test_every_format_in_either_naming(name: str, named: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(WRITERS[name](named))
    weights = read_weights_file(path)
    assert same(dict(weights.arrays), ARRAYS)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.source == str(path)
    assert weights.num_classes == 3


@pytest.mark.parametrize("prefix", ["module.", "net._backbone.", "_backbone.", "a.b.c.d.e.f.g.h.i."])
@pytest.mark.parametrize("name", WRITERS)
def test_the_prefix_of_a_wrapper_is_removed(prefix: str, name: str) -> None:
    entries = ARRAYS if name in ("a.ckpt", "a.safetensors") else torchreid_named(ARRAYS)
    wrapped = {f"{prefix}{key}": value for key, value in entries.items()}
    moments = {f"moment1.{prefix}{key}": value for key, value in ARRAYS.items() if "moving" not in key}
    weights = weights_from_bytes(WRITERS[name]({**wrapped, **moments, "global_step": np.array([3])}), name)
    assert same(dict(weights.arrays), ARRAYS)
    assert weights.notes == (f"the prefix {prefix!r} was removed from the names",)
    assert "global_step" in weights.extras
    assert f"moment1.{prefix}fc.0.weight" in weights.extras


def test_what_is_missing_after_a_prefix_is_named() -> None:
    wrapped = {f"net.{key}": value for key, value in ARRAYS.items() if key != "fc.0.bias"}
    with pytest.raises(WeightsError, match=r"1 of 487 parameters missing \(fc\.0\.bias\); 1 unexpected \(loss\.w\)"):
        Weights.from_arrays({**wrapped, "loss.w": np.zeros(1, "f4")})


def test_two_networks_in_one_file() -> None:
    both = {f"{part}.{key}": value for part in ("student", "teacher") for key, value in ARRAYS.items()}
    with pytest.raises(WeightsError, match=r"two networks, 'student\.' and 'teacher\.'; save one of them alone"):
        Weights.from_arrays(both)


def test_folded_batch_norm_is_seen() -> None:
    assert not Weights.from_arrays(ARRAYS).folded
    assert Weights.from_arrays(folded(ARRAYS)).folded
    fresh = {name: np.zeros_like(a) if name.endswith(".beta") else a for name, a in folded(ARRAYS).items()}
    assert not Weights.from_arrays(fresh).folded  # statistics that no step has moved yet
    trained = {name: a + np.float32(0.1) if name.endswith(".gamma") else a for name, a in fresh.items()}
    assert Weights.from_arrays(trained).folded  # by steps that kept them


@pytest.mark.parametrize("name", VARIANTS)
def test_folded_batch_norm_of_every_variant(name: str) -> None:
    assert Weights.from_arrays(folded(drawn(name))).folded


def test_a_digest_that_is_known_is_not_computed_again() -> None:
    assert weights_from_bytes(write_ckpt(ARRAYS), "a.ckpt", sha256="ab").sha256 == "ab"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.ckpt", write_torch(ARRAYS), "'a.ckpt' is a torch checkpoint .* by its content; rename it to end in .pth"),
        ("a.pth", write_safetensors(ARRAYS), "'a.pth' is a .safetensors file by its content; rename"),
        ("a.safetensors", write_torch(ARRAYS), "'a.safetensors' is a torch checkpoint"),
        ("a.pth", write_ckpt(ARRAYS), "'a.pth' is a MindSpore checkpoint"),
        ("a.safetensors", write_ckpt(ARRAYS), "'a.safetensors' is a MindSpore checkpoint"),
        ("a.ckpt", b"\n <!DOCTYPE html><html>", "looks like a web page, not a checkpoint"),
        ("a.ckpt", b"<html><body>404", "looks like a web page"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
        ("a.ckpt", b"---\nmodel-name: osnet\n---\n", "looks like a model card"),
        ("a.ckpt", bytes(4096), "zero bytes"),
        ("a.ckpt", b"\x1f\x8b\x08", "gzip archive"),
        ("a.ckpt", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("card.md", b"", "'card.md' is a model card, not a checkpoint"),
        ("video.mp4", b"", "does not end like a checkpoint; expected one of .ckpt, .pth.tar, .pth, .pt, .safetensors"),
        ("noname", b"", "does not end like"),
        ("a.ckpt", write_ckpt(ARRAYS)[:-1], r"a\.ckpt: .*cut off"),
        ("a.pth", write_torch(ARRAYS)[:-1], r"a\.pth: .*cut off"),
        ("a.safetensors", write_safetensors(ARRAYS)[:-1], r"a\.safetensors: .*damaged"),
    ],
)
def test_refused_content(name: str, data: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        weights_from_bytes(data, name)
    assert str(caught.value).isprintable()


def test_what_is_no_file(tmp_path: Path) -> None:
    for name in ("missing.ckpt", "folder.ckpt", "fifo.ckpt", "empty.ckpt", "link.ckpt", "nul\0.ckpt"):
        path = tmp_path / name
        if name == "folder.ckpt":
            path.mkdir()
        elif name == "fifo.ckpt":
            os.mkfifo(path)
        elif name == "empty.ckpt":
            path.touch()
        elif name == "link.ckpt":
            path.symlink_to("nowhere")
        with pytest.raises(CheckpointError, match=re.escape(name.split(".")[0].replace("\0", "\\x00"))):
            read_weights_file(path)


def test_a_cap_on_the_size(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(bytes(11))
    with pytest.raises(CheckpointError, match="has 11 bytes, more than the 10"):
        read_weights_file(path, max_bytes=10)


def test_the_real_checkpoint(shared: Path) -> None:
    path = shared / "data" / "real" / "osnet_x0_25_msmt17.ckpt"
    weights = read_weights_file(path)
    assert (weights.variant.name, weights.num_classes, len(weights.arrays)) == ("osnet_x0_25", 0, 485)


def test_a_file_says_the_input_size_and_keeps_it_when_converted(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    path.write_bytes(write_ckpt({**ARRAYS, "input_size": np.array([128, 64])}))
    weights = read_weights_file(path)
    assert weights.input_size == pickle.loads(pickle.dumps(weights)).input_size == (128, 64)
    assert "input_size" not in weights.extras
    for name in ("a.safetensors", "b.ckpt"):
        convert(path, tmp_path / name)
        assert read_weights_file(tmp_path / name).input_size == (128, 64)
    with pytest.warns(UserWarning, match=r"c\.pth: a torch file does not hold the input size.*128x64"):
        convert(path, tmp_path / "c.pth")
    assert read_weights_file(tmp_path / "c.pth").input_size == (256, 128)


@pytest.mark.parametrize("size", [[128, 60], [128], [0, 64], [128.0, 64.0], 128, [[128, 64]]])
def test_an_impossible_input_size_is_refused(size: object) -> None:
    with pytest.raises(WeightsError, match="a file: input_size: size"):
        Weights.from_arrays({**ARRAYS, "input_size": np.array(size)}, source="a file")
