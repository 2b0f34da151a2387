from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from catena.errors import DataError, GeometryError
from catena.targets import descriptor_context_nm, shape_descriptors

PAIRS = {2: [(0, 1)], 3: [(0, 1), (0, 2), (1, 2)]}


def brute_force(labels: NDArray, voxel_size: tuple[float, ...], sigma: tuple[float, ...]) -> NDArray:
    """The formula, voxel by voxel, in float64."""
    dimensions = labels.ndim
    out = np.zeros((10 if dimensions == 3 else 6, *labels.shape))
    radius = [int(3 * s / v + 0.5) for s, v in zip(sigma, voxel_size, strict=True)]
    norms = [
        np.exp(-0.5 * (np.arange(-r, r + 1) * v / s) ** 2).sum()
        for r, v, s in zip(radius, voxel_size, sigma, strict=True)
    ]
    for p in zip(*np.nonzero(labels), strict=True):
        q = np.stack(np.nonzero(labels == labels[p]), axis=1)
        steps = q - np.array(p)
        steps = steps[np.all(np.abs(steps) <= radius, axis=1)]
        d = steps * np.array(voxel_size)
        weight = np.prod(np.exp(-0.5 * (d / sigma) ** 2) / norms, axis=1)
        mass = weight.sum()
        mean = weight @ d / mass
        centred = d - mean
        covariance = (centred * weight[:, None]).T @ centred / mass
        variance = np.maximum(np.diag(covariance), 1e-3)
        pearson = [covariance[i, j] / np.sqrt(variance[i] * variance[j]) for i, j in PAIRS[dimensions]]
        values = [*(mean / sigma / 2 + 0.5), *(variance / np.square(sigma)), *(np.array(pearson) / 2 + 0.5), mass]
        out[(slice(None), *p)] = np.clip(values, 0, 1)
    return out


def blobs(shape: tuple[int, ...], seed: int = 0, objects: int = 5) -> NDArray[np.uint64]:
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.random(shape), 2) for _ in range(objects)])
    labels = (np.argmax(fields, axis=0) + 1).astype(np.uint64) * np.uint64(2**40)
    labels[fields.max(axis=0) < np.quantile(fields.max(axis=0), 0.2)] = 0
    return labels


@pytest.mark.parametrize(
    ("shape", "voxel_size", "sigma"),
    [
        ((14, 17, 19), (8, 8, 8), (24.0, 24.0, 24.0)),  # window smaller than the volume
        ((14, 17, 19), (8, 8, 8), (80.0, 80.0, 80.0)),  # and larger
        ((9, 20, 21), (40, 4, 4), (80.0, 30.0, 16.0)),
        ((30, 33), (8, 4), (40.0, 24.0)),
    ],
)
def test_equals_the_formula(shape: tuple[int, ...], voxel_size: tuple[int, ...], sigma: tuple[float, ...]) -> None:
    labels = blobs(shape)
    expected = brute_force(labels, voxel_size, sigma)
    found = shape_descriptors(labels, Coordinate(voxel_size), sigma)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected[:, labels != 0], axis=1).min() > 0.01  # every channel was put to the test


def test_thin_and_degenerate_objects_equal_the_formula() -> None:
    labels = np.zeros((11, 12, 13), dtype=np.int32)
    labels[1, 2:9, 3:11] = 1  # a flat sheet
    labels[2, 8, 10] = 1  # with a single voxel off it
    labels[4:9, 6, 5] = 2  # a line
    labels[9, 9, 9] = 3  # a voxel
    labels[6, 1:10, 1] = labels[6, 1, 1:9] = 4  # an L
    labels[7, 1, 9:] = 4
    expected = brute_force(labels, (8, 8, 8), (32.0, 32.0, 32.0))
    np.testing.assert_allclose(shape_descriptors(labels, Coordinate(8, 8, 8), 32.0), expected, atol=1e-4)


def test_agrees_with_the_reference_implementation() -> None:
    from lsd.train.local_shape_descriptor import get_local_shape_descriptors

    labels = blobs((24, 26, 28), seed=3)
    expected = get_local_shape_descriptors(labels, (40.0, 40.0, 40.0), voxel_size=(8, 8, 8))
    found = shape_descriptors(labels, Coordinate(8, 8, 8), 40.0)
    # Its correlations are not exact (float32 squares of absolute positions): the other channels only.
    np.testing.assert_allclose(found[[0, 1, 2, 3, 4, 5, 9]], expected[[0, 1, 2, 3, 4, 5, 9]], atol=1e-4)


