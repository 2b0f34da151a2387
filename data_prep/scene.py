"""The geometry of a piece of synthetic neuropil: branching neurites as centre lines with calibres.

A scene is continuous (nanometres, no voxels), so whatever is drawn from it later, such as an image,
labels, synapse sites or microtubules, shares one truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.packing import pack

MARGIN_NM = 420.0
"""The scene reaches this far beyond the imaged volume, so that its borders look like its inside."""

_FILL = 0.93  # share of space that the tubes take before packing; the rest is filled by their growth


class NeuriteKind(IntEnum):
    """What a neurite looks like; decides calibre, curvature, branching and organelles."""

    TRUNK = 0
    DENDRITE = 1
    AXON = 2


@dataclass(frozen=True)
class _Habit:
    """Growth of one kind of neurite."""

    share: float  # of the volume
    radius_nm: float
    radius_spread: float
    persistence_nm: float
    branch_every_nm: float
    varicosity_every_nm: float


_HABITS = {
    NeuriteKind.TRUNK: _Habit(0.09, 200.0, 0.12, 5000.0, 1500.0, np.inf),
    NeuriteKind.DENDRITE: _Habit(0.31, 83.0, 0.17, 1800.0, 3200.0, np.inf),
    NeuriteKind.AXON: _Habit(0.60, 55.0, 0.12, 1300.0, 5000.0, 1300.0),
}
_MIN_RADIUS_NM = 42.0
_VARICOSITY_NM = 170.0


@dataclass(frozen=True)
class Scene:
    """Neurites as trees of centre-line nodes; every node but a root is joined to its parent by a tapering tube.

    Attributes
    ----------
    extent_nm
        ``(3,)``, z, y, x: the part of the scene that is imaged starts at 0 and ends here.
    nodes_nm
        ``(n, 3)`` float64 positions; parents stand before their children.
    radius_nm
        ``(n,)`` float64 calibre (tube radius) at each node.
    parent
        ``(n,)`` int64 index of the parent node, -1 at a root.
    neurite
        ``(n,)`` int32 neurite of each node, 1-based; 0 never occurs.
    vesicles
        ``(n,)`` float64 in [0, 1]: how densely vesicles lie around the node.
    kind
        ``(neurites + 1,)`` int8 :class:`NeuriteKind`; entry 0 is unused.
    paths
        Unbranched runs of node indices in order, from which organelles and filaments are laid out.
    """

    extent_nm: NDArray[np.float64]
    nodes_nm: NDArray[np.float64]
    radius_nm: NDArray[np.float64]
    parent: NDArray[np.int64]
    neurite: NDArray[np.int32]
    vesicles: NDArray[np.float64]
    kind: NDArray[np.int8]
    paths: tuple[NDArray[np.int64], ...]

    @property
    def neurites(self) -> int:
        """Number of neurites."""
        return len(self.kind) - 1

    def segments(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the tubes as two arrays of node indices: parent end and child end."""
        child = np.flatnonzero(self.parent >= 0)
        return self.parent[child], child


def grow_scene(extent_nm: NDArray[np.float64], seed: int, scale: float = 1.0) -> Scene:
    """Grow neurites until they fill the space, then pack them so that tubes no longer run through one another.

    Parameters
    ----------
    extent_nm
        Size of the volume to be imaged, z, y, x; the scene reaches :data:`MARGIN_NM` times `scale` beyond it.
    seed
        The scene is a pure function of the arguments.
    scale
        Coarseness of the tissue: all calibres and lengths are multiplied by it.
    """
    extent = np.asarray(extent_nm, np.float64) / scale
    growth = _Growth(np.random.default_rng([seed, 0]), extent)
    growth.fill()
    scene = growth.scene()
    packed = pack(scene.nodes_nm, scene.radius_nm, scene.parent, scene.neurite, -MARGIN_NM, extent + MARGIN_NM)
    return replace(scene, extent_nm=extent * scale, nodes_nm=packed * scale, radius_nm=scene.radius_nm * scale)


