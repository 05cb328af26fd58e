"""Draws a share of a data set in a process of its own:
``python -m osnet.drawn.worker SETTINGS ROOT SHARE SHARES``.

SETTINGS is JSON. On stdout a line for each crop, its number in the plan and its digest; at the end ``done``, or
``failed`` with the error number and text of the system's refusal.

A plain process and not `multiprocessing`, so that a user's script needs no ``if __name__ == "__main__"`` and nothing is
forked from a process in which a framework runs threads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from osnet.drawn.plan import Settings, draw_share


def main(settings: str, root: str, share: str, shares: str) -> int:
    """Exit code 0, or 1 when the disk refuses."""
    try:
        for number, digest in draw_share(Settings(**json.loads(settings)), Path(root), int(share), int(shares)):
            print(number, digest.hex(), flush=True)
    except BrokenPipeError:
        return 1  # nobody waits for the rest
    except OSError as error:
        print("failed", error.errno, error.strerror, flush=True)
        return 1
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
