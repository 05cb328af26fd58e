"""One training step: images → loss → gradients → averaged over devices → clipped → optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from osnet.models.network import OSNet
from osnet.training import losses
from osnet.training.config import TrainConfig
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
    """Optimizer steps on `network`. Under `graph_mode` the first call of each kind compiles for tens of seconds.

    Args:
        network: as for `Objective`.
        config: of the run.
        ranks: the devices that train together.
        frozen_base: only the classifier is trained; the base is in inference mode.
    """

    def __init__(self, network: OSNet, config: TrainConfig, ranks: Ranks, *, frozen_base: bool = False) -> None:
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
        self._ranks = ranks
        self._count = config.accumulation
        self._at_once = self._count == 1 and ranks.size == 1
        self._build(config)

    def _build(self, config: TrainConfig) -> None:
        objective, optimizer = self._objective, self.optimizer
        count, clip = self._count, config.clip_norm

        def loss_of(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            loss, correct = objective(images, labels)
            return loss, correct

        gradients_of = ops.value_and_grad(loss_of, None, self.params, has_aux=True)
        sums = () if self._at_once else ParameterTuple([_zeros(f"sum.{p.name}", p.shape) for p in self.params])
        figures = _zeros("figures", (2,))

        def finish(gradients: Any, loss: Tensor, correct: Tensor, lr: Tensor) -> Any:
            grad_scale: Any = 1 / count
            norm = grad_scale * _global_norm(gradients)
            if clip:
                grad_scale = grad_scale * ops.minimum(Tensor(1.0), clip / (norm + _CLIP_EPSILON))
            optimizer(gradients, grad_scale, lr)
            return loss / count, correct / count, norm

        def whole(images: Tensor, labels: Tensor, lr: Tensor) -> Any:
            (loss, correct), gradients = gradients_of(images, labels)
            return finish(gradients, loss, correct, lr)

        def add(images: Tensor, labels: Tensor) -> Any:
            (loss, correct), gradients = gradients_of(images, labels)
            for i in range(len(sums)):
                ops.assign_add(sums[i], gradients[i])
            ops.assign_add(figures, ops.stack([loss, correct]))
            return loss

        def apply(lr: Tensor) -> Any:
            gradients = tuple([s * 1.0 for s in sums])
            return finish(gradients, figures[0] * 1.0, figures[1] * 1.0, lr)

        self._sums = [*sums, figures]
        self._whole, self._add, self._apply = _Graph(whole), _Graph(add), _Graph(apply)

    def __call__(self, batches: list[tuple[Tensor, Tensor]], lr: float) -> tuple[float, float, float]:
        """Do one optimizer step over ``accumulation`` batches.

        Returns:
            Loss, accuracy and norm of the gradient, over all devices.
        """
        lr_tensor = Tensor(lr, mindspore.float32)
        if self._at_once:
            found = self._whole(*batches[0], lr_tensor)
        else:
            for part in self._sums:
                part.set_data(Tensor(np.zeros(part.shape, np.float32)))
            for batch in batches:
                self._add(*batch)
            # between two graphs: within one, MindSpore cannot compile the exchange of so many gradients
            self._ranks.average_parameters(self._sums)
            found = self._apply(lr_tensor)
        if self._statistics:
            self._ranks.average_parameters(self._statistics)
        loss, correct, norm = (float(value.asnumpy()) for value in found)
        return loss, correct, norm


class _Graph(nn.Cell):
    """A function that `graph_mode` compiles. Not `mindspore.jit`, whose caller spins on a processor core as it waits:
    on two cores a step took 2.7 times as long."""

    def __init__(self, function: Any) -> None:
        super().__init__(auto_prefix=False)
        self.function = function

    def construct(self, *inputs: Any) -> Any:
        return self.function(*inputs)


@contextmanager
def graph_mode(wanted: bool = True) -> Iterator[None]:
    """Compile the steps inside the block if `wanted`, else run them eagerly; MindSpore's mode is restored after it."""
    before = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.GRAPH_MODE if wanted else mindspore.PYNATIVE_MODE)
    try:
        yield
    finally:
        mindspore.set_context(mode=before)


def _zeros(name: str, shape: Any) -> Parameter:
    return Parameter(Tensor(np.zeros(tuple(shape), np.float32)), name=name, requires_grad=False)


def _global_norm(gradients: Any) -> Tensor:
    total = Tensor(0.0, mindspore.float32)
    for g in gradients:
        total = total + (g * g).sum()
    return ops.sqrt(total)
