"""The layout of the blocks must not show: the same partition, exactly, whatever the block shape."""

from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Coordinate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catena.segmentation import AgglomerateConfig, FragmentsConfig, fragment_context, segment

THRESHOLDS = (0.05, 0.2, 0.35, 0.5, 0.7, 0.95)
SHAPE = (30, 34, 38)
lenient = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


@lenient
@given(
    seed=st.integers(0, 10_000),
    block=st.tuples(st.integers(7, 31), st.integers(7, 35), st.integers(7, 39)),
    sigma=st.sampled_from([1.5, 2.5, 5.0]),
    cap=st.sampled_from([2, 4, 6]),
    voxel_size=st.sampled_from([(8, 8, 8), (30, 6, 6), (23, 20, 20)]),
    per_section=st.booleans(),
    merge_function=st.sampled_from(["mean", "hist_quant_50", "hist_quant_75", "hist_quant_75_initmax"]),
    masked=st.booleans(),
    grow=st.sampled_from([0, 1, 8]),
)
def test_blocks_give_the_partition_of_the_whole_volume(
    smooth_affinities,
    segment_in_blocks,
    same_partition,
    offsets,
    seed,
    block,
    sigma,
    cap,
    voxel_size,
    per_section,
    merge_function,
    masked,
    grow,
):
    affinities = smooth_affinities(seed, SHAPE, sigma)
    mask = np.ones(SHAPE, bool)
    if masked:
        mask[10:20, 5:12] = False
    voxel_size = Coordinate(voxel_size)
    config = FragmentsConfig(distance_cap=cap, per_section=per_section, grow=grow)
    agglomerate = AgglomerateConfig(merge_function=merge_function)
    whole = segment(affinities, offsets, voxel_size, config, agglomerate, THRESHOLDS, mask)
    blocks = segment_in_blocks(affinities, voxel_size, config, agglomerate, block, THRESHOLDS, mask)
    assert blocks.sizes.sum() == whole.fragments.sizes.sum()
    for row, threshold in enumerate(THRESHOLDS):
        assert same_partition(blocks.at(row), whole.at(threshold)), threshold


def test_a_large_flat_body_is_the_same_in_every_layout(segment_in_blocks, same_partition, offsets):
    # beyond the cap every distance is equal: nothing but the lattice in the volume decides where voxels go
    affinities = np.full((3, 26, 40, 44), 255, np.uint8)
    affinities[:, :, 20] = 0
    config, agglomerate = FragmentsConfig(distance_cap=3), AgglomerateConfig()
    voxel_size = Coordinate(8, 8, 8)
    whole = segment(affinities, offsets, voxel_size, config, agglomerate, (0.0, 0.5))
    blocks = segment_in_blocks(affinities, voxel_size, config, agglomerate, (13, 11, 17), (0.0, 0.5))
    assert same_partition(blocks.at(0), whole.fragments.labels)
    assert same_partition(blocks.at(1), whole.at(0.5))
    # cut at the faces, the body falls into few pieces, not into one per voxel of a face
    assert blocks.ids.size < 6 * whole.fragments.ids.size


def test_less_context_would_show(smooth_affinities, segment_in_blocks, same_partition, offsets):
    affinities = smooth_affinities(5, (30, 40, 40), 5.0)
    voxel_size, config, agglomerate = Coordinate(8, 8, 8), FragmentsConfig(distance_cap=6, grow=0), AgglomerateConfig()
    whole = segment(affinities, offsets, voxel_size, config, agglomerate, (0.0,))
    full = fragment_context(config, voxel_size)
    partitions = [
        segment_in_blocks(affinities, voxel_size, config, agglomerate, (15, 20, 20), (0.0,), context=context).at(0)
        for context in (full, full - Coordinate(14, 14, 14))
    ]
    assert same_partition(partitions[0], whole.at(0.0))
    assert not same_partition(partitions[1], whole.at(0.0))


@lenient
@given(
    seed=st.integers(0, 10_000),
    block=st.tuples(st.integers(7, 31), st.integers(7, 35), st.integers(7, 39)),
    method=st.sampled_from(["basins", "seeded"]),
    per_section=st.booleans(),
)
def test_ids_say_who_owns_them(smooth_affinities, segment_in_blocks, seed, block, method, per_section):
    affinities = smooth_affinities(seed, SHAPE, 2.0)
    config = FragmentsConfig(method=method, per_section=per_section, distance_cap=4)
    result = segment_in_blocks(affinities, Coordinate(8, 8, 8), config, AgglomerateConfig(), block, (0.5,))
    assert (np.diff(result.ids.astype(np.int64)) > 0).all()  # unique, and in the order of the blocks
    assert np.array_equal(np.unique(result.labels[result.labels > 0]), result.ids)
    counts = [-(-n // b) for n, b in zip(SHAPE, block, strict=True)]
    where = np.indices(SHAPE).reshape(3, -1) // np.array(block)[:, None]
    block_of_voxel = np.ravel_multi_index(tuple(where), counts).reshape(SHAPE)
    inside = result.labels > 0
    owner = (result.labels[inside] - np.uint64(1)) // np.uint64(np.prod(block))
    assert np.array_equal(owner, block_of_voxel[inside].astype(np.uint64))


@pytest.mark.parametrize("merge_function", ["mean", "hist_quant_50"])
def test_every_face_is_counted_once(smooth_affinities, segment_in_blocks, merge_function):
    affinities = smooth_affinities(3, SHAPE, 2.0)
    result = segment_in_blocks(
        affinities,
        Coordinate(8, 8, 8),
        FragmentsConfig(distance_cap=4),
        AgglomerateConfig(merge_function=merge_function),
        (11, 12, 13),
        (0.5,),
    )
    pairs = set(zip(result.edges.u.tolist(), result.edges.v.tolist(), strict=True))
    assert len(pairs) == len(result.edges)
    assert (result.edges.u < result.edges.v).all()
    faces, total = 0, 0
    for axis in range(3):
        low = np.moveaxis(result.labels, axis, 0)[:-1]
        high = np.moveaxis(result.labels, axis, 0)[1:]
        joined = (low != high) & (low > 0) & (high > 0)
        faces += int(joined.sum())
        total += int(np.moveaxis(affinities[axis], axis, 0)[1:][joined].sum())
    assert result.edges.contact.sum() == faces
    assert result.edges.affinity_sum.sum() == total
