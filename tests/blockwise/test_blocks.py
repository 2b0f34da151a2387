import json

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.blockwise import BlockGrid
from catena.errors import GeometryError


@st.composite
def grids(draw: st.DrawFn) -> BlockGrid:
    def three(least: int, most: int) -> Coordinate:
        return Coordinate(draw(st.tuples(*[st.integers(least, most)] * 3)))

    voxel_size = three(1, 7)
    roi = Roi(three(-5, 5) * voxel_size, three(1, 9) * voxel_size)
    return BlockGrid(roi, voxel_size, three(1, 6), three(0, 3))


@settings(deadline=None, max_examples=50)
@given(grids())
def test_every_voxel_is_written_by_exactly_one_block(grid: BlockGrid) -> None:
    owner = np.full(tuple(grid.roi.shape // grid.voxel_size), -1)
    for index, block in enumerate(grid):
        assert block.index == index == np.ravel_multi_index(tuple(block.position), grid.shape)
        inside = (block.write_roi - grid.roi.begin) / grid.voxel_size
        assert (owner[inside.to_slices()] == -1).all()
        owner[inside.to_slices()] = index
    assert (owner >= 0).all()
    assert len(np.unique(owner)) == len(grid)


@settings(deadline=None, max_examples=50)
@given(grids(), st.data())
def test_finds_the_blocks_of_a_region(grid: BlockGrid, data: st.DataObject) -> None:
    offset = data.draw(st.tuples(*[st.integers(-40, 60)] * 3))
    shape = data.draw(st.tuples(*[st.integers(1, 60)] * 3))
    roi = Roi(offset, shape)
    expected = [block.index for block in grid if block.write_roi.intersects(roi)]
    assert grid.blocks_intersecting(roi).tolist() == expected


@settings(deadline=None, max_examples=50)
@given(grids())
def test_context_and_core(grid: BlockGrid) -> None:
    for block in grid:
        assert block.read_roi == block.write_roi.grow(grid.context, grid.context)
        read = np.zeros(tuple(block.read_roi.shape // grid.voxel_size), dtype=bool)
        read[block.core] = True
        assert read.sum() == np.prod(block.write_shape_vox)
        inner = (block.write_roi - block.read_roi.begin) / grid.voxel_size
        assert read[inner.to_slices()].all()
        assert grid.index_at(block.write_roi.begin) == grid.index_at(block.write_roi.end - 1) == block.index


@settings(deadline=None, max_examples=50)
@given(grids())
def test_survives_json(grid: BlockGrid) -> None:
    assert BlockGrid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


def test_ids_belong_to_their_block(grid: BlockGrid) -> None:
    #  ids of block i:  64·i + 1 … 64·i + 64
    assert (len(grid), grid.shape, grid.voxels_per_block) == (18, (3, 3, 2), 64)
    assert [grid.block(index).id_offset for index in (0, 1, 17)] == [0, 64, 17 * 64]
    assert grid.owners(np.array([1, 64, 65, 18 * 64], dtype=np.uint64)).tolist() == [0, 0, 1, 17]


def test_the_last_block_is_cropped(grid: BlockGrid) -> None:
    last = grid.block(17)
    assert last.position == Coordinate(2, 2, 1)
    assert last.write_roi == Roi((180, 12, 14), (10, 2, 6))
    assert last.read_roi == Roi((170, 10, 12), (30, 6, 10))
    assert last.core == (slice(1, 2), slice(1, 2), slice(1, 4))


VOXEL = Coordinate(4, 2, 2)
ONE = Coordinate(1, 1, 1)


@pytest.mark.parametrize(
    ("roi", "voxel_size", "block", "context", "message"),
    [
        (Roi((0, 0, 0), (8, 8, 9)), VOXEL, ONE, ONE, r"shape .* is not a multiple of the voxel size .*\(8, 8, 8\)"),
        (Roi((1, 0, 0), (8, 8, 8)), VOXEL, ONE, ONE, "offset .* is not a multiple of the voxel size"),
        (Roi((0, 0, 0), (0, 8, 8)), VOXEL, ONE, ONE, "bounded and not empty"),
        (Roi((0, 0, None), (8, 8, None)), VOXEL, ONE, ONE, "bounded and not empty"),
        (Roi((0, 0, 0), (8, 8, 8)), VOXEL, Coordinate(1, 0, 1), ONE, "block_shape_vox must be 3 numbers of at least 1"),
        (Roi((0, 0, 0), (8, 8, 8)), VOXEL, ONE, Coordinate(0, -1, 0), "context_vox must be 3 numbers of at least 0"),
        (Roi((0, 0, 0), (8, 8, 8)), VOXEL, Coordinate(1, 1), ONE, "block_shape_vox must be 3 numbers"),
        (Roi((0, 0, 0), (2**40,) * 3), ONE, Coordinate([2**39] * 3), ONE, "beyond 63 bits"),
    ],
)
def test_refuses_what_does_not_fit(
    roi: Roi, voxel_size: Coordinate, block: Coordinate, context: Coordinate, message: str
) -> None:
    with pytest.raises(GeometryError, match=message):
        BlockGrid(roi, voxel_size, block, context)


def test_there_is_no_block_beyond_the_last(grid: BlockGrid) -> None:
    with pytest.raises(GeometryError, match="there is no block 18; blocks are numbered 0 to 17"):
        grid.block(18)
    with pytest.raises(GeometryError, match="outside the region"):
        grid.index_at(Coordinate(0, 0, 0))


def test_blocks_must_not_share_chunks(grid: BlockGrid) -> None:
    grid.require_aligned_chunks(Coordinate(2, 4, 1), grid.roi)
    with pytest.raises(GeometryError, match=r"fragments: blocks of .* cut chunks of"):
        grid.require_aligned_chunks(Coordinate(3, 4, 4), grid.roi, "fragments")
    with pytest.raises(GeometryError, match="cut chunks"):
        grid.require_aligned_chunks(Coordinate(4, 4, 4), grid.roi.grow(Coordinate(10, 0, 0), Coordinate(0, 0, 0)))
    whole = BlockGrid(grid.roi, grid.voxel_size, Coordinate(9, 9, 7), ONE)
    whole.require_aligned_chunks(Coordinate(5, 5, 5), grid.roi)
