"""Autocontext: a network on the prediction of another one (Sheridan et al. 2022, ACLSD and ACRLSD)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from funlib.geometry import Coordinate
from torch import Tensor

from catena.errors import ConfigError
from catena.networks.base import BaseNetwork
from catena.networks.blocks import window
from catena.networks.config import AutocontextConfig, architecture_differences
from catena.networks.network import Network
from catena.networks.shapes import AutocontextShapes


class AutocontextNetwork(BaseNetwork):
    """From raw to descriptors, and from these to affinities, as one network.

    What the first network predicts reaches the second as it would from the disk: rounded to multiples of
    1/255, and scaled to [-1, 1]. So the pair computes what prediction of a whole volume with the one, and
    then with the other, would, everywhere but within the second's context of the volume's border, where
    the pair mirrors raw and not descriptors. Both networks need context: large patches pay.

    A frozen first network predicts as it will: without gradient, and with running statistics where it
    has batch normalisation. Trained together, it gets its own loss, and the second's gradient through
    the rounding as if there were none.
    """

    config: AutocontextConfig
    shapes: AutocontextShapes

    def __init__(self, config: AutocontextConfig) -> None:
        super().__init__(config)
        self.first = Network(config.first)
        self.second = Network(config.second)
        self.first.requires_grad_(config.train_first)
        self.train()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Predict every head of both networks, where the second's output lies (see :class:`BaseNetwork`)."""
        self.check_input(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.train_first):
            before = self.first(x)
        shape = Coordinate(x.shape[2:])
        crop, between = self.shapes.crop_vox, self.shapes.passed_on_vox(shape)
        seen: Tensor = _AsStored.apply(window(before[self.config.passed_on], crop, between))  # type: ignore[no-untyped-call]
        if self.config.with_raw:
            raw = window(x, self.first.shapes.output_begin_vox(shape) + crop, between)
            seen = torch.cat((seen, raw.to(seen.dtype)), dim=1)
        after: dict[str, Tensor] = self.second(seen)
        begin, output = crop + self.second.shapes.output_begin_vox(between), self.output_shape_vox(shape)
        return {name: window(each, begin, output) for name, each in before.items()} | after

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; a frozen first network stays in the latter."""
        super().train(mode)
        if not self.config.train_first:
            self.first.eval()
        return self

    def load_first(self, network: BaseNetwork) -> None:
        """Take the first network's weights from one that was trained alone.

        Raises
        ------
        ConfigError
            If it is another network than ``config.first``; padding and crop may differ.
        """
        found, wanted = (each.unpadded.model_dump(mode="json") for each in (network.config, self.config.first))
        if found != wanted:
            raise ConfigError(
                f"the first network cannot be initialised with this one: {architecture_differences(found, wanted)}"
            )
        self.first.load_state_dict(network.state_dict())


class _AsStored(torch.autograd.Function):
    """Probabilities as they come back from uint8, scaled to [-1, 1]; the gradient passes the rounding."""

    @staticmethod
    def forward(context: Any, probability: Tensor) -> Tensor:
        """Round; in the arithmetic of :func:`catena.inference.prepare_raw`, to the last bit."""
        stored = (probability * 255).round_()
        return stored.mul_(float(np.float32(2 / 255))).sub_(1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient of 2 p − 1."""
        return gradients[0] * 2
