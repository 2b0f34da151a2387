"""Optimisers, and the moving average of weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from catena.networks import BaseNetwork
from catena.training.config import TrainConfig

_ADAMW_DECAY = 0.01


def make_optimiser(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser that a configuration names."""
    learning_rate, decay = config.learning_rate, config.weight_decay or 0.0
    if config.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=learning_rate, momentum=config.momentum, weight_decay=decay)
    if config.optimiser == "adamw":
        decay = _ADAMW_DECAY if config.weight_decay is None else decay
        return torch.optim.AdamW(parameters, lr=learning_rate, betas=config.betas, weight_decay=decay)
    return torch.optim.Adam(parameters, lr=learning_rate, betas=config.betas, weight_decay=decay)


class AveragedWeights:
    """An exponential moving average of a network's weights, in a second network.

    Weights w are averaged as a ← d a + (1 − d) w after every step, where d is `decay` but at most
    (1 + t) / (10 + t) after t steps, so that a short training does not keep its random beginning.
    Other buffers are copied.

    Parameters
    ----------
    network
        A copy of the network to average: where the average begins.
    decay
        Between 0 and 1: how much of the average stays.
    """

    def __init__(self, network: BaseNetwork, decay: float) -> None:
        self.network = network.requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def add(self, network: nn.Module, step: int) -> None:
        """Add the weights after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        latest, trained = network.state_dict(), {name for name, _ in network.named_parameters()}
        for name, average in self.network.state_dict().items():
            _move(average, latest[name], 1 - decay if name in trained else 1.0)


def _move(average: Tensor, latest: Tensor, part: float) -> None:
    """Move an average by `part` of the way to the latest value."""
    if part == 1.0:
        average.copy_(latest)
    else:
        average.lerp_(latest, part)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of the gradient of all parameters, 0 if none has one."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    return torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
