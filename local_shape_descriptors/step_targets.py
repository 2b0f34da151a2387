"""Targets and weights of a batch of labels in torch: within the training step, on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from funlib.geometry import Coordinate
from torch import Tensor

from catena.nodes.augment_config import is_anisotropic
from catena.targets import descriptor_context_vox
from catena.targets.affinities_torch import torch_affinities
from catena.targets.balance_torch import torch_balance_weights
from catena.targets.boundaries_torch import torch_contour, torch_erode_boundaries
from catena.targets.shape_descriptors_torch import torch_shape_descriptors
from local_shape_descriptors.targets import TargetSettings

IN_STEP = ("affinities", "lsds", "foreground", "contour")
"""The kinds of targets that can be made here."""


@dataclass(frozen=True)
class Margin:
    """How many voxels more than a target's, z, y, x, its labels have before and behind it."""

    before: Coordinate
    behind: Coordinate

    @classmethod
    def around(cls, steps: Coordinate) -> Margin:
        """Return the same margin on both sides."""
        return cls(steps, steps)

    @classmethod
    def widest(cls, margins: Iterable[Margin]) -> Margin:
        """Return the margin that holds all others."""
        found = list(margins) or [cls.around(Coordinate(0, 0, 0))]
        before, behind = (zip(*(getattr(each, side) for each in found), strict=True) for side in ("before", "behind"))
        return cls(Coordinate(map(max, before)), Coordinate(map(max, behind)))

    def grown(self, steps: Coordinate) -> Margin:
        """Return this margin with `steps` more on both sides."""
        return Margin(self.before + steps, self.behind + steps)

    def within(self, wider: Margin, values: Tensor) -> Tensor:
        """Crop the last three axes of `values` from a wider margin to this one."""
        begins, ends = wider.before - self.before, wider.behind - self.behind
        z, y, x = (slice(b, size - e) for b, e, size in zip(begins, ends, values.shape[-3:], strict=True))
        return values[..., z, y, x]


NOTHING = Margin.around(Coordinate(0, 0, 0))


@dataclass(frozen=True)
class Seen:
    """Labels of one kind, as far around the targets as these depend on them; all ``(b, z, y, x)``."""

    labels: Tensor
    eroded: Tensor
    known: Tensor


