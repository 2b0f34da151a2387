"""The parts of an augmentation one by one, to look at what each of them does."""

from __future__ import annotations

from catena.config import Config
from catena.nodes.augment_config import AugmentConfig, DefectConfig
from catena.nodes.extra_config import ExtraConfig

_SPOILT = 0.7
"""Fraction of the sections that have a defect when defects are shown."""


def parts(config: AugmentConfig) -> dict[str, AugmentConfig]:
    """Return every part of `config` that does anything, alone and in every crop.

    Parameters
    ----------
    config
        Resolved for the voxel size.
    """
    if not config.enabled:
        return {}
    alone: dict[str, AugmentConfig] = {}
    if config.mirror or config.transpose:
        alone["mirror and transpose"] = only(mirror=config.mirror, transpose=config.transpose)
    for name in type(config).model_fields:
        part = getattr(config, name)
        if isinstance(part, Config) and not _is_off(part):
            alone[name.replace("_", " ")] = only(**{name: certain(part)})
    for number, extra in enumerate(config.extra, start=1):
        name = extra.name.rpartition(".")[2]
        alone[name if name not in alone else f"{name} {number}"] = only(extra=(certain_extra(extra),))
    return alone


def only(**given: object) -> AugmentConfig:
    """Return a configuration in which nothing but `given` happens."""
    return AugmentConfig(**{"mirror": (), "transpose": (), **given})


def _is_off(part: Config) -> bool:
    """Tell whether all probabilities of a part are 0."""
    values = [getattr(part, name) for name in type(part).model_fields if name.endswith("probability")]
    return bool(values) and not any(values)


def certain(part: Config) -> Config:
    """Return a part that happens to every crop; sections' defects keep their shares, and become frequent."""
    if isinstance(part, DefectConfig):
        named = {name: getattr(part, name) for name in type(part).model_fields if name.endswith("_probability")}
        return part.model_copy(update={name: each * _SPOILT / sum(named.values()) for name, each in named.items()})
    sure = {
        name: 1.0 for name in ("probability", "noise_probability", "blur_probability") if getattr(part, name, 0) > 0
    }
    return part.model_copy(update=sure)


def certain_extra(extra: ExtraConfig) -> ExtraConfig:
    """Return an augmentation of another package whose probability, if it is given one as ``p``, is 1."""
    if "p" not in extra.arguments:
        return extra
    return extra.model_copy(update={"arguments": {**extra.arguments, "p": 1.0}})
