"""Add weights that make both classes of a target count alike."""

from __future__ import annotations

import gunpowder as gp
import numpy as np

from catena.targets import balance_weights


class BalanceLabels(gp.BatchFilter):
    """Provide `weights` (float32) for a binary `target` known where `mask` is (see :func:`balance_weights`)."""

    def __init__(self, target: gp.ArrayKey, mask: gp.ArrayKey, weights: gp.ArrayKey):
        self.target = target
        self.mask = mask
        self.weights = weights

    def setup(self) -> None:
        """Announce the weights."""
        self.enable_autoskip()
        spec = self.spec[self.target].copy()
        spec.dtype = np.float32
        self.provides(self.weights, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for target and mask where weights are wanted."""
        needed = gp.BatchRequest()
        for key in (self.target, self.mask):
            needed[key] = gp.ArraySpec(roi=request[self.weights].roi)
        return needed

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Weigh the crop by its own class fractions."""
        spec = self.spec[self.weights].copy()
        spec.roi = request[self.weights].roi
        result = gp.Batch()
        result[self.weights] = gp.Array(balance_weights(batch[self.target].data, batch[self.mask].data), spec)
        return result
