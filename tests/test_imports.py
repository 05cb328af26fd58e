"""What may import what, in which order, and at what cost."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "osnet"
HEAVY = ("mindspore", "openvino", "torch", "onnx", "numpy", "PIL", "requests", "yaml", "numba", "matplotlib", "pyarrow")
NEEDS_MINDSPORE = {"models/network.py", "inference/backends/mindspore.py"}

LAYERS: list[tuple[str, ...]] = [
    (
        *(
            "errors",
            "escaping",
            "progress",
            "checks",
            "variants",
            "files",
            "locations",
            "image_files",
            "video_files",
            "fast_jpeg",
            "yaml_files",
        ),
        *("import_order", "_version", "__init__"),
    ),
    ("hub", "checkpoint", "data", "drawn"),
    ("models",),
    ("inference", "mshub"),
    ("exporting", "evaluation"),
    ("gallery", "training"),
    ("report", "server"),
    ("cli", "__main__"),
]
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    surroundings = {k: v for k, v in os.environ.items() if k != "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**surroundings, **environment}
    )


def imports_of(source: str) -> set[tuple[str, bool]]:
    """(module, whether at the top level) of every import that runs; those for type checkers do not."""
    found = set()

    def visit(node: ast.AST, top: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "osnet":
            found.update((f"osnet.{alias.name}", top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add((node.module, top))
        for child in ast.iter_child_nodes(node):
            visit(child, top and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))

    visit(ast.parse(source), True)
    return found


def against_the_rule(room: str, source: str) -> list[str]:
    """Imports of `source`, a module in `room`, that do not run down to a lower layer, or stay in the room."""
    bad = []
    for module, _ in imports_of(source):
        words = module.split(".")
        if words[0] != "osnet":
            continue
        other = words[1] if len(words) > 1 else ""
        if other not in LAYER_OF:
            bad.append(f"{module}: not a room; import a public name from its home")
        elif other != room and not (LAYER_OF[other] < LAYER_OF[room] or LAYER_OF[other] == LAYER_OF[room] == 0):
            bad.append(module)
    return bad


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if len(parts) == 1 and parts[0] in ("__init__", "__main__"):
        return  # the package looks its public names up when they are used
    assert against_the_rule(parts[0], path.read_text()) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("hub", "from osnet import __version__"),
        ("hub", "from osnet import Embedder"),
        ("hub", "def f():\n    import osnet.models.load"),
        ("hub", "from osnet.data.load import load_records"),
        ("models", "from osnet import cli"),
        ("evaluation", "import osnet"),
    ],
)
def test_the_rule_sees_every_way_to_import(room: str, source: str) -> None:
    assert len(against_the_rule(room, source)) == 1


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_mindspore_is_imported_where_it_is_needed_only(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    if name in NEEDS_MINDSPORE or name.startswith("training/"):
        return
    assert not [
        m for m, top in imports_of(path.read_text()) if top and m.split(".")[0] in ("mindspore", "mindspore_hub")
    ]


@pytest.mark.slow
def test_all_but_the_networks_import_without_mindspore() -> None:
    names = [
        "osnet" + "".join(f".{part}" for part in path.relative_to(PACKAGE).with_suffix("").parts if part != "__init__")
        for path in MODULES
        if path.relative_to(PACKAGE).as_posix() not in NEEDS_MINDSPORE
        and "training" not in path.parts
        and path.name != "__main__.py"
    ]
    code = f"""
import sys, importlib
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'mindspore':
            raise ImportError('mindspore is not installed here')
sys.meta_path.insert(0, Refuse())
for name in {names!r}:
    importlib.import_module(name)
"""
    run = run_python(code)
    assert run.returncode == 0, run.stderr


def test_importing_costs_little_and_loads_no_framework() -> None:
    code = f"""
import sys
before = set(sys.modules)
import osnet
print(len(set(sys.modules) - before), [name for name in {HEAVY!r} if name in sys.modules])
"""
    run = run_python(code)
    count, _, frameworks = run.stdout.strip().partition(" ")
    assert frameworks == "[]", run.stdout + run.stderr
    assert int(count) < 20


def test_every_public_name_is_there() -> None:
    import osnet

    for name in osnet.__all__:
        assert getattr(osnet, name) is not None
    with pytest.raises(AttributeError, match="it has Card, Embedder"):
        osnet.embedder  # noqa: B018


ORDERS = [
    order
    for other in ("onnx", "openvino")
    if importlib.util.find_spec(other)
    for order in itertools.permutations(("osnet", other, "mindspore"))
]


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_any_order_of_imports_ends_in_work_or_a_clear_message(order: tuple[str, ...]) -> None:
    pytest.importorskip("mindspore")
    code = "\n".join(f"import {name}" for name in order) + "\nprint('done')"
    run = run_python(code)
    position = {name: place for place, name in enumerate(order)}
    if "onnx" in order and position["onnx"] < position["mindspore"] and position["onnx"] < position["osnet"]:
        if position["osnet"] < position["mindspore"]:
            assert run.returncode == 1
            assert "import osnet or mindspore before it" in run.stderr
        # before any of this package is imported nothing here can help
        return
    assert run.returncode == 0, run.stderr
    assert "done" in run.stdout


@pytest.mark.slow
def test_protobuf_loaded_first_is_an_import_error_not_a_crash() -> None:
    pytest.importorskip("mindspore")
    loaded = "from google.protobuf import descriptor_pb2\n"
    run = run_python(loaded + "import osnet\nimport mindspore")
    assert run.returncode == 1
    assert "DependencyError: mindspore cannot be imported into this process" in run.stderr
    run = run_python(loaded + "import osnet\nosnet.create_model('osnet_x0_25')")
    assert run.returncode == 1
    assert "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python" in run.stderr
    run = run_python("import osnet\n" + loaded + "osnet.create_model('osnet_x0_25')\nprint('done')")
    assert run.returncode == 0, run.stderr
    assert "done" in run.stdout
