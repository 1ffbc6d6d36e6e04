"""``steep data``: its subcommands. Imports what a subcommand needs, no more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steep.cli.terminal import Json, print_json

data = typer.Typer(
    name="data",
    help="Public data for all domains: list it, get it, verified, without root.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@data.command("list")
def list_(as_json: Json = False) -> None:
    """What there is, for which domain, how large, through which client, under which licence."""
    from steep.data.sources.get import all_sources

    sources = all_sources()
    if as_json:
        from dataclasses import asdict

        print_json([{"name": name, "bytes": s.size} | asdict(s) for name, s in sources.items()])
        return
    from steep.present.sources import source_lines

    for line in source_lines(sources):
        typer.echo(line)


@data.command()
def get(
    name: Annotated[str, typer.Argument(help="A name of 'steep data list'.")],
    to: Annotated[Path, typer.Option("--to", help="A folder of its own; made if need be.")],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Sets of the hub: rows of each part at most.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress line.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch, clean and verify one set. The same command resumes, and mends what is damaged."""
    from steep.data.sources.get import get as fetch
    from steep.data.sources.get import source_of
    from steep.present.work import Work

    files = source_of(name).SOURCE.files
    with Work(quiet or as_json) as work:
        record, already_there = fetch(name, to, work.tell, limit)
    if as_json:
        print_json(record | {"already_there": already_there, "data": str(to / files)})
        return
    from steep.present.sources import record_lines

    for line in record_lines(record, str(to), files, already_there):
        typer.echo(line)
