"""The format that a file's name says."""

from __future__ import annotations

import pytest

from osnet.checkpoint.formats import format_of, known_format
from osnet.errors import WeightsError


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/osnet.ckpt", "mindspore"),
        ("OSNET.PTH", "torch"),
        ("osnet.pth.tar", "torch"),
        ("log/model/model.pth.tar-60", "torch"),  # as torchreid's own training names its files
        ("osnet.safetensors", "safetensors"),
        ("osnet.pth-60", None),
        ("osnet.pth.tar-best", None),
        ("osnet.onnx", None),
        ("osnet", None),
    ],
)
def test_the_suffix_says_the_format(name: str, kind: str | None) -> None:
    assert known_format(name) == kind


def test_a_suffix_that_says_none() -> None:
    with pytest.raises(
        WeightsError, match=r"'a\.onnx' does not end like a checkpoint; expected one of \.ckpt, \.pth\.tar"
    ):
        format_of("a.onnx")