@dataclass(frozen=True)
class StepTargets:
    """Makes of labels what the nodes of :func:`local_shape_descriptors.targets.add_targets` make, up to rounding.

    Attributes
    ----------
    settings
        Its model has the heads to make targets of, and no others.
    """

    settings: TargetSettings

    def __call__(self, labels: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return per head target ``(b, channels, z, y, x)`` and weight, both float32.

        Parameters
        ----------
        labels
            ``labels_NAME`` and ``labelled_NAME`` of every kind of labels, with the margins of :meth:`margins`.
        """
        model, made = self.settings.model, {}
        with torch.no_grad():
            for name in model.labels():
                seen = self._seen(name, labels[f"labels_{name}"], labels[f"labelled_{name}"] != 0)
                for head, settings in model.heads.items():
                    if settings.labels == name:
                        target, weight = _MAKERS[settings.target](self, head, seen)
                        made[head] = target.float(), weight.float()
        return made

    def margins(self, name: str) -> tuple[Margin, Margin]:
        """Return how far around the targets the labels called `name` are needed, and where they are known."""
        heads = [head for head, each in self.settings.model.heads.items() if each.labels == name]
        rims = [Margin.around(self._beside) for head in heads if self.settings.model.heads[head].target == "contour"]
        known = Margin.widest(self._reach(head) for head in heads if self.settings.model.offsets(head))
        if not self._eroded(name):
            return Margin.widest([NOTHING, *rims]), known
        return Margin.widest([self._eroded_margin(name).grown(self._beside), *rims]), known

    @property
    def in_plane(self) -> bool:
        """Whether boundaries and rims are those within sections."""
        return self.settings.model.dimensions == 2 or is_anisotropic(self.settings.voxel_size)

    @property
    def _beside(self) -> Coordinate:
        return Coordinate(0 if self.in_plane else 1, 1, 1)

    def _eroded(self, name: str) -> list[str]:
        """Return the heads that are made of eroded labels."""
        heads = self.settings.model.heads
        return [head for head, each in heads.items() if each.labels == name and each.target in ("affinities", "lsds")]

    def _eroded_margin(self, name: str) -> Margin:
        return Margin.widest(self._reach(head) for head in self._eroded(name))

    def _reach(self, head: str) -> Margin:
        """Return how far affinities or descriptors look."""
        offsets = self.settings.model.offsets(head)
        if not offsets:
            return Margin.around(self.descriptor_context)
        before = Coordinate(-min(0, *axis) for axis in zip(*offsets, strict=True))
        return Margin(before, Coordinate(max(0, *axis) for axis in zip(*offsets, strict=True)))

    @property
    def sigma(self) -> float:
        """Of descriptors, in the units of the voxel size."""
        return self.settings.model.lsd_sigma_nm * self.settings.units_per_nm

    @property
    def descriptor_context(self) -> Coordinate:
        """Voxels that the window of descriptors reaches."""
        return descriptor_context_vox(
            self.sigma, self.settings.voxel_size, in_plane=self.settings.model.dimensions == 2
        )

    def _seen(self, name: str, labels: Tensor, known: Tensor) -> Seen:
        if not self._eroded(name):
            return Seen(labels, labels, known)
        eroded = torch_erode_boundaries(labels, only_xy=self.in_plane)
        # What lies outside counts as no other label: the outermost voxels are not eroded as they would be.
        return Seen(labels, self._eroded_margin(name).within(self.margins(name)[0], eroded), known)

    def inner(self, name: str, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return labels, and where they are known, where the targets are."""
        of_labels, of_known = self.margins(name)
        return NOTHING.within(of_labels, seen.labels), NOTHING.within(of_known, seen.known)

    def affinities(self, head: str, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return affinities, and weights that balance both classes."""
        name = self.settings.model.heads[head].labels
        reach, (_, of_known) = self._reach(head), self.margins(name)
        labels = reach.within(self._eroded_margin(name), seen.eroded)
        offsets = [Coordinate(each) for each in self.settings.model.offsets(head)]
        found = torch_affinities(labels, offsets, reach.within(of_known, seen.known))
        values, mask = (NOTHING.within(reach, each) for each in found)
        return values, torch_balance_weights(values, mask)

    def descriptors(self, head: str, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return shape descriptors, and where they count."""
        model, size = self.settings.model, self.settings.voxel_size
        name, context = model.heads[head].labels, self.descriptor_context
        around = Margin.around(context).within(self._eroded_margin(name), seen.eroded)
        labels, known = self.inner(name, seen)
        roi = tuple(slice(each, each + length) for each, length in zip(context, labels.shape[1:], strict=True))
        flat = model.dimensions == 2
        values = torch_shape_descriptors(
            around.flatten(0, 1) if flat else around,
            Coordinate(size[1:]) if flat else size,
            self.sigma,
            model.lsd_downsample,
            roi[1:] if flat else roi,
            units_per_nm=self.settings.units_per_nm,
        )
        if flat:
            values = values.view(*labels.shape[:2], *values.shape[1:]).movedim(1, 2)
        inside = NOTHING.within(Margin.around(context), around) != 0
        return values, (known & (inside | (labels == 0)))[:, None]

    def foreground(self, head: str, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return where objects are, and weights that balance both classes."""
        labels, known = self.inner(self.settings.model.heads[head].labels, seen)
        values = (labels != 0)[:, None]
        return values, torch_balance_weights(values, known[:, None])

    def contour(self, head: str, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return the rims of objects, and weights that balance both classes."""
        name = self.settings.model.heads[head].labels
        of_labels, of_known = self.margins(name)
        values = NOTHING.within(of_labels, torch_contour(seen.labels, self.in_plane))
        return values, torch_balance_weights(values, NOTHING.within(of_known, seen.known)[:, None])


_MAKERS: Mapping[str, Callable[[StepTargets, str, Seen], tuple[Tensor, Tensor]]] = {
    "affinities": StepTargets.affinities,
    "lsds": StepTargets.descriptors,
    "foreground": StepTargets.foreground,
    "contour": StepTargets.contour,
}
