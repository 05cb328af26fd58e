from __future__ import annotations

import numpy as np
import pytest

from osnet.training.config import TrainConfig
from tests.oracles import optimizers as oracle

pytestmark = pytest.mark.slow
ms = pytest.importorskip("mindspore")


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_three_steps_are_the_oracles(name: str) -> None:
    from osnet.training.optimizer import create_optimizer

    config = TrainConfig(optimizer=name, weight_decay=0.1)
    rng = np.random.default_rng(0)
    starts = {"weight": rng.standard_normal((3, 4)), "bias": rng.standard_normal(4)}
    params = [ms.Parameter(ms.Tensor(a.astype(np.float32)), name=key) for key, a in starts.items()]
    optimizer = create_optimizer(config, params)
    gradients = [[rng.standard_normal(a.shape) for a in starts.values()] for _ in range(3)]
    for found in gradients:
        # given four times as large, to be multiplied by a quarter
        optimizer(tuple(ms.Tensor((4 * g).astype(np.float32)) for g in found), ms.Tensor(0.25), ms.Tensor(0.05))
    for i, (param, start) in enumerate(zip(params, starts.values())):
        expected = oracle.steps(config, start, [found[i] for found in gradients], 0.05)
        np.testing.assert_allclose(param.asnumpy(), expected, rtol=1e-4, atol=1e-6)
