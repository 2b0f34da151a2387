from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.arrays import Array
from catena.blockwise import BlockGrid, remove_partial_files, skip_mask_from_array
from catena.blockwise.content import cells_with_content
from catena.blockwise.masks import ArrayMask, Mask, RoiMask, kept_voxels, skip_mask


def mask_array(values: np.ndarray, voxel_size: Coordinate, offset: Coordinate) -> Array:
    class InMemory:
        def __init__(self, data: np.ndarray) -> None:
            self.array, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
            self.chunks = data.shape
            self.attrs: dict[str, object] = {}

        def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
            found: np.ndarray = self.array[key]
            return found

    return Array("memory", InMemory(values), voxel_size, offset)


def test_skips_blocks_without_foreground() -> None:
    #  mask, 10 nm voxels:  . . # .        blocks of 15 nm:   0 15 30 45
    #                       0 10 20 30 40                     s  k  s     (20..30 lies in block 1 only)
    grid = BlockGrid(Roi((0, 0, 0), (5, 5, 45)), Coordinate(5, 5, 5), Coordinate(1, 1, 3), Coordinate(0, 0, 0))
    mask = mask_array(np.array([[[0, 0, 7, 0]]]), Coordinate(5, 5, 10), Coordinate(0, 0, 0))
    assert skip_mask_from_array(grid, mask).tolist() == [[[True, False, True]]]


@st.composite
def cases(draw: st.DrawFn, most_vox: int = 12) -> tuple[BlockGrid, Array]:
    def three(least: int, most: int) -> Coordinate:
        return Coordinate(draw(st.tuples(*[st.integers(least, most)] * 3)))

    grid = BlockGrid(Roi(three(-6, 6), three(1, most_vox)), Coordinate(1, 1, 1), three(1, 5), three(0, 1))
    shape = tuple(three(1, 4))
    values = np.random.default_rng(draw(st.integers(0, 99))).random(shape) < draw(st.sampled_from([0.1, 0.4, 1.0]))
    return grid, mask_array(values.astype(np.uint8), three(1, 6), three(-8, 8))


@settings(deadline=None, max_examples=50)
@given(cases())
def test_no_foreground_voxel_is_ever_skipped(case: tuple[BlockGrid, Array]) -> None:
    grid, mask = case
    skip = skip_mask_from_array(grid, mask)
    foreground = [
        Roi(mask.offset + Coordinate(int(i) for i in voxel) * mask.voxel_size, mask.voxel_size)
        for voxel in np.argwhere(mask.data.array)
    ]
    for block in grid:
        touched = any(block.write_roi.intersects(voxel) for voxel in foreground)
        assert skip[tuple(block.position)] != touched


@st.composite
def masked_volumes(draw: st.DrawFn) -> tuple[BlockGrid, list[Mask], Coordinate]:
    """A grid whose voxels are 2 units, masks of any voxel size, in halves and thirds of units too, and a margin."""
    grid, array = draw(cases(most_vox=6))
    grid = BlockGrid(grid.roi * 2, Coordinate(2, 2, 2), grid.block_shape_vox, grid.context_vox)
    units = draw(st.sampled_from([1, 2, 3]))
    other = Array(array.path, array.data, array.voxel_size, array.offset, units)
    boxes = [array.roi.intersect(grid.roi).snap_to_grid(grid.voxel_size, "grow")]
    masks: list[Mask] = [ArrayMask(other, draw(st.sampled_from([1, 2])))]
    return (
        grid,
        masks + [RoiMask(tuple(boxes))] * draw(st.integers(0, 1)),
        Coordinate(draw(st.tuples(*[st.integers(0, 3)] * 3))),
    )


@settings(deadline=None, max_examples=60)
@given(masked_volumes())
def test_no_voxel_that_the_masks_keep_lies_in_or_near_a_skipped_block(
    case: tuple[BlockGrid, list[Mask], Coordinate],
) -> None:
    grid, masks, margin_vox = case
    kept = kept_voxels(masks, grid.roi, grid.voxel_size)
    assert kept is not None
    skip, near = skip_mask(masks, grid), skip_mask(masks, grid, margin_vox)
    assert skip is not None
    assert near is not None
    assert not (near & ~skip).any()
    margin = margin_vox * grid.voxel_size
    for block in grid:
        here = kept_voxels(masks, block.write_roi, grid.voxel_size)
        begin = (block.write_roi.begin - grid.roi.begin) // grid.voxel_size
        end = begin + block.write_shape_vox
        inside = kept[tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))]
        np.testing.assert_array_equal(here, inside)  # a voxel's fate does not hang on the block it is read with
        around = kept_voxels(masks, block.write_roi.grow(margin, margin), grid.voxel_size)
        assert not (skip[tuple(block.position)] and inside.any())
        assert not (near[tuple(block.position)] and around is not None and around.any())
        if len(masks) == 1:  # with one mask, nothing is worked on in vain either
            assert skip[tuple(block.position)] != inside.any()


