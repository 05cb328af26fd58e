"""MindSpore's own reader and writer against ours, in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.checkpoint.safetensors import write_safetensors
from osnet.errors import CheckpointError
from tests.checkpoint.test_mindspore import DTYPES, same

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import numpy as np
import mindspore as ms
from mindspore.train import serialization

folder = sys.argv[1]
given = np.load(f"{folder}/given.npz")
entries = [{"name": name, "data": ms.Tensor(given[name])} for name in given.files]
ms.save_checkpoint(entries, f"{folder}/theirs.ckpt")
ms.save_checkpoint(entries, f"{folder}/theirs_crc.ckpt", crc_check=True)
half = [{"name": "half", "data": ms.Tensor(np.array([1.5, -2.25, 3e38], np.float32), ms.bfloat16)}]
ms.save_checkpoint(half, f"{folder}/theirs_bfloat16.ckpt")
ms.save_checkpoint(entries, f"{folder}/theirs_more.ckpt", append_dict={"epoch": 3, "rate": 0.5, "on": True})
ms.save_checkpoint(entries, f"{folder}/theirs_text.ckpt", append_dict={"note": "text"})
serialization.SLICE_SIZE = 1
ms.save_checkpoint(entries, f"{folder}/theirs_sliced.ckpt")
for name in ("ours.ckpt", "ours_crc.ckpt", "ours_sliced.ckpt", "ours.safetensors"):
    kind = name.rpartition(".")[2]
    loaded = ms.load_checkpoint(f"{folder}/{name}", crc_check="crc" in name, format=kind)
    np.savez(f"{folder}/{name}.npz", **{key: value.asnumpy() for key, value in loaded.items()})
"""


@pytest.mark.skipif(importlib.util.find_spec("mindspore") is None, reason="MindSpore is not installed")
def test_both_directions(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    given = {f"layer.{dtype.strip('<?') or 'bool'}": random.integers(0, 2, (3, 5)).astype(dtype) for dtype in DTYPES}
    given["scalar"] = np.float32(1.5).reshape(())
    given["counter"] = np.array([3], np.int32)
    given["weight"] = random.standard_normal((40, 3, 3, 3), dtype=np.float32)
    np.savez(tmp_path / "given.npz", **given)
    (tmp_path / "ours.ckpt").write_bytes(write_ckpt(given))
    (tmp_path / "ours_crc.ckpt").write_bytes(write_ckpt(given, crc=True))
    (tmp_path / "ours_sliced.ckpt").write_bytes(write_ckpt(given, slice_bytes=16))
    (tmp_path / "ours.safetensors").write_bytes(write_safetensors(given))

    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], check=True, timeout=240)

    assert (tmp_path / "theirs.ckpt").read_bytes() == write_ckpt(given)
    assert (tmp_path / "theirs_crc.ckpt").read_bytes() == write_ckpt(given, crc=True)
    sliced = (tmp_path / "theirs_sliced.ckpt").read_bytes()
    assert len(sliced) > len(write_ckpt(given))
    assert sliced == write_ckpt(given, slice_bytes=1024)
    assert same(read_ckpt(sliced), given)
    assert read_ckpt((tmp_path / "theirs_bfloat16.ckpt").read_bytes())["half"].tolist()[:2] == [1.5, -2.25]
    more = read_ckpt((tmp_path / "theirs_more.ckpt").read_bytes())
    assert (more["epoch"], more["rate"], more["on"]) == (3, 0.5, True)
    with pytest.raises(CheckpointError, match="note has the tensor_type 'str'"):
        read_ckpt((tmp_path / "theirs_text.ckpt").read_bytes())
    for name in ("ours.ckpt", "ours_crc.ckpt", "ours_sliced.ckpt", "ours.safetensors"):
        with np.load(tmp_path / f"{name}.npz") as loaded:
            assert same(dict(sorted(loaded.items())), dict(sorted(given.items()))), name
