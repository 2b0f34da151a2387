"""Which input shapes a network takes, and where its output lies in them.

Everything is separable by axis, and needs no weights: the same arithmetic serves training (request
sizes), prediction (patches) and configuration (messages), without importing torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import lcm, prod

from funlib.geometry import Coordinate

from catena.errors import GeometryError
from catena.networks.config import AnyNetworkConfig, AutocontextConfig, ConvolutionPass, NetworkConfig, UNetConfig


class Axis(ABC):
    """A network seen along one axis."""

    @property
    @abstractmethod
    def step(self) -> int:
        """Voxels by which a shift of the input shifts the output exactly."""

    @property
    @abstractmethod
    def spacing(self) -> int:
        """Distance of legal sizes."""

    @property
    @abstractmethod
    def reach(self) -> int:
        """Voxels to each side on which an output voxel can depend."""

    @abstractmethod
    def output(self, size: int) -> tuple[int, int] | None:
        """Return size and begin of the output for an input of `size` voxels, or None if it is illegal."""

    def search(self, start: int, accept: Callable[[int], bool], direction: int = 1) -> int | None:
        """Return the legal size nearest to `start`, in `direction`, whose output size `accept` takes."""
        # Legal sizes repeat with the step; the smallest is below the total loss plus two steps.
        size, end = start, start + 4 * self.step + 4 * self.reach
        while 0 < size <= end:
            found = self.output(size)
            if found is not None and accept(found[0]):
                return size
            size += direction
        return None


@dataclass(frozen=True)
class UNetAxis(Axis):
    """A U-Net along one axis: factors between levels, voxels lost by upsampling and per convolution pass."""

    factors: tuple[int, ...]
    trimmed: tuple[int, ...]
    lost_down: tuple[int, ...]
    lost_up: tuple[int, ...]
    same: bool
    crop: bool

    @property
    def step(self) -> int:
        """The product of all factors."""
        return prod(self.factors)

    @property
    def spacing(self) -> int:
        """The step."""
        return self.step

    @property
    def reach(self) -> int:
        """Voxels to each side on which an output voxel can depend."""
        strides = [prod(self.factors[:level]) for level in range(len(self.factors) + 1)]
        lost = sum(n * stride for n, stride in zip(self.lost_down, strides, strict=True))
        lost += sum(n * stride for n, stride in zip(self.lost_up, strides, strict=False))
        # Interpolation looks one voxel of the level below further.
        lost += 2 * sum(stride for n, stride in zip(self.trimmed, strides[1:], strict=True) if n)
        return lost // 2 + self.step - 1

    def output(self, size: int) -> tuple[int, int] | None:
        """Return size and begin of the output for an input of `size` voxels, or None if it is illegal."""
        return (size, 0) if self.same and size > 0 and size % self.step == 0 else self._level(0, size)

    def _level(self, level: int, size: int) -> tuple[int, int] | None:
        if self.same:
            return None
        size, begin = size - self.lost_down[level], self.lost_down[level] // 2
        if size <= 0 or level == len(self.factors):
            return (size, begin) if size > 0 else None
        factor, lost = self.factors[level], self.lost_up[level]
        below = self._level(level + 1, size // factor) if size % factor == 0 else None
        if below is None:
            return None
        trimmed = self.trimmed[level]
        size, begin = below[0] * factor - trimmed, begin + below[1] * factor + trimmed // 2
        if self.crop:
            cropped = equivariant_size(size, lost, prod(self.factors[level:]))
            size, begin = cropped, begin + (size - cropped) // 2
        size -= lost
        return (size, begin + lost // 2) if size > 0 else None


@dataclass(frozen=True)
class ChainAxis(Axis):
    """Two networks, the second on the output of the first, along one axis.

    The first's output is cropped to an input that the second takes. At the begin it loses just so much
    that its outputs begin a whole number of its steps before those of the second: so the pair computes
    what prediction with the one, and then with the other, would, with all patches on one grid.
    """

    first: Axis
    second: Axis
    same: bool

    @property
    def step(self) -> int:
        """The smallest number of voxels that is a multiple of both steps."""
        return lcm(self.first.step, self.second.step)

    @property
    def spacing(self) -> int:
        """That of the first, whose output is cropped; with padding nothing is, and both must fit."""
        return self.step if self.same else self.first.spacing

    @property
    def reach(self) -> int:
        """That of both."""
        return self.first.reach + self.second.reach

    @cached_property
    def crop(self) -> int:
        """Voxels by which the second's input begins after the first's output."""
        smallest = self.second.search(1, lambda _: True)
        found = self.second.output(smallest) if smallest else None
        return -found[1] % self.first.step if found else 0

    def passed_on(self, size: int) -> int | None:
        """Return the size of the second's input for an input of the first of `size` voxels, or None."""
        found = self.first.output(size)
        if found is None or self.same:
            return None if found is None or self.second.output(found[0]) is None else found[0]
        return self.second.search(found[0] - self.crop, lambda _: True, -1)

    def output(self, size: int) -> tuple[int, int] | None:
        """Return size and begin of the output for an input of `size` voxels, or None if it is illegal."""
        before, between = self.first.output(size), self.passed_on(size)
        after = None if between is None else self.second.output(between)
        return None if before is None or after is None else (after[0], before[1] + self.crop + after[1])


