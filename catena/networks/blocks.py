"""What a U-Net does at one level: convolutions, with or without a residual path around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd

import torch
from torch import Tensor, nn

from catena.networks.config import ConvolutionPass, UNetConfig
from catena.networks.shapes import lost_vox

_ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}


class ConvolutionBlock(nn.Sequential):
    """Convolutions of one level, each followed by normalisation and activation, or preceded by both.

    Parameters
    ----------
    bare_begin
        Before the first convolution there is neither, whatever the order: raw is not to be rectified.
    bare_end
        After the last convolution there is no activation: it is taken of a residual sum.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernels: ConvolutionPass,
        config: UNetConfig,
        *,
        bare_begin: bool = False,
        bare_end: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        for index, kernel in enumerate(kernels):
            convolution = nn.Conv3d(in_channels, out_channels, kernel, padding=config.padding)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
            if not config.pre_activation:
                after = [*normalisation(config, out_channels), activation(config)]
                layers += [convolution, *(after[:-1] if bare_end and index == len(kernels) - 1 else after)]
            elif bare_begin and index == 0:
                layers.append(convolution)
            else:
                # What enters a block is also what goes around it, so it must not change in place.
                layers += [*normalisation(config, in_channels), activation(config, inplace=index > 0), convolution]
            in_channels = out_channels
        super().__init__(*layers)
        self.lost_vox = _lost(kernels, config)


class ResidualBlock(nn.Module):
    """Convolutions of one level, and their input added to their output (He et al. 2016).

    The input is cropped by position where valid convolutions lose voxels, and goes through a 1x1x1
    convolution where the number of feature maps changes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernels: ConvolutionPass,
        config: UNetConfig,
        *,
        bare_begin: bool = False,
    ) -> None:
        super().__init__()
        self.convolutions = ConvolutionBlock(
            in_channels, out_channels, kernels, config, bare_begin=bare_begin, bare_end=True
        )
        same = in_channels == out_channels
        self.project = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, 1)
        self.activation = nn.Identity() if config.pre_activation else activation(config)
        self.lost_vox = self.convolutions.lost_vox

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, of the shape that the convolutions leave."""
        found = self.convolutions(x)
        around = window(x, [lost // 2 for lost in self.lost_vox], found.shape[2:])
        features: Tensor = self.activation(found + self.project(around))
        return features


def build_block(
    in_channels: int, out_channels: int, kernels: ConvolutionPass, config: UNetConfig, *, bare_begin: bool = False
) -> ConvolutionBlock | ResidualBlock:
    """Return the convolutions of one level."""
    block = ResidualBlock if config.residual else ConvolutionBlock
    return block(in_channels, out_channels, kernels, config, bare_begin=bare_begin)


def activation(config: UNetConfig, *, inplace: bool = True) -> nn.Module:
    """Return a new activation."""
    return _ACTIVATIONS[config.activation](inplace=inplace)


def normalisation(config: UNetConfig, channels: int) -> list[nn.Module]:
    """Return a new normalisation, or nothing."""
    if config.normalisation == "batch":
        return [nn.BatchNorm3d(channels)]
    if config.normalisation == "group":
        return [nn.GroupNorm(gcd(channels, 8), channels)]
    return []


def window(x: Tensor, begin: Sequence[int], shape: Sequence[int] | torch.Size) -> Tensor:
    """Return the box of `shape` that begins at `begin`, of ``(b, c, z, y, x)``."""
    z, y, x_window = (slice(b, b + size) for b, size in zip(begin, shape, strict=True))
    return x[:, :, z, y, x_window]


def _lost(kernels: ConvolutionPass, config: UNetConfig) -> tuple[int, ...]:
    return tuple(0 if config.padding == "same" else lost_vox(kernels, axis) for axis in range(3))
