"""The U-Net itself."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod

import torch
from torch import Tensor, nn

from catena.networks.config import ConvolutionPass, UNetConfig
from catena.networks.shapes import equivariant_size, lost_vox

_ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}

Begin = tuple[int, int, int]


class ConvolutionBlock(nn.Sequential):
    """Convolutions of one level, each followed by normalisation and activation."""

    def __init__(self, in_channels: int, out_channels: int, kernels: ConvolutionPass, config: UNetConfig) -> None:
        layers: list[nn.Module] = []
        for kernel in kernels:
            convolution = nn.Conv3d(in_channels, out_channels, kernel, padding=config.padding)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
            layers += [convolution, *_normalisation(config, out_channels), _activation(config)]
            in_channels = out_channels
        super().__init__(*layers)
        same = config.padding == "same"
        self.lost_vox = tuple(0 if same else lost_vox(kernels, axis) for axis in range(3))


def _activation(config: UNetConfig) -> nn.Module:
    return _ACTIVATIONS[config.activation](inplace=True)


def _normalisation(config: UNetConfig, channels: int) -> list[nn.Module]:
    if config.normalisation == "batch":
        return [nn.BatchNorm3d(channels)]
    if config.normalisation == "group":
        return [nn.GroupNorm(gcd(channels, 8), channels)]
    return []


class Level(nn.Module):
    """A level of the U-Net together with all levels below it."""

    def __init__(self, config: UNetConfig, level: int, in_channels: int) -> None:
        super().__init__()
        maps, below_maps = config.feature_maps_at(level), config.feature_maps_at(level + 1)
        self.factor = config.downsampling[level]
        self.crop_factor = tuple(prod(each) for each in zip(*config.downsampling[level:], strict=True))
        self.equivariant_crop = config.equivariant_crop
        self.down = ConvolutionBlock(in_channels, maps, config.passes_down[level], config)
        self.pool = nn.MaxPool3d(self.factor)
        self.below: Level | Bottleneck = build_level(config, level + 1, maps)
        self.upsample, up_maps = _upsampling(config, below_maps, maps, self.factor)
        self.up = ConvolutionBlock(maps + up_maps, maps, config.passes_up[level], config)

    def forward(self, x: Tensor) -> tuple[Tensor, Begin]:
        """Return features and where, in voxels of `x`, they begin."""
        skip = self.down(x)
        coarse, begin = self.below(self.pool(skip))
        fine = self.upsample(coarse)
        # The skip connection is cropped by position, not about its centre: exact even where the crop
        # for equivariance is odd.
        skip_begin = [b * factor for b, factor in zip(begin, self.factor, strict=True)]
        if self.equivariant_crop:
            fine, cropped = self._crop_for_equivariance(fine)
            skip_begin = [a + b for a, b in zip(skip_begin, cropped, strict=True)]
        skip = _window(skip, skip_begin, fine.shape[2:])
        lost = zip(skip_begin, self.down.lost_vox, self.up.lost_vox, strict=True)
        z, y, x_begin = (b + down // 2 + up // 2 for b, down, up in lost)
        return self.up(torch.cat((skip, fine), dim=1)), (z, y, x_begin)

    def _crop_for_equivariance(self, fine: Tensor) -> tuple[Tensor, list[int]]:
        sizes = zip(fine.shape[2:], self.up.lost_vox, self.crop_factor, strict=True)
        shape = [equivariant_size(size, lost, factor) for size, lost, factor in sizes]
        begin = [(size - cropped) // 2 for size, cropped in zip(fine.shape[2:], shape, strict=True)]
        return _window(fine, begin, shape), begin


class Bottleneck(nn.Module):
    """The lowest level."""

    def __init__(self, config: UNetConfig, in_channels: int) -> None:
        super().__init__()
        self.block = ConvolutionBlock(
            in_channels, config.feature_maps_at(config.levels), config.passes_down[config.levels], config
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Begin]:
        """Return features and where, in voxels of `x`, they begin."""
        z, y, x_begin = (lost // 2 for lost in self.block.lost_vox)
        return self.block(x), (z, y, x_begin)


def build_level(config: UNetConfig, level: int, in_channels: int) -> Level | Bottleneck:
    """Return the U-Net from `level` downwards."""
    return Bottleneck(config, in_channels) if level == config.levels else Level(config, level, in_channels)


def _upsampling(config: UNetConfig, below_maps: int, maps: int, factor: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return the module that upsamples, and its number of feature maps."""
    scale = tuple(float(f) for f in factor)
    if config.upsampling == "transposed":
        return nn.ConvTranspose3d(below_maps, maps, factor, stride=factor), maps
    if config.upsampling == "projected":
        # A pointwise convolution and voxel repetition commute: done first, it costs a fraction.
        return nn.Sequential(nn.Conv3d(below_maps, maps, 1), nn.Upsample(scale_factor=scale, mode="nearest")), maps
    return nn.Upsample(scale_factor=scale, mode="nearest"), below_maps


def _window(x: Tensor, begin: list[int], shape: list[int] | torch.Size) -> Tensor:
    z, y, x_window = (slice(b, b + size) for b, size in zip(begin, shape, strict=True))
    return x[:, :, z, y, x_window]
