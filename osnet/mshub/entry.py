"""What a hub asks a model package for: `create_network`. Needs nothing but MindSpore and numpy."""

from __future__ import annotations

from typing import Any

from osnet.checks import check_bool
from osnet.models.load import create_model, load
from osnet.variants import VARIANTS


def create_network(name: str, num_classes: int = 0, pretrained: bool = False) -> Any:
    """The network called `name`, in inference mode.

    Args:
        name: ``osnet`` (x1.0, the published one) or a variant: ``osnet_x0_25``, ``osnet_ain_x1_0`` and so on.
        num_classes: outputs of the classifier, 0 for a feature extractor.
        pretrained: fetch, verify and load the weights that ``osnet`` has published; False by default, because a hub
            loads the checkpoint itself.

    Returns:
        A `mindspore.nn.Cell`.

    Raises:
        NotImplementedError: no network of that name.
        TypeError: unknown keyword, or too many arguments.
        ValueError: a value that is not understood, or ``pretrained=True`` for a variant without published weights.
    """
    if name != "osnet" and name not in VARIANTS:
        raise NotImplementedError(f"no network {name!r} here; known: osnet, {', '.join(VARIANTS)}")
    if check_bool("pretrained", pretrained):
        return load(name, num_classes=num_classes)
    return create_model("osnet_x1_0" if name == "osnet" else name, num_classes)
