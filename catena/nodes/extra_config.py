"""How a configuration names augmentations of other packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from catena.config import Config

Kind = Literal["intensity", "geometric", "mix"]
"""What an augmentation does: changes values where they are, moves voxels, or mixes several crops."""


class ExtraConfig(Config):
    """One augmentation of another package, written ``NAME: {ARGUMENT: VALUE}``, or just ``NAME``.

    Nothing is imported here: names and arguments are checked when a run begins.
    """

    name: str = Field(description="Dotted name of a class or function in an installed package.")
    arguments: dict[str, Any] = Field({}, description="What it is made with; lists become tuples.")
    kind: Kind | None = Field(
        None,
        description="What it does: intensity (image only), geometric (moves image and labels) or mix (several crops). "
        "Default: what is known of its class; a plain function is intensity.",
    )

    within: Literal["crop", "step"] = Field(
        "crop",
        description="crop: where crops are made, before targets are. step: in the training step, on the network's "
        "device; intensities only.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, Mapping) or "name" in value:
            return value
        names = [key for key in value if key not in cls.model_fields]
        if len(names) != 1:
            raise ValueError(
                f"an entry is one dotted name with its arguments, such as 'package.Augmentation: {{p: 0.5}}', "
                f"found {len(names)} names: {', '.join(map(str, names)) or 'none'}"
            )
        rest = {key: each for key, each in value.items() if key != names[0]}
        return {"name": names[0], "arguments": value[names[0]] or {}, **rest}

    @model_validator(mode="after")
    def _is_dotted(self) -> ExtraConfig:
        if not all(part.isidentifier() for part in self.name.split(".")) or "." not in self.name:
            raise ValueError(f"expected a dotted name such as 'kornia.augmentation.RandomGamma', found '{self.name}'")
        return self