@dataclass
class _Growth:
    """The state of a scene while neurites are added one after another."""

    rng: np.random.Generator
    extent: NDArray[np.float64]
    nodes: list[NDArray[np.float64]] = field(default_factory=list)
    radii: list[NDArray[np.float64]] = field(default_factory=list)
    parents: list[NDArray[np.int64]] = field(default_factory=list)
    owners: list[NDArray[np.int32]] = field(default_factory=list)
    vesicles: list[NDArray[np.float64]] = field(default_factory=list)
    paths: list[NDArray[np.int64]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=lambda: [0])
    count: int = 0
    added_nm3: float = 0.0

    def fill(self) -> None:
        """Add neurites, always of the kind that is furthest below its share of the volume."""
        space = _FILL * float(np.prod(self.extent + 2 * MARGIN_NM))
        filled = dict.fromkeys(NeuriteKind, 0.0)
        while sum(filled.values()) < space:
            kind = min(NeuriteKind, key=lambda each: filled[each] / _HABITS[each].share)
            self.added_nm3 = 0.0
            self.grow_neurite(kind)
            filled[kind] += max(self.added_nm3, 1.0)

    def grow_neurite(self, kind: NeuriteKind) -> None:
        """Grow one neurite in both directions from a random place, and its branches."""
        self.kinds.append(int(kind))
        start = self.rng.uniform(-MARGIN_NM, self.extent + MARGIN_NM)
        heading = _unit(self.rng.normal(size=3))
        habit = _HABITS[kind]
        radius = max(_MIN_RADIUS_NM, habit.radius_nm * np.exp(habit.radius_spread * self.rng.normal()))
        forth = self.walk(start, heading, radius, habit, np.inf)
        back = self.walk(start, -heading, radius, habit, np.inf)
        points = np.concatenate([back[::-1], start[None], forth])
        path = self.add_path(points, radius, habit, -1)
        self.add_branches(path, points, radius, kind, depth=0)

    def add_branches(
        self, path: NDArray[np.int64], points: NDArray[np.float64], radius: float, kind: NeuriteKind, depth: int
    ) -> None:
        """Let twigs leave a path at random places; twigs of twigs are one level only."""
        habit = _HABITS[kind]
        length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
        for _ in range(self.rng.poisson(length / habit.branch_every_nm) if len(points) > 2 else 0):
            at = int(self.rng.integers(1, len(points) - 1))
            along = _unit(points[at + 1] - points[at - 1])
            aside = _unit(np.cross(along, self.rng.normal(size=3)))
            heading = _unit(aside + self.rng.uniform(-0.4, 0.8) * along)
            twig = float(np.clip(radius * self.rng.uniform(0.45, 0.85), _MIN_RADIUS_NM, 90.0))
            reach = self.rng.exponential(1200.0) + radius
            walked = self.walk(points[at], heading, twig, _HABITS[NeuriteKind.AXON], reach)
            if len(walked) < 3:
                continue
            branch = self.add_path(walked, twig, habit, int(path[at]))
            if depth == 0:
                self.add_branches(branch, walked, twig, NeuriteKind.AXON, depth=1)

    def walk(
        self, start: NDArray[np.float64], heading: NDArray[np.float64], radius: float, habit: _Habit, reach_nm: float
    ) -> NDArray[np.float64]:
        """Return a persistent random walk that ends where it leaves the box or after `reach_nm`; start excluded."""
        step = _step_nm(radius)
        most = int(min(reach_nm, 3.0 * float(np.sum(self.extent + 2 * MARGIN_NM))) / step)
        turns = self.rng.normal(scale=np.sqrt(2 * step / habit.persistence_nm), size=(most, 3))
        points = []
        here = start
        for turn in turns:
            heading = _unit(heading + turn)
            here = here + step * heading
            if np.any(here < -MARGIN_NM) or np.any(here > self.extent + MARGIN_NM):
                break
            points.append(here)
        return np.array(points, np.float64).reshape(-1, 3)

    def add_path(self, points: NDArray[np.float64], radius: float, habit: _Habit, parent: int) -> NDArray[np.int64]:
        """Append a path (joined to node `parent` unless -1) and return its node indices."""
        index = np.arange(self.count, self.count + len(points))
        along = np.arange(len(points), dtype=np.float64) * _step_nm(radius)
        radii, vesicles = _calibre(self.rng, along, radius, habit)
        parents = index - 1
        parents[0] = parent
        self.nodes.append(points)
        self.radii.append(radii)
        self.parents.append(parents)
        self.owners.append(np.full(len(points), len(self.kinds) - 1, np.int32))
        self.vesicles.append(vesicles)
        self.paths.append(index)
        self.count += len(points)
        spacing = along[1] if len(along) > 1 else 0.0
        self.added_nm3 += float(np.sum(np.pi * radii**2) * spacing)
        return index

    def scene(self) -> Scene:
        """Return everything grown so far."""
        return Scene(
            self.extent,
            np.concatenate(self.nodes),
            np.concatenate(self.radii),
            np.concatenate(self.parents),
            np.concatenate(self.owners),
            np.concatenate(self.vesicles),
            np.array(self.kinds, np.int8),
            tuple(self.paths),
        )


def _calibre(
    rng: np.random.Generator, along_nm: NDArray[np.float64], radius: float, habit: _Habit
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return radius and vesicle density along a path: slow wander, and swellings full of vesicles."""
    spacing = along_nm[1] if len(along_nm) > 1 else 1.0
    knots = rng.normal(size=int(along_nm[-1] / 300.0) + 3) if len(along_nm) else np.zeros(3)
    wander = np.interp(along_nm / 300.0, np.arange(len(knots)), knots)
    radii = np.maximum(radius * np.exp(0.2 * wander), 0.85 * _MIN_RADIUS_NM)
    vesicles = np.zeros(len(along_nm))
    expected = len(along_nm) * spacing / habit.varicosity_every_nm
    for _ in range(rng.poisson(expected)):
        bump = np.exp(-(((along_nm - rng.uniform(0, along_nm[-1])) / _VARICOSITY_NM) ** 2))
        radii *= 1.0 + rng.uniform(0.5, 1.2) * bump
        vesicles = np.maximum(vesicles, rng.uniform(0.4, 1.0) * bump)
    return np.minimum(radii, 2.4 * radius), vesicles


def _step_nm(radius: float) -> float:
    """Return the distance between nodes: close enough for spheres of the calibre to stand for the tube."""
    return float(np.clip(0.75 * radius, 42.0, 100.0))


def _unit(vector: NDArray[Any]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vector / max(float(np.sqrt(vector @ vector)), 1e-12)
    return unit
