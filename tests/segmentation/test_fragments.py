"""Boundary, distance, field, basins, seeds and watershed on drawn examples and against references."""

from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Coordinate
from scipy import ndimage
from skimage.segmentation import watershed as reference_watershed

from catena.errors import ConfigError, DataError, GeometryError
from catena.segmentation import FragmentsConfig, extract_fragments, fragment_context, owner
from catena.segmentation.ascent import OUTSIDE, STAY, ascent_field, steepest_neighbours
from catena.segmentation.basins import label_basins
from catena.segmentation.boundary import ShortRange, foreground, quantise, short_range_channels
from catena.segmentation.distance import capped_squared_distance, squared_distance, voxel_edges
from catena.segmentation.seeds import maxima
from catena.segmentation.watershed import flood

ISOTROPIC = Coordinate(8, 8, 8)


def drawn(*rows: str) -> np.ndarray:
    """Return one section, drawn: ``#`` is boundary."""
    return np.array([[[0 if each == "#" else 1 for each in row] for row in rows]], np.uint8)


def affinities_of(inside: np.ndarray) -> np.ndarray:
    return np.repeat(inside[None] * np.uint8(255), 3, axis=0)


# --- boundary -------------------------------------------------------------------------------------------------------


def test_short_range_channels_are_found_among_long_range_ones():
    found = short_range_channels(
        [Coordinate(0, 0, -9), Coordinate(0, 0, -1), Coordinate(-1, 0, 0), Coordinate(0, -1, 0)], 4
    )
    assert found == ShortRange(2, 3, 1)
    assert (found.all, found.in_plane) == ((2, 3, 1), (3, 1))


def test_missing_short_range_offset_is_named(offsets):
    with pytest.raises(GeometryError, match=r"lack the short-range offsets \[\(0, 0, -1\)\]"):
        short_range_channels([*offsets[:2], Coordinate(0, 0, -3)], 3)


def test_one_offset_per_channel(offsets):
    with pytest.raises(GeometryError, match="4 channels, but 3 offsets"):
        short_range_channels(offsets, 4)


