"""The nine OSNets as MindSpore cells.

References:
    Zhou, Yang, Cavallaro, Xiang. Omni-Scale Feature Learning for Person Re-Identification. ICCV 2019.
    Zhou, Yang, Cavallaro, Xiang. Learning Generalisable Omni-Scale Representations for Person
    Re-Identification. TPAMI 2021.
    Pan, Luo, Shi, Tang. Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net. ECCV 2018.

Parameter names are those of `osnet.variants.parameters`, hence of the published checkpoints. Only MindSpore and numpy
are needed here.
"""

from __future__ import annotations

import warnings
from typing import Any

import mindspore
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import HeNormal, Normal, initializer

from osnet.variants import FEATURE_DIM, GATE_REDUCTION, INPUT_HEIGHT, INPUT_WIDTH, NORM_EPSILON, STREAMS, Block, Variant


class FoldedNormWarning(UserWarning):
    """A network whose batch norm was folded into its convolutions is set to training mode."""


def _convolution(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        pad_mode="pad",
        padding=kernel // 2,
        group=groups,
        has_bias=bias,
        # not a Tensor made of it: MindSpore would print that into the cell's name, half of the time to build a network
        weight_init=HeNormal(mode="fan_out", nonlinearity="relu"),
        bias_init="zeros",
    )


class InstanceNorm(nn.Cell):
    """Instance norm with learned scale and shift, (B, C, H, W) → the same shape.

    Written with plain operations because MindSpore's own has no CPU kernel. Mean and biased variance of each channel
    of each image; nothing is tracked, so training and inference are alike.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = mindspore.Parameter(initializer("ones", (channels,)), name="gamma")
        self.beta = mindspore.Parameter(initializer("zeros", (channels,)), name="beta")

    def construct(self, x: Tensor) -> Tensor:
        centred = x - x.mean(axis=(2, 3), keep_dims=True)
        variance = (centred * centred).mean(axis=(2, 3), keep_dims=True)
        gamma, beta = self.gamma.reshape(1, -1, 1, 1), self.beta.reshape(1, -1, 1, 1)
        return centred * ops.rsqrt(variance + NORM_EPSILON) * gamma + beta


def _norm(kind: str, channels: int) -> nn.Cell:
    # momentum 0.9 keeps nine tenths of the old statistics: torch's 0.1
    return InstanceNorm(channels) if kind == "instance" else nn.BatchNorm2d(channels, eps=NORM_EPSILON, momentum=0.9)


class ConvLayer(nn.Cell):
    """Convolution, norm and, unless `linear`, ReLU. `norm` is ``batch``, ``instance`` or ``none``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        norm: str = "batch",
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = _convolution(in_channels, out_channels, kernel, stride=stride)
        self.bn = None if norm == "none" else _norm(norm, out_channels)
        self.relu = None if linear else nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return x if self.relu is None else self.relu(x)


