"""The levels of a U-Net, one inside the other."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from catena.networks.blocks import activation, build_block, normalisation, window
from catena.networks.config import UNetConfig
from catena.networks.shapes import equivariant_size, trimmed_vox
from catena.networks.upsampling import build_upsampling

Begin = tuple[int, int, int]


class Level(nn.Module):
    """A level of the U-Net together with all levels below it."""

    def __init__(self, config: UNetConfig, level: int, in_channels: int) -> None:
        super().__init__()
        maps, below_maps = config.feature_maps_at(level), config.feature_maps_at(level + 1)
        self.factor = config.downsampling[level]
        self.crop_factor = tuple(prod(each) for each in zip(*config.downsampling[level:], strict=True))
        self.equivariant_crop = config.equivariant_crop
        self.trimmed = tuple(trimmed_vox(config, factor) for factor in self.factor)
        self.adds = config.skip == "add"
        self.down = build_block(in_channels, maps, config.passes_down[level], config, bare_begin=level == 0)
        self.pool = nn.MaxPool3d(self.factor)
        self.below: Level | Bottleneck = build_level(config, level + 1, maps)
        self.upsample, up_maps = build_upsampling(config, below_maps, maps, self.factor)
        self.up = build_block(maps if self.adds else maps + up_maps, maps, config.passes_up[level], config)

    def forward(self, x: Tensor) -> tuple[Tensor, Begin]:
        """Return features and where, in voxels of `x`, they begin."""
        skip = self.down(x)
        coarse, begin = self.below(self.pool(skip))
        fine = self.upsample(coarse)
        # The skip connection is cropped by position, not about its centre: exact even where the crop
        # for equivariance is odd.
        per_axis = zip(begin, self.factor, self.trimmed, strict=True)
        skip_begin = [b * factor + trimmed // 2 for b, factor, trimmed in per_axis]
        if self.equivariant_crop:
            fine, cropped = self._crop_for_equivariance(fine)
            skip_begin = [a + b for a, b in zip(skip_begin, cropped, strict=True)]
        skip = window(skip, skip_begin, fine.shape[2:])
        lost = zip(skip_begin, self.down.lost_vox, self.up.lost_vox, strict=True)
        z, y, x_begin = (b + down // 2 + up // 2 for b, down, up in lost)
        joined = skip + fine if self.adds else torch.cat((skip, fine), dim=1)
        return self.up(joined), (z, y, x_begin)

    def _crop_for_equivariance(self, fine: Tensor) -> tuple[Tensor, list[int]]:
        sizes = zip(fine.shape[2:], self.up.lost_vox, self.crop_factor, strict=True)
        shape = [equivariant_size(size, lost, factor) for size, lost, factor in sizes]
        begin = [(size - cropped) // 2 for size, cropped in zip(fine.shape[2:], shape, strict=True)]
        return window(fine, begin, shape), begin


class Bottleneck(nn.Module):
    """The lowest level."""

    def __init__(self, config: UNetConfig, in_channels: int) -> None:
        super().__init__()
        maps, kernels = config.feature_maps_at(config.levels), config.passes_down[config.levels]
        self.block = build_block(in_channels, maps, kernels, config, bare_begin=config.levels == 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Begin]:
        """Return features and where, in voxels of `x`, they begin."""
        z, y, x_begin = (lost // 2 for lost in self.block.lost_vox)
        return self.block(x), (z, y, x_begin)


def build_level(config: UNetConfig, level: int, in_channels: int) -> Level | Bottleneck:
    """Return the U-Net from `level` downwards."""
    return Bottleneck(config, in_channels) if level == config.levels else Level(config, level, in_channels)


def build_end(config: UNetConfig) -> nn.Module:
    """Return what follows the U-Net: with pre-activation the activation of its last convolution, else nothing."""
    if not config.pre_activation:
        return nn.Identity()
    return nn.Sequential(*normalisation(config, config.feature_maps_at(0)), activation(config))
