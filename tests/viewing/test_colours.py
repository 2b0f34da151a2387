import numpy as np
import pytest

from catena.errors import DataError, GeometryError
from catena.viewing.colours import (
    channels_as_rgb,
    contrast_limits,
    image_as_rgb,
    label_colours,
    overlay_labels,
)
from catena.viewing.kinds import kind_of


def test_background_is_black_and_nothing_else_is():
    colours = label_colours(np.arange(5000))

    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1:].max(axis=1).min() > 100


def test_a_label_has_one_colour_in_every_picture():
    assert np.array_equal(label_colours([[5, 9]])[0, 1], label_colours(np.uint64(9)))
    assert np.array_equal(label_colours(np.array([7], np.uint8)), label_colours(np.array([7], np.int64)))


@pytest.mark.parametrize("start", [1, 10**6, 2**62])
@pytest.mark.parametrize("step", [1, 2, 3, 64, 2**20])
def test_ids_near_one_another_are_told_apart(start, step):
    ids = np.uint64(start) + np.arange(2000, dtype=np.uint64) * np.uint64(step)
    colours = label_colours(ids).astype(float)

    distance = np.linalg.norm(np.diff(colours, axis=0), axis=1)

    assert distance.min() > 12  # of 441
    assert np.median(distance) > 90


def test_a_picture_of_many_labels_uses_many_colours():
    assert len(np.unique(label_colours(np.arange(1, 1001)), axis=0)) > 900


def test_large_ids_are_not_rounded():
    pair = label_colours(np.array([2**62, 2**62 + 1], np.uint64))

    assert not np.array_equal(pair[0], pair[1])


def test_labels_must_be_integers():
    with pytest.raises(DataError, match="found float64"):
        label_colours([0.5])


def test_channels_become_red_green_blue():
    channels = np.zeros((10, 1, 2), np.uint8)
    channels[:4, 0, 1] = [10, 20, 30, 99]  # the fourth channel is not shown

    assert channels_as_rgb(channels)[0].tolist() == [[0, 0, 0], [10, 20, 30]]
    assert channels_as_rgb(channels[:2])[0, 1].tolist() == [10, 20, 0]
    assert channels_as_rgb(channels[:1])[0, 1].tolist() == [10, 10, 10]


def test_float_channels_are_scaled_and_clipped():
    channels = np.array([[-1.0], [0.5], [7.0]])

    assert channels_as_rgb(channels)[0].tolist() == [0, 128, 255]
    assert channels_as_rgb(np.full((3, 1), np.nan))[0].tolist() == [0, 0, 0]


def test_channels_of_another_kind_are_refused():
    with pytest.raises(GeometryError, match=r"found shape \(0, 4\)"):
        channels_as_rgb(np.zeros((0, 4)))
    with pytest.raises(DataError, match="found int64"):
        channels_as_rgb(np.zeros((3, 4), np.int64))


def test_images_are_stretched_between_their_limits():
    assert image_as_rgb(np.array([0, 50, 100, 200], np.uint8), (50, 150))[:, 0].tolist() == [0, 0, 128, 255]


def test_contrast_ignores_outliers_and_survives_constant_and_broken_images():
    image = np.full(1000, 100.0)
    image[:500] = 50
    image[0], image[1], image[2] = 10_000, -10_000, np.nan

    assert contrast_limits(image) == (50, 100)
    assert contrast_limits(np.full(4, 7)) == (6.5, 7.5)
    assert contrast_limits(np.full(4, np.nan)) == (0, 1)


def test_overlay_leaves_background_alone():
    image = np.full((1, 2, 3), 100, np.uint8)
    blended = overlay_labels(image, np.array([[0, 3]]), alpha=0.5)

    assert blended[0, 0].tolist() == [100, 100, 100]
    assert np.abs(blended[0, 1] - (100 + label_colours(3).astype(int)) / 2).max() <= 0.5


@pytest.mark.parametrize(
    ("dtype", "channels", "kind"),
    [
        ("uint8", None, "image"),
        ("uint16", None, "image"),
        ("float32", None, "image"),
        ("uint32", None, "labels"),
        ("int64", None, "labels"),
        ("bool", None, "labels"),
        ("uint8", 3, "channels"),
        ("float32", 10, "channels"),
    ],
)
def test_kind_follows_dtype_and_channels(dtype, channels, kind):
    assert kind_of(np.dtype(dtype), channels) == kind
