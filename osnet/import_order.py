"""Keeps MindSpore's old generated protobuf code from killing the interpreter.

MindSpore (2.8 at least) works only with protobuf's pure-Python implementation. It switches to that itself when it is
imported first; when onnx, or whatever else loads protobuf, came before, ``import mindspore`` ends the process without
a word. Two steps avoid that, and only where MindSpore is installed:

- protobuf not loaded yet: ask for the pure-Python implementation, as MindSpore does. Any later order works.
- protobuf loaded already: watch for ``import mindspore`` and turn the crash into an ImportError that says what to do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from osnet.errors import DependencyError

_SETTING = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
_ENGINE = "google.protobuf.internal.api_implementation"


def guard_protobuf() -> None:
    """Take the steps above. Imports nothing; costs one look for MindSpore's folder."""
    if "mindspore" in sys.modules or PathFinder.find_spec("mindspore") is None:
        return
    if _ENGINE not in sys.modules:
        os.environ.setdefault(_SETTING, "python")
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


class _Watch:
    """An import finder that finds nothing: it refuses MindSpore where importing it would end the process."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 (the import system calls this)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        engine = sys.modules.get(_ENGINE)
        if fullname == "mindspore" and engine is not None and engine.Type() != "python":
            raise DependencyError(
                f"mindspore cannot be imported into this process: protobuf is loaded already (by onnx, perhaps) in its "
                f"{engine.Type()!r} form, which MindSpore does not survive; import osnet or mindspore before it, "
                f"or start Python with {_SETTING}=python"
            )
        return None
