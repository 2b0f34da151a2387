"""A U-Net with its heads: what is trained, stored in a checkpoint, and predicted with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from catena.networks.base import BaseNetwork
from catena.networks.config import NetworkConfig
from catena.networks.unet import build_end, build_level


class Network(BaseNetwork):
    """A U-Net with one 1x1x1 convolution and sigmoid per head."""

    config: NetworkConfig

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.unet = build_level(config.unet, 0, config.in_channels)
        self.end = build_end(config.unet)
        maps = config.unet.feature_maps_at(0)
        self.heads = nn.ModuleDict({name: nn.Conv3d(maps, channels, 1) for name, channels in config.heads.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Predict every head (see :class:`BaseNetwork`)."""
        self.check_input(x)
        features = self.end(self.unet(x)[0])
        # The sigmoid is taken in float32 also under autocast: near 1, bfloat16 has steps of 1/256.
        return {name: torch.sigmoid(head(features).float()) for name, head in self.heads.items()}
