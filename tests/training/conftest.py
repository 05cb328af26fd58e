from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osnet.training.config import TrainConfig

PEOPLE, CAMERAS = 6, 2


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in Market-1501's layout, each person of one colour with noise: 4 to learn from, 2 to find again."""
    root = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(0)
    for person in range(1, PEOPLE + 1):
        colour = rng.integers(0, 256, 3)
        for camera in range(1, CAMERAS + 1):
            for number in range(2):
                folder = "bounding_box_train" if person <= 4 else ("query", "bounding_box_test")[number]
                pixels = np.clip(colour + rng.integers(-40, 41, (32, 32, 3)), 0, 255).astype(np.uint8)
                (root / folder).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(root / folder / f"{person:04d}_c{camera}s1_{number:06d}_00.png")
    return root


@pytest.fixture(scope="session")
def config(crops: Path) -> TrainConfig:
    """Two epochs of two optimizer steps, saved at each."""
    return TrainConfig(
        data=str(crops),
        model="osnet_x0_25",
        height=32,
        width=32,
        epochs=2,
        batch_size=8,
        images_per_identity=2,
        crop_padding=2,
        color_jitter=0.2,
        erasing=0.5,
        log_every=1,
        save_every=1,
        learning_rate=1e-3,
        compiled=False,
    )
