"""MkDocs hook: writes the tables of ``configuration.md`` from the pydantic models, when the docs are built."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

MARKER = "<!-- configuration tables -->"

_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_WORDS = {str: "text", bool: "true or false", int: "integer", float: "number", Any: "number"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marker of a page by the tables; called by MkDocs."""
    if MARKER not in markdown:
        return markdown
    from local_shape_descriptors.config import LocalShapeDescriptorsConfig

    return markdown.replace(MARKER, reference(LocalShapeDescriptorsConfig))


@dataclass(frozen=True)
class Section:
    """A model at the place in the file where it occurs first."""

    path: str
    model: type[BaseModel]
    kind: str = ""

    @property
    def anchor(self) -> str:
        """Name of the heading, for links."""
        place = self.path.replace(".", "-").lower() or "top"
        return f"section-{place}-{self.kind}" if self.kind else f"section-{place}"

    @property
    def title(self) -> str:
        """What the heading says."""
        place = f"`{self.path}`" if self.path else "Top level"
        return f"{place}, `type: {self.kind}`" if self.kind else place


def reference(model: type[BaseModel]) -> str:
    """Return a heading and a table for `model` and for every model below it, in the order of the file."""
    known = {section.model: section for section in sections(model)}
    return "\n\n".join(_render(section, known) for section in known.values())


def sections(
    model: type[BaseModel], path: str = "", seen: set[type[BaseModel]] | None = None, kind: str = ""
) -> Iterator[Section]:
    """Yield `model` and those below it, each once; `kind`: which of several models that may stand at one place."""
    seen = set() if seen is None else seen
    if model in seen:
        return
    seen.add(model)
    yield Section(path, model, kind)
    for name, field in model.model_fields.items():
        below = models_in(field.annotation)
        step = f"{name}.NAME" if _is_mapping(field.annotation) else name
        for each in below:
            kind = str(each.model_fields["type"].default) if len(below) > 1 else ""
            yield from sections(each, f"{path}.{step}" if path else step, seen, kind)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field may hold, be it optional, a list, or the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in get_args(annotation) for found in models_in(each)]


def describe_type(annotation: Any) -> str:
    """Return a field's type in the words of YAML.

    >>> describe_type(tuple[int, int, int] | None)
    '[integer, integer, integer] or null'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe_type(arguments[0]) + _bracketed(_constraints(arguments[1:]))
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin in (Union, types.UnionType):
        words = ["null" if each is type(None) else describe_type(each) for each in arguments]
        return " or ".join(dict.fromkeys(words))  # of several models one word, which leads to the first
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {describe_type(arguments[0])}"
    if origin is tuple:
        return "[" + ", ".join(describe_type(each) for each in arguments) + "]"
    if origin is dict:
        return f"by name: {describe_type(arguments[1])}"
    return _WORDS.get(annotation, "section")


def describe_default(field: FieldInfo) -> str:
    """Return a field's default as YAML, or that it has none to show."""
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "" if field.default_factory is dict else "see description"
    value = field.default
    if isinstance(value, BaseModel):
        return ""
    text = yaml.safe_dump(_plain(value), default_flow_style=True, width=10_000)
    return "`" + text.removesuffix("...\n").strip() + "`"


def _render(section: Section, known: dict[type[BaseModel], Section]) -> str:
    lines = [f"### {section.title} {{ #{section.anchor} }}", _first_paragraph(section.model)]
    lines += ["| key | type | default | meaning |\n| --- | --- | --- | --- |"]
    rows = [_row(name, field, known) for name, field in section.model.model_fields.items()]
    lines[-1] += "\n" + "\n".join(rows)
    return "\n\n".join(lines)


def _row(name: str, field: FieldInfo, known: dict[type[BaseModel], Section]) -> str:
    below = next(iter(models_in(field.annotation)), None)
    kind = describe_type(field.annotation) + _bracketed(_constraints(field.metadata))
    meaning = field.description or ""
    if below is not None:
        kind = kind.replace("section", f"[section](#{known[below].anchor})")
        meaning = meaning or _first_paragraph(below)
    cells = (f"`{field.alias or name}`", kind, describe_default(field), meaning)
    return "| " + " | ".join(_cell(each) for each in cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _constraints(metadata: Any) -> list[str]:
    """Return what pydantic checks of a value, as ``≥ 0``."""
    found = []
    for each in metadata:
        if isinstance(each, FieldInfo):
            found += _constraints(each.metadata)
        elif isinstance(each, annotated_types.MinLen):
            found.append(f"at least {each.min_length}")
        else:
            found += [f"{sign} {getattr(each, key):g}" for key, sign in _SIGNS.items() if hasattr(each, key)]
    return found


def _bracketed(parts: list[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value
