"""One embedder in the hands of real programs: threads, forked and spawned processes, pickles, joblib, long runs."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osnet.checkpoint.mindspore import write_ckpt
from osnet.checkpoint.weights import Weights
from osnet.errors import HashError
from osnet.inference.embedder import Embedder
from tests.recipe import recipe_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return recipe_weights("osnet_x0_25")


@pytest.fixture(scope="module")
def checkpoint(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "recipe.ckpt"
    path.write_bytes(write_ckpt(dict(weights.arrays)))
    return path


@pytest.fixture(scope="module")
def embedder(weights: Weights) -> Embedder:
    return Embedder(weights, batch_size=2)


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (12, 256, 128, 3), np.uint8))


@pytest.fixture(scope="module")
def expected(embedder: Embedder, crops: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([embedder(crop) for crop in crops])


def right(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() < 1e-5)  # other people's features differ by 0.01 and more


@pytest.mark.slow
def test_eight_threads_get_their_own_people_at_every_size(
    embedder: Embedder, crops: list[np.ndarray], expected: np.ndarray
) -> None:
    assert min(np.abs(expected[i] - expected[j]).max() for i in range(12) for j in range(i)) > 1e-3

    def call(seed: int) -> bool:
        places = np.random.default_rng(seed).integers(0, len(crops), 1 + seed % 7)
        return right(embedder([crops[place] for place in places]), expected[places])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(120)))


def test_two_streams_taken_in_turns(embedder: Embedder, crops: list[np.ndarray], expected: np.ndarray) -> None:
    one, other = embedder.stream(iter(crops * 2)), embedder.stream(iter(crops[::-1] * 2))
    pairs = list(zip(one, other))  # neither may hold what the other waits for
    assert right(np.concatenate([a for a, _ in pairs]), np.tile(expected, (2, 1)))
    assert right(np.concatenate([b for _, b in pairs]), np.tile(expected[::-1], (2, 1)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("end", ["os._exit", "sys.exit"])
@pytest.mark.slow
def test_a_forked_child_uses_the_embedder_it_inherits(checkpoint: Path, tmp_path: Path, end: str) -> None:
    code = f"""
import os, sys, threading
import numpy as np
from osnet import Embedder
embedder = Embedder({str(checkpoint)!r})
crops = np.random.default_rng(0).integers(0, 256, (5, 256, 128, 3), np.uint8)
expected = embedder(crops)
embedder._lock.acquire()  # as another thread may at the moment of the fork
child = os.fork()
if not child:
    same = np.abs(embedder(crops) - expected).max() < 1e-6
    {end}(0 if same else 3)
embedder._lock.release()
_, status = os.waitpid(child, 0)
assert np.abs(embedder(crops) - expected).max() < 1e-6
sys.exit(os.waitstatus_to_exitcode(status) if hasattr(os, "waitstatus_to_exitcode") else status)
"""
    environment = {**os.environ, "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], timeout=120, cwd=ROOT, env=environment, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.slow
def test_pickled_as_its_file_and_checked_against_it(
    checkpoint: Path, crops: list[np.ndarray], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    embedder = Embedder(checkpoint.name, flip=True, normalize=False, color="bgr", on_bad_box="nan")
    data = pickle.dumps(embedder)
    assert len(data) < 2000  # no weights in it
    monkeypatch.chdir(tmp_path)
    loaded = pickle.loads(data)
    assert loaded.signature == embedder.signature
    assert (loaded.color, loaded.on_bad_box) == ("bgr", "nan")
    assert right(loaded(crops), embedder(crops))
    other = tmp_path / "other.ckpt"
    other.write_bytes(checkpoint.read_bytes())
    data = pickle.dumps(Embedder(other))
    changed = recipe_weights("osnet_x0_25").arrays
    other.write_bytes(write_ckpt({name: array * np.float32(0.5) for name, array in changed.items()}))
    with pytest.raises(HashError, match="not those that this embedder was pickled with"):
        pickle.loads(data)


@pytest.mark.slow
def test_copied_and_pickled_with_weights_that_have_no_file(
    embedder: Embedder, crops: list[np.ndarray], expected: np.ndarray
) -> None:
    for copied in (copy.copy(embedder), copy.deepcopy(embedder), pickle.loads(pickle.dumps(embedder))):
        assert copied.signature == embedder.signature
        assert right(copied(crops), expected)


def call(embedder: Embedder, crops: Any) -> np.ndarray:
    return embedder(crops)


@pytest.mark.slow
def test_spawned_processes(checkpoint: Path, crops: list[np.ndarray], expected: np.ndarray) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert right(pool.submit(call, Embedder(checkpoint), crops[:3]).result(timeout=120), expected[:3])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib(backend: str, embedder: Embedder, crops: list[np.ndarray], expected: np.ndarray) -> None:
    joblib = pytest.importorskip("joblib")
    jobs = (joblib.delayed(call)(embedder, crops[i : i + 3]) for i in range(0, 12, 3))
    found = joblib.Parallel(n_jobs=4 if backend == "threading" else 2, backend=backend)(jobs)
    assert right(np.concatenate(found), expected)


@pytest.mark.slow
def test_memory_does_not_grow_with_calls(embedder: Embedder, crops: list[np.ndarray]) -> None:
    def calls(count: int) -> int:
        for i in range(count):
            embedder(crops[: 1 + i % 3])
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = calls(60)
    assert calls(240) - before < 8 << 10  # KiB: 240 calls that each kept their crops would be 46 MB


OBSERVED = """
import socket, sys, warnings
warnings.simplefilter("error")
asked = []
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: asked.append(host) or real("127.0.0.1", *rest, **more)
socket.socket.connect = lambda self, address: asked.append(address)
sys.addaudithook(lambda event, details: event.startswith("socket.") and "__new__" not in event and asked.append(event))
import numpy as np
{body}
import threading, time
for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.name.startswith("osnet"):
        thread.join(5)
