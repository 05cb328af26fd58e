from __future__ import annotations

import numpy as np
import pytest

from osnet.training.pipeline import Augmentation, erase, jitter, pad_and_crop

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)


def test_the_same_generator_gives_the_same_image_and_another_another() -> None:
    augmentation = Augmentation(flip=0.5, crop_padding=4, color_jitter=0.3, erasing=0.5)
    before = IMAGE.copy()
    one, same, other = (augmentation(IMAGE, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == IMAGE.shape
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.array_equal(IMAGE, before), "the original is untouched"


def test_nothing_asked_for_changes_nothing() -> None:
    assert np.array_equal(Augmentation()(IMAGE, np.random.default_rng(0)), IMAGE)


def test_flip_is_a_mirror() -> None:
    assert np.array_equal(Augmentation(flip=1.0)(IMAGE, np.random.default_rng(0)), IMAGE[:, ::-1])


def test_crop_is_a_shift_with_black() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        found = pad_and_crop(IMAGE, 4, rng)
        padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)))
        places = [(t, left) for t in range(9) for left in range(9)]
        assert any(np.array_equal(found, padded[t : t + 32, left : left + 16]) for t, left in places)


def test_erasing_makes_one_rectangle_noise() -> None:
    grey = np.full((64, 32, 3), 128, np.uint8)
    for seed in range(50):
        changed = (erase(grey, np.random.default_rng(seed)) != 128).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.99
        assert 0.015 <= box.size / changed.size <= 0.42
        assert 0.2 <= box.shape[0] / box.shape[1] <= 5


@pytest.mark.parametrize("level", [0, 60, 255])
def test_jitter_of_grey_stays_grey_and_in_range(level: int) -> None:
    found = jitter(np.full((4, 4, 3), level, np.uint8), 0.5, np.random.default_rng(1))
    assert np.ptp(found) == 0
    assert abs(int(found[0, 0, 0]) - level) <= 0.5 * level + 1
