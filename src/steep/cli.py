"""The command line: what makes and runs studies here, what asks them in ``questions`` and ``cost``.

Subcommands in pipeline order; imports what a subcommand needs, no more.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from steep import __version__
from steep.cost.command import cost
from steep.joint_questions import joint
from steep.questions import backtest, compare, diagnose, fit, forecast, report
from steep.sources.commands import data
from steep.terminal import (
    EXIT_CODES,
    Json,
    clear_errors,
    duration,
    fail,
    open_streams,
    print_json,
    results_json,
    run_study,
)

app = typer.Typer(
    name="steep",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The study's folder (default: ./<study>).")
]


def main() -> None:
    """The entry point: known errors as one clear message and an exit code, never a traceback."""
    # Before numpy is there: threads that wait for each other beside busy workers made a search's
    # decisions seven times as slow.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    open_streams()
    with clear_errors():
        app(prog_name="steep")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"steep {__version__}")
        raise typer.Exit


@app.callback()
def steep(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Measure how steeply a model learns: learning curves, forecasts, model sizes."""


@app.command()
def init(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Your files, by domain: see README.")
    ] = None,
    data: Annotated[list[Path] | None, typer.Option(help="The same, by name; repeat it.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The spec to write.")] = Path(
        "study.yaml"
    ),
    domain: Annotated[str | None, typer.Option(help="images, words, ...; guessed.")] = None,
    family: Annotated[str | None, typer.Option(help="resnet, rhn, lstm, ...; by domain.")] = None,
    budget: Annotated[str, typer.Option(help="Time you would give it, e.g. 10m, 2h.")] = "1h",
    workers: Annotated[int | None, typer.Option(help="Worker processes; one a core.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the spec.")] = False,
    as_json: Json = False,
) -> None:
    """Propose a study of your data, within a budget: writes a commented spec, runs nothing."""
    from steep.init import propose

    if not (given := [*(files or ()), *(data or ())]):
        fail("name your files: steep init FILES")
    if out.exists() and not force:
        fail(f"{out} exists: give another --out, or --force")
    found = propose(
        given,
        domain=domain,
        family=family,
        seconds=duration(budget),
        workers=workers,
        base=out.resolve().parent,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(found.text, encoding="utf-8")
    if as_json:
        print_json({"spec": str(out), "notes": list(found.notes)})
        return
    for note in found.notes:
        typer.echo(note)
    typer.echo(f"Wrote {out}. Next: steep plan {out}; steep run {out}")


@app.command()
def plan(spec: Path, out: Out = None, as_json: Json = False) -> None:
    """Dry run: trials, FLOPs, disk and estimated time. Writes nothing."""
    from steep.study import Study

    study = Study(spec, out)
    found = study.plan()
    if as_json:
        print_json(asdict(found) | {"trials": [asdict(t) for t in found.trials]})
        return
    from steep.present.lines import plan_lines

    for line in plan_lines(study.spec.study, study.cut.shards, found, study.worker_count()):
        typer.echo(line)


@app.command()
def run(
    spec: Annotated[Path, typer.Argument(help="A spec, or the folder of a study begun before.")],
    out: Out = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Default: one a core.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Stop starting trials after this: FLOPs (1e15) or time (2h).")
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Take more seeds, sizes, choices or appended data.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try trials that failed or timed out again.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Give up the trials of another machine, now gone.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing, forecast, confront, report. The same command resumes."""
    from steep.study import Study

    study = Study.open(spec) if spec.is_dir() else Study(spec, out)
    asked = {"extend": extend, "retry_failed": retry_failed, "take_over": take_over}
    code = run_study(study, workers, budget, quiet or as_json, **asked)
    if as_json:
        print_json(results_json(study))
    raise typer.Exit(code)


@app.command()
def status(study: Path, as_json: Json = False) -> None:
    """How far a study is: best error and forecast so far, time left, what runs, what failed."""
    from steep.study import Study

    standing = Study.open(study).standing()
    rows = standing.rows
    if as_json:
        print_json(
            [
                asdict(r.trial)
                | {"id": r.trial.id, "status": r.status, "attempts": r.attempts}
                | {"reason": r.reason, "seconds": r.seconds}
                for r in rows
            ]
        )
        return
    from steep.present.lines import status_lines

    for line in status_lines(standing):
        typer.echo(line)


@app.command()
def salvage(study: Path, as_json: Json = False) -> None:
    """Rebuild a damaged study from what can still be read; the damaged files are put aside."""
    from steep.store import Store

    whole = Store.damage(study) is None
    trials, measured = Store.restore(study)
    if as_json:
        print_json({"trials": trials, "measured": measured, "damaged": not whole})
    elif whole:
        typer.echo(
            f"{study} is not damaged: {trials} trials, {measured} with a result; nothing was "
            "changed."
        )
    else:
        typer.echo(f"{trials} trials read, {measured} with a result. Next: steep run {study}")


for question in (fit, forecast, joint, compare, diagnose, backtest, cost, report):
    app.command()(question)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The demo's folder.")] = Path("demo"),
    workers: Annotated[int | None, typer.Option(min=1, help="Default: one a core.")] = None,
    as_json: Json = False,
) -> None:
    """A real learning curve on bundled images, in about five minutes on two cores."""
    from steep.data import demo_spec
    from steep.study import Study

    study = Study(demo_spec(), out)
    code = run_study(study, workers, None, as_json)
    if as_json:
        print_json(results_json(study))
    raise typer.Exit(code)


@app.command()
def schema(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The reference, as in docs/spec.md.")
    ] = False,
) -> None:
    """Every key of a spec, its type, default and meaning: a JSON schema, or a reference."""
    from steep.schema import reference, schema

    if markdown:
        typer.echo(reference(), nl=False)
    else:
        print_json(schema())


app.add_typer(data)


def _whole_summaries(group: typer.Typer) -> None:
    """``--help`` shows the first line of each docstring, however long: by itself it cuts them."""
    for one in group.registered_commands:
        one.short_help = (getattr(one.callback, "__doc__", None) or "").partition("\n")[0]
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            inner.short_help = str(inner.typer_instance.info.help)
            _whole_summaries(inner.typer_instance)


_whole_summaries(app)

if __name__ == "__main__":
    main()
