"""What a hub asks a model package for: `create_network`. Needs nothing but MindSpore and numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from osnet.errors import OptionError
from osnet.models.load import create_model, load
from osnet.variants import VARIANTS

_OPTIONS = ("num_classes", "pretrained")


def create_network(name: str, *args: Any, **kwargs: Any) -> Any:
    """The network called `name`, in inference mode.

    Args:
        name: ``osnet`` (x1.0, the published one) or a variant: ``osnet_x0_25``, ``osnet_ain_x1_0`` and so on.
        num_classes: outputs of the classifier, 0 (default) for a feature extractor; may be given by position.
        pretrained: True to fetch, verify and load the weights that ``osnet`` has published; default False, because a
            hub loads the checkpoint itself. May be given by position, second.

    Returns:
        A `mindspore.nn.Cell`.

    Raises:
        NotImplementedError: no network of that name.
        TypeError: unknown keyword, or too many arguments.
        ValueError: a value that is not understood, or ``pretrained=True`` for a variant without published weights.
    """
    if name != "osnet" and name not in VARIANTS:
        raise NotImplementedError(f"no network {name!r} here; known: osnet, {', '.join(VARIANTS)}")
    options = read_options("create_network", _OPTIONS, args, kwargs)
    num_classes, pretrained = options.get("num_classes", 0), options.get("pretrained", False)
    if not isinstance(pretrained, bool):
        raise OptionError(f"pretrained: expected True or False, got {pretrained!r}")
    if pretrained:
        return load(name, num_classes=num_classes)
    return create_model("osnet_x1_0" if name == "osnet" else name, num_classes)


def read_options(caller: str, known: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The values given by position (in the order of `known`) and by keyword, by name.

    Raises:
        TypeError: an unknown keyword, too many values, or one given twice; the message starts with `caller`.
    """
    unknown = sorted(set(kwargs) - set(known))
    if unknown:
        raise TypeError(f"{caller}: unknown keyword {', '.join(unknown)}; known: {', '.join(known)}")
    if len(args) > len(known):
        raise TypeError(f"{caller}: expected at most {len(known)} values after the name, got {len(args)}")
    options = dict(zip(known, args))
    twice = sorted(set(options) & set(kwargs))
    if twice:
        raise TypeError(f"{caller}: {', '.join(twice)} given twice, by position and by keyword")
    return {**options, **kwargs}
