from __future__ import annotations

import numpy as np
import pytest

from osnet.training.config import TrainConfig
from osnet.training.optimizer import learning_rate
from tests.oracles import optimizers as oracle


def test_frozen_then_warm_up_then_cosine() -> None:
    config = TrainConfig(
        epochs=10, frozen_epochs=2, frozen_learning_rate=5.0, warmup_epochs=2, learning_rate=1.0, final_fraction=0.1
    )
    rates = [learning_rate(config, step, 10) for step in range(100)]
    assert rates[:20] == [5.0] * 20
    assert rates[20] == 0.01
    assert rates[30] == pytest.approx((0.01 + 1) / 2)
    assert rates[40] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(0.1)
    assert (rates[69] + rates[70]) / 2 == pytest.approx((1.0 + 0.1) / 2)
    assert sorted(rates[40:], reverse=True) == rates[40:]


def test_multistep_falls_at_the_first_step_of_each_milestone() -> None:
    config = TrainConfig(
        epochs=9, schedule="multistep", milestones=(3, 6), decay=0.5, learning_rate=1.0, warmup_epochs=0
    )
    assert [learning_rate(config, step, 2) for step in (0, 5, 6, 11, 12, 17)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_constant() -> None:
    config = TrainConfig(schedule="constant", learning_rate=0.25, warmup_epochs=0)
    assert {learning_rate(config, step, 7) for step in range(420)} == {0.25}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_three_steps_are_the_oracles(name: str) -> None:
    ms = pytest.importorskip("mindspore")
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
