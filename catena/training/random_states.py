"""Torch's random states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def random_states() -> dict[str, Any]:
    """Return torch's random states; crops carry their own seeds."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def set_random_states(states: Mapping[str, Any]) -> None:
    """Restore what :func:`random_states` returned, on as many GPUs as there are."""
    torch.set_rng_state(states["torch"])
    for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, index)
