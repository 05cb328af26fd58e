"""For an environment of BoxMOT: its own features of the boxes of a video by an exported file, and its BoT-SORT.

``python interop_boxmot.py VIDEO OUT MODEL [MODEL ...]``: VIDEO holds frames.npy, uint8 (N, H, W, 3) in BGR, and
boxes.npy, (N, P, 4). For each MODEL, OUT/<its file name>.npz gets ``features`` (N, P, D) and ``identities`` (N, P): the
track of each box, -1 where there is none.
"""

import sys
from pathlib import Path

import numpy as np
from boxmot import BotSort
from boxmot.reid.core import ReID


def main() -> None:
    """Run each file on every frame."""
    video, out, *models = map(Path, sys.argv[1:])
    frames, boxes = np.load(video / "frames.npy"), np.load(video / "boxes.npy")
    for model in models:
        reid = ReID(model)
        features = np.stack([reid(frame, boxes=row) for frame, row in zip(frames, boxes)])
        tracker = BotSort(reid_weights=model)
        identities = np.full(boxes.shape[:2], -1)
        for index, (frame, row) in enumerate(zip(frames, boxes)):
            detections = np.concatenate([row, np.full((len(row), 1), 0.9), np.zeros((len(row), 1))], axis=1)
            for track in tracker.update(detections.astype(np.float32), frame):
                identities[index, int(track[7])] = int(track[4])
        np.savez(out / f"{model.name}.npz", features=features, identities=identities)


if __name__ == "__main__":
    main()
