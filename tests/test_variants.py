from __future__ import annotations

import json
from pathlib import Path

import pytest

from osnet.errors import UnknownModelError
from osnet.variants import VARIANTS, from_torchreid, get_variant, list_models, parameters, to_torchreid

DATA = Path(__file__).parent / "fixtures"
TORCHREID = json.loads((DATA / "torchreid_parameters.json").read_text())


def test_the_nine_networks() -> None:
    assert list_models() == list(TORCHREID)


@pytest.mark.parametrize("name", TORCHREID)
def test_parameters_are_torchreids_in_name_shape_kind_and_order(name: str) -> None:
    found = [[p.torchreid_name, list(p.shape), p.kind] for p in parameters(VARIANTS[name], 10)]
    assert found == TORCHREID[name]


@pytest.mark.parametrize("name", TORCHREID)
def test_names_translate_there_and_back(name: str) -> None:
    for parameter in parameters(VARIANTS[name], 10):
        assert from_torchreid(to_torchreid(parameter.name)) == parameter.name
        assert from_torchreid(parameter.name) == parameter.name


def test_x1_0_is_the_published_layout() -> None:
    layout = json.loads((DATA / "published_checkpoint_layout.json").read_text())
    published = {name: tuple(shape) for name, shape, _ in layout if not name.startswith(("moment1.", "moment2."))}
    counters = {"global_step", "beta1_power", "beta2_power", "learning_rate", "epoch_num", "step_num"}
    ours = {p.name: p.shape for p in parameters(VARIANTS["osnet_x1_0"], 702)}
    assert {name: shape for name, shape in published.items() if name not in counters} == ours


def test_no_classifier_without_classes() -> None:
    names = [p.name for p in parameters(VARIANTS["osnet_x0_25"])]
    assert not [name for name in names if name.startswith("classifier")]
    assert len(names) == 485


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownModelError, match=r"unknown network 'osnet_x1\.0'.*Nearest: osnet_x1_0"):
        get_variant("osnet_x1.0")
