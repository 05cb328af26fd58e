"""What a hub asks a model package for: `create_network`.

Works from a plain checkout with nothing installed but MindSpore and numpy.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:  # a hub may execute this file without its folder on the path
    sys.path.insert(0, _HERE)

from osnet.errors import OptionError  # noqa: E402
from osnet.models.load import create_model, load  # noqa: E402
from osnet.variants import VARIANTS  # noqa: E402

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
    options = _options(args, kwargs)
    num_classes, pretrained = options.get("num_classes", 0), options.get("pretrained", False)
    if not isinstance(pretrained, bool):
        raise OptionError(f"pretrained: expected True or False, got {pretrained!r}")
    if pretrained:
        return load(name, num_classes=num_classes)
    return create_model("osnet_x1_0" if name == "osnet" else name, num_classes)


def _options(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(kwargs) - set(_OPTIONS))
    if unknown:
        raise TypeError(f"create_network: unknown keyword {', '.join(unknown)}; known: {', '.join(_OPTIONS)}")
    if len(args) > len(_OPTIONS):
        raise TypeError(f"create_network: expected at most {len(_OPTIONS)} values after the name, got {len(args)}")
    options = dict(zip(_OPTIONS, args))
    twice = sorted(set(options) & set(kwargs))
    if twice:
        raise TypeError(f"create_network: {', '.join(twice)} given twice, by position and by keyword")
    return {**options, **kwargs}
