"""The examples in the docstrings of the main public functions run, and print what they say."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import osnet
from osnet.checkpoint.mindspore import write_ckpt
from osnet.variants import VARIANTS
from tests.data_sets import image
from tests.recipe import recipe_arrays


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        osnet.Embedder, osnet.Gallery, osnet.cluster, osnet.convert, osnet.evaluate, osnet.fetch, osnet.get_card,
        osnet.load_records, osnet.rank, osnet.rank_distances, osnet.read_weights, osnet.rerank,
    ],
)  # fmt: skip
def test_examples_run(function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a checkpoint ``own.ckpt`` and a folder of people ``shop``, two in front of two cameras."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.ckpt").write_bytes(write_ckpt(recipe_arrays(VARIANTS["osnet_x0_25"])))
    for seed, name in enumerate(("ann/a_cam1", "ann/b_cam1", "ann/a_cam2", "ann/b_cam2",
                                 "bob/a_cam1", "bob/b_cam1", "bob/a_cam2", "bob/b_cam2")):  # fmt: skip
        image(tmp_path / "shop" / f"{name}.jpg", seed=seed)
    (found,) = doctest.DocTestFinder(recurse=False).find(function, globs={})
    assert found.examples
    results = doctest.DocTestRunner().run(found)
    assert results.failed == 0


@pytest.mark.parametrize("name", [name for name in osnet.__all__ if inspect.isfunction(getattr(osnet, name))])
def test_a_public_function_describes_its_arguments_and_its_result(name: str) -> None:
    function = getattr(osnet, name)
    text = inspect.getdoc(function) or ""
    parameters = inspect.signature(function).parameters.values()
    arguments = text.partition("Args:")[2].partition("\n\n")[0]
    missing = [one.name for one in parameters if not re.search(rf"\b{one.name}\b", arguments)]
    assert missing == ([] if name != "fetch" else ["options"])  # it names each of them
    assert "Returns:" in text
