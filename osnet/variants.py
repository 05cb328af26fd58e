"""The nine OSNets as data: widths, where instance norm stands, and the name of every parameter.

References:
    Zhou, Yang, Cavallaro, Xiang. Omni-Scale Feature Learning for Person Re-Identification. ICCV 2019.
    Zhou, Yang, Cavallaro, Xiang. Learning Generalisable Omni-Scale Representations for Person
    Re-Identification. TPAMI 2021 (the AIN variants).
    Pan, Luo, Shi, Tang. Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net. ECCV 2018.

Names are those of the model zoo's MindSpore network (``gamma``, ``beta``, ``moving_mean``, ``moving_variance``);
torchreid's differ only in the last word of a norm layer, which `to_torchreid` and `from_torchreid` translate.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from osnet.checks import check_integer
from osnet.errors import OptionError, UnknownModelError

FEATURE_DIM = 512
"""Length of a feature, the same for every variant."""

INPUT_HEIGHT, INPUT_WIDTH = 256, 128
"""Size in pixels that every published OSNet was trained with."""

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's R, G and B in 0..1, which every OSNet was trained with."""

INPUT_STEP = 16
"""Height and width of an input are multiples of this, and at least 32: the network halves them four times."""

NORM_EPSILON = 1e-5
"""Added to the variance by every norm layer, as torchreid and the model zoo have it."""

STREAMS = 4
"""A block's streams see receptive fields of 3, 5, 7 and 9 pixels: stream t is t light 3x3 convolutions deep."""

GATE_REDUCTION = 16
BOTTLENECK = 4

NORM_WORDS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_TORCHREID_WORDS = {theirs: ours for ours, theirs in NORM_WORDS.items()}


