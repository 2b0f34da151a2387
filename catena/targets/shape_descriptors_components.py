"""Which of the channels of shape descriptors are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from catena.errors import DataError

Components: TypeAlias = str | Sequence[str]
"""A name, indices of channels in one string (``"0129"``), or a sequence of names."""

NAMES = ("mean_offset", "variance", "correlation", "size")

_GROUPS = {
    2: {"mean_offset": (0, 1), "variance": (2, 3), "correlation": (4,), "size": (5,)},
    3: {"mean_offset": (0, 1, 2), "variance": (3, 4, 5), "correlation": (6, 7, 8), "size": (9,)},
}
_CHANNELS_2D_AMONG_3D = (1, 2, 4, 5, 8, 9)


def component_channels(components: Components | None, dimensions: int = 3) -> tuple[int, ...]:
    """Return the indices of the channels that are asked for, in the order in which they are.

    Parameters
    ----------
    components
        One of the names ``mean_offset``, ``variance``, ``correlation`` and ``size``, a sequence of them, or
        indices of channels as a string of digits. None: all channels.
    dimensions
        Of the labels: 3 (ten channels) or 2 (six).

    Raises
    ------
    DataError
        If a name or an index is unknown, a channel is named twice, or there is none.

    Examples
    --------
    >>> component_channels(["mean_offset", "size"]), component_channels("size", dimensions=2)
    ((0, 1, 2, 9), (5,))
    """
    groups = _GROUPS[dimensions]
    if components is None:
        return tuple(index for group in groups.values() for index in group)
    names = [components] if isinstance(components, str) else list(components)
    if isinstance(components, str) and components.isdecimal():
        channels = tuple(int(digit) for digit in components)
    elif all(name in groups for name in names):
        channels = tuple(index for name in names for index in groups[name])
    else:
        channels = ()
    count = groups["size"][0] + 1
    if not channels or len(set(channels)) < len(channels) or max(channels) >= count:
        raise DataError(
            f"components are names ({', '.join(NAMES)}) or different indices below {count} in one string, as '01'; "
            f"found {components!r}"
        )
    return channels


def channels_among_ten(channels: tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    """Return which of the ten channels in three dimensions these are."""
    return channels if dimensions == 3 else tuple(_CHANNELS_2D_AMONG_3D[each] for each in channels)


def order_of_moments(channels: tuple[int, ...]) -> int:
    """Return the highest order of moments that these of the ten channels take."""
    if any(3 <= each < 9 for each in channels):
        return 2
    return 1 if any(each < 3 for each in channels) else 0
