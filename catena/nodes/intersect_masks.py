"""Keep of a mask what lies in another."""

from __future__ import annotations

import gunpowder as gp


class IntersectMasks(gp.BatchFilter):
    """Set `mask` to 0 wherever `other` is 0."""

    def __init__(self, mask: gp.ArrayKey, other: gp.ArrayKey):
        self.mask = mask
        self.other = other

    def setup(self) -> None:
        """Announce that the mask changes."""
        self.enable_autoskip()
        self.updates(self.mask, self.spec[self.mask])

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for the other mask in the same place."""
        needed = gp.BatchRequest()
        for key in (self.mask, self.other):
            needed[key] = gp.ArraySpec(roi=request[self.mask].roi)
        return needed

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Intersect both."""
        mask = batch[self.mask]
        result = gp.Batch()
        result[self.mask] = gp.Array(mask.data * (batch[self.other].data != 0), mask.spec.copy())
        return result
