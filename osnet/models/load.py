"""A model reference → `Weights`, or a MindSpore network with them and a report of what was and was not used.

A model reference is what ``model=`` may be, everywhere: a name, a card, a file, or weights or a network in memory.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Union

from osnet.checkpoint.formats import SUFFIXES, known_format
from osnet.checkpoint.weights import Weights, read_weights_file, weights_from_bytes
from osnet.errors import DependencyError, OptionError, UnknownKeywordError, UnknownModelError, WeightsError
from osnet.hub.settings import FetchOptions, check_fetch_options
from osnet.models.artefact import SUFFIXES as ARTEFACT_SUFFIXES
from osnet.models.artefact import Artefact, artefact_kind, read_artefact
from osnet.variants import VARIANTS, Variant, get_variant

if TYPE_CHECKING:
    from mindspore import nn
    from typing_extensions import Unpack

    from osnet.hub.card import Card
    from osnet.models.network import OSNet


logger = logging.getLogger("osnet")

_SLOW_SINCE = (2, 9)


class NewClassifierWarning(UserWarning):
    """The classifier of a network is freshly initialised, not from the checkpoint."""


class SlowMindSporeWarning(UserWarning):
    """This MindSpore's CPU convolutions are many times slower than those of 2.8."""


@dataclass(frozen=True)
class LoadReport:
    """What became of a checkpoint. The network carries it as ``network.load_report``.

    Attributes:
        source: file or description of the weights.
        sha256: of the file, or None.
        used: parameters of the network set from the checkpoint.
        new: parameters of the network that are freshly initialised.
        unused: parameters of the checkpoint's network that have no place in this one.
        set_aside: entries of the file that are not of the network: optimizer state, counters, learning rates.
        notes: what was changed on the way (`Weights.notes`): a prefix removed, a cast from float16.
    """

    source: str
    sha256: str | None
    used: int
    new: tuple[str, ...]
    unused: tuple[str, ...]
    set_aside: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.source}: {self.used} parameters used"
        if self.unused:
            text += f", not used: {', '.join(self.unused)}"
        if self.new:
            text += f", freshly initialised: {', '.join(self.new)}"
        if self.set_aside:
            text += f", {len(self.set_aside)} entries set aside (optimizer state, counters)"
        return "; ".join((text, *self.notes))


def load(model: ModelLike = "osnet", *, num_classes: int = 0, **fetch: Unpack[FetchOptions]) -> OSNet:
    """A MindSpore network with published or own weights, in inference mode. `create_model` gives one without weights.

    Args:
        model: any model reference (see `osnet.read_weights`).
        num_classes: 0 for a feature extractor; otherwise outputs of the classifier, which comes from the checkpoint
            if that has as many, and is new (with a `NewClassifierWarning`) if not.
        **fetch: keywords of `osnet.fetch`.

    Returns:
        A `mindspore.nn.Cell`; its ``load_report`` says what was used, new, and left over.
        Where batch norm was folded into the convolutions (`Weights.folded`), the first ``set_train()`` gives a
        `FoldedNormWarning`.

    Raises:
        OptionError, DependencyError, and the errors of `osnet.read_weights`. All is checked before anything is set.
    """
    if "pretrained" in fetch:
        raise UnknownKeywordError(
            "load: pretrained was removed, load always reads weights; leave it out, or call "
            "osnet.create_model(name, num_classes) for a network with random weights"
        )
    check_num_classes(num_classes)
    check_fetch_options(fetch)
    require_mindspore()
    return network_from_weights(read_weights(model, **fetch), num_classes)


def create_model(name: str, num_classes: int = 0) -> OSNet:
    """A freshly initialised network, in inference mode. `load` gives one with weights.

    Args:
        name: one of `osnet.list_models()`.
        num_classes: outputs of the classifier, 0 for none.

    Returns:
        A `mindspore.nn.Cell`. In inference mode it gives features (B, 512), in training mode logits (B, num_classes).

    Raises:
        UnknownModelError: no network of that name.
        OptionError: `num_classes` is not an integer of at least 0.
        DependencyError: MindSpore is missing.
    """
    return _inference_network(get_variant(name), check_num_classes(num_classes))


