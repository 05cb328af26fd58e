"""Adam, AdamW and SGD as cells that change parameters in place, with all their state in named parameters.

The names are those of the published checkpoints: ``moment1.<parameter>``, ``moment2.<parameter>``, ``beta1_power``,
``beta2_power``; for SGD ``moments.<parameter>``.

References:
    Kingma, Ba. Adam: A Method for Stochastic Optimization. ICLR 2015, algorithm 1 (epsilon as in section 2's end).
    Loshchilov, Hutter. Decoupled Weight Decay Regularization. ICLR 2019, algorithm 2.
    Sutskever et al. On the importance of initialization and momentum in deep learning. ICML 2013 (Nesterov).

The learning rate is a pure function of the optimizer step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import mindspore
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from osnet.training.config import TrainConfig


def create_optimizer(config: TrainConfig, params: Sequence[Parameter]) -> nn.Cell:
    """Return the optimizer that `config` names, for `params`.

    Call it with (gradients, grad_scale, lr); `grad_scale`, a number or a scalar tensor, multiplies the gradients. Its
    ``state()`` gives the parameters, by name, that the next step depends on beside the network.
    """
    return SGD(config, params) if config.optimizer == "sgd" else Adam(config, params)


class _Optimizer(nn.Cell):
    def __init__(self, config: TrainConfig, params: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.params = ParameterTuple(params)
        # norm layers and biases do not decay
        self.decays = tuple(config.weight_decay if len(p.shape) > 1 else 0.0 for p in params)


class Adam(_Optimizer):
    """Adam; with ``optimizer: adamw`` the decay is taken off the weights instead of added to the gradients."""

    def __init__(self, config: TrainConfig, params: Sequence[Parameter]) -> None:
        super().__init__(config, params)
        self.decoupled = config.optimizer == "adamw"
        self.beta1, self.beta2, self.epsilon = config.beta1, config.beta2, config.epsilon
        self.moment1 = self.params.clone(prefix="moment1", init="zeros")
        self.moment2 = self.params.clone(prefix="moment2", init="zeros")
        self.beta1_power = Parameter(Tensor(1.0, mindspore.float32), name="beta1_power", requires_grad=False)
        self.beta2_power = Parameter(Tensor(1.0, mindspore.float32), name="beta2_power", requires_grad=False)
        self.update = ops.Adam()

    def state(self) -> dict[str, Parameter]:
        return {p.name: p for p in (self.beta1_power, self.beta2_power, *self.moment1, *self.moment2)}

    def construct(self, gradients: Any, grad_scale: Any, lr: Tensor) -> Tensor:
        power1 = self.beta1_power * self.beta1
        power2 = self.beta2_power * self.beta2
        self.beta1_power = power1
        self.beta2_power = power2
        for i in range(len(self.params)):
            p, g, decay = self.params[i], gradients[i] * grad_scale, self.decays[i]
            if decay and self.decoupled:
                ops.assign(p, p * (1 - lr * decay))
            elif decay:
                g = g + decay * p
            self.update(
                p, self.moment1[i], self.moment2[i], power1, power2, lr, self.beta1, self.beta2, self.epsilon, g
            )
        return lr


class SGD(_Optimizer):
    """SGD with Nesterov momentum; the decay is added to the gradients."""

    def __init__(self, config: TrainConfig, params: Sequence[Parameter]) -> None:
        super().__init__(config, params)
        self.momentum = config.momentum
        self.moments = self.params.clone(prefix="moments", init="zeros")

    def state(self) -> dict[str, Parameter]:
        return {p.name: p for p in self.moments}

    def construct(self, gradients: Any, grad_scale: Any, lr: Tensor) -> Tensor:
        for i in range(len(self.params)):
            p, g, decay = self.params[i], gradients[i] * grad_scale, self.decays[i]
            if decay:
                g = g + decay * p
            moment = self.momentum * self.moments[i] + g
            ops.assign(self.moments[i], moment)
            ops.assign(p, p - lr * (g + self.momentum * moment))
        return lr


_WARMUP_START = 0.01


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of optimizer step `step`, counted from 0 over the whole run.

    While the base is frozen the rate is constant. Then it rises in a line from a hundredth of the full rate to all of
    it, and falls as `TrainConfig.schedule` says: cosine to ``final_fraction`` at the last step (Loshchilov and Hutter,
    ICLR 2017, eq. 5, without restarts), or times ``decay`` at the first step of each milestone epoch.
    """
    if step < config.frozen_epochs * steps_per_epoch:
        return config.frozen_learning_rate
    full = config.learning_rate
    since = step - config.frozen_epochs * steps_per_epoch
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if since < warmup:
        return full * (_WARMUP_START + (1 - _WARMUP_START) * since / warmup)
    if config.schedule == "multistep":
        return float(full * config.decay ** sum(step // steps_per_epoch >= epoch for epoch in config.milestones))
    if config.schedule == "cosine":
        left = (config.epochs - config.frozen_epochs) * steps_per_epoch - warmup
        fraction = (since - warmup) / max(left - 1, 1)
        cosine = (1 + math.cos(math.pi * min(fraction, 1))) / 2
        return full * (config.final_fraction + (1 - config.final_fraction) * cosine)
    return full
