"""``osnet list``, ``osnet info``: what there is."""

from pathlib import Path
from typing import Any

import typer

from osnet.cli.options import AsJson, ModelArgument, print_json, say


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("list")(list_all)
    app.command("info")(info)


def list_all(as_json: AsJson = False) -> None:
    """List the nine networks and the published cards."""
    from osnet.hub.catalog import aliases, list_cards
    from osnet.hub.fetch import file_beside
    from osnet.variants import VARIANTS

    names: dict[str, list[str]] = {}
    for alias, uid in aliases().items():
        names.setdefault(uid, []).append(alias)
    cards = list_cards()
    if as_json:
        print_json(
            {
                "networks": [{"name": v.name, "parameters": _size(v.name)} for v in VARIANTS.values()],
                "cards": [{**_card(card), "aliases": names.get(card.uid, [])} for card in cards],
            }
        )
        return
    say("Networks (parameters without the classifier):")
    for variant in VARIANTS.values():
        say(f"  {variant.name:<16} {_size(variant.name):>9,}")
    say()
    say("Published checkpoints (evaluation as the card claims; equal SHA-256, equal file):")
    for card in cards:
        alias = ", ".join(names.get(card.uid, [])) + (" (comes with osnet)" if file_beside(card) else "")
        say(f"  {card.uid:<36} {card.dataset:<13} {card.evaluation:<8} {card.checkpoint.sha256[:12]}  {alias}".rstrip())


def info(model: ModelArgument = "osnet", as_json: AsJson = False) -> None:
    """Describe a network, a card or a file of weights. Nothing is downloaded."""
    found = _describe(model)
    if as_json:
        print_json(found)
        return
    width = max(len(key) for key in found)
    for key, value in found.items():
        if value == []:
            continue
        say(f"{key:<{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")


def _describe(model: str) -> dict[str, Any]:
    from osnet.checkpoint.weights import DEFAULT_INPUT_SIZE
    from osnet.models.artefact import artefact_kind
    from osnet.models.load import names_weights_file
    from osnet.variants import FEATURE_DIM, VARIANTS, size_text

    sizes = {"input": f"{size_text(DEFAULT_INPUT_SIZE)} RGB", "feature": FEATURE_DIM}
    if model in VARIANTS:
        return {"network": model, "parameters": _size(model), **sizes, "weights": "none published for this name alone"}
    if names_weights_file(model):
        return {**sizes, **_file(model)}
    if artefact_kind(model) is not None:
        return _exported(model)
    from osnet.hub.cache import cache_path
    from osnet.hub.catalog import addresses, get_card
    from osnet.hub.fetch import file_beside
    from osnet.hub.settings import read_settings

    card = get_card(model)
    path = file_beside(card) or cache_path(read_settings().cache, card)
    return {
        **_card(card),
        "addresses": list(dict.fromkeys((card.checkpoint.link, *addresses(card.checkpoint.sha256)))),
        "file": str(path),
        "cached": path.exists(),
        **sizes,
        **({"input": f"{size_text(card.input_size)} RGB"} if card.input_size else {}),
    }


def _exported(model: str) -> dict[str, Any]:
    from osnet.models.artefact import read_interface

    found = read_interface(Path(model))
    shape = " x ".join("any" if length is None else str(length) for length in found.shape)
    return {
        "file": str(Path(model)),
        "takes": f"{found.name}, {found.dtype}, {shape}",
        **(found.metadata or {"exported_by": "another program: say what its input takes with --input"}),
    }


def _file(model: str) -> dict[str, Any]:
    from osnet.checkpoint.weights import read_weights_file
    from osnet.hub.catalog import list_cards
    from osnet.variants import size_text

    weights = read_weights_file(model)
    return {
        "file": str(Path(model)),
        "network": weights.variant.name,
        "parameters": _size(weights.variant.name),
        "classifier": weights.num_classes,
        "set_aside": len(weights.extras),
        "input": f"{size_text(weights.input_size)} RGB",
        "sha256": weights.sha256,
        "published_as": [card.uid for card in list_cards() if card.checkpoint.sha256 == weights.sha256],
        "batch_norm": "folded: for inference, not to train from" if weights.folded else "with statistics",
        "notes": list(weights.notes),
    }


def _card(card: Any) -> dict[str, Any]:
    return {
        "uid": card.uid,
        "name": card.name,
        "dataset": card.dataset,
        "claimed_evaluation": card.evaluation,
        "license": card.license,
        "updated": card.update_time,
        "repository": card.repository,
        "link": card.checkpoint.link,
        "sha256": card.checkpoint.sha256,
    }


def _size(name: str) -> int:
    from math import prod

    from osnet.variants import VARIANTS, parameters

    return sum(prod(parameter.shape) for parameter in parameters(VARIANTS[name]) if parameter.trainable)