def network_from_weights(weights: Weights, num_classes: int = 0) -> OSNet:
    """A network with `weights`; arguments and report as for `load`."""
    network = _inference_network(weights.variant, check_num_classes(num_classes))
    report = set_weights(network, weights)
    logger.info("%s", report)
    if report.new:
        warnings.warn(
            f"the classifier for {num_classes} identities is new and random: the checkpoint's has "
            f"{weights.num_classes or 'none'}; train it before its logits mean anything",
            NewClassifierWarning,
            stacklevel=3,
        )
    return network


def set_weights(network: OSNet, weights: Weights) -> LoadReport:
    """Set the parameters of `network`, and its ``load_report``; the classifier only if it has as many classes.

    Raises:
        WeightsError: the network is another one. All is checked before anything is set.
    """
    import numpy as np
    from mindspore import Tensor

    same_classes = network.num_classes == weights.num_classes
    arrays = weights.arrays if same_classes else weights.without_classifier().arrays
    slots = network.parameters_dict()
    new = tuple(name for name in slots if name not in arrays)
    wrong = [name for name, a in arrays.items() if name not in slots or tuple(slots[name].shape) != a.shape]
    if wrong or any(not name.startswith("classifier.") for name in new):
        raise WeightsError(f"{weights.source}: the network has no place for {wrong[:5]} and lacks {new[:5]}")
    for name, array in arrays.items():
        slots[name].set_data(Tensor(np.array(array)))  # a copy: MindSpore may write where it reads
    report = LoadReport(
        source=weights.source,
        sha256=weights.sha256,
        used=len(arrays),
        new=new,
        unused=tuple(name for name in weights.arrays if name not in arrays),
        set_aside=tuple(weights.extras),
        notes=weights.notes,
    )
    network.load_report = report
    network.folded = weights.folded
    network.input_size = weights.input_size
    return report


def _inference_network(variant: Variant, num_classes: int) -> OSNet:
    require_mindspore()
    from osnet.models.network import OSNet

    network = OSNet(variant, num_classes)
    network.set_train(False)
    return network


