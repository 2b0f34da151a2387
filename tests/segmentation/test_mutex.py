"""The mutex watershed against the algorithm as it is written down, and the fragments it makes."""

from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Coordinate

from catena.errors import ConfigError
from catena.segmentation import (
    AgglomerateConfig,
    FragmentsConfig,
    edge_statistics,
    extract_fragments,
    fragment_context,
    segment,
)
from catena.segmentation.boundary import short_range_channels
from catena.segmentation.mutex import SignedChannel, mutex_watershed, signed_channels

ISOTROPIC = Coordinate(8, 8, 8)
LONG = tuple(Coordinate(each) for each in ((-2, 0, 0), (0, -3, 0), (0, 0, -3), (0, -2, 2)))


def written_down(affinities, inside, channels, origin):
    """Wolf et al., algorithm 1, with a set of the voxels of every cluster and a list of forbidden pairs of voxels."""
    edges = []
    for z, y, x in np.argwhere(inside):
        for k, each in enumerate(channels):
            end = (z + each.offset[0], y + each.offset[1], x + each.offset[2])
            if min(end) < 0 or any(e >= n for e, n in zip(end, inside.shape, strict=True)) or not inside[end]:
                continue
            if any((at + o) % s for at, o, s in zip((z, y, x), origin, each.stride, strict=True)):
                continue
            weight = round(affinities[each.channel, z, y, x] / 255 + each.bias, 9)
            edges.append((-abs(weight), weight < 0, (z, y, x), k, end))
    cluster = {tuple(at): {tuple(at)} for at in np.argwhere(inside)}
    barred = []
    for size, bars, (z, y, x), _, end in sorted(edges):
        a, b = cluster[z, y, x], cluster[tuple(end)]
        if size == 0 or a is b:
            continue
        if bars:
            barred.append(((z, y, x), tuple(end)))
        elif not any({id(cluster[p]), id(cluster[q])} == {id(a), id(b)} for p, q in barred):
            a |= b
            for voxel in b:
                cluster[voxel] = a
    labels = np.zeros(inside.shape, int)
    for at, members in cluster.items():
        labels[at] = 1 + int(np.ravel_multi_index(min(members), inside.shape))
    return labels


