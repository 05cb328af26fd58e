from __future__ import annotations

import numpy as np
import pytest

from tests.oracles import losses as oracle

pytestmark = pytest.mark.slow
ms = pytest.importorskip("mindspore")


def batch(seed: int, identities: int = 3, images: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), images).astype(np.int32)
    return rng.standard_normal((len(labels), 6)).astype(np.float32), rng.permutation(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_the_oracles(smoothing: float) -> None:
    from osnet.training.losses import cross_entropy

    logits, labels = batch(1)
    found = float(cross_entropy(ms.Tensor(10 * logits), ms.Tensor(labels), smoothing).asnumpy())
    assert found == pytest.approx(oracle.cross_entropy(10 * logits, labels, smoothing), rel=1e-5)


@pytest.mark.parametrize("margin", [0.3, 2.0, None])
def test_triplet_is_the_oracles(margin: float | None) -> None:
    from osnet.training.losses import batch_hard_triplet

    features, labels = batch(2)
    found = float(batch_hard_triplet(ms.Tensor(features), ms.Tensor(labels), margin).asnumpy())
    assert found == pytest.approx(oracle.batch_hard_triplet(features, labels, margin), rel=1e-5)


@pytest.mark.parametrize(("margin", "scale"), [(0.25, 64.0), (0.4, 8.0)])
def test_circle_is_the_oracles(margin: float, scale: float) -> None:
    from osnet.training.losses import circle

    features, labels = batch(3)
    found = float(circle(ms.Tensor(features), ms.Tensor(labels), margin, scale).asnumpy())
    assert found == pytest.approx(oracle.circle(features, labels, margin, scale), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_contrastive_is_the_oracles(temperature: float) -> None:
    from osnet.training.losses import supervised_contrastive

    features, labels = batch(5)
    found = float(supervised_contrastive(ms.Tensor(features), ms.Tensor(labels), temperature).asnumpy())
    assert found == pytest.approx(oracle.supervised_contrastive(features, labels, temperature), rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_batch_rank1_is_the_oracles(seed: int) -> None:
    from osnet.training.losses import batch_rank1

    features, labels = batch(seed)
    found = float(batch_rank1(ms.Tensor(features), ms.Tensor(labels)).asnumpy())
    assert found == pytest.approx(oracle.batch_rank1(features, labels))


@pytest.mark.parametrize("name", ["batch_hard_triplet", "circle", "supervised_contrastive"])
def test_gradients_of_equal_images_are_finite(name: str) -> None:
    """Two copies of one image have distance 0, where the square root has no slope."""
    from osnet.training import losses

    features, labels = batch(4)
    features[labels == labels[0]] = features[0]
    gradient = ms.grad(getattr(losses, name))(ms.Tensor(features), ms.Tensor(labels)).asnumpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