print(asked)
"""

BODIES = {
    "embedder": "from osnet import Embedder\nEmbedder({path!r}, offline=True)(np.zeros((256, 128, 3), np.uint8))",
    "graph": (
        "import osnet\nfrom osnet.models.openvino_graph import build_openvino\n"
        "build_openvino(osnet.read_weights({path!r}))"
    ),
    "activation": (
        "from osnet import read_weights\nfrom osnet.report.activation import activation_maps\n"
        "activation_maps(read_weights({path!r}), np.zeros((1, 256, 128, 3), np.uint8))"
    ),
}


@pytest.mark.parametrize("home", ["writable", "/proc"])
@pytest.mark.parametrize("body", BODIES)
def test_openvino_contacts_nobody(body: str, home: str, checkpoint: Path, tmp_path: Path) -> None:
    code = OBSERVED.format(body=BODIES[body].format(path=str(checkpoint)))
    where = str(tmp_path) if home == "writable" else home
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL", "GITHUB_ACTIONS")}
    environment = {**environment, "HOME": where, "OSNET_CACHE": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", code], timeout=60, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")
    assert not (tmp_path / "intel").exists()


@pytest.mark.slow
def test_quantising_contacts_nobody(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    body = (
        "from osnet import read_weights\nfrom osnet.exporting.quantise import quantise\n"
        "from osnet.models.input_format import InputFormat\nfrom osnet.models.openvino_graph import build_openvino\n"
        f"weights, taken = read_weights({str(checkpoint)!r}), InputFormat(size=(64, 32))\n"
        "crops = np.random.default_rng(0).integers(0, 256, (16, 64, 32, 3)).astype(np.uint8)\n"
        "warnings.simplefilter('ignore')\n"
        "quantise(build_openvino(weights, taken), taken, crops)"
    )
    ours = ("CI", "TF_BUILD", "JENKINS_URL", "GITHUB_ACTIONS")
    environment = {**{k: v for k, v in os.environ.items() if k not in ours}, "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", OBSERVED.format(body=body)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr
    assert not (tmp_path / "intel").exists()


def test_openvino_telemetry_stays_importable_for_others() -> None:
    code = (
        "from osnet.models.openvino_graph import import_openvino\nimport_openvino()\nimport sys\n"
        "assert 'openvino_telemetry' not in sys.modules\nimport openvino_telemetry"
    )
    run = subprocess.run([sys.executable, "-c", code], timeout=60, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_ctrl_c_after_two_embedders_were_freed_in_order(checkpoint: Path) -> None:
    """Two Cores of OpenVINO freed so leave a dangling signal stack where the processor has AMX: the process dies."""
    code = (
        "import osnet, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"first, second = (osnet.Embedder({str(checkpoint)!r}) for _ in range(2))\n"
        "del first\ndel second\n"
        "try:\n    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    print('interrupted')"
    )
    run = subprocess.run([sys.executable, "-c", code], timeout=60, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr


def test_ctrl_c_during_a_call_leaves_the_embedder_usable(
    embedder: Embedder, crops: list[np.ndarray], expected: np.ndarray
) -> None:
    def interrupting() -> Any:
        yield from crops[:6]
        raise KeyboardInterrupt  # a real SIGINT may meet a handler of MindSpore's here, which ends the process

    with pytest.raises(KeyboardInterrupt):
        list(embedder.stream(interrupting()))
    assert right(embedder(crops), expected)
