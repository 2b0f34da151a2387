from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.arrays import Array
from catena.blockwise import BlockGrid, remove_partial_files, skip_mask_from_array


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
def cases(draw: st.DrawFn) -> tuple[BlockGrid, Array]:
    def three(least: int, most: int) -> Coordinate:
        return Coordinate(draw(st.tuples(*[st.integers(least, most)] * 3)))

    grid = BlockGrid(Roi(three(-6, 6), three(1, 12)), Coordinate(1, 1, 1), three(1, 5), three(0, 1))
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


def test_removes_partial_chunks_only(tmp_path: Path) -> None:
    array = tmp_path / "v.zarr" / "raw"
    array.mkdir(parents=True)
    for name in ("0.0.0", "0.0.1.4f2a.partial", ".zarray"):
        (array / name).write_text("")
    assert remove_partial_files(tmp_path / "v.zarr") == 1
    assert sorted(path.name for path in array.iterdir()) == [".zarray", "0.0.0"]
    assert remove_partial_files(tmp_path / "missing") == 0
