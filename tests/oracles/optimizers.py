"""The optimizers, one weight at a time, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from osnet.training.config import TrainConfig


def steps(config: TrainConfig, start: np.ndarray, gradients: list[np.ndarray], rate: float) -> np.ndarray:
    """`start` after one step with each of the gradients; weights of one dimension do not decay."""
    decay = config.weight_decay if start.ndim > 1 else 0.0
    rows = [g.ravel() for g in gradients]
    moved = [_one(config, float(w), [float(row[i]) for row in rows], rate, decay) for i, w in enumerate(start.ravel())]
    return np.array(moved).reshape(start.shape)


def _one(config: TrainConfig, w: float, gradients: list[float], rate: float, decay: float) -> Any:
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        if config.optimizer == "adamw":
            w -= rate * decay * w
        else:
            g = g + decay * w
        if config.optimizer == "sgd":
            m = config.momentum * m + g
            w -= rate * (g + config.momentum * m)
            continue
        m = config.beta1 * m + (1 - config.beta1) * g
        v = config.beta2 * v + (1 - config.beta2) * g * g
        # Kingma, Ba: the two corrections taken into the rate
        w -= rate * math.sqrt(1 - config.beta2**t) / (1 - config.beta1**t) * m / (math.sqrt(v) + config.epsilon)
    return w