@dataclass(frozen=True)
class Variant:
    """One OSNet.

    Attributes:
        name: ``osnet_x1_0`` and so on.
        channels: output channels of conv1, conv2, conv3, conv4 (conv5 keeps the last).
        stem_norm: norm layer of conv1, ``batch`` or ``instance``.
        norms: for each of the six blocks, in order, where instance norm stands: ``none``; ``after`` the residual
            sum (IBN); ``inside`` the residual branch, in place of conv3's batch norm (AIN).
        ain: named as torchreid's osnet_ain.py names it (``conv2.0.conv2.1.layers.0``, ``pool2.0``), not as osnet.py
            does (``conv2.0.conv2b.0``, ``conv2.2.0``).
    """

    name: str
    channels: tuple[int, int, int, int]
    stem_norm: str
    norms: tuple[str, str, str, str, str, str]
    ain: bool

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The six omni-scale blocks in order."""
        widths = [width for width in self.channels[1:] for _ in range(2)]
        return tuple(
            Block(f"conv{2 + i // 2}.{i % 2}", before, width, norm)
            for i, (before, width, norm) in enumerate(zip([self.channels[0], *widths], widths, self.norms))
        )

    def stream(self, block: str, depth: int) -> tuple[str, ...]:
        """Prefixes of the light convolutions of the stream that is `depth` (1 to 4) deep."""
        if self.ain:
            return tuple(f"{block}.conv2.{depth - 1}.layers.{i}" for i in range(depth))
        letter = "abcd"[depth - 1]
        return (f"{block}.conv2a",) if depth == 1 else tuple(f"{block}.conv2{letter}.{i}" for i in range(depth))

    def transition(self, stage: int) -> str:
        """Prefix of the 1x1 convolution before the average pooling that ends `stage` (2 or 3)."""
        return f"pool{stage}.0" if self.ain else f"conv{stage}.2.0"


@dataclass(frozen=True)
class Block:
    """Sizes of one omni-scale block; `instance_norm` as in `Variant.norms`."""

    prefix: str
    in_channels: int
    out_channels: int
    instance_norm: str

    @property
    def mid_channels(self) -> int:
        return self.out_channels // BOTTLENECK


_WIDTHS: dict[str, tuple[int, int, int, int]] = {
    "x1_0": (64, 256, 384, 512),
    "x0_75": (48, 192, 288, 384),
    "x0_5": (32, 128, 192, 256),
    "x0_25": (16, 64, 96, 128),
}
_PLAIN = ("none",) * 6
_IBN = ("after", "after", "none", "none", "none", "none")
_AIN = ("inside", "inside", "none", "inside", "inside", "none")

VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        *(Variant(f"osnet_{w}", c, "batch", _PLAIN, ain=False) for w, c in _WIDTHS.items()),
        Variant("osnet_ibn_x1_0", _WIDTHS["x1_0"], "instance", _IBN, ain=False),
        *(Variant(f"osnet_ain_{w}", c, "instance", _AIN, ain=True) for w, c in _WIDTHS.items()),
    )
}
"""All nine, by name."""


def list_models() -> list[str]:
    """List the nine networks.

    Returns:
        Their names, for `osnet.create_model`.
    """
    return list(VARIANTS)


def get_variant(name: str) -> Variant:
    """The variant called `name`.

    Raises:
        UnknownModelError: no such variant; the message lists the nearest and the known names.
    """
    try:
        return VARIANTS[name]
    except (KeyError, TypeError):
        near = difflib.get_close_matches(str(name), VARIANTS, n=3, cutoff=0.5)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        raise UnknownModelError(f"unknown network {name!r}.{hint} Known: {', '.join(VARIANTS)}.") from None


@dataclass(frozen=True)
class Parameter:
    """One array of a network: MindSpore name, shape, and kind.

    `kind` is ``w`` (convolution or dense weight), ``bias`` (of a gate or dense layer), ``gain``, ``shift``, ``mean``
    or ``var`` (of a norm layer).
    """

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def torchreid_name(self) -> str:
        return to_torchreid(self.name)

    @property
    def trainable(self) -> bool:
        return self.kind not in ("mean", "var")


@lru_cache(maxsize=64)
def parameters(variant: Variant, num_classes: int = 0) -> tuple[Parameter, ...]:
    """Every parameter of `variant` in the order of the network; with ``num_classes=0`` those of the classifier are
    left out. Classifier: weight ``(num_classes, 512)``, bias ``(num_classes,)``."""
    return tuple(_walk(variant, num_classes))


def _walk(variant: Variant, num_classes: int) -> Iterator[Parameter]:
    channels = variant.channels
    yield from _conv("conv1.conv", channels[0], 3, 7)
    yield from _norm("conv1.bn", channels[0], batch=variant.stem_norm == "batch")
    for index, block in enumerate(variant.blocks):
        yield from _block(variant, block)
        if index in (1, 3):
            prefix, width = variant.transition(index // 2 + 2), block.out_channels
            yield from _conv(f"{prefix}.conv", width, width, 1)
            yield from _norm(f"{prefix}.bn", width)
    yield from _conv("conv5.conv", channels[3], channels[3], 1)
    yield from _norm("conv5.bn", channels[3])
    yield Parameter("fc.0.weight", (FEATURE_DIM, channels[3]), "w")
    yield Parameter("fc.0.bias", (FEATURE_DIM,), "bias")
    yield from _norm("fc.1", FEATURE_DIM)
    if num_classes:
        yield Parameter("classifier.weight", (num_classes, FEATURE_DIM), "w")
        yield Parameter("classifier.bias", (num_classes,), "bias")


def _block(variant: Variant, block: Block) -> Iterator[Parameter]:
    prefix, mid, out = block.prefix, block.mid_channels, block.out_channels
    yield from _conv(f"{prefix}.conv1.conv", mid, block.in_channels, 1)
    yield from _norm(f"{prefix}.conv1.bn", mid)
    for depth in range(1, STREAMS + 1):
        for light in variant.stream(prefix, depth):
            yield from _conv(f"{light}.conv1", mid, mid, 1)
            yield from _conv(f"{light}.conv2", mid, 1, 3)
            yield from _norm(f"{light}.bn", mid)
    hidden = mid // GATE_REDUCTION
    yield from _conv(f"{prefix}.gate.fc1", hidden, mid, 1)
    yield Parameter(f"{prefix}.gate.fc1.bias", (hidden,), "bias")
    yield from _conv(f"{prefix}.gate.fc2", mid, hidden, 1)
    yield Parameter(f"{prefix}.gate.fc2.bias", (mid,), "bias")
    yield from _conv(f"{prefix}.conv3.conv", out, mid, 1)
    if block.instance_norm != "inside":
        yield from _norm(f"{prefix}.conv3.bn", out)
    if block.in_channels != out:
        yield from _conv(f"{prefix}.downsample.conv", out, block.in_channels, 1)
        yield from _norm(f"{prefix}.downsample.bn", out)
    if block.instance_norm != "none":
        yield from _norm(f"{prefix}.IN", out, batch=False)


def _conv(prefix: str, out: int, into: int, kernel: int) -> Iterator[Parameter]:
    yield Parameter(f"{prefix}.weight", (out, into, kernel, kernel), "w")


def _norm(prefix: str, width: int, batch: bool = True) -> Iterator[Parameter]:
    yield Parameter(f"{prefix}.gamma", (width,), "gain")
    yield Parameter(f"{prefix}.beta", (width,), "shift")
    if batch:
        yield Parameter(f"{prefix}.moving_mean", (width,), "mean")
        yield Parameter(f"{prefix}.moving_variance", (width,), "var")


def to_torchreid(name: str) -> str:
    """MindSpore's name of a parameter as torchreid writes it."""
    head, _, word = name.rpartition(".")
    return f"{head}.{NORM_WORDS.get(word, word)}" if head else name


def from_torchreid(name: str) -> str:
    """torchreid's name of a parameter as MindSpore writes it; other names come back unchanged."""
    head, _, word = name.rpartition(".")
    layer = head.rpartition(".")[2]
    if layer in ("bn", "IN") or head == "fc.1":
        return f"{head}.{_TORCHREID_WORDS.get(word, word)}"
    return name


def check_size(size: Any, name: str = "size") -> tuple[int, int]:
    """`size`, (height, width) in pixels, as an input of the network.

    Raises:
        OptionError: not two integers of at least 32 that are multiples of 16; the message starts with `name`.
    """
    try:
        height, width = size
    except (TypeError, ValueError):
        raise OptionError(f"{name}: expected (height, width) in pixels, got {size!r:.80}") from None
    for side, value in (("height", height), ("width", width)):
        if check_integer(f"{name}, {side}", value, least=2 * INPUT_STEP) % INPUT_STEP:
            raise OptionError(f"{name}, {side}: expected a multiple of {INPUT_STEP}, got {value}")
    return int(height), int(width)


def parse_size(text: str, name: str = "size") -> tuple[int, int]:
    """(height, width) of a text such as ``256x128``.

    Raises:
        OptionError: as `check_size`.
    """
    match = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", text.strip(), re.ASCII)
    if match is None:
        raise OptionError(f"{name}: expected HEIGHTxWIDTH in pixels, such as 256x128, got {text!r:.80}")
    return check_size((int(match[1]), int(match[2])), name)


def size_text(size: tuple[int, int]) -> str:
    """`size` as `parse_size` reads it."""
    return f"{size[0]}x{size[1]}"
