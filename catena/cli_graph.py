"""``catena graph``: look into graph stores, copy graphs between them, drop graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from catena.cli_arguments import Overrides, epilog, load

StoreArgument = Annotated[
    str, typer.Argument(help="`postgresql://…`, `mongodb://…`, or the path of a SQLite file.", show_default=False)
]
graph = typer.Typer(
    help="Look into graph stores, copy graphs between them, drop graphs.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    epilog=epilog("catena graph info fib25.yaml", "catena graph copy rag.sqlite 'postgresql://me@host/graphs'"),
)


@graph.command(
    epilog=epilog(
        "catena graph info fib25.yaml --volume medulla",
        "catena graph info runs/fib25/volumes/medulla/rag.sqlite",
        "catena graph info 'postgresql://me@db.lab.org/graphs?namespace=fib25_medulla'",
    )
)
def info(
    what: Annotated[str, typer.Argument(help="A store, or an experiment's YAML file.", show_default=False)],
    overrides: Overrides = None,
    volume: Annotated[str | None, typer.Option("--volume", help="Only this volume of the experiment.")] = None,
) -> None:
    """Count the rows of every table, and print what the store knows about them."""
    from catena.errors import ConfigError
    from catena.graphs.description import print_graph

    if Path(what).suffix in (".yaml", ".yml"):
        task, config = load(Path(what), overrides)
        if task.open_graph is None:
            raise ConfigError(f"task {task.name} has no graph")
        for name in [volume] if volume else config.volumes:
            config.volume(name)
            with task.open_graph(config, name, mode="r") as store:
                print_graph(store)
    elif volume or overrides:
        raise ConfigError("--volume and settings go with an experiment's YAML file")
    else:
        with _open_graph(what, "r") as store:
            print_graph(store)


@graph.command(
    epilog=epilog(
        "catena graph copy runs/fib25/volumes/medulla/rag.sqlite 'postgresql://me@host/graphs?namespace=fib25_medulla'",
        "catena graph copy mongodb://host/classic rag.sqlite --table nodes --table edges_hist_quant_75",
    )
)
def copy(
    source: StoreArgument,
    target: StoreArgument,
    table: Annotated[list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Drop tables of the same names in the target.")] = False,
) -> None:
    """Copy a graph into another store; every table arrives whole or not at all."""
    from catena.graphs.transfer import copy_graph, finished_tables

    with _open_graph(source, "r") as read, _open_graph(target, "a") as written:
        names = table or finished_tables(read)
        total = sum(read.count(name) for name in names)
        with typer.progressbar(length=total, label="rows") as bar:
            rows = copy_graph(read, written, table, replace, bar.update)
        typer.echo(f"wrote {written.url}: " + ", ".join(f"{name} ({count} rows)" for name, count in rows.items()))


@graph.command(epilog=epilog("catena graph drop 'postgresql://me@host/graphs?namespace=fib25_medulla' --yes"))
def drop(store: StoreArgument, yes: Annotated[bool, typer.Option("--yes", help="Really drop it.")] = False) -> None:
    """Drop a graph: all its tables, and the note whose they are."""
    from catena.errors import ConfigError
    from catena.graphs.description import print_graph
    from catena.graphs.transfer import drop_graph

    with _open_graph(store, "r") as opened:
        print_graph(opened)
        if not yes:
            raise ConfigError(f"this would drop all of {opened.url}; say --yes to do so")
    with _open_graph(store, "a") as opened:
        drop_graph(opened)
        typer.echo(f"dropped {opened.url}")


def _open_graph(place: str, mode: Literal["a", "r"]) -> Any:
    from catena.graphs import open_store, sqlite_url

    return open_store(place if "://" in place else sqlite_url(place), mode)
