"""Which objects a segmentation gets wrong, and what each of them costs in bits of variation of information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catena.evaluation.contingency import Contingency


class Part(NamedTuple):
    """The voxels that one object shares with one object of the other labelling.

    Attributes
    ----------
    id
        Of the other labelling's object: a body within a segment, a segment within a body.
    voxels
        How many there are, at least one.
    """

    id: int
    voxels: int


@dataclass(frozen=True)
class ObjectError:
    """A segment that holds several bodies, or a body that several segments hold.

    Attributes
    ----------
    kind
        ``merger``: `id` is a segment, its parts are bodies. ``split``: `id` is a body, its parts are segments.
    bits
        What this object adds to the merge or split term of the variation of information; above 0.
    parts
        At least two, largest first; of equal ones the lower id.
    """

    kind: Literal["merger", "split"]
    id: int
    bits: float
    parts: tuple[Part, ...]

    @property
    def voxels(self) -> int:
        """Voxels of the object that have a truth."""
        return sum(part.voxels for part in self.parts)

    def main_parts(self, share: float = 0.01) -> tuple[Part, ...]:
        """Return the parts that hold at least `share` of the object, or the largest if none does.

        Borders are never drawn at quite the same voxels, so that a segment also holds a film of each of its neighbours.
        """
        least = share * self.voxels
        return tuple(part for part in self.parts if part.voxels >= least) or self.parts[:1]


def mergers(contingency: Contingency, count: int | None = None) -> list[ObjectError]:
    """Return the segments that hold several bodies, worst first.

    Parameters
    ----------
    contingency
        Segmentation ids against truth ids.
    count
        No more than this many; all by default. The bits of all of them add up to
        :attr:`catena.evaluation.voi.VariationOfInformation.merge`.

    Examples
    --------
    >>> worst, = mergers(Contingency.of([1, 1, 1, 1, 2], [7, 7, 8, 8, 8]))
    >>> worst.id, worst.bits, worst.parts
    (1, 0.8, (Part(id=7, voxels=2), Part(id=8, voxels=2)))
    """
    segments, bodies, voxels = contingency.pairs()
    return _errors("merger", segments, bodies, voxels, count)


def splits(contingency: Contingency, count: int | None = None) -> list[ObjectError]:
    """Return the bodies that several segments hold, worst first.

    The bits of all of them add up to :attr:`catena.evaluation.voi.VariationOfInformation.split`; see :func:`mergers`.
    """
    segments, bodies, voxels = contingency.pairs()
    return _errors("split", bodies, segments, voxels, count)


def _errors(
    kind: Literal["merger", "split"],
    owners: NDArray[np.uint64],
    others: NDArray[np.uint64],
    voxels: NDArray[np.int64],
    count: int | None,
) -> list[ObjectError]:
    ids, owner, parts = np.unique(owners, return_inverse=True, return_counts=True)
    # H(other | owner) = sum over owners of p(owner) H(other within it): each owner's own term
    size = np.bincount(owner, weights=voxels)[owner]
    terms = voxels / voxels.sum() * np.log2(size / voxels)
    bits = np.bincount(owner, weights=terms)
    rows = np.split(np.lexsort((others, -voxels, owner)), np.cumsum(parts)[:-1])
    worst = [each for each in np.lexsort((ids, -bits)) if parts[each] > 1][:count]
    return [
        ObjectError(
            kind,
            int(ids[each]),
            float(bits[each]),
            tuple(Part(int(other), int(n)) for other, n in zip(others[rows[each]], voxels[rows[each]], strict=True)),
        )
        for each in worst
    ]
