"""What an array shows: an image, several channels, or labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

Kind = Literal["image", "channels", "labels"]


def kind_of(dtype: np.dtype[Any], channels: int | None) -> Kind:
    """Tell what an array shows from its dtype and its channels.

    Arrays with a channel axis are ``channels`` (affinities, descriptors); 8- and 16-bit unsigned
    integers and floats are ``image``, since microscopes write those; other integers are ``labels``.
    Labels in a small dtype have to be widened, or named as labels by the caller.

    >>> kind_of(np.dtype("uint8"), None), kind_of(np.dtype("uint8"), 3), kind_of(np.dtype("uint64"), None)
    ('image', 'channels', 'labels')
    """
    if channels is not None:
        return "channels"
    return "image" if dtype.kind == "f" or dtype in (np.uint8, np.uint16) else "labels"
