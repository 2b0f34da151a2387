"""Try crops until one has enough labelled voxels."""

from __future__ import annotations

import gunpowder as gp
import numpy as np

from catena.errors import DataError


class RejectUnlabelled(gp.BatchFilter):
    """Ask upstream again, with a new seed per try, until enough voxels of a crop are labelled.

    Gunpowder's own ``Reject`` repeats the same seeded batch for ever; here the number of tries is
    bounded and the seeds of all tries follow from the request's.

    Parameters
    ----------
    labelled
        Key of a mask, non-zero where labelled.
    min_fraction
        Smallest accepted fraction of labelled voxels; 0 accepts everything.
    name
        Name of the volume, for the error.
    max_tries
        Number of crops tried before giving up.

    Raises
    ------
    DataError
        If no crop of `max_tries` had enough labelled voxels; it says how many were, on average and at best.
    """

    def __init__(self, labelled: gp.ArrayKey, min_fraction: float, name: str, max_tries: int = 200):
        self.labelled = labelled
        self.min_fraction = min_fraction
        self.volume = name
        self.max_tries = max_tries

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Return the first crop that has enough labelled voxels."""
        fractions = []
        for seed in np.random.SeedSequence(request.random_seed).generate_state(self.max_tries):
            batch = self.get_upstream_provider().request_batch(reseeded(request, int(seed)))
            fraction = np.count_nonzero(batch[self.labelled].data) / batch[self.labelled].data.size
            if fraction >= self.min_fraction:
                return batch
            fractions.append(fraction)
        raise DataError(
            f"{self.volume}: {self.max_tries} crops tried, none with at least {self.min_fraction:.0%} of its voxels "
            f"labelled ({np.mean(fractions):.1%} on average, {max(fractions):.1%} at best); lower train.min_labelled, "
            "shrink the crop, or restrict the training region "
            "to where there are labels"
        )


def reseeded(request: gp.BatchRequest, seed: int) -> gp.BatchRequest:
    """Return a copy of `request` whose random seed is `seed`."""
    copy = gp.BatchRequest(random_seed=seed)
    for key, spec in request.items():
        copy[key] = spec.copy()
    return copy