@pytest.mark.parametrize(("levels", "stride"), [(256, (1, 1, 1)), (4, (1, 1, 1)), (8, (2, 1, 3))])
def test_as_the_algorithm_is_written_down(offsets, same_partition, levels, stride):
    random = np.random.default_rng(levels)
    affinities = (random.integers(0, levels, (7, 4, 7, 8)) * (255 // (levels - 1))).astype(np.uint8)
    inside = (random.random((4, 7, 8)) > 0.1).astype(np.uint8)
    channels = [SignedChannel(k, each, -0.4) for k, each in enumerate(offsets)]
    channels += [SignedChannel(3 + k, each, -0.7, stride) for k, each in enumerate(LONG)]
    origin = Coordinate(1, 0, 2)
    found = mutex_watershed(affinities, inside, channels, origin)
    assert same_partition(found, written_down(affinities, inside, channels, origin))
    assert 2 < np.unique(found).size < inside.sum()


def test_many_barred_pairs_are_kept(offsets):
    # every voxel barred from the one two further on: nothing grows beyond two voxels, however many pairs that makes
    affinities = np.zeros((4, 1, 60, 60), np.uint8)
    affinities[2] = 255
    channels = [SignedChannel(2, offsets[2], -0.4), SignedChannel(3, Coordinate(0, 0, -2), -0.7)]
    found = mutex_watershed(affinities, np.ones((1, 60, 60), np.uint8), channels)
    assert np.unique(np.unique(found, return_counts=True)[1]).max() == 2
    assert np.unique(found).size >= 1800


def two_neurites(offsets):
    """Two neurites side by side in x: no wall between them, but what is far apart is known to be two."""
    affinities = np.full((4, 4, 4, 12), 255, np.uint8)
    affinities[2, :, :, 6] = 180  # hardly a wall: the mean of the short-range affinities stays above 0.5
    affinities[3] = np.where((np.arange(12) >= 6) & (np.arange(12) < 10), 0, 255)
    return affinities, (*offsets, Coordinate(0, 0, -4))


def test_mutex_parts_what_basins_merge(offsets):
    affinities, all_offsets = two_neurites(offsets)
    basins = extract_fragments(affinities, all_offsets, FragmentsConfig(), voxel_size=ISOTROPIC)
    assert (basins.labels[:, :, 5] == basins.labels[:, :, 6]).all()
    mutex = extract_fragments(affinities, all_offsets, FragmentsConfig(method="mutex"), voxel_size=ISOTROPIC)
    assert mutex.ids.tolist() == [1, 7]
    assert (mutex.labels[:, :, :6] == 1).all()
    assert (mutex.labels[:, :, 6:] == 7).all()
    assert (mutex.pointers == 13).all()
    without = FragmentsConfig(method="mutex", repulsive_bias=0.0)
    assert extract_fragments(affinities, all_offsets, without, voxel_size=ISOTROPIC).ids.size == 1


def test_a_block_names_fragments_of_its_core(offsets):
    affinities, all_offsets = two_neurites(offsets)
    config = FragmentsConfig(method="mutex")
    found = extract_fragments(
        affinities,
        all_offsets,
        config,
        voxel_size=ISOTROPIC,
        core=(slice(0, 4), slice(0, 4), slice(4, 12)),
        block_index=2,
        block_shape_vox=Coordinate(4, 4, 8),
        core_begin_vox=Coordinate(0, 0, 16),
    )
    assert found.ids.tolist() == [2 * 128 + 1, 2 * 128 + 3]
    assert found.sizes.tolist() == [32, 96]
    assert fragment_context(config, Coordinate(12, 8, 8)) == Coordinate(11, 16, 16)


def test_mutex_in_memory(offsets, smooth_affinities):
    affinities = smooth_affinities(3, (10, 16, 18), 2.0)
    affinities = np.concatenate([affinities, np.roll(affinities, 1, 3) // 2])
    longer = (*offsets, Coordinate(-3, 0, 0), Coordinate(0, -3, 0), Coordinate(0, 0, -3))
    config = FragmentsConfig(method="mutex")
    first = segment(affinities, longer, ISOTROPIC, config)
    again = segment(affinities, longer, ISOTROPIC, config)
    assert np.array_equal(first.fragments.labels, again.fragments.labels)
    assert first.fragments.ids.size > np.unique(first.at(0.5)).size > 1
    large = segment(affinities, longer, ISOTROPIC, FragmentsConfig(method="mutex", minimum_size=30, grow=0))
    assert large.fragments.sizes.min() >= 30 > first.fragments.sizes.min()


def test_sections_are_cut_on_their_own(offsets):
    affinities, all_offsets = two_neurites(offsets)
    found = extract_fragments(
        affinities, all_offsets, FragmentsConfig(method="mutex", per_section=True), voxel_size=ISOTROPIC
    )
    assert found.ids.size == 8
    assert [np.unique(section).size for section in found.labels] == [2, 2, 2, 2]


def test_without_long_range_channels_mutex_is_refused(offsets):
    config = FragmentsConfig(method="mutex")
    with pytest.raises(ConfigError, match="mutex needs long-range affinities"):
        extract_fragments(np.zeros((3, 2, 2, 2), np.uint8), offsets, config, voxel_size=ISOTROPIC)
    along_z = (*offsets, Coordinate(-3, 0, 0))
    short = short_range_channels(along_z, 4)
    assert len(signed_channels(along_z, short, config, in_plane=False)) == 4
    with pytest.raises(ConfigError, match="in plane: fragments are made section by section"):
        signed_channels(along_z, short, config, in_plane=True)


def test_settings_of_mutex_concern_no_other_method():
    names = set(FragmentsConfig(method="mutex").result_settings()) - set(FragmentsConfig().result_settings())
    assert names == {"attractive_bias", "repulsive_bias", "repulsive_stride", "mutex_context"}
    assert FragmentsConfig(method="mutex", minimum_size=5).minimum_size == 5


def test_mutex_agrees_with_mwatershed(same_partition):
    mwatershed = pytest.importorskip("mwatershed", reason="mwatershed is not installed (extra 'bench')")
    random = np.random.default_rng(0)
    offsets = [Coordinate(each) for each in ((0, -1, 0), (0, 0, -1), (0, 0, -2))]
    values = random.permutation(255)[: 3 * 75].reshape(3, 3, 5, 5).astype(np.uint8)  # no two edges are equal
    biases = (-0.4003, -0.4003, -0.4003)
    channels = [SignedChannel(k, each, bias) for k, (each, bias) in enumerate(zip(offsets, biases, strict=True))]
    found = mutex_watershed(values, np.ones((3, 5, 5), np.uint8), channels)
    weights = values / 255 + np.array(biases)[:, None, None, None]
    theirs = mwatershed.agglom(weights, [list(each) for each in offsets])
    alone = theirs == 0  # mwatershed names no voxel that nothing is joined to
    assert all((found == each).sum() == 1 for each in found[alone])
    assert same_partition(np.where(alone, 0, found), theirs)


# --- 2D models ------------------------------------------------------------------------------------------------------

IN_PLANE = (Coordinate(0, -1, 0), Coordinate(0, 0, -1))


@pytest.mark.parametrize("method", ["basins", "seeded", "mutex"])
def test_a_2d_model_segments_every_section_by_itself(method, smooth_affinities, same_partition):
    affinities = smooth_affinities(4, (4, 18, 20), 2.0)
    affinities[0] = affinities[1] // 2
    offsets = (Coordinate(0, 0, -4), *IN_PLANE)
    config = FragmentsConfig(method=method)
    made = segment(affinities, offsets, ISOTROPIC, config)
    whole = made.at(0.5)
    assert made.u.size > 0
    for z in range(4):
        alone = segment(affinities[:, z : z + 1], offsets, ISOTROPIC, config).at(0.5)
        assert same_partition(whole[z : z + 1], alone)
    names = [set(np.unique(section)) - {0} for section in whole]
    assert sum(map(len, names)) == len(set.union(*names)) > 4


@pytest.mark.parametrize("scope", ["graph", "blocks"])
def test_no_edge_leads_from_section_to_section(scope):
    affinities = np.full((2, 3, 4, 4), 255, np.uint8)
    affinities[1, :, :, 2] = 40
    made = segment(
        affinities,
        IN_PLANE,
        ISOTROPIC,
        FragmentsConfig(method="seeded", seed_window=1, threshold=0.6),
        AgglomerateConfig(scope=scope, merge_function="hist_quant_50"),
    )
    section_of = {int(each): int(root[0]) for each, root in zip(made.fragments.ids, made.fragments.roots, strict=True)}
    assert len(made.u) > 0
    assert all(section_of[int(a)] == section_of[int(b)] for a, b in zip(made.u, made.v, strict=True))
    assert np.unique(made.at(1.0)).size == 3
    assert len(edge_statistics(affinities, IN_PLANE, made.fragments.labels)) == len(made.u)


def test_fragments_across_sections_need_affinities_across_sections():
    affinities = np.full((2, 2, 4, 4), 255, np.uint8)
    with pytest.raises(ConfigError, match="per_section is false, but no affinity leads from section to section"):
        extract_fragments(affinities, IN_PLANE, FragmentsConfig(per_section=False), voxel_size=ISOTROPIC)
