"""Small videos and sequences for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 96, 64
Frames = list[NDArray[np.uint8]]


def pictures(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Frames of a bright noisy patch that moves over a grey that changes, uint8 (64, 96, 3)."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        frame = np.full((HEIGHT, WIDTH, 3), (4 * number) % 200, np.uint8)
        left = number % (WIDTH - 20)
        frame[10:50, left : left + 20] = rng.integers(0, 256, (40, 20, 3))
        found.append(frame)
    return found


def film(path: Path, codec: str = "libx264", count: int = 60, frames: Frames | None = None, **options: str) -> Path:
    """Encode `frames`, or so many `pictures`, as a video file with a key frame every 10 frames."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options={"g": "10", **options})
        stream.height, stream.width = (frames or pictures(1))[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in frames or pictures(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def sequence(folder: Path, frames: Frames, rate: int = 10) -> Path:
    """A MOT sequence with these frames and no boxes."""
    (folder / "img1").mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / "img1" / f"{number:06}.png")
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nname={folder.name}\nframeRate={rate}\nseqLength={len(frames)}\n")
    return folder
