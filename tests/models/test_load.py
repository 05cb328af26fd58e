from __future__ import annotations

import hashlib
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from osnet.checkpoint.mindspore import write_ckpt
from osnet.errors import OptionError, UnknownKeywordError, UnknownModelError, WeightsError
from osnet.models.load import read_weights
from osnet.variants import get_variant
from tests.checkpoint.samples import folded
from tests.recipe import recipe_arrays, recipe_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """x0.25 with 10 classes and some optimizer state, as MindSpore writes it."""
    arrays = recipe_arrays(get_variant("osnet_x0_25"))
    path = tmp_path / "run.ckpt"
    moments = {f"moment1.{name}": np.zeros_like(array) for name, array in list(arrays.items())[:3]}
    path.write_bytes(write_ckpt({**arrays, **moments, "global_step": np.array([7], np.int32)}))
    return path


def test_read_weights_takes_files_and_weights(checkpoint: Path) -> None:
    weights = read_weights(checkpoint)
    assert (weights.variant.name, weights.num_classes) == ("osnet_x0_25", 10)
    assert weights.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert read_weights(weights) is weights


@pytest.mark.parametrize("name", ["osnet_x1_0", "osnet_market", "mindspore/9.9/osnet_dukemtmc", "gone.md"])
def test_names_without_weights_are_errors(name: str) -> None:
    with pytest.raises(UnknownModelError):
        read_weights(name, offline=True)


def test_a_misspelt_keyword_is_an_error_for_every_kind_of_model(checkpoint: Path) -> None:
    from osnet.hub.fetch import fetch_verified

    with pytest.raises(TypeError, match="unknown keyword ofline; those for fetching are cache_dir, offline"):
        fetch_verified("osnet", ofline=True)  # type: ignore[call-arg]
    for model in (checkpoint, read_weights(checkpoint), "osnet"):
        with pytest.raises(TypeError, match="unknown keyword ofline; those for fetching are cache_dir, offline"):
            read_weights(model, ofline=True)


@pytest.mark.parametrize("model", [None, 5, b"own.ckpt", ["own.ckpt"]])
def test_what_is_no_model_is_refused(model: object) -> None:
    with pytest.raises(OptionError, match=r"model: expected a name, .* Weights or a MindSpore network, got"):
        read_weights(model)  # type: ignore[arg-type]


