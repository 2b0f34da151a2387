"""Mitochondria of a synthetic scene: worm-shaped bodies that follow the centre lines of their neurites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.scene import NeuriteKind, Scene

_RADIUS_NM = (38.0, 150.0)
_LENGTH_NM = (350.0, 1100.0)
_EVERY_NM = {NeuriteKind.TRUNK: 650.0, NeuriteKind.DENDRITE: 850.0, NeuriteKind.AXON: 1300.0}
_CLEARANCE_NM = 19.0  # cytoplasm between a mitochondrion and the plasma membrane


@dataclass(frozen=True)
class Mitochondria:
    """Mitochondria as chains of tubes.

    Attributes
    ----------
    start_nm, end_nm
        ``(m, 3)`` ends of each tube.
    radius_nm
        ``(m, 2)`` calibre at both ends.
    along_nm
        ``(m,)`` length of the chain before each tube, which places the cristae.
    instance, owner
        ``(m,)`` int32 mitochondrion (1-based) and the neurite that holds it.
    """

    start_nm: NDArray[np.float64]
    end_nm: NDArray[np.float64]
    radius_nm: NDArray[np.float64]
    along_nm: NDArray[np.float64]
    instance: NDArray[np.int32]
    owner: NDArray[np.int32]

    @property
    def count(self) -> int:
        """Number of mitochondria."""
        return int(self.instance.max(initial=0))


def place_mitochondria(scene: Scene, seed: int) -> Mitochondria:
    """Lay mitochondria along the paths of `scene` wherever the calibre leaves room.

    Where the neighbours of a neurite squeeze it, the mitochondrion is squeezed with it when it is drawn.
    """
    rng = np.random.default_rng([seed, 1])
    chains = []
    for path in scene.paths:
        kind = NeuriteKind(int(scene.kind[scene.neurite[path[0]]]))
        points = scene.nodes_nm[path]
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        lanes = 2 if kind is NeuriteKind.TRUNK else 1  # a trunk holds several side by side
        for _ in range(rng.poisson(lanes * along[-1] / _EVERY_NM[kind])):
            begin = rng.uniform(-200.0, along[-1])
            inside = (along >= begin) & (along <= begin + rng.uniform(*_LENGTH_NM))
            chain = _chain(rng, points[inside], scene.radius_nm[path[inside]], along[inside])
            if chain is not None:
                chains.append((*chain, int(scene.neurite[path[0]])))
    return _assemble(chains)


_Chain = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _chain(
    rng: np.random.Generator, points: NDArray[np.float64], calibre: NDArray[np.float64], along: NDArray[np.float64]
) -> _Chain | None:
    """Return points, radii and arc length of a mitochondrion beside the centre line, or None where it has no room."""
    if len(points) < 3:
        return None
    room = calibre.min() - _CLEARANCE_NM
    radius = min(room * rng.uniform(0.65, 0.95), rng.uniform(70.0, _RADIUS_NM[1]))
    if radius < _RADIUS_NM[0]:
        return None
    aside = np.cross(points[-1] - points[0], rng.normal(size=3))
    aside /= max(float(np.linalg.norm(aside)), 1e-9)
    slack = max(room - radius, 0.0)
    return points + aside * slack * rng.uniform(0, 0.9), radius * rng.uniform(0.9, 1.1, len(points)), along - along[0]


def _assemble(chains: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]]) -> Mitochondria:
    tubes = [len(points) - 1 for points, _, _, _ in chains]
    return Mitochondria(
        np.concatenate([np.zeros((0, 3)), *(points[:-1] for points, _, _, _ in chains)]),
        np.concatenate([np.zeros((0, 3)), *(points[1:] for points, _, _, _ in chains)]),
        np.concatenate([np.zeros((0, 2)), *(np.stack([r[:-1], r[1:]], axis=1) for _, r, _, _ in chains)]),
        np.concatenate([np.zeros(0), *(along[:-1] for _, _, along, _ in chains)]),
        np.repeat(np.arange(1, len(chains) + 1), tubes).astype(np.int32),
        np.repeat(np.array([owner for _, _, _, owner in chains], np.int64), tubes).astype(np.int32),
    )
