"""`osnet bench` measures every way of computing that is here, and says which features are exact."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from osnet.errors import DependencyError, OptionError
from osnet.inference import bench
from osnet.inference.bench import benchmark
from osnet.inference.embedder import Embedder
from osnet.models.openvino_graph import openvino_core

MODEL = "osnet_x0_25_drawn"


@pytest.fixture
def without_mindspore(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = [way for way in bench._ways() if way[0] != "mindspore"]
    monkeypatch.setattr(bench, "_ways", lambda: iter(ways))


@pytest.mark.slow
@pytest.mark.usefixtures("without_mindspore")
def test_all_that_is_here_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    result = benchmark(MODEL, rounds=2, seconds=0.02, progress=lambda *done: seen.append(done))
    native = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    expected = {("openvino", "fp32")} | {("openvino", name) for name in ("bf16", "fp16") if name.upper() in native}
    assert expected <= {(one.backend, one.precision) for one in result.measurements}
    assert len(result.left_out) == 2 - len(expected - {("openvino", "fp32")})
    rates = [one.images_per_second for one in result.measurements]
    assert rates == sorted(rates, reverse=True)
    for one in result.measurements:
        assert set(one.boxes_ms) == {1, 5, 20}
        assert all(0 < middle <= slow for middle, slow in (one.crop_ms, *one.boxes_ms.values()))
        assert one.least_cosine > (0.9 if one.precision == "bf16" else 0.9999)
    assert result.best is result.measurements[0]
    assert result.best_exact.least_cosine >= 0.9999
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.slow
def test_what_cannot_run_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: object, *, backend: str, **options: str) -> Embedder:
        if backend != "openvino":
            raise DependencyError(f"{backend} cannot be imported")
        return Embedder(model, backend=backend, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "Embedder", broken)
    result = benchmark(MODEL, rounds=1, seconds=0.02)
    assert {one.backend for one in result.measurements} == {"openvino"}
    assert any("mindspore fp32 on auto: mindspore cannot be imported" in line for line in result.left_out)


@pytest.mark.parametrize(("options", "message"), [({"rounds": 0}, "rounds: expected"), ({"seconds": 0}, "seconds: ")])
def test_numbers_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        benchmark(MODEL, **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_command_prints_json() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "osnet", "bench", MODEL, "--rounds", "1", "--seconds", "0.02", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout)
    assert found["network"] == "osnet_x0_25"
    assert found["best"]["images_per_second"] > 0
