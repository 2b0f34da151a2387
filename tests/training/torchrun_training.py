"""What torchrun starts in a test: train, and leave behind this process's own weights and the crops it made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from toy_training import NETWORK, ToyCrops, execution, validate

from catena.networks import BaseNetwork
from catena.training import TrainConfig, train

if __name__ == "__main__":
    folder, networks = Path(sys.argv[1]), list[BaseNetwork]()
    config = TrainConfig(iterations=3, learning_rate=1e-2, precision="float32", batch_size=2, validate_every=2)
    train(NETWORK, ToyCrops(), folder, config, execution=execution(), initial=networks.append, validate=validate)
    torch.save(networks[0].state_dict(), folder / f"weights_{os.environ['RANK']}.pt")
