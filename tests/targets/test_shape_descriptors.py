from __future__ import annotations

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.descriptors import formula_at
from catena.errors import DataError, GeometryError
from catena.targets import component_channels, descriptor_context_nm, shape_descriptors
from catena.targets.shape_descriptors_torch import torch_shape_descriptors
from catena.targets.shape_descriptors_windows import Mode

SPHERE, GAUSSIAN = "sphere", "gaussian"


def brute_force(
    labels: NDArray, voxel_size: tuple[float, ...], sigma: tuple[float, ...], mode: str = GAUSSIAN
) -> NDArray:
    """The formula, voxel by voxel, in float64."""
    out = np.zeros((10 if labels.ndim == 3 else 6, *labels.shape))
    for p in zip(*np.nonzero(labels), strict=True):
        out[(slice(None), *p)] = formula_at(labels, p, voxel_size, sigma, mode)
    return out


def blobs(shape: tuple[int, ...], seed: int = 0, objects: int = 5) -> NDArray[np.uint64]:
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.random(shape), 2) for _ in range(objects)])
    labels = (np.argmax(fields, axis=0) + 1).astype(np.uint64) * np.uint64(2**40)
    labels[fields.max(axis=0) < np.quantile(fields.max(axis=0), 0.2)] = 0
    return labels


CASES = [
    ((11, 13, 14), (8, 8, 8), (24.0, 24.0, 24.0), GAUSSIAN),  # window smaller than the volume
    ((10, 11, 12), (8, 8, 8), (80.0, 80.0, 80.0), GAUSSIAN),  # and larger
    ((7, 14, 15), (40, 4, 4), (80.0, 30.0, 16.0), GAUSSIAN),
    ((24, 26), (8, 4), (40.0, 24.0), GAUSSIAN),
    ((11, 13, 14), (8, 8, 8), (32.0, 32.0, 32.0), SPHERE),
    ((7, 14, 15), (40, 4, 4), (80.0, 30.0, 16.0), SPHERE),  # an ellipsoid
    ((10, 9, 11), (46, 20, 20), (400.0, 200.0, 200.0), SPHERE),  # larger than the volume
    ((24, 26), (8, 4), (40.0, 24.0), SPHERE),
]


@pytest.mark.parametrize(("shape", "voxel_size", "sigma", "mode"), CASES)
def test_equals_the_formula(
    shape: tuple[int, ...], voxel_size: tuple[int, ...], sigma: tuple[float, ...], mode: Mode
) -> None:
    labels = blobs(shape)
    expected = brute_force(labels, voxel_size, sigma, mode)
    found = shape_descriptors(labels, Coordinate(voxel_size), sigma, mode=mode)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)
    in_torch = torch_shape_descriptors(torch.from_numpy(labels), Coordinate(voxel_size), sigma, mode=mode)
    np.testing.assert_allclose(in_torch.numpy(), expected, atol=1e-6)
    assert np.ptp(expected[:, labels != 0], axis=1).min() > 0.01  # every channel was put to the test


