"""Commands that this package adds to ``catena``; light to import, for every start of the command line imports it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from funlib.geometry import Coordinate

from catena.errors import GeometryError

Function = TypeVar("Function", bound=Callable[..., None])


def _examples(*commands: str) -> Callable[[Function], Function]:
    """Give a command the examples that ``--help`` ends with."""

    def add(function: Function) -> Function:
        function.__dict__["epilog"] = "**Examples**\n\n" + "\n\n".join(f"`{each}`" for each in commands)
        return function

    return add


@_examples(
    "catena synthesise phantom.zarr --shape 192,192,192 --voxel-size 8,8,8 --seed 1",
    "catena synthesise sections.zarr --shape 40,256,256 --voxel-size 40,8,8 --seed 7 --workers 4",
)
def synthesise(
    output: Annotated[Path, typer.Argument(help="Zarr container to write, e.g. phantom.zarr.", show_default=False)],
    shape: Annotated[str, typer.Option(help="Voxels: z,y,x.")] = "192,192,192",
    voxel_size: Annotated[
        str, typer.Option(help="Whole nanometres: z,y,x. z at least twice y and x means cut sections, with defects.")
    ] = "8,8,8",
    seed: Annotated[int, typer.Option(help="The same shape, voxel size and seed give the same volume.")] = 1,
    calibre: Annotated[float, typer.Option(help="How many times as thick as in the fly neurites are.")] = 1.0,
    workers: Annotated[int | None, typer.Option(help="Threads; all cores unless given. Never changes a voxel.")] = None,
) -> None:
    """Synthesise an EM volume with dense ground truth (neurons and mitochondria)."""
    import os

    from data_prep.synthetic import check, synthesise, synthetic_recipe
    from data_prep.synthetic_container import holds, prepare_container, write_synthetic

    shape_vox, voxel_nm = _coordinate(shape, "--shape"), _coordinate(voxel_size, "--voxel-size")
    threads = workers if workers is not None else os.cpu_count() or 1
    check(shape_vox, voxel_nm, seed, threads)
    if holds(output, synthetic_recipe(shape_vox, voxel_nm, seed, calibre)):
        typer.echo(f"{output} holds this very volume already; nothing to do")
        return
    prepare_container(output)
    with typer.progressbar(length=int(shape_vox[0]), label="sections") as bar:
        volume = synthesise(shape_vox, voxel_nm, seed, calibre=calibre, workers=threads, progress=bar.update)
    write_synthetic(output, volume)
    neurons, mitochondria = len(volume.neurite_of_label) - 1, int(volume.mitochondria.max())
    typer.echo(f"wrote {output}: {neurons} neurons, {mitochondria} mitochondria, {volume.raw.size / 1e6:.1f} Mvoxel")


@_examples("catena downsample cremi.hdf/volumes/raw cremi8.zarr/volumes/raw --factor 1,2,2")
def downsample(
    source: Annotated[str, typer.Argument(help="Array to read: container and data set joined.", show_default=False)],
    target: Annotated[str, typer.Argument(help="Array to write, in a .zarr container.", show_default=False)],
    factor: Annotated[str, typer.Option(help="Voxels per new voxel: z,y,x.")] = "1,2,2",
    labels: Annotated[bool, typer.Option("--labels", help="Ids, not intensities: never average.")] = False,
) -> None:
    """Write an array with voxels a whole factor larger."""
    from data_prep.downsample import downsample

    downsample(source, target, _coordinate(factor, "--factor"), labels)
    typer.echo(f"wrote {target}")


def _coordinate(text: str, option: str) -> Coordinate:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise GeometryError(f"{option} must be three whole numbers z,y,x such as 40,8,8; found {text!r}")
    return Coordinate(int(part) for part in parts)
