"""The losses as loops over images, in float64."""

from __future__ import annotations

import math

import numpy as np


def cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> float:
    total = 0.0
    for row, label in zip(logits.astype(float), labels):
        logp = row - max(row) - math.log(sum(math.exp(v - max(row)) for v in row))
        targets = [smoothing / len(row) + (1 - smoothing) * (i == label) for i in range(len(row))]
        total -= sum(t * p for t, p in zip(targets, logp))
    return total / len(labels)


def batch_hard_triplet(features: np.ndarray, labels: np.ndarray, margin: float | None) -> float:
    total = 0.0
    for a, like in zip(features.astype(float), labels):
        distances = [math.dist(a, b) for b in features.astype(float)]
        gap = max(d for d, y in zip(distances, labels) if y == like) - min(
            d for d, y in zip(distances, labels) if y != like
        )
        total += math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap)
    return total / len(labels)


def circle(features: np.ndarray, labels: np.ndarray, margin: float, scale: float) -> float:
    total = 0.0
    unit = [f / np.linalg.norm(f) for f in features.astype(float)]
    for i, a in enumerate(unit):
        positive = negative = 0.0
        for j, b in enumerate(unit):
            s = float(a @ b)
            if labels[i] != labels[j]:
                negative += math.exp(scale * max(0.0, s + margin) * (s - margin))
            elif i != j:
                positive += math.exp(-scale * max(0.0, 1 + margin - s) * (s - (1 - margin)))
        total += math.log1p(positive * negative)
    return total / len(labels)


def supervised_contrastive(features: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    total = 0.0
    unit = [f / np.linalg.norm(f) for f in features.astype(float)]
    for i, a in enumerate(unit):
        others = [j for j in range(len(unit)) if j != i]
        whole = sum(math.exp(float(a @ unit[j]) / temperature) for j in others)
        likes = [j for j in others if labels[j] == labels[i]]
        total -= sum(math.log(math.exp(float(a @ unit[j]) / temperature) / whole) for j in likes) / len(likes)
    return total / len(labels)


def batch_rank1(features: np.ndarray, labels: np.ndarray) -> float:
    unit = [f / np.linalg.norm(f) for f in features.astype(float)]
    right = 0
    for i, a in enumerate(unit):
        nearest = max((j for j in range(len(unit)) if j != i), key=lambda j: float(a @ unit[j]))
        right += bool(labels[nearest] == labels[i])
    return right / len(labels)
