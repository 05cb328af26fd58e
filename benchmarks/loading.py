"""How long a cached checkpoint takes to become a network, beside MindSpore's own reader: python -m benchmarks.loading

The file has the published layout (osnet_x1_0, 702 identities, Adam's state; 30.5 MB) and is in the page cache. Import
times are not counted. The contenders take turns in one run; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import mindspore

from benchmarks.checkpoint import published_file
from benchmarks.timing import print_table, take_turns
from osnet.models.load import create_model, load, read_weights, set_weights

CLASSES = 702


def main() -> None:
    """Print the table, or the same figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "published.ckpt")
        path.write_bytes(published_file())
        ours, theirs = create_model("osnet_x1_0", CLASSES), create_model("osnet_x1_0", CLASSES)
        weights = read_weights(path)

        def with_mindspore() -> object:
            return mindspore.load_param_into_net(theirs, mindspore.load_checkpoint(str(path)))

        timings = take_turns(
            {
                "osnet: hash, parse, check, set 487 parameters": lambda: set_weights(ours, read_weights(path)),
                "    of that: hash, parse, check": lambda: read_weights(path),
                "    of that: set": lambda: set_weights(ours, weights),
                "MindSpore: load_checkpoint, load_param_into_net (no hash, no check)": with_mindspore,
                "building the network (MindSpore's cells)": lambda: create_model("osnet_x1_0", CLASSES),
                "osnet.load: all of it": lambda: load(path, num_classes=CLASSES),
            },
            rounds=options.rounds,
        )
    found = {name.strip(): {"median": t.median, "least": min(t.seconds)} for name, t in timings.items()}
    if options.json:
        print(json.dumps({"rounds": options.rounds, "seconds": found}, indent=2))
        return
    rows = [(name, f"{t.median * 1e3:.0f} ms", f"{min(t.seconds) * 1e3:.0f} ms") for name, t in timings.items()]
    print_table(rows, ("step", "median", "least"))


if __name__ == "__main__":
    main()
