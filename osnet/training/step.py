"""One training step: images → loss → gradients → averaged over devices → clipped → optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mindspore
import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops

from osnet.models.network import OSNet
from osnet.training import losses
from osnet.training.config import TrainConfig
from osnet.training.depthwise import speed_up_depthwise
from osnet.training.optimizer import create_optimizer
from osnet.training.ranks import Ranks
from osnet.variants import IMAGE_MEAN, IMAGE_STD

_CLIP_EPSILON = 1e-6


class Objective(nn.Cell):
    """The network with its losses.

    Args:
        network: with a classifier if there is cross entropy.
        frozen_base: gradients reach the classifier only.
    """

    def __init__(self, network: OSNet, config: TrainConfig, *, frozen_base: bool) -> None:
        super().__init__(auto_prefix=False)
        self.network: Any = network
        self.frozen_base = frozen_base
        self.cross_entropy_weight = config.cross_entropy
        self.triplet_weight = 0.0 if frozen_base else config.triplet
        self.circle_weight = 0.0 if frozen_base else config.circle
        self.supervised_contrastive_weight = 0.0 if frozen_base else config.supervised_contrastive
        self.smoothing = config.label_smoothing
        self.triplet_margin = config.triplet_margin
        self.circle_margin, self.circle_scale = config.circle_margin, config.circle_scale
        self.temperature = config.contrastive_temperature
        self.mean = Tensor(255 * np.asarray(IMAGE_MEAN, np.float32))
        self.scale = Tensor(1 / (255 * np.asarray(IMAGE_STD, np.float32)))

    def construct(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the accuracy of one batch: uint8 images (B, H, W, 3) and int32 labels (B,).

        Accuracy is the fraction of images that the classifier assigns to the correct identity; without a classifier it
        is `losses.batch_rank1`.
        """
        x = ((images.astype("float32") - self.mean) * self.scale).transpose(0, 3, 1, 2)
        features = self.network.features(x)
        if self.frozen_base:
            features = ops.stop_gradient(features)
        total = Tensor(0.0, mindspore.float32)
        if self.cross_entropy_weight:
            logits = self.network.classifier(features).astype("float32")
            correct = (logits.argmax(axis=1).astype("int32") == labels).astype("float32").mean()
            loss = losses.cross_entropy(logits, labels, self.smoothing)
            total = total + self.cross_entropy_weight * loss
        else:
            correct = losses.batch_rank1(features.astype("float32"), labels)
        features = features.astype("float32")
        if self.triplet_weight:
            loss = losses.batch_hard_triplet(features, labels, self.triplet_margin)
            total = total + self.triplet_weight * loss
        if self.circle_weight:
            loss = losses.circle(features, labels, self.circle_margin, self.circle_scale)
            total = total + self.circle_weight * loss
        if self.supervised_contrastive_weight:
            loss = losses.supervised_contrastive(features, labels, self.temperature)
            total = total + self.supervised_contrastive_weight * loss
        return total, correct


