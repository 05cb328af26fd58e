"""The file name that mindspore_hub looks for; the work is done in `hub_conf`."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:  # a hub may execute this file without its folder on the path
    sys.path.insert(0, _HERE)

from hub_conf import create_network  # noqa: E402

__all__ = ["create_network"]
