"""OSNet written once more, slowly: NumPy alone, batch norm as it stands in the papers, nothing folded."""

from __future__ import annotations

import numpy as np

from osnet.checkpoint.weights import Weights

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def features_of(weights: Weights, images: np.ndarray) -> np.ndarray:
    """uint8 (B, 256, 128, 3) RGB → features (B, 512). Plain variants only (no instance norm)."""
    p = {name: array.astype(np.float64) for name, array in weights.arrays.items()}
    x = ((images / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2)
    x = relu(batch_norm(p, "conv1.bn", convolve(x, p["conv1.conv.weight"], 2, 3)))
    x = max_pool(x)
    for stage in (2, 3, 4):
        x = block(p, f"conv{stage}.0", x)
        x = block(p, f"conv{stage}.1", x)
        if stage < 4:
            x = relu(batch_norm(p, f"conv{stage}.2.0.bn", convolve(x, p[f"conv{stage}.2.0.conv.weight"])))
            b, c, h, w = x.shape
            x = x.reshape(b, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5))
    x = relu(batch_norm(p, "conv5.bn", convolve(x, p["conv5.conv.weight"])))
    v = x.mean(axis=(2, 3)) @ p["fc.0.weight"].T + p["fc.0.bias"]
    return relu(batch_norm(p, "fc.1", v[:, :, None, None]))[:, :, 0, 0]


def block(p: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    y = relu(batch_norm(p, f"{name}.conv1.bn", convolve(x, p[f"{name}.conv1.conv.weight"])))
    total = np.zeros_like(y)
    for letter, depth in (("a", 1), ("b", 2), ("c", 3), ("d", 4)):
        stream = y
        for i in range(depth):
            light = f"{name}.conv2{letter}" + ("" if depth == 1 else f".{i}")
            stream = convolve(stream, p[f"{light}.conv1.weight"])
            stream = depthwise(stream, p[f"{light}.conv2.weight"])
            stream = relu(batch_norm(p, f"{light}.bn", stream))
        gate = stream.mean(axis=(2, 3), keepdims=True)
        gate = relu(convolve(gate, p[f"{name}.gate.fc1.weight"]) + p[f"{name}.gate.fc1.bias"][:, None, None])
        gate = convolve(gate, p[f"{name}.gate.fc2.weight"]) + p[f"{name}.gate.fc2.bias"][:, None, None]
        total = total + stream / (1 + np.exp(-gate))
    y = batch_norm(p, f"{name}.conv3.bn", convolve(total, p[f"{name}.conv3.conv.weight"]))
    if f"{name}.downsample.conv.weight" in p:
        x = batch_norm(p, f"{name}.downsample.bn", convolve(x, p[f"{name}.downsample.conv.weight"]))
    return relu(x + y)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def batch_norm(p: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    gamma, beta, mean, variance = (
        p[f"{name}.{word}"][:, None, None] for word in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows = (x.shape[2] - kernel.shape[2]) // stride + 1
    columns = (x.shape[3] - kernel.shape[3]) // stride + 1
    out = np.zeros((len(x), len(kernel), rows, columns))
    for i in range(kernel.shape[2]):
        for j in range(kernel.shape[3]):
            part = x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            out += np.einsum("bchw,oc->bohw", part, kernel[:, :, i, j], optimize=True)
    return out


def depthwise(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            out += padded[:, :, i : i + x.shape[2], j : j + x.shape[3]] * kernel[:, 0, i, j][:, None, None]
    return out


def max_pool(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = x.shape[2] // 2, x.shape[3] // 2
    parts = [padded[:, :, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for i in range(3) for j in range(3)]
    return np.max(parts, axis=0)
