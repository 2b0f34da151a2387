"""MALIS: affinities weighted by the pairs of voxels whose connection they decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from catena.errors import ConfigError
from catena.networks.losses.base import Loss, Offsets

if TYPE_CHECKING:
    from torch import Tensor


class Malis(Loss):
    """Constrained maximin affinity learning (Turaga et al. 2009, Funke et al. 2018).

    Σ w (prediction − target)², where w is the share of the pairs of voxels whose best path this affinity
    is the weakest of: pairs within an object by affinities that should be 1, pairs of different objects
    by affinities that should be 0 (see :func:`catena.networks.losses.maximin.maximin_weights`). The
    shares of each kind sum to 1; they are constants for the gradient. Objects are the components of the
    target affinities. Of the voxels' weights only counts whether they are 0.

    The spanning trees grow on the CPU, one crop after the other. Few affinities get a gradient, so it
    is best taken in addition to another loss, or after one.
    """

    needs_offsets: ClassVar[bool] = True

    type: Literal["malis"] = "malis"

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss (see :class:`Loss`), the mean over crops.

        Raises
        ------
        ConfigError
            If there are not as many offsets as channels.
        """
        import numpy as np
        import torch

        from catena.networks.losses.maximin import maximin_weights

        if offsets is None or len(offsets) != prediction.shape[1]:
            found = "none" if offsets is None else len(offsets)
            raise ConfigError(
                f"the loss malis needs the offset of every affinity: {prediction.shape[1]} channels, {found} offsets"
            )
        arrays = (prediction.detach().float(), target.float(), weight.expand_as(prediction) > 0)
        crops = zip(*(each.cpu().numpy() for each in arrays), strict=True)
        weights = [maximin_weights(affinities, aim, known, offsets) for affinities, aim, known in crops]
        shares = torch.from_numpy(np.stack(weights))
        return (shares.to(prediction.device) * (prediction - target).square()).sum() / len(prediction)
