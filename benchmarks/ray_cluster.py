"""Embed on a Ray cluster of two nodes, kill one with SIGKILL on the way, and compare the folder with a run without Ray.

    python -m benchmarks.ray_cluster [--rows 20000] [--part-size 500] [--out FOLDER/]

Both nodes are processes of this machine, with one processor each. The rows name a few hundred drawn images again and
again. With ``--out s3://bucket/folder/`` the cluster writes to an object store; that folder must be new.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.embedding_at_scale import write_table
from benchmarks.timing import print_machine
from osnet.drawn.dataset import draw_dataset
from osnet.inference.embedder import Embedder
from osnet.inference.feature_folder import part_name, part_numbers
from osnet.inference.ray_engine import embed_with_ray, import_ray
from osnet.inference.shards import embed_shards
from osnet.inference.sources import Source
from osnet.locations import location, open_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--part-size", type=int, default=500)
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--out")
    options = parser.parse_args()
    ray = import_ray()
    from ray.cluster_utils import Cluster

    print_machine()
    embedder = Embedder(options.model)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_dataset(root / "people", identities=30, cameras=3, images_per_camera=4, seed=1)
        write_table(root / "t.csv", sorted(map(str, (root / "people").rglob("*.jpg"))), options.rows)
        start = time.monotonic()
        embed_shards(embedder, Source([root / "t.csv"]), root / "without", part_size=options.part_size)
        print(f"without Ray: {time.monotonic() - start:.0f} s", flush=True)
        out = options.out or f"{root}/with/"
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        reached = threading.Event()

        def kill() -> None:
            reached.wait()
            cluster.remove_node(node, allow_graceful=False)
            print(f"killed a node with {len(part_numbers(location(out)))} parts there", flush=True)

        killer = threading.Thread(target=kill)
        killer.start()
        start = time.monotonic()
        try:
            result = embed_with_ray(
                embedder, Source([root / "t.csv"]), out, part_size=options.part_size, worker_cpus=1,
                progress=lambda done, _: reached.set() if done > options.rows // 4 else None,
            )  # fmt: skip
        finally:
            reached.set()
            killer.join()
        print(f"on two nodes, then one: {time.monotonic() - start:.0f} s, {result}", flush=True)
        nodes = sum(one["Alive"] for one in ray.nodes())
        ray.shutdown()
        cluster.shutdown()
        names = [part_name(number) for number in range(result.parts)]
        wrong = sum(
            (root / "without" / name).read_bytes() != open_file(location(out) / name).read() for name in names
        )  # fmt: skip
    print(f"{result.parts} parts, {nodes} node alive at the end: {wrong} parts differ from those without Ray")
    sys.exit(wrong != 0 or nodes != 1)


if __name__ == "__main__":
    main()
