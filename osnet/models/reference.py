"""What ``model=`` may be, everywhere: a name, a card, a file, or weights already read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from osnet.checkpoint.formats import SUFFIXES, known_format
from osnet.checkpoint.weights import Weights, read_weights_file, weights_from_bytes
from osnet.errors import DependencyError, OptionError, UnknownKeywordError, UnknownModelError
from osnet.variants import VARIANTS

if TYPE_CHECKING:
    from osnet.hub.card import Card

ModelLike = Union[str, "os.PathLike[str]", "Card", Weights]


FETCH_KEYWORDS = ("cache_dir", "offline", "force", "mirrors", "allow_hosts", "allow_http", "timeout", "progress")


def check_fetch_keywords(fetch: Mapping[str, Any]) -> None:
    """Raises:
    UnknownKeywordError: a keyword that `osnet.fetch` does not know, whether or not anything will be fetched.
    """
    unknown = [name for name in fetch if name not in FETCH_KEYWORDS]
    if unknown:
        known = ", ".join(FETCH_KEYWORDS)
        raise UnknownKeywordError(f"unknown keyword {', '.join(unknown)}; those for fetching are {known}")


def names_weights_file(model: object) -> bool:
    """Whether `model` is a path to weights, by its ending."""
    return isinstance(model, (str, os.PathLike)) and known_format(os.fspath(model)) is not None


def read_weights(model: ModelLike = "osnet", **fetch: Any) -> Weights:
    """The weights that `model` stands for, all checked.

    Args:
        model: ``osnet`` (the seed card), a card's alias (``osnet_market1501``), a hub uid
            (``mindspore/1.6/osnet_dukemtmc``), a path to a card (``.md``), a path to weights (``.ckpt``, ``.pth``,
            ``.pth.tar``, ``.pt``, ``.safetensors``), a `Card`, or `Weights`, which come back as they are.
        **fetch: keywords of `osnet.fetch`, for all but paths to weights.

    Returns:
        Named float32 arrays with the variant identified. Of a card's file the very bytes that were verified are read.

    Raises:
        UnknownModelError: no such name or file; network names without published weights are told so.
        CheckpointError, WeightsError: not a whole checkpoint, or not of an OSNet.
        UnknownKeywordError: a keyword that `osnet.fetch` does not know.
        Errors of `osnet.fetch`.
    """
    check_fetch_keywords(fetch)
    if isinstance(model, Weights):
        return model
    if names_weights_file(model):
        return read_weights_file(os.fspath(model))  # type: ignore[arg-type]
    if isinstance(model, str) and model in VARIANTS:
        raise UnknownModelError(
            f"{model!r} is a network, and no weights are published for it alone; expected a card "
            f"('osnet', 'osnet_market1501', ...) or a path to weights ({' '.join(SUFFIXES)})"
        )
    try:
        from osnet.hub.card import Card
        from osnet.hub.fetch import fetch_verified
        from osnet.hub.urls import file_name
    except ModuleNotFoundError as error:  # a plain checkout, with MindSpore and numpy alone
        raise DependencyError(
            f"fetching {model!r} wants the package {error.name!r}, which is not installed: run `pip install .` in the "
            f"checkout, or give a path to weights ({' '.join(SUFFIXES)})"
        ) from error
    if not isinstance(model, (str, os.PathLike, Card)):
        raise OptionError(f"model: expected a name, a path, a Card or Weights, got {type(model).__name__}")
    try:
        file = fetch_verified(model, **fetch)
    except UnknownModelError as error:
        raise UnknownModelError(f"{error} A path to weights ends in one of {' '.join(SUFFIXES)}.") from error
    # The card says what the file is; in the cache it may have any name.
    return weights_from_bytes(file.data, file_name(file.card.checkpoint.link), sha256=file.sha256)


def variant_of(model: ModelLike) -> str:
    """Name of the network that `model` stands for, without fetching anything: a card that names no
    width is of x1.0, as all of the hub are.

    Raises:
        UnknownModelError: neither a network, a card nor a file.
        OptionError: `model` is a path to weights, whose network only its content tells.
    """
    if isinstance(model, Weights):
        return model.variant.name
    if isinstance(model, str) and model in VARIANTS:
        return model
    if names_weights_file(model):
        raise OptionError(
            f"pretrained=False with the weights file {Path(os.fspath(model)).name!r}: "  # type: ignore[arg-type]
            f"expected the name of a network ({', '.join(VARIANTS)})"
        )
    from osnet.hub.card import Card
    from osnet.hub.catalog import get_card

    card = model if isinstance(model, Card) else get_card(model)
    named = card.fields["backbone-name"]
    return named if named in VARIANTS else "osnet_x1_0"
