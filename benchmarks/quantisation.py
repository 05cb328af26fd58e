"""fp32, bf16, fp16 and int8 side by side: size of the file, images a second, cosine to fp32, and mAP with ``--data``.

    python -m benchmarks.quantisation [--model osnet_x0_25_drawn] [--images DIR] [--data DATASET] [--rounds 9]

All are OpenVINO files of `osnet.export`. Without ``--images`` drawn people are used.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import osnet
from benchmarks.timing import print_machine, print_table, take_turns
from osnet.exporting.export import cosines, draw_people, read_pictures
from osnet.image_files import find_images
from osnet.inference.images import prepare

WAYS = (("fp32", "fp32"), ("fp32", "bf16"), ("fp16", "fp32"), ("fp16", "fp16"), ("int8", "fp32"), ("int8", "bf16"))
"""Precision of the file, and what the layers that are not in int8 are computed in."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    images = read_pictures(find_images([options.images])[0]) if options.images else draw_people(128)
    calibrating, compared = images[::2], images[1::2]
    print_machine("openvino", "nncf")
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.xml" for name in ("fp32", "fp16", "int8")}
        for name, path in files.items():
            osnet.export(options.model, path, precision=name, images=calibrating)
        embedders = {}
        for name, run in WAYS:
            try:
                embedders[name, run] = osnet.Embedder(files[name], precision=run)
            except osnet.OsnetError as error:  # noqa: PERF203 - six times
                print(f"{name}, {run} left out: {error}")
        height, width = next(iter(embedders.values())).size
        crops = np.stack([prepare(image, height=height, width=width) for image in compared])
        features = {way: embedder(compared) for way, embedder in embedders.items()}
        found = take_turns(
            {str(way): lambda e=embedder: list(e.stream(iter(crops))) for way, embedder in embedders.items()},  # type: ignore[misc]
            rounds=options.rounds,
            pause=0.1,
        )
        base = found[str(WAYS[0])]
        rows = []
        for way, embedder in embedders.items():
            near, timing = cosines(features[way], features[WAYS[0]]), found[str(way)]
            path = files[way[0]]
            row = [
                embedder.precision,
                f"{(path.stat().st_size + path.with_suffix('.bin').stat().st_size) / 1e6:.2f}",
                f"{len(crops) / timing.median:.0f}",
                f"{base.median / timing.median:.2f}",
                f"{near.mean():.4f} / {near.min():.4f}",
            ]
            if options.data:
                row.append(f"{100 * osnet.evaluate(path, options.data, precision=way[1]).mAP:.2f}")
            rows.append(tuple(row))
    header = ("precision", "MB", "images/s", "times fp32", "cosine, mean / least", "mAP, %")
    print_table(rows, header[: len(rows[0])])


if __name__ == "__main__":
    main()
