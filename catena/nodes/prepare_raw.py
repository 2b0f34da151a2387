"""Turn raw data into network input."""

from __future__ import annotations

import gunpowder as gp
import numpy as np

from catena.inference.preparation import prepare_raw


class PrepareRaw(gp.BatchFilter):
    """Scale `raw` to float32 in [-1, 1], as prediction does (see :func:`prepare_raw`).

    Parameters
    ----------
    raw
        Key of raw.
    intensity_range
        Intensities that become -1 and 1; default: by dtype.
    name
        Name of the data, for errors.
    """

    def __init__(self, raw: gp.ArrayKey, intensity_range: tuple[float, float] | None = None, name: str = "raw"):
        self.raw = raw
        self.intensity_range = intensity_range
        self.raw_name = name

    def setup(self) -> None:
        """Announce the new dtype."""
        self.enable_autoskip()
        spec = self.spec[self.raw].copy()
        spec.dtype = np.float32
        self.updates(self.raw, spec)

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        """Scale in place of what came."""
        array = batch[self.raw]
        array.data = prepare_raw(array.data, self.intensity_range, self.raw_name)
        array.spec.dtype = np.float32
