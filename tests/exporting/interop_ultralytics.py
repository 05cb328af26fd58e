"""For an environment of Ultralytics: its own features of the boxes of a video by an exported file, and its BoT-SORT.

``python interop_ultralytics.py VIDEO OUT MODEL [MODEL ...]``: as `interop_boxmot.py`. The tracker is set up from the
yaml file beside MODEL, as ``model.track(tracker=...)`` does it; where there is none, it is left out.
"""

import sys
from pathlib import Path

import numpy as np
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.trackers.utils.reid import ReID
from ultralytics.utils import YAML, IterableSimpleNamespace
from ultralytics.utils.checks import check_yaml


def main() -> None:
    """Run each file on every frame."""
    video, out, *models = map(Path, sys.argv[1:])
    frames, boxes = np.load(video / "frames.npy"), np.load(video / "boxes.npy")
    corner, far = boxes[..., :2], boxes[..., 2:]
    centres = np.concatenate([(corner + far) / 2, far - corner], axis=-1)
    for model in models:
        reid = ReID(str(model), device="cpu")
        features = np.stack([np.stack(reid(frame, row)) for frame, row in zip(frames, centres)])
        identities = np.full(boxes.shape[:2], -1)
        settings = model.with_name(f"{model.stem}-botsort.yaml")
        if settings.exists():
            track(settings, frames, boxes, identities)
        np.savez(out / f"{model.name}.npz", features=features, identities=identities)


def track(settings, frames, boxes, identities):  # type: ignore[no-untyped-def]
    """Fill in the track of each box."""
    values = IterableSimpleNamespace(**YAML.load(check_yaml(str(settings))), device="cpu")
    tracker = TRACKER_MAP[values.tracker_type](args=values)
    if not isinstance(tracker.encoder, ReID):
        raise SystemExit(f"{settings}: the tracker runs without the network")
    for index, (frame, row) in enumerate(zip(frames, boxes)):
        detections = np.concatenate([row, np.full((len(row), 1), 0.9), np.zeros((len(row), 1))], axis=1)
        for found in tracker.update(Boxes(detections.astype(np.float32), frame.shape[:2]), frame):
            identities[index, int(found[-1])] = int(found[4])


if __name__ == "__main__":
    main()
