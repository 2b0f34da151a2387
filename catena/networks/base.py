"""What any network offers: its configuration, its shapes, and prediction without padding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from funlib.geometry import Coordinate
from torch import Tensor, nn

from catena.errors import ConfigError, GeometryError
from catena.networks.config import AnyNetworkConfig
from catena.networks.shapes import NetworkShapes, network_shapes


class BaseNetwork(nn.Module, ABC):
    """A network from raw to heads. A subclass builds itself from a configuration, and nothing else.

    Attributes
    ----------
    config
        What it was built from; a checkpoint carries it.
    shapes
        Legal input shapes and where outputs lie in them.
    """

    config: AnyNetworkConfig
    shapes: NetworkShapes

    def __init__(self, config: AnyNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.shapes = network_shapes(config)

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Predict every head.

        Parameters
        ----------
        x
            ``(b, c, z, y, x)`` float, raw in [-1, 1].

        Returns
        -------
        dict of Tensor
            Per head ``(b, channels, z, y, x)`` float32 in [0, 1], of the shape that
            ``output_shape_vox`` says, beginning at ``shapes.output_begin_vox`` of the input.

        Raises
        ------
        GeometryError
            If the shape or the number of channels is illegal.
        """

    def check_input(self, x: Tensor) -> None:
        """Refuse an input of an illegal shape or number of channels.

        Raises
        ------
        GeometryError
            Naming what is legal.
        """
        if x.ndim != 5 or x.shape[1] != self.config.in_channels:
            raise GeometryError(
                f"the network takes (batch, {self.config.in_channels}, z, y, x); found the shape {tuple(x.shape)}"
            )
        self.shapes.check_input_shape(Coordinate(x.shape[2:]))

    def output_shape_vox(self, input_shape_vox: Coordinate) -> Coordinate:
        """Return the output's spatial shape for a legal input shape (see :class:`NetworkShapes`)."""
        return self.shapes.output_shape_vox(input_shape_vox)

    def input_shape_vox(self, at_least_output_vox: Coordinate) -> Coordinate:
        """Return the smallest legal input shape whose output is at least this large."""
        return self.shapes.input_shape_vox(at_least_output_vox)

    @property
    def context_vox(self) -> Coordinate:
        """Voxels of input that an output needs around it, on each side."""
        return self.shapes.context_vox

    @property
    def equivariance_vox(self) -> Coordinate:
        """Steps in which a shift of the input shifts the output exactly."""
        return self.shapes.equivariance_vox

    def without_padding(self) -> Self:
        """Return this network with valid convolutions and no crop, sharing its weights, in evaluation mode.

        Where padding is not felt, a padded network computes just this; without the padding there is
        nothing to compute at the borders, and no seam.

        Raises
        ------
        ConfigError
            If the network normalises over the patch (``group``): what it computes depends on the patch.
        """
        if not self.config.is_local:
            raise ConfigError(
                "a network with normalisation: group depends on where patches lie, so blocks would not agree; "
                "train with normalisation: batch or none"
            )
        with torch.device("meta"):
            twin = type(self)(self.config.unpadded)
        twin.load_state_dict(self.state_dict(), assign=True)
        return twin.requires_grad_(False).eval()
