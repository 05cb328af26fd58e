"""Re-association beside Roboflow's ``reid``: the same features must give the same figures.

    python -m benchmarks.reassociation features DATA OUT.npz --model osnet_msmt17 [--gaps 1,5,10,30] [--stride 10]
    PYTHON_WITH_REID benchmarks/reassociation.py compare OUT.npz

DATA is a folder of sequences in MOT format; `osnet synth walk --video --identities 20 --cameras 2` draws one. The
second command needs ``reid`` 0.1.0rc1, in an environment of its own, and prints both packages' figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np


def features(options: argparse.Namespace) -> None:
    """Evaluate with osnet and keep what the other package needs."""
    from osnet.evaluation.films import evaluate_films, parse_gaps

    gaps = parse_gaps(options.gaps)
    found = evaluate_films(options.model, options.data, gaps=gaps, stride=options.stride)
    rows = [(record.camera, record.frame, record.person) for record in found.records]
    ours = [{"gap": int(gap.gap), "rank1": gap.rank1, "mrr": gap.mrr, "queries": gap.queries} for gap in found.gaps]
    about = {"stride": options.stride, "ours": ours, "names": found.sequences}
    np.savez(options.out, rows=np.array(rows), features=found.features, about=json.dumps(about))
    print(f"{options.out}: {len(rows)} boxes of {len(found.sequences)} sequences")


def compare(options: argparse.Namespace) -> None:
    """Give the same features to Roboflow's protocol and metrics."""
    from reid.data.splits import ReIDSplit
    from reid.eval.metrics import _compute_reid_metrics, distance_matrix
    from reid.eval.protocols import ReassociationProtocol

    with np.load(options.out) as stored:
        rows, vectors, about = stored["rows"], stored["features"], json.loads(str(stored["about"]))
    paths = [f"s{sequence}_{person}/s{sequence}_{frame:06d}.jpg" for sequence, frame, person in rows]
    place = {path: row for row, path in enumerate(paths)}
    split = ReIDSplit(paths, np.zeros(len(paths), np.int32), np.zeros(len(paths), np.int32))
    worst = 0.0
    print("gap  queries         Rank-1               MRR\n      ours  reid     ours     reid     ours     reid")
    for ours in about["ours"]:
        protocol = ReassociationProtocol(gap_frames=ours["gap"], query_stride=about["stride"])
        query, gallery, mask, _ = protocol.build_query_gallery(split)
        near = distance_matrix(*(vectors[[place[p] for p in one.image_paths]] for one in (query, gallery)))
        found = _compute_reid_metrics(
            near, query.pids, gallery.pids, query.camids, gallery.camids, candidate_mask=mask,
            exclude_same_pid_camid=protocol.exclude_same_pid_camid,
        )  # fmt: skip
        theirs = protocol.metric_values(found)
        pairs = [(100 * ours["rank1"], theirs["rank1"]), (100 * ours["mrr"], theirs["mrr"])]
        worst = max([worst, *(abs(a - b) for a, b in pairs), abs(ours["queries"] - found.num_queries)])
        cells = "  ".join(f"{value:7.3f}" for pair in pairs for value in pair)
        print(f"{ours['gap']:>3}  {ours['queries']:>5} {found.num_queries:>5}  {cells}")
    print(f"largest difference: {worst:.2e}")
    if worst > 1e-3:
        sys.exit("the figures differ")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("features")
    made.add_argument("data", type=Path)
    made.add_argument("out", type=Path)
    made.add_argument("--model", default="osnet_msmt17")
    made.add_argument("--gaps", default="1,5,10,30")
    made.add_argument("--stride", type=int, default=10)
    commands.add_parser("compare").add_argument("out", type=Path)
    options = parser.parse_args()
    {"features": features, "compare": compare}[options.command](options)


if __name__ == "__main__":
    main()