@pytest.mark.slow
class TestMindSpore:
    @pytest.fixture(autouse=True)
    def _needs_mindspore(self) -> None:
        pytest.importorskip("mindspore")

    def test_folded_batch_norm_is_warned_of_when_training_begins(self, tmp_path: Path) -> None:
        import mindspore

        import osnet
        from osnet.models.network import FoldedNormWarning

        (tmp_path / "net.ckpt").write_bytes(
            write_ckpt({f"net.{k}": a for k, a in folded(recipe_arrays(get_variant("osnet_x0_25"))).items()})
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", FoldedNormWarning)
            network = osnet.load(tmp_path / "net.ckpt", num_classes=10)
        assert "the prefix 'net.' was removed" in str(network.load_report)
        step = mindspore.nn.WithLossCell(network, mindspore.nn.CrossEntropyLoss())
        with pytest.warns(FoldedNormWarning, match="not folded"):
            step.set_train()
        assert network.training
        with warnings.catch_warnings():
            warnings.simplefilter("error", FoldedNormWarning)
            network.set_train()  # said once

    def test_a_feature_extractor_and_a_report(self, checkpoint: Path) -> None:
        import osnet

        network = osnet.load(checkpoint)
        report = network.load_report
        assert report.used == 485
        assert report.unused == ("classifier.weight", "classifier.bias")
        assert report.new == ()
        assert len(report.set_aside) == 4
        assert "not used: classifier.weight, classifier.bias" in str(report)
        expected = recipe_weights("osnet_x0_25").arrays
        for name, parameter in network.parameters_dict().items():
            np.testing.assert_array_equal(parameter.asnumpy(), expected[name])

    def test_as_many_classes_keep_the_classifier(self, checkpoint: Path, recwarn: pytest.WarningsRecorder) -> None:
        import osnet

        network = osnet.load(checkpoint, num_classes=10)
        expected = recipe_weights("osnet_x0_25").arrays["classifier.weight"]
        np.testing.assert_array_equal(network.classifier.weight.asnumpy(), expected)
        assert network.load_report.unused == network.load_report.new == ()
        assert not [w for w in recwarn if "classifier" in str(w.message)]

    def test_other_classes_are_new_and_said_so(self, checkpoint: Path) -> None:
        import osnet
        from osnet.models.load import NewClassifierWarning

        with pytest.warns(NewClassifierWarning, match="for 3 identities is new and random.*has 10"):
            network = osnet.load(checkpoint, num_classes=3)
        assert network.load_report.new == ("classifier.weight", "classifier.bias")
        assert network.classifier.weight.shape == (3, 512)

    @pytest.mark.parametrize("value", [False, True])
    def test_load_always_has_weights_and_says_what_to_call_instead(self, value: bool) -> None:
        import osnet

        with pytest.raises(UnknownKeywordError, match=r"load: pretrained was removed.*osnet\.create_model"):
            osnet.load("osnet_ain_x0_25", pretrained=value, num_classes=4)
        with pytest.raises(UnknownModelError, match=r"osnet\.create_model\('osnet_ain_x0_25'\)"):
            osnet.load("osnet_ain_x0_25")
        network = osnet.create_model("osnet_ain_x0_25", 4)
        assert (network.variant_name, network.num_classes) == ("osnet_ain_x0_25", 4)

    def test_a_network_in_memory_is_a_model(self, checkpoint: Path) -> None:
        import osnet

        network = osnet.load(checkpoint)
        network.fc[0].bias.set_data(network.fc[0].bias + 1)
        weights = read_weights(network)
        assert weights.variant.name == network.variant_name
        np.testing.assert_array_equal(weights.arrays["fc.0.bias"], network.fc[0].bias.asnumpy())
        network.fc[0].bias.set_data(network.fc[0].bias + 1)
        assert (weights.arrays["fc.0.bias"] != network.fc[0].bias.asnumpy()).all(), "the weights are a copy"

    def test_a_cell_that_is_not_an_osnet_is_refused(self) -> None:
        from mindspore import nn

        with pytest.raises(WeightsError, match="Dense: not the weights of an OSNet"):
            read_weights(nn.Dense(3, 4))

    def test_the_network_does_not_share_memory_with_the_weights(self) -> None:
        from osnet.models.load import network_from_weights

        weights = recipe_weights("osnet_x0_25")
        network = network_from_weights(weights)
        before = weights.arrays["fc.0.bias"].copy()
        network.fc[0].bias.set_data(network.fc[0].bias * 0)
        np.testing.assert_array_equal(weights.arrays["fc.0.bias"], before)

    @pytest.mark.parametrize("place", ["osnet", "elsewhere"])
    def test_a_hub_builds_it_from_a_plain_checkout(self, place: str, tmp_path: Path) -> None:
        folder = tmp_path / place
        folder.mkdir()
        for name in ("osnet", "hub_conf.py", "mindspore_hub_conf.py"):
            (folder / name).symlink_to(ROOT / name)
        code = f"""
import importlib.util, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('yaml', 'requests', 'openvino', 'typer', 'tqdm', 'PIL', 'filelock', 'pyarrow'):
            raise ModuleNotFoundError(name + ' is not installed here', name=name)
import mindspore
sys.meta_path.insert(0, Refuse())
sys.path = [p for p in sys.path if p not in ('', {str(ROOT)!r})]
spec = importlib.util.spec_from_file_location('mindspore_hub_conf.py', {str(folder / "mindspore_hub_conf.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert module.create_network('osnet').variant_name == 'osnet_x1_0'
assert module.create_network('osnet_ain_x0_25', 5).num_classes == 5
assert module.create_network('osnet_x0_25', num_classes=7, pretrained=False).num_classes == 7
for call, expected in (
    (lambda: module.create_network('resnet50'), NotImplementedError),
    (lambda: module.create_network('osnet', classes=5), TypeError),
    (lambda: module.create_network('osnet', 5, num_classes=5), TypeError),
    (lambda: module.create_network('osnet', 5, False, 3), TypeError),
    (lambda: module.create_network('osnet', num_classes=-1), ValueError),
    (lambda: module.create_network('osnet', pretrained='yes'), ValueError),
    (lambda: module.create_network('osnet_x0_25', pretrained=True), ValueError),
    (lambda: module.create_network('osnet', pretrained=True), ImportError),
):
    try:
        call()
    except expected as error:
        print(error)
    else:
        raise SystemExit('no error')
"""
        run = subprocess.run(
            [sys.executable, "-S", "-c", _site_without_editable() + code], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert "known: osnet, osnet_x1_0, osnet_x0_75" in run.stdout
        assert "unexpected keyword argument 'classes'" in run.stdout
        assert "which is not installed: run `pip install .`" in run.stdout

    @pytest.mark.parametrize("fault", ["misshapen", "missing"])
    def test_fault_52_the_last_tensor_is_bad_and_the_network_is_unchanged(self, fault: str) -> None:
        from dataclasses import replace
        from types import MappingProxyType

        from osnet.models.load import create_model, set_weights

        network = create_model("osnet_x0_25")
        before = {name: parameter.asnumpy().copy() for name, parameter in network.parameters_dict().items()}
        arrays = dict(recipe_weights("osnet_x0_25", 0).arrays)
        last = list(arrays)[-1]
        if fault == "missing":
            del arrays[last]
        else:
            arrays[last] = np.zeros(3, np.float32)
        bad = replace(recipe_weights("osnet_x0_25", 0), arrays=MappingProxyType(arrays))
        with pytest.raises(WeightsError, match=last.replace(".", r"\.")):
            set_weights(network, bad)
        for name, parameter in network.parameters_dict().items():
            np.testing.assert_array_equal(parameter.asnumpy(), before[name])

    def test_fault_52_a_file_whose_last_tensor_is_bad_gives_no_network(self, checkpoint: Path, tmp_path: Path) -> None:
        import osnet

        arrays = recipe_arrays(get_variant("osnet_x0_25"))
        arrays["classifier.bias"] = np.full(10, np.nan, np.float32)
        (tmp_path / "bad.ckpt").write_bytes(write_ckpt(arrays))
        with pytest.raises(WeightsError, match=r"classifier\.bias"):
            osnet.load(tmp_path / "bad.ckpt")


def _site_without_editable() -> str:
    """Python lines that add the installed packages, but not this package's own editable install."""
    return f"import sys\nsys.path.extend({[p for p in sys.path if 'site-packages' in p]!r})\n"
