"""The learning rate as a pure function of the optimizer step."""

from __future__ import annotations

import math

from osnet.training.config import TrainConfig

_WARMUP_START = 0.01


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of optimizer step `step`, counted from 0 over the whole run.

    While the base is frozen the rate is constant. Then it rises in a line from a hundredth of the full rate to all of
    it, and falls as `TrainConfig.schedule` says: cosine to ``final_share`` at the last step (Loshchilov and Hutter,
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
        share = (since - warmup) / max(left - 1, 1)
        return full * (config.final_share + (1 - config.final_share) * (1 + math.cos(math.pi * min(share, 1))) / 2)
    return full
