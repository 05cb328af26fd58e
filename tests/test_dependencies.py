"""Every package that is imported is declared, and every declared one is imported."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME_OF = {
    "Pillow": "PIL",
    "PyYAML": "yaml",
    "scikit-learn": "sklearn",
    "Jinja2": "jinja2",
    "prometheus-client": "prometheus_client",
}
COMES_WITH = {
    "urllib3": "requests",  # requests raises its errors
    "starlette": "fastapi",  # FastAPI is made of it
    "pydantic": "fastapi",
    "grpc": "pymilvus",  # pymilvus raises its errors
    "mindspore_hub": "",  # the user's own; osnet.mshub serves it
}

PINNED = {"ml_dtypes"}  # what another package needs, held at versions that fit together


def imported() -> set[str]:
    found = set()
    for path in (ROOT / "osnet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
                found.update(a.value.split(".")[0] for a in node.args if isinstance(a, ast.Constant))
    return found - {"osnet", *COMES_WITH}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib")
def test_what_is_imported_is_declared_and_the_reverse() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["eval"],
        *extras["fast"],
        *extras["onnx"],
        *extras["int8"],
        *extras["ray"],
        *extras["milvus"],
        *extras["video"],
        *extras["serve"],
        *extras["mindspore"],
    ]
    names = {re.match(r"[\w.-]+", line).group() for line in wanted}  # type: ignore[union-attr]
    declared = {NAME_OF.get(name, name) for name in names}
    used = imported() - sys.stdlib_module_names
    assert used - declared == set(), "imported, but not in pyproject.toml"
    assert declared - used == PINNED, "in pyproject.toml, but never imported"