class Stepper:
    """Optimizer steps on `network`. Made and called under `graph_mode`, the first call of each kind compiles for tens
    of seconds, and on CPU the network's depthwise convolutions become compiled loops.

    Args:
        network: as for `Objective`.
        config: of the run.
        ranks: the devices that train together.
        frozen_base: only the classifier is trained; the base is in inference mode.
    """

    def __init__(self, network: OSNet, config: TrainConfig, ranks: Ranks, *, frozen_base: bool = False) -> None:
        if mindspore.get_context("mode") == mindspore.GRAPH_MODE:
            speed_up_depthwise(network)
        network.set_train(not (frozen_base or config.freeze_norm))
        params = list(network.trainable_params())
        if frozen_base:
            params = [p for p in params if p.name.startswith("classifier.")]
        self.params = ParameterTuple(params)
        self.optimizer = create_optimizer(config, params)
        self._objective = Objective(network, config, frozen_base=frozen_base)
        self._statistics = (
            [p for p in network.get_parameters() if p.name.endswith((".moving_mean", ".moving_variance"))]
            if network.training
            else []
        )
        self._ranks, self._config = ranks, config
        self._at_once = config.accumulation == 1 and ranks.size == 1
        self._build()

    def _build(self) -> None:
        objective, optimizer, clip = self._objective, self.optimizer, self._config.clip_norm

        def loss_of(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            loss, correct = objective(images, labels)
            return loss, correct

        gradients_of = ops.value_and_grad(loss_of, None, self.params, has_aux=True)

        def whole(images: Tensor, labels: Tensor, lr: Tensor) -> Any:
            (loss, correct), gradients = gradients_of(images, labels)
            norm = _global_norm(gradients)
            grad_scale: Any = ops.minimum(Tensor(1.0), clip / (norm + _CLIP_EPSILON)) if clip else 1.0
            optimizer(gradients, grad_scale, lr)
            return loss, correct, norm

        def compute(images: Tensor, labels: Tensor) -> Any:
            (loss, correct), gradients = gradients_of(images, labels)
            return loss, correct, *gradients

        def update(lr: Tensor, grad_scale: Tensor, *gradients: Tensor) -> Any:
            return optimizer(gradients, grad_scale, lr)

        self._whole, self._compute, self._update = _Graph(whole), _Graph(compute), _Graph(update)

    def __call__(self, batches: list[tuple[Tensor, Tensor]], lr: float) -> tuple[float, float, float]:
        """Do one optimizer step over ``accumulation`` batches.

        Returns:
            Loss, accuracy and norm of the gradient, over all devices.
        """
        lr_tensor = Tensor(lr, mindspore.float32)
        if self._at_once:
            found = [float(value.asnumpy()) for value in self._whole(*batches[0], lr_tensor)]
        else:
            found = self._accumulated(batches, lr_tensor)
        if self._statistics and self._ranks.size > 1:
            means = self._ranks.mean([p.asnumpy() for p in self._statistics])
            for p, mean in zip(self._statistics, means):
                p.set_data(Tensor(mean))
        loss, correct, norm = found
        return loss, correct, norm

    def _accumulated(self, batches: list[tuple[Tensor, Tensor]], lr: Tensor) -> list[float]:
        """The same step in two graphs, with numpy between them: within one graph, MindSpore cannot compile the exchange
        of so many gradients, and takes minutes to compile their sums."""
        sums = [value.asnumpy() for value in self._compute(*batches[0])]
        for batch in batches[1:]:
            sums = [total + value.asnumpy() for total, value in zip(sums, self._compute(*batch))]
        loss, correct, *gradients = (total / len(batches) for total in self._ranks.mean(sums))
        norm = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients))
        clip = self._config.clip_norm
        grad_scale = min(1.0, clip / (norm + _CLIP_EPSILON)) if clip else 1.0
        self._update(lr, Tensor(grad_scale, mindspore.float32), *map(Tensor, gradients))
        return [float(loss), float(correct), norm]


class _Graph(nn.Cell):
    """A function that `graph_mode` compiles. Not `mindspore.jit`, whose caller spins on a processor core as it waits:
    on two cores a step took 2.7 times as long."""

    def __init__(self, function: Any) -> None:
        super().__init__(auto_prefix=False)
        self.function = function

    def construct(self, *inputs: Any) -> Any:
        return self.function(*inputs)


@contextmanager
def graph_mode(compiled: bool = True) -> Iterator[None]:
    """Compile the steps inside the block if `compiled`, else run them eagerly; restores MindSpore's mode after it."""
    before = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.GRAPH_MODE if compiled else mindspore.PYNATIVE_MODE)
    try:
        yield
    finally:
        mindspore.set_context(mode=before)


def _global_norm(gradients: Any) -> Tensor:
    total = Tensor(0.0, mindspore.float32)
    for g in gradients:
        total = total + (g * g).sum()
    return ops.sqrt(total)