def test_long_range_channels_do_not_change_fragments(smooth_affinities, offsets):
    affinities = smooth_affinities(1, (12, 14, 16), 2.0)
    longer = np.concatenate([affinities[:1] // 3, affinities])
    config = FragmentsConfig()
    short = extract_fragments(affinities, offsets, config, voxel_size=ISOTROPIC)
    both = extract_fragments(longer, [Coordinate(-9, 0, 0), *offsets], config, voxel_size=ISOTROPIC)
    assert np.array_equal(short.labels, both.labels)


def test_the_mean_must_be_above_the_threshold():
    affinities = np.zeros((3, 1, 1, 3), np.uint8)
    affinities[:, 0, 0] = np.array([[127, 128, 128], [128, 127, 127], [127, 127, 128]])  # sums 382, 382, 383
    assert foreground(affinities, (0, 1, 2), 0.5).tolist() == [[[0, 0, 1]]]
    assert foreground(affinities, (0, 1), 0.5).tolist() == [[[0, 0, 0]]]
    assert foreground(affinities, (0, 1, 2), 0.4, np.array([[[1, 0, 1]]])).tolist() == [[[1, 0, 1]]]


def test_float_and_uint8_affinities_give_the_same_fragments(smooth_affinities, offsets):
    affinities = smooth_affinities(2, (10, 12, 14), 2.0)
    both = [
        extract_fragments(each, offsets, FragmentsConfig(), voxel_size=ISOTROPIC).labels
        for each in (affinities, (affinities / 255).astype(np.float32))
    ]
    assert np.array_equal(*both)


@pytest.mark.parametrize(
    "bad", [np.full((3, 2, 2, 2), 1.5), np.full((3, 2, 2, 2), np.nan), np.zeros((3, 2, 2, 2), int)]
)
def test_affinities_that_are_none_are_refused(bad):
    with pytest.raises(DataError, match="affinities must"):
        quantise(bad)


# --- distance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edges", [(1, 1, 1), (5, 1, 1), (23, 20, 20)])
@pytest.mark.parametrize("in_plane", [False, True])
def test_distances_are_exact_up_to_the_cap(edges, in_plane):
    inside = (np.random.default_rng(0).random((9, 20, 23)) > 0.02).astype(np.uint8)
    inside[0, 0, 0] = 0
    if in_plane:
        inside[:, 3, 4] = 0
        exact = np.stack([ndimage.distance_transform_edt(each, sampling=edges[1:]) for each in inside])
    else:
        exact = ndimage.distance_transform_edt(inside, sampling=edges)
    exact = np.rint(exact**2).astype(int)
    cap = 4 * edges[1]
    capped = capped_squared_distance(inside, edges, cap, in_plane=in_plane)
    assert np.array_equal(capped, np.minimum(exact, cap**2))
    assert np.array_equal(squared_distance(inside, edges, in_plane=in_plane), exact)
    part = np.s_[2:7, 11:12, 0:15]
    assert np.array_equal(capped_squared_distance(inside, edges, cap, in_plane=in_plane, part=part), capped[part])


def test_without_boundary_every_distance_is_the_cap():
    assert (capped_squared_distance(np.ones((3, 4, 5), np.uint8), (1, 1, 1), 7) == 49).all()


def test_voxel_edges_keep_the_ratio_exactly():
    assert voxel_edges(Coordinate(46, 40, 40)) == (23, 20, 20)
    with pytest.raises(GeometryError, match="three positive edges"):
        voxel_edges(Coordinate(8, 0, 8))


# --- field and pointers ---------------------------------------------------------------------------------------------


def test_the_field_is_the_smoothed_distance():
    inside = (np.random.default_rng(0).random((12, 13, 14)) > 0.01).astype(np.uint8)
    field = ascent_field(inside, ISOTROPIC, 6, Coordinate(0, 0, 0))
    distance = np.rint(np.minimum(ndimage.distance_transform_edt(inside), 6) * 16)
    smoothed = distance.copy()
    for axis in range(3):
        smoothed = ndimage.convolve1d(smoothed, [1, 4, 6, 4, 1], axis=axis, mode="nearest")
    assert np.array_equal((field - 1) // 25 * inside, (smoothed * inside).astype(int))
    assert (field[inside == 0] == 0).all()


@pytest.mark.parametrize("in_plane", [False, True])
def test_pointers_lead_to_the_highest_neighbour_and_of_equals_to_the_first(in_plane):
    field = np.random.default_rng(0).integers(0, 4, (6, 7, 8)).astype(np.int32)
    pointers = steepest_neighbours(field, in_plane=in_plane)
    for at in np.ndindex(field.shape):
        low = [max(n - 1, 0) for n in at]
        if in_plane:
            low[0] = at[0]
        around = field[tuple(slice(a, b + 2) for a, b in zip(low, at, strict=True))]
        around = around[:1] if in_plane else around
        if field[at] == 0:
            assert pointers[at] == OUTSIDE
            continue
        highest = np.argwhere(around == around.max()) + low  # in z, y, x order
        dz, dy, dx = highest[0] - np.array(at)
        assert pointers[at] == 9 * (dz + 1) + 3 * (dy + 1) + dx + 1


def test_a_basin_is_labelled_by_the_last_voxel_in_the_core():
    # all flow to the right; the core is the first three voxels, the tree ends beyond it
    pointers = np.array([[[14, 14, 14, 14, STAY]]], np.uint8)
    labels, roots = label_basins(pointers, (slice(0, 1), slice(0, 1), slice(0, 3)), (1, 1, 3))
    assert labels.tolist() == [[[3, 3, 3]]]
    assert roots.tolist() == [3]


def test_touching_exits_that_meet_make_one_piece_and_others_do_not():
    #       core   context
    rows = [[14, 14, 14, 16],  # → → → ↓  meets the row below at its end
            [14, 14, 14, STAY],
            [OUTSIDE] * 4,
            [14, 14, 14, STAY]]  # fmt: skip
    pointers = np.array([rows], np.uint8)
    labels, roots = label_basins(pointers, (slice(0, 1), slice(0, 4), slice(0, 2)), (1, 4, 2))
    # the nearer exit, that of the second row, stands for both
    assert labels.tolist() == [[[4, 4], [4, 4], [0, 0], [8, 8]]]
    assert roots.tolist() == [4, 8]


# --- fragments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["basins", "seeded"])
def test_two_rooms_with_a_door(method, offsets):
    inside = drawn(
        "#############",
        "#.....#.....#",
        "#.....#.....#",
        "#...........#",
        "#.....#.....#",
        "#.....#.....#",
        "#############",
    )
    config = FragmentsConfig(method=method, seed_window=5, grow=0)
    found = extract_fragments(affinities_of(inside), offsets, config, voxel_size=ISOTROPIC)
    assert found.ids.size == 2
    assert sorted(found.sizes.tolist()) == [25, 26]
    assert len(np.unique(found.labels[0, 1:6, 1:6])) == 1
    assert len(np.unique(found.labels[0, 1:6, 7:12])) == 1
    assert (found.labels[inside == 0] == 0).all()


def test_an_id_says_where_the_root_lies(offsets):
    inside = drawn("..#..", "..#..")
    found = extract_fragments(
        affinities_of(inside),
        offsets,
        FragmentsConfig(grow=0),
        voxel_size=ISOTROPIC,
        block_index=7,
        block_shape_vox=Coordinate(2, 4, 8),
        core_begin_vox=Coordinate(20, 20, 20),
    )
    index = found.ids - np.uint64(1) - np.uint64(7 * 64)
    assert np.array_equal(np.stack(np.unravel_index(index.astype(int), (2, 4, 8)), axis=1), found.roots)
    assert np.array_equal(found.labels[tuple(found.roots.T)], found.ids)
    assert owner(found.ids, Coordinate(2, 4, 8)).tolist() == [7, 7]
    assert found.sizes.tolist() == [4, 4]
    assert found.pointers.tolist() == [STAY, STAY]


@pytest.mark.parametrize("method", ["basins", "seeded"])
def test_per_section_uses_only_its_own_section_and_in_plane_affinities(method, smooth_affinities, offsets):
    affinities = smooth_affinities(4, (6, 30, 34), 2.5)
    config = FragmentsConfig(method=method, per_section=True)
    whole = extract_fragments(affinities, offsets, config, voxel_size=ISOTROPIC)
    changed = affinities.copy()
    changed[0] = 0  # no affinity across sections at all
    changed[:, 3:] = 255 - changed[:, 3:]
    other = extract_fragments(changed, offsets, config, voxel_size=ISOTROPIC)
    assert np.array_equal(whole.labels[:3], other.labels[:3])
    sections = [set(np.unique(each[each > 0])) for each in whole.labels]
    assert sum(len(each) for each in sections) == whole.ids.size  # no fragment in two sections


def test_anisotropic_data_are_cut_per_section_by_default():
    assert FragmentsConfig().sectionwise(Coordinate(40, 4, 4))
    assert not FragmentsConfig().sectionwise(Coordinate(8, 8, 8))
    assert not FragmentsConfig(per_section=False).sectionwise(Coordinate(40, 4, 4))
    assert fragment_context(FragmentsConfig(), Coordinate(40, 4, 4)) == Coordinate(0, 30, 30)
    assert fragment_context(FragmentsConfig(), Coordinate(8, 8, 8)) == Coordinate(30, 30, 30)


def test_one_id_is_one_component_after_a_fragment_is_cut_by_the_core(offsets):
    inside = drawn(
        "#######",
        "#.....#",
        "#.###.#",
        "#.###.#",
        "#######",
    )
    config = FragmentsConfig(method="seeded", seed_window=9, grow=0)
    whole = extract_fragments(affinities_of(inside), offsets, config, voxel_size=ISOTROPIC)
    assert whole.ids.size == 1
    core = (slice(0, 1), slice(2, 5), slice(0, 7))
    cut = extract_fragments(affinities_of(inside), offsets, config, voxel_size=ISOTROPIC, core=core)
    assert cut.ids.size == 2
    assert cut.sizes.tolist() == [2, 2]


def test_seeded_filters_and_first_merge(smooth_affinities, offsets):
    affinities = smooth_affinities(6, (20, 24, 28), 2.0)

    def ids(**options):
        config = FragmentsConfig(method="seeded", seed_window=5, grow=0, **options)
        return extract_fragments(affinities, offsets, config, voxel_size=ISOTROPIC)

    plain = ids()
    large = ids(minimum_size=60)
    assert large.sizes.min() >= 60
    assert plain.sizes.min() < 60
    assert np.array_equal(large.labels, np.where(np.isin(plain.labels, plain.ids[plain.sizes >= 60]), plain.labels, 0))
    strong = ids(minimum_mean_affinity=0.8)
    means = [affinities[:, strong.labels == each].mean() / 255 for each in strong.ids]
    assert min(means) >= 0.8
    assert min(affinities[:, plain.labels == each].mean() / 255 for each in plain.ids) < 0.8
    assert ids(epsilon_agglomerate=0.3).ids.size < plain.ids.size


@pytest.mark.parametrize("option", ["minimum_size", "minimum_mean_affinity", "epsilon_agglomerate"])
def test_what_would_show_the_layout_is_refused_for_basins(option):
    with pytest.raises(ConfigError, match=f"{option} would make the result of method 'basins' depend on the block"):
        FragmentsConfig.parse({option: 0.5 if option != "minimum_size" else 5})


def test_nothing_inside_gives_no_fragments(offsets):
    for method in ("basins", "seeded"):
        config = FragmentsConfig(method=method)
        found = extract_fragments(np.zeros((3, 4, 5, 6), np.uint8), offsets, config, voxel_size=ISOTROPIC)
        assert found.ids.shape == (0,)
        assert found.roots.shape == (0, 3)
        assert not found.labels.any()


def test_a_core_outside_the_array_is_refused(offsets):
    affinities = np.zeros((3, 4, 5, 6), np.uint8)
    core = (slice(0, 4), slice(0, 5), slice(2, 9))
    with pytest.raises(GeometryError, match="does not lie in the array"):
        extract_fragments(affinities, offsets, FragmentsConfig(), voxel_size=ISOTROPIC, core=core)
    with pytest.raises(GeometryError, match="larger than a block"):
        extract_fragments(
            affinities, offsets, FragmentsConfig(), voxel_size=ISOTROPIC, block_shape_vox=Coordinate(2, 2, 2)
        )
    with pytest.raises(GeometryError, match="needs core_begin_vox"):
        extract_fragments(affinities, offsets, FragmentsConfig(), voxel_size=ISOTROPIC, block_index=3)


# --- growth into the boundary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["basins", "seeded"])
def test_fragments_grow_to_the_nearest_up_to_the_limit(method, offsets):
    inside = drawn("..########.")
    grown = {}
    for grow in (0, 2, 8):
        config = FragmentsConfig(method=method, grow=grow)
        found = extract_fragments(affinities_of(inside), offsets, config, voxel_size=ISOTROPIC)
        left, right = found.labels[0, 0, 0], found.labels[0, 0, -1]
        grown[grow] = "".join({int(left): "L", int(right): "R", 0: "0"}[int(each)] for each in found.labels[0, 0])
        assert found.sizes.sum() == (found.labels > 0).sum()
    assert grown == {0: "LL00000000R", 2: "LLLL0000RRR", 8: "LLLLLLRRRRR"}


@pytest.mark.parametrize("method", ["basins", "seeded"])
def test_a_wall_of_one_voxel_stands_at_its_lower_face(method, offsets):
    # the voxel 2 is joined with 3, not with 1
    affinities = np.full((3, 1, 1, 5), 255, np.uint8)
    affinities[:, 0, 0, 2] = 0
    found = extract_fragments(affinities, offsets, FragmentsConfig(method=method), voxel_size=ISOTROPIC)
    left, right = found.labels[0, 0, 0], found.labels[0, 0, -1]
    assert left != right
    assert found.labels[0, 0].tolist() == [left, left, right, right, right]


@pytest.mark.parametrize("method", ["basins", "seeded"])
def test_nothing_grows_where_the_mask_is_0(method, offsets):
    mask = drawn("..##..#####")
    config = FragmentsConfig(method=method)
    found = extract_fragments(affinities_of(drawn("..####.....")), offsets, config, voxel_size=ISOTROPIC, mask=mask)
    assert (found.labels[0, 0, :2] > 0).all()
    assert not found.labels[mask == 0].any()


def test_a_boundary_voxel_does_not_jump_over_an_edge(offsets):
    # the middle of the third row touches the thin neurite above it by a face, and the others only by edges
    inside = drawn("####.####", "####.####", "...###...", "....#....", "....#....")
    found = extract_fragments(affinities_of(inside), offsets, FragmentsConfig(grow=1), voxel_size=ISOTROPIC)
    assert found.labels[0, 2, 4] == found.labels[0, 1, 4]
    assert len({int(found.labels[0, at[0], at[1]]) for at in ((1, 4), (3, 3), (3, 5))}) == 3


def test_a_boundary_voxel_belongs_to_a_nearest_fragment(smooth_affinities, offsets):
    affinities = smooth_affinities(11, (14, 30, 34), 4.0)
    inside = foreground(affinities, (0, 1, 2), 0.5) > 0
    labels = [
        extract_fragments(affinities, offsets, FragmentsConfig(grow=grow), voxel_size=ISOTROPIC).labels
        for grow in (0, 32)
    ]
    assert np.array_equal(labels[0][inside], labels[1][inside])
    assert (labels[1] > 0).all()
    # the ascent is the steepest, not the straight way: it ends where the distance is at most a step longer
    distance = ndimage.distance_transform_edt(~inside)
    for label in np.unique(labels[1])[:20]:
        own = ndimage.distance_transform_edt(labels[0] != label)
        assert (own[labels[1] == label] <= distance[labels[1] == label] + 1.5).all()


# --- seeds and watershed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 4, 5])
def test_seeds_are_the_maxima_of_a_window_as_in_scipy(window):
    squared = np.random.default_rng(0).integers(0, 50, (9, 12, 15)).astype(np.uint32)
    seeds = maxima(squared, (window,) * 3)
    peaks = (ndimage.maximum_filter(squared, window, mode="nearest") == squared) & (squared > 0)
    expected, count = ndimage.label(peaks)
    assert np.array_equal(seeds > 0, peaks)
    assert len(np.unique(np.stack([seeds[peaks], expected[peaks]]), axis=1).T) == count == seeds.max()


@pytest.mark.parametrize("in_plane", [False, True])
def test_flooding_makes_the_basins_of_scikit_image(in_plane):
    random = np.random.default_rng(0)
    # all heights differ, so that there are no ties
    heights = (random.permutation(8 * 15 * 16).reshape(8, 15, 16) + 1).astype(np.int32)
    heights[random.random(heights.shape) < 0.15] = 0
    seeds = np.zeros(heights.shape, np.uint32)
    places = np.argsort(heights.ravel())[-40:]
    seeds.ravel()[places] = np.arange(1, 41)
    grown = flood(heights, seeds, in_plane=in_plane)
    structure = ndimage.generate_binary_structure(3, 1)
    if in_plane:
        structure[[0, 2]] = False
    expected = reference_watershed(-heights, seeds.astype(np.int32), mask=heights > 0, connectivity=structure)
    assert np.array_equal(grown, expected)
