"""Draws a share of a data set: ``python -m osnet.drawn.worker SETTINGS ROOT SHARE SHARES``, with SETTINGS as JSON.

It prints the number of each crop in the plan and the digest of its pixels. When the disk refuses a file, the last line
on stderr is ``errno`` and the system's number of the error.

This is a process of its own, and not of `multiprocessing`, so that users' scripts need no
``if __name__ == "__main__"``, and no process with a framework's threads is forked.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from osnet.drawn.plan import Settings, draw_share

if __name__ == "__main__":
    settings, root, share, shares = sys.argv[1:]
    try:
        for number, digest in draw_share(Settings(**json.loads(settings)), Path(root), int(share), int(shares)):
            print(number, digest.hex(), flush=True)
    except OSError as error:
        sys.exit(f"errno {error.errno}")
    except KeyboardInterrupt:
        sys.exit(130)