@pytest.mark.parametrize("shape", [(24, 26, 28), (26, 28)])
def test_downsampling_repeats_what_the_reference_repeats(shape: tuple[int, ...]) -> None:
    from lsd.train.local_shape_descriptor import get_local_shape_descriptors

    labels = blobs(shape, seed=4, objects=3)
    dimensions = len(shape)
    expected = get_local_shape_descriptors(labels, (40.0,) * dimensions, voxel_size=(8,) * dimensions, downsample=2)
    found = shape_descriptors(labels, Coordinate((8,) * dimensions), 40.0, downsample=2)
    exact = [*range(2 * dimensions), -1]
    # Voxels of an object with no sampled voxel in the window are ours to define: none in these blobs.
    np.testing.assert_allclose(found[exact], expected[exact], atol=1e-4)


def test_downsampling_takes_shapes_that_are_no_multiple() -> None:
    labels = blobs((13, 15, 17))
    found = shape_descriptors(labels, Coordinate(8, 8, 8), 40.0, downsample=2)
    assert np.all(found[9][labels != 0] > 0)
    assert not found[:, labels == 0].any()


def test_object_that_no_sampled_voxel_hits_is_centred_and_massless() -> None:
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[1, 1, 1] = 1
    found = shape_descriptors(labels, Coordinate(8, 8, 8), 40.0, downsample=2)[:, 1, 1, 1]
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, 0, 0, 0, 0.5, 0.5, 0.5, 0], atol=1e-5)


def test_context_makes_values_independent_of_the_cut() -> None:
    labels = np.kron(blobs((12, 12, 12)), np.ones((2, 2, 2), dtype=np.uint64))
    context = descriptor_context_nm(16.0)[0] // 8
    assert context == 6
    whole = shape_descriptors(labels, Coordinate(8, 8, 8), 16.0)
    window = (slice(10, 14),) * 3
    grown = (slice(10 - context, 14 + context),) * 3
    cropped = shape_descriptors(labels[grown], Coordinate(8, 8, 8), 16.0)[:, context:-context, context:-context]
    np.testing.assert_allclose(cropped[..., context:-context], whole[(slice(None), *window)], atol=1e-5)
    without = shape_descriptors(labels[window], Coordinate(8, 8, 8), 16.0)
    assert np.abs(without - whole[(slice(None), *window)]).max() > 0.01


ROIS = [
    (slice(7, 16), slice(9, 20), slice(11, 15)),  # inside, begins odd
    (slice(8, 9), slice(10, 11), slice(13, 14)),  # one voxel
    (slice(0, 5), slice(3, 28), slice(21, 30)),  # at the borders
    (slice(None), slice(25, None), slice(0, None)),
]


@pytest.mark.parametrize("sigma", [24.0, (80.0, 16.0, 40.0)])  # windows that end within the labels, and beyond
@pytest.mark.parametrize("downsample", [1, 2, 3])
@pytest.mark.parametrize("roi", ROIS)
def test_a_roi_of_the_whole(roi: tuple[slice, ...], downsample: int, sigma: float | tuple[float, ...]) -> None:
    labels = blobs((26, 28, 30), seed=5, objects=9)
    labels[9:12, 13:16, 1:29:4] = np.arange(1, 8)  # small and thin objects, some sampled, some not
    whole = shape_descriptors(labels, Coordinate(8, 8, 8), sigma, downsample)
    found = shape_descriptors(labels, Coordinate(8, 8, 8), sigma, downsample, roi=roi)
    np.testing.assert_allclose(found, whole[(slice(None), *roi)], atol=1e-6, rtol=0)


@pytest.mark.parametrize("downsample", [1, 2, 3])
@pytest.mark.parametrize("roi", [each[1:] for each in ROIS])
def test_a_roi_of_the_whole_in_two_dimensions(roi: tuple[slice, ...], downsample: int) -> None:
    labels = blobs((28, 30), seed=6)
    whole = shape_descriptors(labels, Coordinate(8, 8), 24.0, downsample)
    found = shape_descriptors(labels, Coordinate(8, 8), 24.0, downsample, roi=roi)
    assert found.any()
    np.testing.assert_allclose(found, whole[(slice(None), *roi)], atol=1e-6, rtol=0)


