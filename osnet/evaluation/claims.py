"""What published cards claim for a checkpoint, and whether a measured figure can be compared with it."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from osnet.errors import OsnetError
from osnet.hub.card import Card
from osnet.hub.catalog import get_card, list_cards

if TYPE_CHECKING:
    from osnet.data.records import DataSet

PUBLISHED_SIZES = {"market1501": (3368, 19732), "dukemtmcreid": (2228, 17661), "msmt17": (11659, 82161)}
"""Images in query and gallery of the data sets as their authors published them (junk counted): a folder in the same
layout with other numbers is another data set."""

ZOO_METRICS = {"market1501": "euclidean", "dukemtmcreid": "euclidean", "msmt17": "cosine"}
"""What the model zoo's eval.py (research/cv/osnet) measures distances with, from features that are not normalised."""

_ZOO = re.compile(r"(gitee|github)\.com/mindspore(-ai)?/models/")
_LAYOUTS = {"dukemtmc": "dukemtmcreid"}
_MAP = re.compile(r"\s*mAP\s*([0-9]{1,3}(?:\.[0-9]+)?)\s*%?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Claim:
    """One card's claim.

    Attributes:
        uid: of the card.
        text: as the card writes it, such as ``mAP83.0``.
        dataset: that the card names as its training set; its claim is on the same set's test split.
        mAP: the figure, 0 to 1; None if the text has none.
        metric: that it was measured with; None if unknown.
    """

    uid: str
    text: str
    dataset: str
    mAP: float | None  # noqa: N815 - the field writes it so
    metric: str | None = None


def claims_of(model: Any, sha256: str | None) -> tuple[Claim, ...]:
    """Find what cards claim for a model.

    Args:
        model: the model reference; a card, or the name of one, is the model's own card.
        sha256: of the weights' file; None for weights in memory.

    Returns:
        The claim of its own card first, then those of other cards of the same file that claim something else.
    """
    cards = [model] if isinstance(model, Card) else []
    if isinstance(model, (str, os.PathLike)):
        with contextlib.suppress(OsnetError):
            cards.append(get_card(model))
    cards += [card for card in reversed(list_cards()) if card.checkpoint.sha256 == sha256]
    found: dict[tuple[str, str], Claim] = {}
    for card in cards:
        layout = _layout(card.dataset)
        if card.evaluation and (card.evaluation, layout) not in found:
            match = _MAP.fullmatch(card.evaluation)
            figure = float(match[1]) / 100 if match else None
            metric = ZOO_METRICS.get(layout) if _ZOO.search(card.repository) else None
            found[card.evaluation, layout] = Claim(card.uid, card.evaluation, card.dataset, figure, metric)
    return tuple(found.values())


def _layout(dataset: str) -> str:
    return _LAYOUTS.get(dataset.lower(), dataset.lower())


def why_not_comparable(claim: Claim, data: DataSet, settings: dict[str, Any]) -> str | None:
    """Check whether a measured figure can be compared with a published one.

    Args:
        claim: of `claims_of`.
        data: that the figure was measured on.
        settings: ``protocol``, ``metric``, ``rerank``, ``flip``, ``pool`` as `osnet.evaluate` has them, and
            ``other_size``: the input size as text if it is not the checkpoint's own, else None.

    Returns:
        The reason why it cannot, in one line; None if it can.
    """
    layout = _layout(claim.dataset)
    if claim.mAP is None:
        return f"the claim {claim.text!r} has no mAP"
    if data.name != layout:
        return f"the claim is for {claim.dataset}, and this data set is {data.name}"
    sizes = tuple(len(data.split(split, junk=True)) for split in ("query", "gallery"))
    if layout in PUBLISHED_SIZES and sizes != PUBLISHED_SIZES[layout]:
        expected = PUBLISHED_SIZES[layout]
        return (
            f"{layout} has {expected[0]} queries and a gallery of {expected[1]}, and this has {sizes[0]} and {sizes[1]}"
        )
    if settings["protocol"] != "market1501":
        return f"published figures use protocol market1501, and this evaluation used {settings['protocol']}"
    if claim.metric not in (None, settings["metric"]):
        return (
            f"it was measured with metric {claim.metric}, this with {settings['metric']}; use --metric {claim.metric}"
        )
    if settings["other_size"]:
        return f"published figures are at the checkpoint's own input size, and this is {settings['other_size']}"
    other = [name for name in ("rerank", "flip", "pool") if settings[name]]
    if other:
        return f"published figures are without {' and '.join(other)}"
    return None
