"""A bar of a round length in the corner of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import patheffects

_NICE_NM = (np.array([1, 2, 5])[None, :] * 10.0 ** np.arange(0, 8)[:, None]).ravel()


def draw_scale_bar(axes: Any, width_nm: float, height_in: float) -> None:
    """Draw a bar of a round length, about a quarter of the panel, in its lower left corner.

    Parameters
    ----------
    axes
        Of Matplotlib; its panel fills it.
    width_nm
        What the panel shows from left to right.
    height_in
        Of the panel, inches.
    """
    length = float(_NICE_NM[max(0.35 * width_nm, _NICE_NM[0]) >= _NICE_NM][-1])
    begin, end = 0.05, 0.05 + length / width_nm
    height = 0.1 / height_in
    axes.plot(
        [begin, end],
        [height, height],
        transform=axes.transAxes,
        color="white",
        linewidth=3,
        solid_capstyle="butt",
        path_effects=[patheffects.withStroke(linewidth=4.4, foreground="black")],
    )
    axes.text(
        (begin + end) / 2,
        height + 0.05 / height_in,
        f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm",
        transform=axes.transAxes,
        color="white",
        size=8,
        weight="bold",
        ha="center",
        va="bottom",
        path_effects=[patheffects.withStroke(linewidth=1.8, foreground="black")],
    )
