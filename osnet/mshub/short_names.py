"""``mindspore_hub.load("osnet")``: OSNet's names go through this package's verified loader, all others are unchanged.

Nothing happens on import: `register` is called by the user, after ``import mindspore_hub``.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osnet.errors import CardError, DependencyError

if TYPE_CHECKING:
    from osnet.hub.card import Card

_CLAIMS_OSNET = re.compile(rb"^\s*[\"']?model-name[\"']?\s*:\s*[\"']?osnet", re.IGNORECASE | re.MULTILINE)


_lock = threading.Lock()
_active: Any = None  # what `register` put in the place of mindspore_hub.load


def register() -> None:
    """Make ``mindspore_hub.load`` take OSNet's names through `osnet.load`.

    From then on ``osnet``, the aliases (``osnet_market1501``), the uids of the package's cards, the uids and names of
    cards that `osnet hub install` laid out, and paths of cards of an OSNet are verified at every load and need no
    network once cached; ``num_classes``, ``pretrained`` and ``force_reload`` mean what they mean there. Every other
    name reaches the original unchanged. A second call changes nothing. A ``from mindspore_hub import load`` made
    before keeps the original.

    Raises:
        DependencyError: mindspore_hub is not imported yet.
    """
    global _active
    hub: Any = sys.modules.get("mindspore_hub")
    if hub is None or not callable(getattr(hub, "load", None)):
        raise DependencyError(
            "osnet.mshub.register(): expected mindspore_hub to be imported, found it is not; "
            "import mindspore_hub first (osnet.load() needs neither)"
        )
    with _lock:
        if hub.load is not _active:
            hub.load = _active = _wrap(hub.load)


def unregister() -> None:
    """Give ``mindspore_hub.load`` back as it was; without a `register` before, nothing happens."""
    global _active
    with _lock:
        hub: Any = sys.modules.get("mindspore_hub")
        if hub is not None and hub.load is _active:  # else somebody has wrapped it since
            hub.load = _active.__wrapped__
        _active = None


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(name: Any, *args: Any, **kwargs: Any) -> Any:
        card = _card(name, kwargs.get("source", "gitee")) if load is _active else None
        if card is None:
            return original(name, *args, **kwargs)
        kwargs.pop("source", None)
        return _load(card, *args, **kwargs)

    return load


def _load(card: Card, num_classes: int = 0, *, pretrained: bool = True, force_reload: bool = False) -> Any:
    """As ``mindspore_hub.load``, for `card`."""
    from osnet.models.load import load
    from osnet.mshub.entry import create_network

    for keyword, value in (("pretrained", pretrained), ("force_reload", force_reload)):
        if not isinstance(value, bool):
            raise TypeError(f"{keyword}: expected True or False, got {value!r}")
    if not pretrained:
        return create_network(card.name.lower(), num_classes)
    return load(card, num_classes=num_classes, cache_dir=_hub_of(card), force=force_reload)


def _card(name: Any, source: Any) -> Card | None:
    """The card of an OSNet that `name` stands for; None for every other name.

    Raises:
        CardError: a file that says it is the card of an OSNet, and is not a valid one.
    """
    if not isinstance(name, str) or source not in ("gitee", "local"):
        return None
    if name.lower().endswith(".md"):
        return _card_at(Path(name))
    if source == "local":
        return None
    from osnet.hub import catalog

    if name.lower() in {*catalog.aliases(), *(card.uid for card in catalog.list_cards())}:
        return catalog.get_card(name)
    return _installed(name)


def _installed(name: str) -> Card | None:
    """The card that `osnet hub install` laid out under this uid, or under this name alone.

    Raises:
        CardError: several have the name.
    """
    from osnet.mshub.install import receipts_in, root_of

    where = getattr(sys.modules.get("mindspore_hub.manage"), "get_hub_dir", None)
    root = root_of(where() if callable(where) else None)
    paths = [home / receipt.card for home in sorted(root.glob("*/*")) for receipt in receipts_in(home)]
    found = [card for card in map(_card_at, paths) if card and name.lower() in (card.uid, card.uid.rpartition("/")[2])]
    if len(found) > 1:
        uids = ", ".join(card.uid for card in found)
        raise CardError(f"{name!r:.80}: expected one installed card of that name, got {uids}; load it by its uid")
    return found[0] if found else None


def _card_at(path: Path) -> Card | None:
    from osnet.files import open_regular
    from osnet.hub.card import parse_card
    from osnet.variants import VARIANTS
    from osnet.yaml_files import MAX_BYTES

    try:
        path = path.expanduser().resolve()
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError, RuntimeError):
        return None
    try:
        card = parse_card(data, path=path)
    except CardError:
        if _CLAIMS_OSNET.search(data):
            raise
        return None
    return card if card.name.lower() in ("osnet", *VARIANTS) else None


def _hub_of(card: Card) -> Path | None:
    """The cache that `card` is in, if it is where mindspore_hub keeps cards; else None, the usual one."""
    from osnet.hub.catalog import CARDS

    if card.path is None or len(card.path.parents) < 3:
        return None
    root = card.path.parents[2]
    return root if root != CARDS and card.path == root / f"{card.uid}.md" else None
