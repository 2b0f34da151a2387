"""From a name and arguments in a configuration to an augmentation; nothing is evaluated."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import pkgutil
import sys
import sysconfig
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlparse

from catena.augmentation.choice import could_be_augmentation
from catena.errors import ConfigError, nearest_names
from catena.nodes.extra_config import ExtraConfig


def resolve(config: ExtraConfig) -> Any:
    """Return the augmentation that `config` names: an object of a class, or a function with its arguments.

    Raises
    ------
    ConfigError
        If the name leads to no class or function of an installed package (with the nearest names
        there are), or the arguments are not its own (with those that are).
    """
    found = _find(config.name)
    arguments = {name: _as_tuples(value) for name, value in config.arguments.items()}
    _check_arguments(config.name, found, arguments)
    if not inspect.isclass(found):
        return partial(found, **arguments) if arguments else found
    try:
        return found(**arguments)
    except Exception as error:  # whatever a constructor of another package raises
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ConfigError(f"augment.extra: {config.name}({given}) was refused: {error}") from error


def _find(name: str) -> Any:
    package, *rest = name.split(".")
    _check_installed(package, name)
    found: Any = _imported(package, name)
    for depth, part in enumerate(rest, start=2):
        if not hasattr(found, part) and isinstance(found, ModuleType):
            path = ".".join(name.split(".")[:depth])
            if importlib.util.find_spec(path) if hasattr(found, "__path__") else None:
                _imported(path, name)
        if not hasattr(found, part) or part.startswith("_"):
            where = ".".join(name.split(".")[: depth - 1])
            valid = _members(found, package, last=depth > len(rest))
            raise ConfigError(f"augment.extra: {where} has no '{part}' ({nearest_names(part, valid)})")
        found = getattr(found, part)
        if isinstance(found, ModuleType):
            _check_own(found, package, name)
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        raise ConfigError(f"augment.extra: {name} is neither a class nor a function but {type(found).__name__}")
    if _is_pythons(found):
        raise ConfigError(f"augment.extra: {name} is a part of Python ({_origin(found)}), no augmentation")
    return found


def _check_own(module: ModuleType, package: str, name: str) -> None:
    """Refuse modules that a package has merely imported: through them a name would reach all of Python."""
    if not _is_own(module, package):
        raise ConfigError(
            f"augment.extra: {name} leads out of {package} into the module {module.__name__}, which {package} imports; "
            "name what the package itself holds"
        )


def _is_own(module: ModuleType, package: str) -> bool:
    return module.__name__.partition(".")[0] == package


def _is_pythons(found: Any) -> bool:
    return _origin(found) in sys.stdlib_module_names


def _origin(found: Any) -> str:
    """Return the package that defines a class or function."""
    module = getattr(found, "__module__", None)
    if module is None:  # methods of compiled classes do not say; those classes do
        module = getattr(found, "__objclass__", type(getattr(found, "__self__", None))).__module__
    return str(module).partition(".")[0]


def _imported(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"augment.extra: {name} cannot be imported: {error}") from error


def _members(owner: Any, package: str, *, last: bool) -> list[str]:
    """Return the public names in a module or class that an augmentation's name may end in or, before, lead through.

    Where it can end in none of them, those that lead on.
    """
    public = {name: value for name, value in vars(owner).items() if not name.startswith("_")}
    ends = [name for name, value in public.items() if could_be_augmentation(value) and not _is_pythons(value)]
    if last and ends:
        return sorted(ends)
    classes = [name for name in ends if inspect.isclass(public[name])]
    modules = [name for name, value in public.items() if inspect.ismodule(value) and _is_own(value, package)]
    below = [each.name for each in pkgutil.iter_modules(getattr(owner, "__path__", []))]
    return sorted({*classes, *modules, *(name for name in below if not name.startswith("_"))})


def _check_installed(package: str, name: str) -> None:
    """Refuse modules of the working folder and of Python itself: a configuration is data, not code."""
    if package in sys.stdlib_module_names:
        raise ConfigError(f"augment.extra: {name} is a part of Python, no augmentation")
    spec = importlib.util.find_spec(package)
    if spec is None:
        hint = ": pip install 'catena-em[augment]'" if package == "kornia" else ""
        raise ConfigError(f"augment.extra: there is no installed package '{package}', which {name} names{hint}")
    places = [*(spec.submodule_search_locations or []), *([spec.origin] if spec.origin else [])]
    if not any(Path(place).is_relative_to(root) for place in places for root in _installed_roots()):
        raise ConfigError(
            f"augment.extra: {name} lies in {places[0] if places else package}, which is no installed package; "
            "make it one (pip install -e FOLDER)"
        )


def _installed_roots() -> list[Path]:
    """Return where packages are installed, folders of editable ones included."""
    roots = [Path(sysconfig.get_path(key)) for key in ("purelib", "platlib")]
    roots += [Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    for each in distributions():
        text = each.read_text("direct_url.json")
        origin = json.loads(text) if text else {}
        if origin.get("dir_info", {}).get("editable"):
            roots.append(Path(unquote(urlparse(origin["url"]).path)))
    return roots


def _check_arguments(name: str, found: Any, arguments: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(found)
    except ValueError:  # compiled, without a signature: it must tell itself
        return
    image = () if inspect.isclass(found) else (None,)  # what a function is called with later
    parameters = list(signature.parameters.values())[len(image) :]
    names = [each.name for each in parameters]
    open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters)
    unknown = [] if open_ended else [each for each in arguments if each not in names]
    try:
        if unknown:
            raise TypeError(f"there is no argument '{unknown[0]}' ({nearest_names(unknown[0], names)})")
        signature.bind(*image, **arguments)
    except TypeError as error:
        shown = ", ".join(_shown(each) for each in parameters) or "none"
        raise ConfigError(f"augment.extra: {name}: {error}; valid arguments: {shown}") from None


def _shown(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return f"{parameter.name}{default}"


def _as_tuples(value: Any) -> Any:
    """Return lists as tuples: YAML has no tuples, and most packages want them."""
    return tuple(_as_tuples(each) for each in value) if isinstance(value, list) else value
