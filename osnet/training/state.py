"""All that a run needs to go on, in one checkpoint of the published layout: whole or not there at all.

Samples, augmentation and learning rate are functions of the seed and the step, so two counters are all their state.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor
from numpy.typing import NDArray

from osnet.checkpoint.mindspore import write_ckpt
from osnet.checkpoint.weights import INPUT_SIZE, Weights, read_weights_file
from osnet.errors import CheckpointError, DataError
from osnet.files import atomic_write
from osnet.models.network import OSNet


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps done.
        epoch: epoch of the next step.
        passes: forward passes of that epoch that are done.
        best: best mAP so far, -1 before the first evaluation.
        best_epoch: epoch after which it was measured, -1 before.
        bad: evaluations since.
    """

    step: int = 0
    epoch: int = 0
    passes: int = 0
    best: float = -1.0
    best_epoch: int = -1
    bad: int = 0


COUNTERS = {
    "epoch_num": "epoch",
    "step_num": "step",
    "passes_done": "passes",
    "best_mAP": "best",
    "best_epoch": "best_epoch",
    "evaluations_since_best": "bad",
}
"""Name in the checkpoint and field of `Progress`."""


def mixed(start: Weights, trained: Weights, fraction: float) -> Weights:
    """`trained` with `fraction` of `start` in every parameter that both have."""
    arrays = {
        name: (1 - fraction) * array + fraction * start.arrays[name] if name in start.arrays else array
        for name, array in trained.arrays.items()
    }
    return Weights.from_arrays(arrays, source=trained.source, input_size=trained.input_size)


def save_state(
    path: str | os.PathLike[str],
    weights: Weights,
    optimizer: Mapping[str, Parameter],
    progress: Progress,
    rate: float,
) -> None:
    """Write weights, optimizer and progress to `path`, in the order of the published checkpoints.

    Raises:
        DiskError: the disk is full or cannot be written; the file that was at `path` is unchanged.
    """
    arrays: dict[str, NDArray[Any]] = dict(weights.published_order())
    arrays[INPUT_SIZE] = np.array(weights.input_size, np.int64)
    arrays["global_step"] = np.array([progress.step], np.int32)
    arrays.update({name: p.asnumpy() for name, p in optimizer.items()})
    arrays["learning_rate"] = np.array(rate, np.float32)
    arrays.update({name: np.array(getattr(progress, field)) for name, field in COUNTERS.items()})
    atomic_write(path, write_ckpt(arrays))


def read_state(path: str | os.PathLike[str]) -> tuple[Weights, Progress]:
    """What `save_state` wrote; the optimizer's arrays are among the weights' extras.

    Raises:
        CheckpointError: no such file, a damaged one, or one without the state of a run.
    """
    weights = read_weights_file(path)
    try:
        return weights, Progress(**{field: weights.extras[name].item() for name, field in COUNTERS.items()})
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} holds weights but not the state of a run ({error}); expected a last.ckpt that "
            "osnet train wrote"
        ) from error


def restore(network: OSNet, optimizer: Mapping[str, Parameter], weights: Weights) -> None:
    """Set the network and, as far as the checkpoint holds this optimizer's state, the optimizer.

    Raises:
        DataError: the checkpoint is of another network or optimizer.
    """
    if weights.variant.name != network.variant_name or weights.num_classes != network.num_classes:
        raise DataError(
            f"{weights.source}: expected {network.variant_name} with {network.num_classes} identities, got "
            f"{weights.variant.name} with {weights.num_classes}"
        )
    missing = [name for name in optimizer if name not in weights.extras]
    if missing:
        raise DataError(
            f"{weights.source}: no optimizer state for {missing[0]} and {len(missing) - 1} more; was the optimizer "
            "of config.yaml changed?"
        )
    for p in network.get_parameters():
        p.set_data(Tensor(np.array(weights.arrays[p.name])))
    for name, p in optimizer.items():
        value = np.array(weights.extras[name], np.float32)
        if value.shape != tuple(p.shape):
            raise DataError(f"{weights.source}: {name}: expected shape {tuple(p.shape)}, got {value.shape}")
        p.set_data(Tensor(value))
