"""Cut a block into the patches that a network predicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from funlib.geometry import Coordinate

from catena.errors import GeometryError
from catena.networks.shapes import NetworkShapes


@dataclass(frozen=True)
class PatchGrid:
    """Patches that cover a block, placed so that every network evaluation agrees with every other.

    A network's output at a voxel depends on how its pooling windows lie, that is, on where the patch
    begins modulo the product of its downsampling factors. All patches therefore begin at multiples
    of this step, counted from the volume's first voxel whatever the block: patches, blocks and
    the whole volume then predict the same value at the same voxel.

    Attributes
    ----------
    begin_vox
        Where the first patch's output begins: the block's begin, rounded down to a multiple of the step.
    count
        Patches along z, y, x.
    input_shape_vox
        Shape of every patch's input.
    context_vox
        Context before a patch's output.
    output_shape_vox
        The part of each patch's output that is used, a multiple of the step.
    """

    begin_vox: Coordinate
    count: Coordinate
    input_shape_vox: Coordinate
    context_vox: Coordinate
    output_shape_vox: Coordinate

    @property
    def read_begin_vox(self) -> Coordinate:
        """Begin of the input of all patches together."""
        return self.begin_vox - self.context_vox

    @property
    def read_shape_vox(self) -> Coordinate:
        """Shape of the input of all patches together."""
        return (self.count - Coordinate(1, 1, 1)) * self.output_shape_vox + self.input_shape_vox

    def __iter__(self) -> Iterator[Coordinate]:
        """Yield where each patch begins, relative to the first one."""
        for index in product(*(range(n) for n in self.count)):
            yield Coordinate(index) * self.output_shape_vox


def plan_patches(
    shapes: NetworkShapes, begin_vox: Coordinate, shape_vox: Coordinate, largest_input_vox: int
) -> PatchGrid:
    """Choose the patches that cover a block with the least computation.

    Parameters
    ----------
    shapes
        Of a network with valid convolutions and no crop.
    begin_vox, shape_vox
        The block, in voxels from the volume's first one.
    largest_input_vox
        Bound on the number of input voxels of a patch; the smallest legal patch is taken if even that
        exceeds it.

    Raises
    ------
    GeometryError
        If the block is empty or the network pads.
    """
    if not shapes.aligned:
        raise GeometryError("patches are planned for valid convolutions without crop: use without_padding()")
    if min(shape_vox) < 1:
        raise GeometryError(f"cannot predict an empty block: shape {shape_vox}")
    step = shapes.equivariance_vox
    begin = Coordinate(b // each * each for b, each in zip(begin_vox, step, strict=True))
    span = begin_vox + shape_vox - begin
    axes = [_axis_choices(shapes, axis, span[axis], step[axis]) for axis in range(3)]
    fitting = [each for each in product(*axes) if prod(one[2] for one in each) <= largest_input_vox]
    chosen = min(fitting or [tuple(axis[-1] for axis in axes)], key=_cost)
    input_shape = Coordinate(size for _, _, size in chosen)
    return PatchGrid(
        begin,
        Coordinate(count for count, _, _ in chosen),
        input_shape,
        shapes.output_begin_vox(input_shape),
        Coordinate(used for _, used, _ in chosen),
    )


Choice = tuple[int, int, int]
"""Number of patches along an axis, output used of each, input size of each."""


def _axis_choices(shapes: NetworkShapes, axis: int, span: int, step: int) -> list[Choice]:
    """Return the sensible ways to cover `span` voxels: most output per patch first, one step last."""
    steps = -(-span // step)
    choices = []
    for count in range(1, steps + 1):
        used = -(-steps // count) * step
        if -(-steps * step // used) == count:
            wanted = Coordinate(used if each == axis else 1 for each in range(3))
            choices.append((count, used, shapes.input_shape_vox(wanted)[axis]))
    return choices


def _cost(choice: tuple[Choice, ...]) -> tuple[int, int]:
    return prod(count * size for count, _, size in choice), prod(count for count, _, _ in choice)
