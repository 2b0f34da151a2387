"""Typed configuration: YAML in, frozen pydantic models out.

A component's model stands beside the component and derives from :class:`Config`. Derived values are
computed by the component after all overrides are merged; nothing is computed at import time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from catena.errors import ConfigError, OutputError, nearest_names

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Config(BaseModel):
    """Base of every configuration model: frozen, unknown keys refused, defaults checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "config") -> Self:
        """Validate `values`, turning pydantic's report into one :class:`ConfigError`.

        Parameters
        ----------
        values
            Nested mapping as read from YAML.
        where
            Name of the source, used in the message.

        Raises
        ------
        ConfigError
            Naming every offending key with its dotted path and, for an unknown key, the nearest
            valid one.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            lines = [_explain(cls, each) for each in error.errors()]
            raise ConfigError(f"{where}: " + "; ".join(lines)) from None


def _explain(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    location = tuple(error["loc"])
    path = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        names = [field.alias or name for name, field in owner.model_fields.items()] if owner else []
        hint = nearest_names(str(location[-1]), names) if owner else ""
        return f"unknown key '{path}' ({hint})"
    found = error.get("input")
    shown = "" if isinstance(found, Mapping) else f", found {found!r}"
    return f"'{path or 'top level'}': {error['msg']}{shown}"


def _model_at(model: type[BaseModel], location: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the model class that the keys in `location` lead to, if it can be told."""
    current: type[BaseModel] | None = model
    for part in location:
        if current is None:
            return None
        field = current.model_fields.get(str(part))
        if field is None:  # a mapping's key or a union's branch: the model stays what it was
            continue
        current = _model_in(field.annotation)
    return current


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML file into a nested dictionary, with ``${VARIABLE}`` and ``${VARIABLE:-default}`` replaced.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, is not a mapping, or names an environment variable that
        is not set.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"no configuration file at {path}")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of sections, found {type(values).__name__}")
    return {key: _interpolate(value, f"{path}: {key}") for key, value in values.items()}


def _interpolate(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_interpolate(each, where) for each in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = os.environ.get(name, default)
        if found is None:
            raise ConfigError(f"{where}: environment variable {name} is not set; set it, or write ${{{name}:-DEFAULT}}")
        return found

    return _VARIABLE.sub(replace, value)


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of `values` with each ``key.path=value`` merged in; values are parsed as YAML.

    >>> apply_overrides({"train": {"iterations": 10}}, ["train.iterations=20", "seed=1"])
    {'train': {'iterations': 20}, 'seed': 1}

    Raises
    ------
    ConfigError
        If an override has no ``=`` or its path runs through something that is not a section.
    """
    merged: dict[str, Any] = _copy(values)
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not path:
            raise ConfigError(f"override {override!r} is not of the form key.path=value")
        *parents, last = path.split(".")
        section = merged
        for parent in parents:
            below = section.setdefault(parent, {})
            if below is None:
                below = section[parent] = {}
            if not isinstance(below, dict):
                raise ConfigError(f"override {override!r}: '{parent}' is {below!r}, not a section")
            section = below
        try:
            section[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not valid YAML: {error}") from None
    return merged


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(each) for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, list) else value


def to_yaml(config: Config) -> str:
    """Return `config` with every default as YAML text that :func:`load_yaml` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=100)


def write_new(path: Path, text: str) -> None:
    """Write a configuration to a file that is not there yet; its folder is made.

    Raises
    ------
    OutputError
        If there is a file, or it cannot be written.
    """
    if path.is_file():
        raise OutputError(f"{path} exists already; choose another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error