def test_a_sheet_seen_from_a_wire_equals_the_formula() -> None:
    labels = np.zeros((20, 30, 30), dtype=np.uint8)
    labels[3], labels[3:, 4, 25] = 1, 1
    found = shape_descriptors(labels, Coordinate(40, 4, 4), 80.0)
    for z in range(3, 9):  # float32 sums miss the correlations here by more than 1e-5
        expected = formula_at(labels, (z, 4, 25), (40, 4, 4), (80.0, 80.0, 80.0))
        np.testing.assert_allclose(found[:, z, 4, 25], expected, atol=1e-6)


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
    np.testing.assert_allclose(found[[0, 1, 2, 3, 4, 5, 9]], expected[[0, 1, 2, 3, 4, 5, 9]], atol=1e-4)
    # Its correlations are not exact everywhere (float32 squares of absolute positions).
    assert np.percentile(np.abs(found - expected)[6:9, labels != 0], 99.9) < 1e-4


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
    voxel_size = Coordinate(8, 8, 8)
    for mode in (GAUSSIAN, SPHERE):
        whole = shape_descriptors(labels, voxel_size, sigma, downsample, mode=mode)[(slice(None), *roi)]
        found = shape_descriptors(labels, voxel_size, sigma, downsample, roi=roi, mode=mode)
        np.testing.assert_allclose(found, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", [GAUSSIAN, SPHERE])
@pytest.mark.parametrize(("roi", "downsample"), [(ROIS[0], 1), (ROIS[1], 3), (ROIS[2], 3), (ROIS[3], 2)])
def test_a_roi_in_torch(roi: tuple[slice, ...], downsample: int, mode: Mode) -> None:
    labels = blobs((26, 28, 30), seed=5, objects=9)
    labels[9:12, 13:16, 1:29:4] = np.arange(1, 8)  # small and thin objects, some sampled, some not
    expected = shape_descriptors(labels, Coordinate(8, 8, 8), 24.0, downsample, roi=roi, mode=mode)
    found = torch_shape_descriptors(torch.from_numpy(labels), Coordinate(8, 8, 8), 24.0, downsample, roi, mode=mode)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


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


@pytest.mark.parametrize("mode", [GAUSSIAN, SPHERE])
def test_threads_change_nothing(mode: Mode) -> None:
    stripes = np.broadcast_to(np.arange(48) % 7 + 1, (30, 30, 48))  # whose voxels share every vector of a processor
    one = shape_descriptors(stripes, Coordinate(8, 8, 8), 8.0, mode=mode)
    for _ in range(10):
        np.testing.assert_array_equal(one, shape_descriptors(stripes, Coordinate(8, 8, 8), 8.0, threads=4, mode=mode))


@pytest.mark.parametrize(
    ("components", "mode"),
    [
        ("mean_offset", GAUSSIAN),
        ("size", GAUSSIAN),
        (["variance", "size"], GAUSSIAN),
        ("90", GAUSSIAN),
        ("correlation", SPHERE),
    ],
)
def test_components_are_channels_of_the_whole(components: str | list[str], mode: Mode) -> None:
    labels, voxel_size = blobs((9, 10, 11), objects=3), Coordinate(8, 8, 8)
    whole = shape_descriptors(labels, voxel_size, 32.0, 2, mode=mode)
    expected = whole[list(component_channels(components))]
    found = shape_descriptors(labels, voxel_size, 32.0, 2, mode=mode, components=components)
    np.testing.assert_array_equal(found, expected)
    in_torch = torch_shape_descriptors(torch.from_numpy(labels), voxel_size, 32.0, 2, mode=mode, components=components)
    np.testing.assert_allclose(in_torch.numpy(), expected, atol=1e-6)


def test_components_agree_with_those_of_the_reference_implementation() -> None:
    from lsd.train.local_shape_descriptor import get_local_shape_descriptors

    labels = blobs((20, 22), seed=3)
    expected = get_local_shape_descriptors(labels, (24.0, 24.0), components="0145", voxel_size=(8, 8))
    found = shape_descriptors(labels, Coordinate(8, 8), 24.0, components=["mean_offset", "correlation", "size"])
    np.testing.assert_allclose(found, expected, atol=1e-3)  # its correlations are off by 1.1e-4 at a voxel


@pytest.mark.parametrize(
    ("components", "dimensions"), [("means", 3), ("98x", 3), ("6", 2), ("00", 3), ([], 3), ("", 2)]
)
def test_refuses_unknown_components(components: str | list[str], dimensions: int) -> None:
    with pytest.raises(DataError, match="mean_offset, variance, correlation, size"):
        component_channels(components, dimensions)


def test_a_subset_of_labels_is_described_as_in_the_whole() -> None:
    labels = blobs((9, 10, 11))
    ids = np.unique(labels[labels != 0])
    whole = shape_descriptors(labels, Coordinate(8, 8, 8), 32.0)
    expected = np.where(np.isin(labels, ids[1:3]), whole, 0)
    subset = [int(ids[1]), int(ids[2]), 5, 2**70]  # some of which do not occur
    found = shape_descriptors(labels, Coordinate(8, 8, 8), 32.0, labels_subset=subset)
    np.testing.assert_array_equal(found, expected)
    in_torch = torch_shape_descriptors(torch.from_numpy(labels), Coordinate(8, 8, 8), 32.0, labels_subset=subset)
    np.testing.assert_allclose(in_torch.numpy(), expected, atol=1e-6)
    assert not shape_descriptors(labels, Coordinate(8, 8, 8), 32.0, labels_subset=[]).any()


def test_members_of_a_batch_have_objects_of_their_own() -> None:
    labels = np.stack([blobs((9, 10, 11), seed) for seed in range(3)])
    labels[1] = 0  # nothing there
    found = torch_shape_descriptors(torch.from_numpy(labels), Coordinate(8, 8, 8), 32.0)
    assert found.shape == (3, 10, 9, 10, 11)
    for one, values in zip(labels, found.numpy(), strict=True):
        np.testing.assert_allclose(values, shape_descriptors(one, Coordinate(8, 8, 8), 32.0), atol=1e-6)


def test_torch_is_exact_under_autocast() -> None:
    labels = blobs((9, 10, 11))
    with torch.autocast("cpu", torch.bfloat16):
        found = torch_shape_descriptors(torch.from_numpy(labels), Coordinate(8, 8, 8), 32.0)
    np.testing.assert_allclose(found.numpy(), shape_descriptors(labels, Coordinate(8, 8, 8), 32.0), atol=1e-6)


@pytest.mark.parametrize("first", [2**63 - 4, 2**64 - 6])
def test_labels_next_to_each_other_at_the_end_of_their_type_are_told_apart(first: int) -> None:
    small = blobs((9, 10, 11)) // np.uint64(2**40)
    large = np.where(small != 0, small + np.uint64(first), 0)
    expected = shape_descriptors(small, Coordinate(8, 8, 8), 32.0, labels_subset=[1, 3])
    assert expected.any()
    subset = [first + 1, first + 3]
    found = shape_descriptors(large, Coordinate(8, 8, 8), 32.0, labels_subset=subset)
    np.testing.assert_array_equal(found, expected)
    in_torch = torch_shape_descriptors(torch.from_numpy(large), Coordinate(8, 8, 8), 32.0, labels_subset=subset)
    np.testing.assert_allclose(in_torch.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("axis", "mode"), [(0, GAUSSIAN), (1, SPHERE), (2, GAUSSIAN), (2, SPHERE)])
def test_far_from_the_origin_nothing_is_lost(axis: int, mode: Mode) -> None:
    shape = np.array([6, 6, 6])
    shape[axis] = 20_000
    labels = np.zeros(shape, np.uint8)
    piece = np.moveaxis(blobs((6, 6, 9)).astype(bool), 2, axis)
    begin, end = [slice(None)] * 3, [slice(None)] * 3
    begin[axis], end[axis] = slice(0, 9), slice(-9, None)
    labels[tuple(begin)] = labels[tuple(end)] = piece  # one object: positions of both ends enter it
    found = shape_descriptors(labels, Coordinate(8, 8, 8), 24.0, mode=mode)
    near = found[(slice(None), *begin)]
    assert near.any()
    np.testing.assert_array_equal(found[(slice(None), *end)], near)


def test_units_finer_than_a_nanometre_change_nothing() -> None:
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[0, 0, 0] = labels[15, 15, 15] = 1  # in each other's far corner: variances below the floor
    expected = shape_descriptors(labels, Coordinate(1, 1, 1), 5.0)
    np.testing.assert_allclose(expected[6, 0, 0, 0], formula_at(labels, (0, 0, 0), (1, 1, 1), (5.0,) * 3)[6], atol=1e-6)
    found = shape_descriptors(labels, Coordinate(100, 100, 100), 500.0, units_per_nm=100)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    without = shape_descriptors(labels, Coordinate(100, 100, 100), 500.0)
    assert np.abs(without - expected).max() > 0.1


def test_nothing_but_background() -> None:
    assert not torch_shape_descriptors(torch.zeros((3, 4, 5), dtype=torch.uint8), Coordinate(8, 8, 8), 80.0).any()
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
    with pytest.raises(DataError, match="gaussian or sphere; found 'ball'"):
        shape_descriptors(labels, Coordinate(8, 8, 8), 80.0, mode="ball")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="float32"):
        torch_shape_descriptors(torch.zeros(3, 4, 5), Coordinate(8, 8, 8), 80.0)
    with pytest.raises(DataError, match="one more for a batch"):
        torch_shape_descriptors(torch.zeros(1, 1, 3, 4, 5, dtype=torch.int64), Coordinate(8, 8, 8), 80.0)


def test_the_task_package_offers_the_same_functions() -> None:
    import local_shape_descriptors

    assert local_shape_descriptors.shape_descriptors is shape_descriptors
    assert local_shape_descriptors.descriptor_context_nm is descriptor_context_nm
    assert local_shape_descriptors.torch_shape_descriptors is torch_shape_descriptors
    with pytest.raises(AttributeError, match="no attribute 'descriptors'"):
        _ = local_shape_descriptors.descriptors
