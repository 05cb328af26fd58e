"""Conversions there and back, and what a conversion may never do."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from osnet.checkpoint.convert import carried, convert, encode
from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.checkpoint.torch import read_torch
from osnet.checkpoint.weights import read_weights_file
from osnet.errors import CheckpointError, DiskError, OptionError, WeightsError
from tests.checkpoint.samples import drawn, published, torchreid_named
from tests.checkpoint.test_mindspore import same

SUFFIXES = (".ckpt", ".pth", ".pth.tar", ".pt", ".safetensors")


@pytest.fixture(params=["osnet_x0_25", "osnet_ain_x0_25"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "source.ckpt"
    path.write_bytes(write_ckpt(drawn(request.param)))
    return path


@pytest.mark.parametrize(("there", "back"), list(permutations(SUFFIXES, 2)))
def test_there_and_back_every_bit_is_the_same(there: str, back: str, tmp_path: Path) -> None:
    arrays = drawn("osnet_ain_x0_25")
    arrays["fc.0.bias"][:3] = [-0.0, 1e-45, 3.4e38]
    (tmp_path / "source.ckpt").write_bytes(write_ckpt(arrays))
    first, second, third = tmp_path / f"first{back}", tmp_path / f"second{there}", tmp_path / f"third{back}"
    convert(tmp_path / "source.ckpt", first)
    convert(first, second)
    convert(second, third)
    assert same(dict(read_weights_file(third).arrays), arrays)
    assert first.read_bytes() == third.read_bytes()


def test_the_order_and_names_of_each_format(source: Path, tmp_path: Path) -> None:
    weights = convert(source, tmp_path / "a.pth")
    assert list(read_torch((tmp_path / "a.pth").read_bytes())) == list(weights.torchreid_arrays())
    convert(tmp_path / "a.pth", tmp_path / "b.ckpt")
    assert list(read_ckpt((tmp_path / "b.ckpt").read_bytes())) == list(weights.published_order())


def test_the_state_of_training_stays_in_mindspores_formats(tmp_path: Path) -> None:
    entries = published(drawn())
    (tmp_path / "a.ckpt").write_bytes(write_ckpt(entries))
    convert(tmp_path / "a.ckpt", tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "c.ckpt")
    found = read_ckpt((tmp_path / "c.ckpt").read_bytes())
    assert same(dict(sorted(found.items())), dict(sorted(entries.items())))
    convert(tmp_path / "a.ckpt", tmp_path / "d.pth")
    assert set(read_torch((tmp_path / "d.pth").read_bytes())) == {
        name for name in torchreid_named(drawn()) if not name.endswith("num_batches_tracked")
    }


def test_the_counters_of_batches_come_back(tmp_path: Path) -> None:
    named = torchreid_named(drawn(), "module.")
    (tmp_path / "a.ckpt").write_bytes(write_ckpt(named))
    convert(tmp_path / "a.ckpt", tmp_path / "b.pth")
    found = read_torch((tmp_path / "b.pth").read_bytes())
    assert set(found) == {name[len("module.") :] for name in named}
    assert found["fc.1.num_batches_tracked"] == 5


def test_nested_extras_are_not_carried() -> None:
    from osnet.checkpoint.weights import Weights

    weights = Weights.from_arrays(drawn(), extras={"epoch": 3, "optimizer": {"state": {}}, "lr": np.zeros(2)})
    assert list(carried(weights, "mindspore")) == list(carried(weights, "safetensors")) == ["lr"]
    assert not carried(weights, "torch")
    with pytest.raises(OptionError, match="unknown checkpoint format 'onnx'"):
        encode(weights, "onnx")


def test_nothing_is_overwritten_unasked(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.pth"
    target.write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.pth"):
        convert(source, target)
    assert target.read_text() == "mine"
    convert(source, target, overwrite=True)
    assert read_weights_file(target).num_classes == 3


def test_a_file_is_not_converted_to_itself(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.ckpt"
    link.symlink_to(source)
    with pytest.raises(OptionError, match="is the file to convert"):
        convert(source, link, overwrite=True)


def test_a_refused_conversion_leaves_nothing(source: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"broken\.ckpt"):
        convert(broken, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="expected one of"):
        convert(source, tmp_path / "a.onnx")
    with pytest.raises(DiskError, match="cannot write"):
        convert(source, tmp_path / "none" / "a.pth")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.ckpt", "source.ckpt"]
