"""Losses of re-identification on one batch: functions of MindSpore tensors, each a mean over the images.

References:
    Szegedy et al. Rethinking the Inception Architecture for Computer Vision. CVPR 2016, section 7 (label smoothing).
    Hermans, Beyer, Leibe. In Defense of the Triplet Loss for Person Re-Identification. 2017, eq. 5 and section 2.
    Khosla et al. Supervised Contrastive Learning. NeurIPS 2020, eq. 2.
    Sun et al. Circle Loss: A Unified Perspective of Pair Similarity Optimization. CVPR 2020, eq. 6 and 8.
"""

from __future__ import annotations

from typing import Any

import mindspore
from mindspore import Tensor, ops

_FAR = 1e9
"""Added to or subtracted from a masked entry to exclude it from a minimum, maximum or sum of exponentials."""


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy with targets ``1 - smoothing`` for the label plus ``smoothing / classes`` for every class.

    Args:
        logits: float32 (B, C).
        labels: int32 (B,).
        smoothing: 0 to below 1.
    """
    logp = ops.log_softmax(logits, axis=-1)
    hit = ops.one_hot(labels, logits.shape[1], Tensor(1.0), Tensor(0.0))
    return -((1 - smoothing) * (logp * hit).sum(axis=1) + smoothing * logp.mean(axis=1)).mean()


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float | None = 0.3) -> Tensor:
    """Batch-hard triplet loss: each image with its farthest match and nearest non-match in the batch, Euclidean.

    Args:
        features: float32 (B, D), not normalised.
        labels: int32 (B,).
        margin: ``max(0, margin + d_match - d_nonmatch)``; None: ``ln(1 + exp(d_match - d_nonmatch))``.
    """
    squares = (features * features).sum(axis=1)
    squared = squares.expand_dims(1) + squares.expand_dims(0) - 2 * ops.matmul(features, features.T)
    distances = ops.sqrt(ops.maximum(squared, Tensor(1e-12)))
    match = same_identity(labels)
    farthest = ops.amax(distances * match, 1)
    nearest = ops.amin(distances + _FAR * match, 1)
    if margin is None:
        return _softplus(farthest - nearest).mean()
    return ops.relu(margin + farthest - nearest).mean()


def circle(features: Tensor, labels: Tensor, margin: float = 0.25, scale: float = 64.0) -> Tensor:
    """Circle loss over all pairs of the batch; each image is the anchor once.

    Args:
        features: float32 (B, D); their cosine similarities are compared.
        labels: int32 (B,).
        margin, scale: m and gamma.
    """
    similarity, match, self_pair = _cosines(features), same_identity(labels), _self_pair(labels)
    pull = ops.stop_gradient(ops.relu(1 + margin - similarity))
    push = ops.stop_gradient(ops.relu(similarity + margin))
    positive = -scale * pull * (similarity - (1 - margin)) - _FAR * (1 - match + self_pair)
    negative = scale * push * (similarity - margin) - _FAR * match
    return _softplus(_logsumexp(positive) + _logsumexp(negative)).mean()


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss: cross entropy of picking an image's matches among all others by cosine similarity.

    The fastest of these losses when training from scratch. Every image needs a match in the batch.

    Args:
        features: float32 (B, D); their cosine similarities are compared.
        labels: int32 (B,).
        temperature: above 0; divides the similarities.
    """
    match = same_identity(labels) - _self_pair(labels)
    logits = _cosines(features) / temperature - _FAR * _self_pair(labels)
    logp = logits - _logsumexp(logits).expand_dims(1)
    return -((logp * match).sum(axis=1) / match.sum(axis=1)).mean()


def batch_rank1(features: Tensor, labels: Tensor) -> Tensor:
    """Rank-1 within the batch: fraction of images whose nearest other image, by cosine similarity, is a match."""
    others = _cosines(features) - _FAR * _self_pair(labels)
    best_match = ops.amax(others - _FAR * (1 - same_identity(labels)), 1)
    return (best_match >= ops.amax(others, 1)).astype("float32").mean()


def _cosines(features: Tensor) -> Any:
    squares = (features * features).sum(axis=1, keepdims=True)
    unit = features * ops.rsqrt(ops.maximum(squares, Tensor(1e-12)))
    return ops.matmul(unit, unit.T)


def _self_pair(labels: Tensor) -> Any:
    return ops.eye(labels.shape[0], labels.shape[0], mindspore.float32)


def same_identity(labels: Tensor) -> Tensor:
    """Return float32 (B, B): 1 where two images show the same person, 0 elsewhere; 1 on the diagonal."""
    return (labels.expand_dims(1) == labels.expand_dims(0)).astype("float32")


def _softplus(x: Tensor) -> Any:
    # ln(1 + exp(x)) that neither overflows nor loses small values
    return ops.relu(x) + ops.log1p(ops.exp(-ops.abs(x)))


def _logsumexp(x: Tensor) -> Any:
    peak = ops.stop_gradient(ops.amax(x, 1, keepdims=True))
    return (ops.log(ops.exp(x - peak).sum(axis=1, keepdims=True)) + peak).squeeze(1)
