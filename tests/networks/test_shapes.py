import pytest
from funlib.geometry import Coordinate
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.errors import GeometryError
from catena.networks import UNetConfig, UNetShapes

FIB25 = ((2, 2, 2), (2, 2, 2), (3, 3, 3))
CREMI = ((1, 3, 3), (1, 3, 3), (3, 3, 3))


@pytest.mark.parametrize(
    ("downsampling", "crop", "given_shape", "expected"),
    [
        (FIB25, False, (196, 196, 196), (92, 92, 92)),
        (FIB25, True, (196, 196, 196), (72, 72, 72)),
        (FIB25, False, (268, 268, 268), (164, 164, 164)),
        (CREMI, False, (84, 268, 268), (48, 56, 56)),
        (CREMI, False, (96, 484, 484), (60, 272, 272)),
    ],
)
def test_published_shapes(downsampling, crop, given_shape, expected) -> None:
    shapes = UNetShapes(UNetConfig(downsampling=downsampling, equivariant_crop=crop))
    assert shapes.output_shape_vox(Coordinate(given_shape)) == expected
    assert shapes.input_shape_vox(Coordinate(expected)) == given_shape or crop
    assert shapes.output_begin_vox(Coordinate(given_shape)) == shapes.context_vox


def test_crop_makes_outputs_multiples_of_the_step() -> None:
    shapes = UNetShapes(UNetConfig(downsampling=CREMI, equivariant_crop=True))
    output = shapes.output_shape_vox(shapes.input_shape_vox(Coordinate(10, 30, 28)))
    assert output == (12, 54, 54)
    assert output % shapes.equivariance_vox == Coordinate(0, 0, 0)


def test_context_and_step() -> None:
    shapes = UNetShapes(UNetConfig(downsampling=((2, 2, 2), (2, 2, 2))))
    assert shapes.context_vox == (20, 20, 20)
    assert shapes.equivariance_vox == (4, 4, 4)
    padded = UNetShapes(UNetConfig(downsampling=((2, 2, 2), (2, 2, 2)), padding="same"))
    assert padded.context_vox == (23, 23, 23)
    assert padded.output_shape_vox(Coordinate(8, 12, 4)) == (8, 12, 4)
    assert padded.input_shape_vox(Coordinate(5, 12, 1)) == (8, 12, 4)


def test_illegal_shape_names_the_nearest_legal_ones() -> None:
    shapes = UNetShapes(UNetConfig(downsampling=FIB25))
    with pytest.raises(GeometryError, match=r"y = 200 \(nearest legal: 196 or 208\); x = 3 \(nearest legal: 112\)"):
        shapes.check_input_shape(Coordinate(196, 200, 3))
    with pytest.raises(GeometryError, match=r"\(12, 12, 12\) apart"):
        shapes.output_shape_vox(Coordinate(197, 197, 197))
    with pytest.raises(GeometryError, match=r"x = 10 \(nearest legal: 8 or 12\)"):
        UNetShapes(UNetConfig(padding="same")).check_input_shape(Coordinate(8, 8, 10))
    with pytest.raises(GeometryError, match="three axes"):
        shapes.check_input_shape(Coordinate(196, 196))
    with pytest.raises(GeometryError, match="three positive sizes"):
        shapes.input_shape_vox(Coordinate(0, 1, 1))


kernels = st.lists(st.tuples(*[st.sampled_from([1, 3, 5])] * 3), min_size=1, max_size=2).map(tuple)


@st.composite
def unets(draw: st.DrawFn) -> UNetConfig:
    levels = draw(st.integers(0, 3))
    padding = draw(st.sampled_from(["valid", "same"]))
    return UNetConfig(
        downsampling=tuple(draw(st.tuples(*[st.integers(1, 3)] * 3)) for _ in range(levels)),
        kernels_down=tuple(draw(kernels) for _ in range(levels + 1)),
        kernels_up=tuple(draw(kernels) for _ in range(levels)) or None,
        padding=padding,
        equivariant_crop=padding == "valid" and draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None)
@given(unets(), st.tuples(*[st.integers(1, 40)] * 3))
def test_input_shape_is_the_smallest_that_suffices(config: UNetConfig, wanted: tuple[int, int, int]) -> None:
    shapes = UNetShapes(config)
    found = shapes.input_shape_vox(Coordinate(wanted))
    output = shapes.output_shape_vox(found)
    assert all(o >= w for o, w in zip(output, wanted, strict=True))
    smaller = found - shapes.equivariance_vox
    if config.padding == "valid":
        assert all(o - step < w for o, w, step in zip(output, wanted, shapes.equivariance_vox, strict=True))
        begin, end = shapes.output_begin_vox(found), found - output - shapes.output_begin_vox(found)
        assert shapes.context_vox == tuple(max(each) for each in zip(begin, end, strict=True))
        assert begin == end or config.equivariant_crop
    else:
        assert all(s < w for s, w in zip(smaller, wanted, strict=True))
