"""Trained networks that come with the package: their cards, segmenting with them, and packing new ones.

``python -m local_shape_descriptors.pretrained pack CHECKPOINT NAME --card card.yaml`` packs one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import typer
from pydantic import Field, ValidationError, model_validator

from catena.config import Config, apply_overrides, load_yaml
from catena.errors import ConfigError, DataError, GeometryError, OutputError
from catena.experiment import Name
from catena.ledger import Ledger
from catena.pretrained import describe_size
from catena.publishing import move_into_place
from catena.segmentation.config import AgglomerateConfig, FragmentsConfig
from local_shape_descriptors.config import LocalShapeDescriptorsConfig, LookupTablesConfig
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.super_predicter_daisy import predicted_array

WEIGHTS = Path(__file__).parent / "weights"
"""Where the networks lie: ``NAME.safetensors`` and, beside it, ``NAME.json``."""
LARGEST_BYTES = 16_000_000
TOLERANCE = 0.2
"""How far a voxel size may be from the one that a network was trained on."""
VOLUME = "volume"
RESULTS = {
    "segmentation": "volumes/segmentation",
    "fragments": "volumes/fragments",
    "predict": predicted_array("affinities"),
}
"""What is put into the output, by the stage that makes it."""

Settings = LocalShapeDescriptorsConfig
Size = Annotated[float, Field(gt=0)]


class ModelCard(Config):
    """What there is to know of a trained network, and how to segment with it."""

    name: Name
    description: str = Field(description="In a line.")
    data: str = Field(description="What it was trained on, and which part of it.")
    licence: str = Field(description="Of these data.")
    voxel_size_nm: tuple[Size, Size, Size]
    iterations: int = Field(ge=0)
    hardware: str = Field(description="What it was trained on, and for how long.")
    figures: dict[str, float | str] = Field(description="Scores on data that were neither trained nor tuned on.")
    command: str = Field(description="Reproduces the figures.")
    model: ModelConfig
    fragments: FragmentsConfig = FragmentsConfig()
    merge_function: str
    threshold: float = Field(ge=0, le=1)
    config: dict[str, Any] = Field(default_factory=dict, description="How it was trained.")

    @model_validator(mode="after")
    def _makes_affinities(self) -> Self:
        if "affinities" not in self.model.heads:
            raise ValueError(f"a model of type {self.model.type} predicts no affinities, which are segmented")
        AgglomerateConfig.parse({"merge_function": self.merge_function}, "merge_function")
        return self

    @property
    def weights(self) -> Path:
        """The network itself."""
        return WEIGHTS / f"{self.name}.safetensors"


def cards() -> dict[str, ModelCard]:
    """Return the cards of the networks that are there, by name.

    Raises
    ------
    DataError
        If a card cannot be read.
    """
    found = {}
    for path in sorted(WEIGHTS.glob("*.json")):
        try:
            card = ModelCard.model_validate_json(path.read_text())
        except ValidationError as error:
            raise DataError(f"{path} is not the card of a network: {error}") from None
        if card.weights.exists():
            found[card.name] = card
    return found


def configure(name: str, raw: str, output: Path, overrides: Sequence[str] = ()) -> Settings:
    """Return the experiment that segments `raw` with a network, in a folder beside `output`.

    Raises
    ------
    ConfigError
        If `output` is not a zarr container, or an override cannot be used.
    GeometryError
        If the voxel size is another one than the network was trained on.
    OutputError
        If there are results in `output` that are not of this experiment.
    """
    if output.suffix != ".zarr":
        raise ConfigError(f"results are written to a zarr container, such as out.zarr; found {output}")
    known = cards()
    card = known[name]
    config = Settings.parse(apply_overrides(experiment(card, raw, output), overrides), f"network {name}")
    _require_voxel_size(card, config, known)
    _require_own(config, output)
    return config


def experiment(card: ModelCard, raw: str, output: Path) -> dict[str, Any]:
    """Return the configuration that segments `raw`, as plain values."""
    thresholds = LookupTablesConfig().values
    tables = {} if card.threshold in thresholds else {"thresholds": sorted((*thresholds, card.threshold))}
    return {
        "task": "local_shape_descriptors",
        "experiment": card.name,
        "output": f"{output}.run",
        "volumes": {VOLUME: {"raw": raw}},
        "inputs": {"checkpoint": str(card.weights)},
        "model": card.model.model_dump(mode="json"),
        "fragments": card.fragments.model_dump(mode="json"),
        "agglomerate": {"merge_function": card.merge_function},
        "lookup_tables": tables,
        "segmentation": {"threshold": card.threshold},
    }


def _require_voxel_size(card: ModelCard, config: Settings, known: Mapping[str, ModelCard]) -> None:
    raw = config.volume(VOLUME).grid()
    if all(
        1 / (1 + TOLERANCE) <= found / trained <= 1 + TOLERANCE
        for found, trained in zip(raw.voxel_size_nm, card.voxel_size_nm, strict=True)
    ):
        return
    there = ", ".join(f"{each.name} ({describe_size(each.voxel_size_nm)} nm)" for each in known.values())
    raise GeometryError(
        f"{raw.path} has voxels of {describe_size(raw.voxel_size_nm)} nm, but {card.name} was trained on "
        f"{describe_size(card.voxel_size_nm)} nm and knows nothing of others (beyond {TOLERANCE:.0%}). There are: "
        f"{there}. Take another network, resample raw, or train one: catena init"
    )


def publish(config: Settings, output: Path) -> list[Path]:
    """Put the results of a finished experiment into `output`; return their paths.

    They are hard links where the file system has them, so that nothing is stored twice and the working folder may be
    removed. Cut short at any point and called again, it goes on.
    """
    made = config.volume_folder(VOLUME) / "volume.zarr"
    paths = []
    with Ledger(config.folder / "ledger.sqlite", read_only=True) as ledger:
        records = {stage: ledger.read(VOLUME, stage, "published") for stage in RESULTS}
    state = _read_published(config)
    for stage, name in RESULTS.items():
        record, target = records[stage], output / name
        if record is None:  # such as an override that gives affinities
            continue
        paths.append(target)
        if state.get(name) == record.fingerprint and target.exists():
            continue
        _write_published(config, state | {name: ""})  # from now on what lies there is ours
        partial = target.with_name(f".new-{target.name}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(made / name, partial, copy_function=_link)
        move_into_place(partial, target, array=True)
        state[name] = record.fingerprint
        _write_published(config, state)
    return paths


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _require_own(config: Settings, output: Path) -> None:
    state = _read_published(config)
    for name in RESULTS.values():
        if (output / name).exists() and name not in state:
            raise OutputError(
                f"{output / name} is there already and was not made by this command with {config.experiment}; choose "
                "another output, or remove it"
            )


def _read_published(config: Settings) -> dict[str, str]:
    path = config.folder / "published.json"
    values: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return values


def _write_published(config: Settings, state: Mapping[str, str]) -> None:
    partial = config.folder / "published.json.partial"
    partial.write_text(json.dumps(state))
    partial.replace(config.folder / "published.json")


def pack(
    checkpoint: Path,
    name: str,
    card: Mapping[str, Any],
    folder: Path | None = None,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
) -> ModelCard:
    """Write the network of a checkpoint and its card to `folder`, by default that of the package.

    Parameters
    ----------
    card
        Of :class:`ModelCard` what the checkpoint does not tell: description, data, licence, voxel_size_nm, hardware,
        figures, command, threshold; anything else replaces what the checkpoint tells.

    Raises
    ------
    ConfigError
        If the card is incomplete, or the network is not of its model.
    OutputError
        If the file would be larger than what is shipped.
    """
    import torch

    from catena.inference import load_network, save_network

    loaded = load_network(checkpoint)
    filled = ModelCard.parse({**_told_by(loaded.metadata), **card, "name": name}, f"card of {name}")
    if dict(loaded.config.heads) != filled.model.channels:
        raise ConfigError(
            f"{checkpoint} predicts {dict(loaded.config.heads)}, the model of the card {filled.model.channels}"
        )
    folder = folder or WEIGHTS
    folder.mkdir(parents=True, exist_ok=True)
    partial, path = folder / f".{name}.partial", folder / f"{name}.safetensors"
    header = {"iteration": filled.iterations, "user_config": {"model": filled.model.model_dump(mode="json")}}
    save_network(partial, loaded.network, header, getattr(torch, dtype))
    if (size := partial.stat().st_size) > LARGEST_BYTES:
        partial.unlink()
        raise OutputError(
            f"{name} would be {size / 1e6:.1f} MB as {dtype}; no more than {LARGEST_BYTES / 1e6:.0f} MB are shipped"
        )
    partial.replace(path)
    (folder / f"{name}.json").write_text(filled.model_dump_json(indent=1) + "\n")
    return filled


def _told_by(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a card that a checkpoint's metadata tell; of its configuration nothing that names places."""
    user = metadata.get("user_config", {})
    told: dict[str, Any] = {"config": {name: user[name] for name in ("seed", "train", "augment") if name in user}}
    if "model" in user:
        told["model"] = user["model"]
    if "fragments" in user:
        names = FragmentsConfig.model_fields
        told["fragments"] = {key: value for key, value in user["fragments"].items() if key in names}
    if "agglomerate" in user:
        told["merge_function"] = user["agglomerate"]["merge_function"]
    if "iteration" in metadata:
        told["iterations"] = metadata["iteration"]
    return told


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _commands() -> None:
    """Networks that come with the package."""


@app.command("pack")
def pack_command(
    checkpoint: Annotated[Path, typer.Argument(help="Of training, or a safetensors file.")],
    name: Annotated[str, typer.Argument(help="What the network is to be called.")],
    card: Annotated[Path, typer.Option("--card", help="YAML with what the checkpoint does not tell.")],
    folder: Annotated[Path | None, typer.Option("--folder", help="Instead of the package's own.")] = None,
    float32: Annotated[bool, typer.Option("--float32", help="Do not round weights to bfloat16.")] = False,
) -> None:
    """Write a network and its card to the package."""
    packed = pack(checkpoint, name, load_yaml(card), folder, "float32" if float32 else "bfloat16")
    written = (folder or WEIGHTS) / f"{packed.name}.safetensors"
    typer.echo(f"wrote {written} ({written.stat().st_size / 1e6:.2f} MB) and its card")


if __name__ == "__main__":
    from catena.cli import execute

    execute(app)
