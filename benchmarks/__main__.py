"""``make bench``: every benchmark in turn that needs no data of yours, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SUPPORT = {"__init__", "__main__", "peers", "timing"}
NEED_DATA = {"recipes"}


def main() -> int:
    """Run them all; 1 when one fails."""
    failed = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in SUPPORT | NEED_DATA:
            print(f"\n## {path.stem}\n", flush=True)
            if subprocess.run([sys.executable, "-m", f"benchmarks.{path.stem}"], check=False).returncode:
                failed.append(path.stem)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