def test_a_roi_equals_the_formula_and_sees_nothing_beyond_the_window() -> None:
    labels = blobs((18, 19, 20), seed=7)
    roi = (slice(7, 11), slice(8, 11), slice(9, 13))
    expected = brute_force(labels, (8, 8, 8), (16.0, 16.0, 16.0))[(slice(None), *roi)]
    labels[0], labels[:, 1], labels[..., 19] = 7, 7, 7  # as far as 6 voxels from the roi is the window
    found = shape_descriptors(labels, Coordinate(8, 8, 8), 16.0, roi=roi)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_roi_of_background_beside_objects() -> None:
    labels = np.ones((6, 6, 6), dtype=np.uint8)
    labels[2:4, 2:4, 2:4] = 0
    assert not shape_descriptors(labels, Coordinate(8, 8, 8), 80.0, roi=(slice(2, 4),) * 3).any()


def test_threads_change_nothing() -> None:
    labels = blobs((16, 16, 16))
    one = shape_descriptors(labels, Coordinate(8, 8, 8), 40.0)
    np.testing.assert_array_equal(one, shape_descriptors(labels, Coordinate(8, 8, 8), 40.0, threads=3))


def test_nothing_but_background() -> None:
    assert not shape_descriptors(np.zeros((3, 4, 5), dtype=np.uint8), Coordinate(8, 8, 8), 80.0).any()


def test_refuses_wrong_arguments() -> None:
    labels = np.zeros((3, 4, 5), dtype=np.uint8)
    with pytest.raises(DataError, match="float32"):
        shape_descriptors(labels.astype(np.float32), Coordinate(8, 8, 8), 80.0)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="3 axes"):
        shape_descriptors(labels, Coordinate(8, 8), 80.0)
    with pytest.raises(GeometryError, match="one per axis"):
        shape_descriptors(labels, Coordinate(8, 8, 8), (80.0, 80.0))
    with pytest.raises(GeometryError, match="downsample"):
        shape_descriptors(labels, Coordinate(8, 8, 8), 80.0, downsample=0)
    for wrong in (slice(0, 6), slice(-2, 3), slice(2, 2), slice(0, 4, 2)):
        with pytest.raises(GeometryError, match="roi needs"):
            shape_descriptors(labels, Coordinate(8, 8, 8), 80.0, roi=(slice(None), slice(None), wrong))
    with pytest.raises(GeometryError, match="roi needs"):
        shape_descriptors(labels, Coordinate(8, 8, 8), 80.0, roi=(slice(None), slice(None)))


@pytest.mark.slow
def test_real_labels_equal_the_formula_at_sampled_voxels() -> None:
    folder = os.environ.get("CATENA_DATA")
    if not folder:
        pytest.skip("CATENA_DATA is not set: no real labels to compare on")
    import zarr

    labels = zarr.open(str(Path(folder) / "fib25/labelled.zarr"), "r")["volumes/labels/neuron_ids"][:96, 90:186, 60:156]
    found = shape_descriptors(labels, Coordinate(8, 8, 8), 80.0)
    rng = np.random.default_rng(0)
    voxels = [tuple(each) for each in rng.integers(0, 96, (300, 3)) if labels[tuple(each)]]
    for p in voxels:
        alone = np.zeros_like(labels)
        window = tuple(slice(max(0, i - 30), i + 31) for i in p)
        alone[window] = labels[window] == labels[p]
        expected = _formula_at(alone != 0, p)
        np.testing.assert_allclose(found[(slice(None), *p)], expected, atol=1e-4)
    assert len(voxels) > 250


def _formula_at(mask: NDArray[np.bool_], p: tuple[int, ...]) -> NDArray:
    d = (np.stack(np.nonzero(mask), axis=1) - np.array(p)) * 8.0
    norm = np.exp(-0.5 * (np.arange(-30, 31) * 0.1) ** 2).sum()
    weight = np.exp(-0.5 * (d / 80) ** 2).prod(axis=1) / norm**3
    mean = weight @ d / weight.sum()
    covariance = ((d - mean) * weight[:, None]).T @ (d - mean) / weight.sum()
    variance = np.maximum(np.diag(covariance), 1e-3)
    pearson = [covariance[i, j] / np.sqrt(variance[i] * variance[j]) for i, j in PAIRS[3]]
    return np.clip([*(mean / 160 + 0.5), *(variance / 6400), *(np.array(pearson) / 2 + 0.5), weight.sum()], 0, 1)