def test_a_voxel_is_kept_if_it_touches_a_mask_voxel() -> None:
    #  mask, 15 nm voxels:   # # # . . . # # #      voxels of 10 nm:  0 10 20 30 40
    #                        0     15    30   45                      k k  .  k  k
    mask = ArrayMask(mask_array(np.array([[[1, 0, 1]]]), Coordinate(10, 10, 15), Coordinate(0, 0, 0)), 1)
    kept = mask.voxels(Roi((0, 0, -10), (10, 10, 60)), Coordinate(10, 10, 10))
    assert kept.tolist() == [[[False, True, True, False, True, True]]]


def test_a_fine_mask_keeps_every_voxel_it_has_a_part_of() -> None:
    mask = ArrayMask(mask_array(np.array([[[0, 0, 0, 1, 0, 0]]]), Coordinate(10, 10, 5), Coordinate(0, 0, 0)), 1)
    assert mask.voxels(Roi((0, 0, 0), (10, 10, 30)), Coordinate(10, 10, 10)).tolist() == [[[False, True, False]]]


def test_masks_and_boxes_are_intersected_and_boxes_united() -> None:
    voxel = Coordinate(1, 1, 1)
    boxes = RoiMask((Roi((0, 0, 0), (1, 1, 2)), Roi((0, 0, 3), (1, 1, 2))))
    half = ArrayMask(mask_array(np.ones((1, 1, 1)), Coordinate(1, 1, 4), Coordinate(0, 0, 0)), 1)
    kept = kept_voxels([boxes, half], Roi((0, 0, 0), (1, 1, 6)), voxel)
    assert kept is not None
    assert kept.tolist() == [[[True, True, False, True, False, False]]]
    assert kept_voxels([], Roi((0, 0, 0), (1, 1, 6)), voxel) is None


CELL = Coordinate(2, 2, 2)


def content(line: list[int], core: slice, value: float | None = None) -> list[bool]:
    raw = np.array(line, np.uint8)[None, None]
    found: list[bool] = cells_with_content(raw, (slice(0, 1), slice(0, 1), core), CELL, value)[0, 0].tolist()
    return found


def test_cells_are_empty_where_they_and_all_around_are_constant() -> None:
    #            cells   a     b     c     d     e          a differs within, b only from its neighbour
    assert content([5, 6, 0, 0, 0, 0, 0, 0, 0, 0], slice(0, 10)) == [True, True, True, False, False]
    assert content([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], slice(0, 10)) == [False] * 5


def test_two_constants_side_by_side_are_content() -> None:
    assert content([0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9], slice(0, 14)) == [
        False,
        True,
        True,
        True,
        True,
        False,
        False,
    ]


def test_only_the_given_value_is_empty() -> None:
    assert content([9, 9, 9, 9, 9, 9, 0, 0, 0, 0], slice(0, 10), value=9) == [False, False, True, True, True]
    assert content([9, 9, 9, 9, 9, 9], slice(0, 6), value=0) == [True] * 3


def test_what_lies_around_a_block_counts_however_it_is_cut() -> None:
    line = np.zeros(24, int)
    line[11] = 1  # cell 5: cells 4 to 6 have content near
    whole = content(line.tolist(), slice(0, 24))
    assert whole == [4 <= cell <= 6 for cell in range(12)]
    for cells in (1, 2, 3, 5):
        parts = []
        for first in range(0, 12, cells):
            begin, end = 2 * first, min(2 * (first + cells), 24)
            low = max(0, begin - 2)
            part = line[low : min(end + 2, 24)].tolist()
            parts += content(part, slice(begin - low, end - low))
        assert parts == whole


def test_removes_partial_chunks_only(tmp_path: Path) -> None:
    array = tmp_path / "v.zarr" / "raw"
    array.mkdir(parents=True)
    for name in ("0.0.0", "0.0.1.4f2a.partial", ".zarray"):
        (array / name).write_text("")
    assert remove_partial_files(tmp_path / "v.zarr") == 1
    assert sorted(path.name for path in array.iterdir()) == [".zarray", "0.0.0"]
    assert remove_partial_files(tmp_path / "missing") == 0
