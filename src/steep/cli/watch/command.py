"""``steep watch``: the command."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from steep.cli.table_options import FITS, Columns, reads
from steep.cli.terminal import Json, fail, print_json

NICE = 5
"""The priority at which pages are served."""


@reads(*FITS, "robust")
def watch(
    *,
    source: Annotated[
        str, typer.Argument(help="A study's folder, a folder of studies, or a table of results.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; a remote one needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: 8484, or another free one.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the pages into this folder instead; open offline.")
    ] = None,
    columns: Columns,
    as_json: Json = False,
) -> None:
    """Follow a study, a folder of studies or a table on a page that keeps itself up to date."""
    from steep.base.extras import need
    from steep.cli.answers import Source
    from steep.cli.watch.site import exported, site_of

    if export is None:
        need("uvicorn")  # before anything is read
        need("starlette")
    elif study := _study_around(export):
        fail(f"--export {export} lies in {study}, a study, which is only read")
    if as_json and export is None:
        fail("--json belongs to --export: what is served is a page")
    if export is None:
        _give_way()
    site = site_of(Source(source, **columns))
    if export is not None:
        from steep.cli.reports import write_file

        written = []
        for name, text in exported(site):
            write_file(export / name, text)
            written.append(str(export / name))
        if as_json:
            print_json({"written": written})
        else:
            typer.echo(f"Wrote {len(written)} files; open {export / 'index.html'}")
        return
    from steep.cli.watch.server import access_policy, listen, serve

    listener = listen(host, port)
    taken = listener.getsockname()[1]
    access = access_policy(host, taken, secrets.token_urlsafe(24))
    shown = f"[{host}]" if ":" in host else host
    query = "" if access.token is None else f"?token={access.token}"
    typer.echo(f"Watching {source} at http://{shown}:{taken}/{query} (Ctrl-C ends it)")
    if access.token is not None:
        typer.echo(
            "It listens beyond this machine, without encryption: whoever has the token reads it.",
            err=True,
        )
    with suppress(KeyboardInterrupt):
        serve(site, listener, access)


def _give_way() -> None:
    """Leave the processor to the trials of this machine, with all threads begun from now on."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICE))


def _study_around(folder: Path) -> Path | None:
    """The study that a folder is, or is a part of."""
    from steep.cli.watch.sources import is_study

    place = folder.resolve()
    return next((one for one in (place, *place.parents) if is_study(one)), None)
