"""The report's charts show the figures that were computed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from osnet.evaluation.evaluate import Evaluation
from osnet.report import charts
from tests.report.test_matches import made_up

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return made_up(1, queries=40, gallery=120, people=8, noise=2.0)


def test_cmc_and_average_precision(evaluation: Evaluation) -> None:
    ranking = evaluation.ranking
    left, right = charts.cmc(ranking).axes
    curve, *marks = left.lines
    np.testing.assert_allclose(curve.get_ydata(), 100 * ranking.cmc)
    for mark in marks:
        (rank,), (value,) = mark.get_data()
        assert value == pytest.approx(100 * ranking.cmc[rank - 1])
    assert {text.get_text() for text in left.texts} >= {f"{100 * ranking.cmc[0]:.1f}"}
    assert sum(bar.get_height() for bar in right.patches) == ranking.valid_queries
    assert [text.get_text() for text in right.texts] == [f"mAP {100 * ranking.mAP:.1f}"]


def test_roc_passes_through_the_threshold_and_the_eer(evaluation: Evaluation) -> None:
    pairs = evaluation.verification
    point = pairs.at(0.1)
    (axes,) = charts.roc(pairs, point).axes
    curve, eer, at, *_ = axes.lines
    assert (np.diff(curve.get_xdata()) >= 0).all()
    assert (np.diff(curve.get_ydata()) >= 0).all()
    assert curve.get_ydata()[-1] == 100
    assert eer.get_xydata().tolist() == [[pairs.eer, 100 * (1 - pairs.eer)]]
    assert at.get_xydata().tolist() == [[point.measured_fpr, 100 * point.tpr]]
    assert f"{point.threshold:.3f}" in axes.texts[1].get_text()


def test_similarities_are_shares_of_each_kind_of_pair(evaluation: Evaluation) -> None:
    pairs = evaluation.verification
    point = pairs.at(0.1)
    (axes,) = charts.similarities(pairs, point).axes
    assert [stairs.get_data().values.sum() for stairs in axes.patches] == pytest.approx([100] * 4)
    different, same = (stairs.get_data() for stairs in axes.patches[::2])
    middle = (same.edges[1:] + same.edges[:-1]) / 2
    assert (middle * same.values).sum() > (middle * different.values).sum()
    assert axes.lines[0].get_xdata() == [point.threshold] * 2


def test_png(evaluation: Evaluation) -> None:
    made = charts.png(charts.cmc(evaluation.ranking), dpi=50)
    assert made == charts.png(charts.cmc(evaluation.ranking), dpi=50)  # the same bytes each time
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.size == (500, 185)
