"""Converting a checkpoint to another format, with every bit of the weights kept."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osnet.checkpoint.formats import format_of
from osnet.checkpoint.mindspore import write_ckpt
from osnet.checkpoint.safetensors import write_safetensors
from osnet.checkpoint.torch import write_torch
from osnet.checkpoint.weights import DEFAULT_INPUT_SIZE, INPUT_SIZE, Weights, read_weights_file
from osnet.errors import OptionError
from osnet.files import PathLike, atomic_write, refuse_existing
from osnet.variants import size_text


def convert(src: PathLike, dst: PathLike, *, overwrite: bool = False, allow_nonfinite: bool = False) -> Weights:
    """Read the weights in `src` and write them to `dst`, each in the format of its suffix.

    The weights are float32 in `dst`, with the bits that they have in `src` (float16 and bfloat16 widened exactly,
    float64 rounded). ``.ckpt`` has MindSpore's names in the published order, ``.safetensors`` MindSpore's names,
    ``.pth``, ``.pth.tar`` and ``.pt`` torchreid's names in torchreid's order. `carried` says which extras are kept.
    The same input gives the same bytes.

    Args:
        src: weights: ``.ckpt``, ``.pth``, ``.pth.tar``, ``.pt`` or ``.safetensors``.
        dst: file to write, with one of these suffixes.
        overwrite: replace `dst` if it exists.
        allow_nonfinite: accept NaN and infinity.

    Returns:
        The `Weights` that were read from `src`.

    Raises:
        WeightsError, CheckpointError: as `read_weights_file`; nothing is written.
        ExistsError: `dst` is there and `overwrite` is false.
        OptionError: `dst` is `src`.
        DiskError: `dst` cannot be written; nothing is left of it.

    >>> import osnet
    >>> osnet.convert("own.ckpt", "own.safetensors").network
    'osnet_x0_25'
    """
    kind = format_of(os.fspath(dst))
    target = Path(dst)
    if target.exists() and Path(src).exists() and target.samefile(src):
        raise OptionError(f"{os.fspath(dst)!r} is the file to convert; choose another name")
    if not overwrite:
        refuse_existing(target)
    weights = read_weights_file(src, allow_nonfinite=allow_nonfinite)
    atomic_write(target, encode(weights, kind), overwrite=overwrite)
    if kind == "torch" and weights.input_size != DEFAULT_INPUT_SIZE:
        size = size_text(weights.input_size)
        warnings.warn(
            f"{target.name}: a torch file does not hold the input size; give it yourself (size {size})", stacklevel=2
        )
    return weights


def encode(weights: Weights, kind: str) -> bytes:
    """`weights` and the extras that are `carried`, as the bytes of a file of format `kind` of ``SUFFIXES``."""
    extras = carried(weights, kind)
    if kind == "mindspore":
        return write_ckpt({**weights.published_order(), **extras})
    if kind == "torch":
        return write_torch({**weights.torchreid_arrays(), **extras})
    if kind == "safetensors":
        return write_safetensors({**weights.published_order(), **extras})
    raise OptionError(f"unknown checkpoint format {kind!r}; expected mindspore, torch or safetensors")


def carried(weights: Weights, kind: str) -> Mapping[str, Any]:
    """The extras that a file of format `kind` keeps.

    The input size, where it is not the usual 256x128, is one of them (`osnet.checkpoint.weights.INPUT_SIZE`).

    - ``.ckpt`` and ``.safetensors``: all that are arrays (MindSpore's optimizer state, counters, learning rate).
    - torch's: only ``num_batches_tracked``, because a state dict with other names cannot be loaded strictly.

    Nested values, such as a torch optimizer's state, and text are not kept: MindSpore could not use them.
    """
    arrays = {name: value for name, value in weights.extras.items() if isinstance(value, np.ndarray)}
    if weights.input_size != DEFAULT_INPUT_SIZE:
        arrays[INPUT_SIZE] = np.array(weights.input_size, np.int64)
    if kind == "torch":
        return {
            name.removeprefix("module."): value
            for name, value in arrays.items()
            if name.endswith(".num_batches_tracked")
        }
    return {name: value for name, value in arrays.items() if name not in weights.arrays}
