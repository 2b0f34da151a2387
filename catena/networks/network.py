"""A U-Net with its heads: what is trained, stored in a checkpoint, and predicted with."""

from __future__ import annotations

import torch
from funlib.geometry import Coordinate
from torch import Tensor, nn

from catena.errors import ConfigError, GeometryError
from catena.networks.config import NetworkConfig
from catena.networks.shapes import UNetShapes
from catena.networks.unet import build_end, build_level


class Network(nn.Module):
    """A U-Net with one 1x1x1 convolution and sigmoid per head.

    Attributes
    ----------
    config
        What it was built from; a checkpoint carries it.
    shapes
        Legal input shapes and where outputs lie in them.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.shapes = UNetShapes(config.unet)
        self.unet = build_level(config.unet, 0, config.in_channels)
        self.end = build_end(config.unet)
        maps = config.unet.feature_maps_at(0)
        self.heads = nn.ModuleDict({name: nn.Conv3d(maps, channels, 1) for name, channels in config.heads.items()})

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
        if x.ndim != 5 or x.shape[1] != self.config.in_channels:
            raise GeometryError(
                f"the network takes (batch, {self.config.in_channels}, z, y, x); found the shape {tuple(x.shape)}"
            )
        self.shapes.check_input_shape(Coordinate(x.shape[2:]))
        features = self.end(self.unet(x)[0])
        # The sigmoid is taken in float32 also under autocast: near 1, bfloat16 has steps of 1/256.
        return {name: torch.sigmoid(head(features).float()) for name, head in self.heads.items()}

    def output_shape_vox(self, input_shape_vox: Coordinate) -> Coordinate:
        """Return the output's spatial shape for a legal input shape (see :class:`UNetShapes`)."""
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

    def without_padding(self) -> Network:
        """Return this network with valid convolutions and no crop, sharing its weights, in evaluation mode.

        Where padding is not felt, a padded network computes just this; without the padding there is
        nothing to compute at the borders, and no seam.

        Raises
        ------
        ConfigError
            If the network normalises over the patch (``group``): what it computes depends on the patch.
        """
        if not self.config.unet.is_local:
            raise ConfigError(
                "a network with normalisation: group depends on where patches lie, so blocks would not agree; "
                "train with normalisation: batch or none"
            )
        unet = self.config.unet.model_copy(update={"padding": "valid", "equivariant_crop": False})
        with torch.device("meta"):
            twin = Network(self.config.model_copy(update={"unet": unet}))
        twin.load_state_dict(self.state_dict(), assign=True)
        return twin.requires_grad_(False).eval()


def build_network(config: NetworkConfig) -> Network:
    """Build a network with freshly drawn weights (seed torch first for reproducible ones)."""
    return Network(config)
