"""What a hub asks a model package for: `create_network`.

Works from a plain checkout with nothing installed but MindSpore and numpy.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:  # a hub may execute this file without its folder on the path
    sys.path.insert(0, _HERE)

from osnet.mshub.entry import create_network  # noqa: E402

__all__ = ["create_network"]
