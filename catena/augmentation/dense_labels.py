"""Label ids as small floats, which augmentations of images can move, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from catena.errors import DataError

EXACT = 2**24
"""Float32 holds all integers below, and not all above."""


@dataclass(frozen=True)
class DenseLabels:
    """Ids of a batch, numbered per crop without gaps; 0 stays 0.

    No two crops share a number, so that an object that goes from one crop into another stays apart
    from an object of the same id there.

    Attributes
    ----------
    values
        ``(b, c, z, y, x)`` float32 below ``EXACT``.
    ids
        For every number the id it stands for.
    owner
        For every number the crop it belongs to.
    """

    values: Tensor
    ids: Tensor
    owner: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> DenseLabels:
        """Number the ids of `labels` ``(b, c, z, y, x)``, int64.

        Raises
        ------
        DataError
            If there are more ids than float32 can tell apart.
        """
        values = torch.zeros(labels.shape, dtype=torch.float32, device=labels.device)
        ids, owners = [labels.new_zeros(1)], [labels.new_zeros(1)]
        begin = 1
        for crop, each in enumerate(labels):
            unique, place = torch.unique(each, return_inverse=True)
            own = unique[unique != 0]
            number = torch.cumsum(unique != 0, dim=0) - 1 + begin
            values[crop] = torch.where(unique == 0, 0, number)[place].to(torch.float32)
            ids.append(own)
            owners.append(torch.full_like(own, crop))
            begin += len(own)
        if begin > EXACT:
            raise DataError(f"{begin - 1} objects in one batch; augmentations can tell {EXACT - 1} apart")
        return cls(values, torch.cat(ids), torch.cat(owners))

    def restore(self, values: Tensor) -> Tensor:
        """Return the ids ``(b, c, z, y, x)``, int64, that numbers stand for.

        An object that came from another crop keeps its id if no object of this crop has it; else it
        gets one that nothing in the batch has.

        Raises
        ------
        DataError
            If a value is none of the numbers: the augmentation interpolated labels.
        """
        numbers = values.round().to(torch.int64)
        if not torch.equal(numbers.to(values.dtype), values) or int(numbers.min()) < 0 or self._unknown(numbers):
            raise DataError("labels were interpolated: there are ids that no object has")
        free = int(self.ids.max()) + 1
        restored = []
        for crop, each in enumerate(numbers):
            foreign = self.owner != crop
            foreign[0] = False
            taken = foreign & torch.isin(self.ids, self.ids[~foreign])
            fresh = free + torch.arange(len(self.ids), device=self.ids.device)
            restored.append(torch.where(taken, fresh, self.ids)[each])
        return torch.stack(restored)

    def _unknown(self, numbers: Tensor) -> bool:
        return int(numbers.max()) >= len(self.ids)
