import numpy as np
import pytest
from funlib.geometry import Coordinate
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.errors import GeometryError
from catena.inference.patches import plan_patches
from catena.networks import UNetConfig, UNetShapes

UNET = UNetConfig(downsampling=((1, 2, 2), (2, 3, 3)))
triples = st.tuples(*[st.integers(1, 60)] * 3)


@settings(max_examples=50, deadline=None)
@given(triples, triples, st.integers(1, 400_000))
def test_patches_cover_the_block_on_the_global_grid(begin, shape, largest) -> None:
    grid = plan_patches(UNetShapes(UNET), Coordinate(begin), Coordinate(shape), largest)
    step = UNetShapes(UNET).equivariance_vox
    origin = np.array(grid.begin_vox)
    counted = np.zeros(Coordinate(begin) + Coordinate(shape) + grid.output_shape_vox * 2 + step, dtype=np.uint8)
    for patch in grid:
        assert not ((origin + patch) % step).any()
        counted[tuple(slice(b, b + n) for b, n in zip(origin + patch, grid.output_shape_vox, strict=True))] += 1
    assert counted.max() == 1
    assert counted[tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))].min() == 1
    output = UNetShapes(UNET).output_shape_vox(grid.input_shape_vox)
    assert all(o >= used for o, used in zip(output, grid.output_shape_vox, strict=True))
    smallest = UNetShapes(UNET).input_shape_vox(step)
    assert np.prod(grid.input_shape_vox) <= max(largest, np.prod(smallest))


def test_one_patch_if_it_fits_and_few_if_not() -> None:
    block = Coordinate(96, 96, 96)
    isotropic = UNetShapes(UNetConfig())
    assert plan_patches(isotropic, Coordinate(0, 0, 0), block, 10**9).count == (1, 1, 1)
    assert plan_patches(isotropic, Coordinate(0, 0, 0), block, 140**2 * 90).count == (1, 1, 2)


def test_refuses_padding() -> None:
    with pytest.raises(GeometryError, match="without_padding"):
        plan_patches(UNetShapes(UNetConfig(padding="same")), Coordinate(0, 0, 0), Coordinate(8, 8, 8), 10**6)