class LightConv3x3(nn.Cell):
    """A 3×3 convolution factorised: 1×1 across the channels, then 3×3 within each (ICCV 2019, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, channels, 1)
        self.conv2 = _convolution(channels, channels, 3, groups=channels)
        self.bn = _norm("batch", channels)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class LightStream(nn.Cell):
    """`depth` light convolutions in a row, named as torchreid's osnet_ain.py names them (``layers.0`` ...)."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.SequentialCell(*(LightConv3x3(channels) for _ in range(depth)))

    def construct(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ChannelGate(nn.Cell):
    """The unified aggregation gate: x times a weight in 0..1 for each channel, from the channels' means (eq. 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = _convolution(channels, channels // GATE_REDUCTION, 1, bias=True)
        self.relu = nn.ReLU()
        self.fc2 = _convolution(channels // GATE_REDUCTION, channels, 1, bias=True)

    def construct(self, x: Tensor) -> Tensor:
        pooled = x.mean(axis=(2, 3), keep_dims=True)  # (B, C, 1, 1)
        return x * ops.sigmoid(self.fc2(self.relu(self.fc1(pooled))))


class OSBlock(nn.Cell):
    """An omni-scale block: a bottleneck whose four streams see 3, 5, 7 and 9 pixels, one gate for all."""

    def __init__(self, block: Block, *, ain: bool) -> None:
        super().__init__()
        mid, out = block.mid_channels, block.out_channels
        self.conv1 = ConvLayer(block.in_channels, mid)
        self.ain = ain
        if ain:
            self.conv2 = nn.CellList([LightStream(mid, depth) for depth in range(1, STREAMS + 1)])
        else:
            self.conv2a = LightConv3x3(mid)
            self.conv2b = nn.SequentialCell(*(LightConv3x3(mid) for _ in range(2)))
            self.conv2c = nn.SequentialCell(*(LightConv3x3(mid) for _ in range(3)))
            self.conv2d = nn.SequentialCell(*(LightConv3x3(mid) for _ in range(4)))
        self.gate = ChannelGate(mid)
        self.conv3 = ConvLayer(mid, out, linear=True, norm="none" if block.instance_norm == "inside" else "batch")
        self.downsample = ConvLayer(block.in_channels, out, linear=True) if block.in_channels != out else None
        self.norm_inside = block.instance_norm == "inside"
        self.norm_after = block.instance_norm == "after"
        self.IN: Any = InstanceNorm(out) if block.instance_norm != "none" else None
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        y = self.conv1(x)  # (B, mid, H, W)
        y = self._streams(y)
        y = self.conv3(y)  # (B, out, H, W)
        if self.norm_inside:
            y = self.IN(y)
        y = y + identity
        if self.norm_after:
            y = self.IN(y)
        return self.relu(y)

    def _streams(self, y: Tensor) -> Tensor:
        if self.ain:
            total = self.gate(self.conv2[0](y))
            for stream in self.conv2[1:]:
                total = total + self.gate(stream(y))
            return total
        return (
            self.gate(self.conv2a(y))
            + self.gate(self.conv2b(y))
            + self.gate(self.conv2c(y))
            + self.gate(self.conv2d(y))
        )


class OSNet(nn.Cell):
    """An OSNet of any variant.

    In training mode ``net(x)`` gives logits (B, num_classes), in inference mode features (B, 512), as the model zoo's
    network does; `features` gives features in both. x is float32 (B, 3, 256, 128), RGB, normalised with ImageNet's
    mean and standard deviation.

    Args:
        variant: sizes and norms.
        num_classes: outputs of the classifier; 0 for a network without one, which gives features in both modes.
    """

    def __init__(self, variant: Variant, num_classes: int = 0) -> None:
        super().__init__()
        self.variant_name = variant.name
        self.load_report: Any = None
        self.input_size = (INPUT_HEIGHT, INPUT_WIDTH)
        self.folded = False
        self.num_classes = num_classes
        self.feature_dim = FEATURE_DIM
        self.ain = variant.ain
        channels = variant.channels
        blocks = [OSBlock(block, ain=variant.ain) for block in variant.blocks]
        pools = [
            nn.SequentialCell(ConvLayer(width, width), nn.AvgPool2d(kernel_size=2, stride=2)) for width in channels[1:3]
        ]
        self.conv1 = ConvLayer(3, channels[0], 7, stride=2, norm=variant.stem_norm)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, pad_mode="pad", padding=1)
        if variant.ain:
            self.conv2, self.pool2 = nn.SequentialCell(*blocks[0:2]), pools[0]
            self.conv3, self.pool3 = nn.SequentialCell(*blocks[2:4]), pools[1]
        else:
            self.conv2 = nn.SequentialCell(*blocks[0:2], pools[0])
            self.conv3 = nn.SequentialCell(*blocks[2:4], pools[1])
        self.conv4 = nn.SequentialCell(*blocks[4:6])
        self.conv5 = ConvLayer(channels[3], channels[3])
        self.fc = nn.SequentialCell(
            nn.Dense(channels[3], FEATURE_DIM, weight_init=Normal(0.01), bias_init="zeros"),
            nn.BatchNorm1d(FEATURE_DIM, eps=NORM_EPSILON, momentum=0.9),
            nn.ReLU(),
        )
        self.classifier = (
            nn.Dense(FEATURE_DIM, num_classes, weight_init=Normal(0.01), bias_init="zeros") if num_classes else None
        )

    def add_flags_recursive(self, **flags: Any) -> OSNet:
        """What ``set_train`` of this cell, and of every cell around it, calls: a warning where training does harm."""
        if flags.get("training") and self.folded:
            self.folded = False  # said once
            warnings.warn(
                "batch norm was folded into the convolutions of these weights: a step in training mode ruins them; "
                "train with set_train(False), which keeps the statistics, or start from a file that is not folded",
                FoldedNormWarning,
                stacklevel=3,
            )
        super().add_flags_recursive(**flags)
        return self

    def feature_map(self, x: Tensor) -> Tensor:
        """The last feature map, (B, channels, H / 16, W / 16)."""
        x = self.maxpool(self.conv1(x))  # (B, channels[0], H / 4, W / 4)
        x = self.conv2(x)
        if self.ain:
            x = self.pool2(x)
        x = self.conv3(x)
        if self.ain:
            x = self.pool3(x)
        return self.conv5(self.conv4(x))

    def features(self, x: Tensor) -> Tensor:
        """Features (B, 512), not normalised, in training and inference mode alike."""
        return self.fc(self.feature_map(x).mean(axis=(2, 3)))

    def construct(self, x: Tensor) -> Tensor:
        features = self.features(x)
        if self.training and self.classifier is not None:
            return self.classifier(features)
        return features