def check_num_classes(num_classes: Any) -> int:
    """`num_classes` as an int of at least 0.

    Raises:
        OptionError: it is anything else.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise OptionError(f"num_classes: expected a whole number, 0 (no classifier) or more, got {num_classes!r}")
    return num_classes


def require_mindspore() -> None:
    """Import MindSpore, or say what to do.

    Raises:
        DependencyError: it is missing, broken, or clashes with what is imported already.
    """
    try:
        import mindspore
    except DependencyError:
        raise
    except ImportError as error:
        raise DependencyError(
            f'MindSpore cannot be imported ({error}); install it: pip install "osnet[mindspore]". '
            "Embedding on CPU needs none: osnet.Embedder()"
        ) from error
    version = tuple(int(part) for part in mindspore.__version__.split(".")[:2] if part.isdigit())
    if version >= _SLOW_SINCE and mindspore.get_context("device_target") == "CPU":
        warnings.warn(
            f"MindSpore {mindspore.__version__} runs OSNet's convolutions on CPU many times slower than 2.8 "
            "(1.3 against 12 images/s on 2 cores); prefer mindspore==2.8.0, or osnet.Embedder()",
            SlowMindSporeWarning,
            stacklevel=3,
        )


ModelLike = Union[str, "os.PathLike[str]", "Card", Weights, "nn.Cell"]


def names_weights_file(model: object) -> bool:
    """Whether `model` is a path to weights, by its ending."""
    return isinstance(model, (str, os.PathLike)) and known_format(os.fspath(model)) is not None


def is_network(model: object) -> bool:
    """Whether `model` is a MindSpore network; does not import MindSpore."""
    nn = sys.modules.get("mindspore.nn")
    return nn is not None and isinstance(model, nn.Cell)


def weights_of(network: Any) -> Weights:
    """The parameters of a MindSpore network as they are now, copied.

    Raises:
        WeightsError: not an OSNet, or NaN or infinity among the parameters.
    """
    from osnet.models.network import OSNet

    arrays = {name: parameter.asnumpy().copy() for name, parameter in network.parameters_dict().items()}
    size = next((cell.input_size for _, cell in network.cells_and_names() if isinstance(cell, OSNet)), None)
    return Weights.from_arrays(arrays, source=f"the network {type(network).__name__}", input_size=size)


def read_model(
    model: ModelLike = "osnet", *, values: str | None = None, **fetch: Unpack[FetchOptions]
) -> Weights | Artefact:
    """The weights, or the exported network, that `model` stands for.

    Args:
        model: as for `read_weights`, or a path to an exported network (``.onnx``, ``.xml``).
        values: what the input of an exported network takes, see `osnet.models.artefact.read_artefact`.
        **fetch: keywords of `osnet.fetch`.

    Raises:
        OptionError: `values` for something else than an exported network.
        The errors of `read_weights` and `read_artefact`.
    """
    if artefact_kind(model) is None:
        if values is not None:
            raise OptionError(f"input: only for exported networks ({', '.join(ARTEFACT_SUFFIXES)}), got {model!r:.80}")
        return read_weights(model, **fetch)
    check_fetch_options(fetch)
    return read_artefact(os.fspath(model), values)  # type: ignore[arg-type]


def read_weights(model: ModelLike = "osnet", **fetch: Unpack[FetchOptions]) -> Weights:
    """The weights that `model` stands for, all checked.

    Args:
        model: ``osnet`` (the seed card), a card's alias (``osnet_market1501``), a hub uid
            (``mindspore/1.6/osnet_dukemtmc``), a path to a card (``.md``), a path to weights (``.ckpt``, ``.pth``,
            ``.pth.tar``, ``.pt``, ``.safetensors``), a `Card`, `Weights`, which come back as they are, or a MindSpore
            network of `load` or `create_model`, whose parameters are copied.
        **fetch: keywords of `osnet.fetch`; used only when a card's file has to be fetched.

    Returns:
        Named float32 arrays with the variant identified. Of a card's file the very bytes that were verified are read.

    Raises:
        UnknownModelError: no such name or file; network names without published weights are told so.
        CheckpointError, WeightsError: not a whole checkpoint, or not of an OSNet.
        UnknownKeywordError: a keyword that `osnet.fetch` does not know.
        Errors of `osnet.fetch`.

    >>> import osnet
    >>> weights = osnet.read_weights("own.ckpt")
    >>> weights.network, weights.input_size, weights.arrays["conv1.conv.weight"].shape
    ('osnet_x0_25', (256, 128), (16, 3, 7, 7))
    """
    check_fetch_options(fetch)
    if isinstance(model, Weights):
        return model
    if is_network(model):
        return weights_of(model)
    if names_weights_file(model):
        return read_weights_file(os.fspath(model))  # type: ignore[arg-type]
    if artefact_kind(model) is not None:
        raise UnknownModelError(
            f"{model} is an exported network, and weights are needed here; expected a card, its name, or a path to "
            f"weights ({' '.join(SUFFIXES)})"
        )
    if isinstance(model, str) and model in VARIANTS:
        raise UnknownModelError(
            f"{model!r} is a network, and no weights are published for it alone; expected a card "
            f"('osnet', 'osnet_market1501', ...) or a path to weights ({' '.join(SUFFIXES)}); "
            f"osnet.create_model({model!r}) gives the network with random weights"
        )
    try:
        from osnet.hub.card import Card
        from osnet.hub.fetch import fetch_verified
        from osnet.hub.urls import file_name
    except ModuleNotFoundError as error:  # a plain checkout, with MindSpore and numpy alone
        raise DependencyError(
            f"fetching {model!r} needs the package {error.name!r}, which is not installed: run `pip install .` in the "
            f"checkout, or give a path to weights ({' '.join(SUFFIXES)})"
        ) from error
    if not isinstance(model, (str, os.PathLike, Card)):
        raise OptionError(
            f"model: expected a name, a path, a Card, Weights or a MindSpore network, got {type(model).__name__}"
        )
    try:
        file = fetch_verified(model, **fetch)
    except UnknownModelError as error:
        raise UnknownModelError(f"{error} A path to weights ends in one of {' '.join(SUFFIXES)}.") from error
    # The card says what the file is; in the cache it may have any name.
    weights = weights_from_bytes(file.data, file_name(file.card.checkpoint.link), sha256=file.sha256)
    return replace(weights, input_size=file.card.input_size or weights.input_size)
