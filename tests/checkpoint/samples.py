"""Drawn weights of an OSNet, as arrays and as the entries of a file."""

from __future__ import annotations

import numpy as np

from osnet.variants import get_variant, parameters, to_torchreid


def drawn(name: str = "osnet_x0_25", num_classes: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """MindSpore name to float32 array, in the order of the network; variances are positive."""
    random = np.random.default_rng(seed)
    arrays = {}
    for parameter in parameters(get_variant(name), num_classes):
        array = random.standard_normal(parameter.shape, dtype=np.float32)
        arrays[parameter.name] = np.abs(array) if parameter.kind == "var" else array
    return arrays


def torchreid_named(arrays: dict[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
    """As torchreid's state dict has them, each batch norm with its counter."""
    named: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        named[prefix + to_torchreid(name)] = array
        if name.endswith(".moving_variance"):
            named[prefix + name.replace("moving_variance", "num_batches_tracked")] = np.array(5)
    return named


def published(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As the model zoo's training writes them: trained parameters, statistics, counters, Adam's state, schedule."""
    statistics = ("moving_mean", "moving_variance")
    trained = {name: array for name, array in arrays.items() if not name.endswith(statistics)}
    entries = {**trained, **{name: array for name, array in arrays.items() if name.endswith(statistics)}}
    entries["global_step"] = np.array([9], np.int32)
    entries["beta1_power"] = np.float32(0.9).reshape(())
    entries["beta2_power"] = np.float32(0.99).reshape(())
    for moment in ("moment1", "moment2"):
        entries.update({f"{moment}.{name}": array * np.float32(0.5) for name, array in trained.items()})
    entries["learning_rate"] = np.array([0.1, 0.2], np.float32)
    entries["epoch_num"] = np.array(3)
    entries["step_num"] = np.array(9)
    return entries


def folded(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As a file made back from ONNX has them; the head keeps its own statistics."""
    values = {"gamma": 1, "moving_mean": 0, "moving_variance": 1 - 1e-5}
    made = dict(arrays)
    for name, array in arrays.items():
        word = name.rpartition(".")[2]
        if word in values and not name.startswith("fc."):
            made[name] = np.full_like(array, values[word])
    return made