def equivariant_size(size: int, lost: int, factor: int) -> int:
    """Return the largest size up to `size` that is a multiple of `factor` after losing `lost` voxels."""
    return (size - lost) // factor * factor + lost


def lost_vox(kernels: ConvolutionPass, axis: int) -> int:
    """Return the voxels that a pass of valid convolutions loses along `axis`, both sides together."""
    return sum(kernel[axis] - 1 for kernel in kernels)


def trimmed_vox(config: UNetConfig, factor: int) -> int:
    """Return the voxels that upsampling by `factor` leaves out, both sides together."""
    return 2 * (factor // 2) if config.upsampling == "linear" and config.padding == "valid" else 0


class NetworkShapes:
    """Shape arithmetic of any network.

    Parameters
    ----------
    axes
        The network along z, y, x.
    described
        What makes a shape legal, for messages.
    pads
        Whether convolutions see zeros beyond the border.
    aligned
        Whether the output shifts with the input exactly, for prediction in patches: the network neither
        pads nor crops.
    """

    def __init__(self, axes: Sequence[Axis], described: str, *, pads: bool, aligned: bool) -> None:
        self._axes = axes
        self.described = described
        self.pads = pads
        self.aligned = aligned

    @cached_property
    def equivariance_vox(self) -> Coordinate:
        """Steps in which a shift of the input shifts the output exactly."""
        return Coordinate(axis.step for axis in self._axes)

    @cached_property
    def reach_vox(self) -> Coordinate:
        """Voxels to each side on which an output voxel can depend, whatever the position of pooling."""
        return Coordinate(axis.reach for axis in self._axes)

    @cached_property
    def context_vox(self) -> Coordinate:
        """Voxels of input that an output needs around it, on each side (the larger side where they differ).

        For valid convolutions, what the output is smaller than the input by; it is the same for all
        legal shapes. For ``same`` padding the output has the input's shape, but voxels nearer to its
        border than this feel the padding.
        """
        if self.pads:
            return self.reach_vox
        smallest = self.input_shape_vox(Coordinate(1, 1, 1))
        begin, output = self.output_begin_vox(smallest), self.output_shape_vox(smallest)
        return Coordinate(max(b, i - o - b) for i, o, b in zip(smallest, output, begin, strict=True))

    def output_shape_vox(self, input_shape_vox: Coordinate) -> Coordinate:
        """Return the output's spatial shape for an input's.

        Raises
        ------
        GeometryError
            If the input shape is illegal; the message names the nearest legal ones.
        """
        self.check_input_shape(input_shape_vox)
        return Coordinate(self._trace(axis, size)[0] for axis, size in zip(self._axes, input_shape_vox, strict=True))

    def output_begin_vox(self, input_shape_vox: Coordinate) -> Coordinate:
        """Return where, in voxels of the input, the output begins.

        Raises
        ------
        GeometryError
            If the input shape is illegal.
        """
        self.check_input_shape(input_shape_vox)
        return Coordinate(self._trace(axis, size)[1] for axis, size in zip(self._axes, input_shape_vox, strict=True))

    def input_shape_vox(self, at_least_output_vox: Coordinate) -> Coordinate:
        """Return the smallest legal input shape whose output is at least as large, along each axis.

        Raises
        ------
        GeometryError
            If the output shape is not positive along three axes.
        """
        if len(at_least_output_vox) != 3 or min(at_least_output_vox) < 1:
            raise GeometryError(f"an output shape needs three positive sizes z, y, x; found {at_least_output_vox}")
        sizes = []
        for axis, wanted in zip(self._axes, at_least_output_vox, strict=True):
            size = axis.search(wanted, lambda output, wanted=wanted: output >= wanted)  # type: ignore[misc]
            if size is None:  # impossible for odd kernels: legal sizes repeat with the step
                raise GeometryError(f"no legal input gives an output of {wanted} voxels")
            sizes.append(size)
        return Coordinate(sizes)

    def check_input_shape(self, input_shape_vox: Coordinate) -> None:
        """Refuse an illegal input shape.

        Raises
        ------
        GeometryError
            Naming the axes, and the nearest legal sizes below and above.
        """
        if len(input_shape_vox) != 3:
            raise GeometryError(f"a network's input has three axes z, y, x; found the shape {tuple(input_shape_vox)}")
        wrong = []
        for name, axis, size in zip("zyx", self._axes, input_shape_vox, strict=True):
            if axis.output(size) is None:
                near = (axis.search(size, lambda _: True, direction) for direction in (-1, 1))
                wrong.append(f"{name} = {size} (nearest legal: {' or '.join(str(n) for n in near if n is not None)})")
        if wrong:
            raise GeometryError(
                f"illegal network input shape {tuple(input_shape_vox)}: {'; '.join(wrong)}. With {self.described} "
                f"legal sizes lie {tuple(axis.spacing for axis in self._axes)} apart"
            )

    @staticmethod
    def _trace(axis: Axis, size: int) -> tuple[int, int]:
        found = axis.output(size)
        if found is None:
            raise GeometryError(f"illegal network input size {size}")
        return found


class UNetShapes(NetworkShapes):
    """Shape arithmetic of a U-Net.

    Examples
    --------
    >>> shapes = UNetShapes(UNetConfig(downsampling=((2, 2, 2), (2, 2, 2), (3, 3, 3))))
    >>> shapes.output_shape_vox(Coordinate(196, 196, 196))
    (92, 92, 92)
    >>> shapes.context_vox, shapes.equivariance_vox
    ((52, 52, 52), (12, 12, 12))
    """

    def __init__(self, config: UNetConfig) -> None:
        axes = [unet_axis(config, axis) for axis in range(3)]
        factors = [list(each) for each in config.downsampling]
        described = f"{config.padding} convolutions and downsampling {factors}"
        super().__init__(axes, described, pads=config.padding == "same", aligned=config.aligned)
        self.config = config


class AutocontextShapes(NetworkShapes):
    """Shape arithmetic of two networks one after the other."""

    def __init__(self, config: AutocontextConfig) -> None:
        first, second = config.first.unet, config.second.unet
        pads = first.padding == "same"
        self.chain = [ChainAxis(unet_axis(first, axis), unet_axis(second, axis), pads) for axis in range(3)]
        described = f"two networks one after the other and {first.padding} convolutions"
        super().__init__(self.chain, described, pads=pads, aligned=first.aligned and second.aligned)
        self.config = config

    @cached_property
    def crop_vox(self) -> Coordinate:
        """Where, in the first's output, the second's input begins."""
        return Coordinate(axis.crop for axis in self.chain)

    def passed_on_vox(self, input_shape_vox: Coordinate) -> Coordinate:
        """Return the shape of the second's input for a legal input of the first.

        Raises
        ------
        GeometryError
            If the input shape is illegal.
        """
        self.check_input_shape(input_shape_vox)
        sizes = (axis.passed_on(size) for axis, size in zip(self.chain, input_shape_vox, strict=True))
        return Coordinate(size or 0 for size in sizes)  # none is 0: the shape is legal


def network_shapes(config: AnyNetworkConfig) -> NetworkShapes:
    """Return the shape arithmetic of the network that `config` describes."""
    return UNetShapes(config.unet) if isinstance(config, NetworkConfig) else AutocontextShapes(config)


def unet_axis(config: UNetConfig, axis: int) -> UNetAxis:
    """Return a U-Net seen along one axis."""
    return UNetAxis(
        factors=tuple(factor[axis] for factor in config.downsampling),
        trimmed=tuple(trimmed_vox(config, factor[axis]) for factor in config.downsampling),
        lost_down=tuple(lost_vox(kernels, axis) for kernels in config.passes_down),
        lost_up=tuple(lost_vox(kernels, axis) for kernels in config.passes_up),
        same=config.padding == "same",
        crop=config.equivariant_crop,
    )
