"""The command line: subcommands in pipeline order.

Those that make and run studies are defined here, those that analyse them in ``curve_commands``,
``joint_command`` and ``cost_command``. Modules are imported only when a subcommand needs them, so
that ``steep --help`` is fast.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from steep import __version__
from steep.cli.cost_command import cost
from steep.cli.curve_commands import backtest, compare, diagnose, fit, forecast, read, report
from steep.cli.data_command import data
from steep.cli.joint_command import joint
from steep.cli.terminal import (
    EXIT_CODES,
    Json,
    OutputClosed,
    clear_errors,
    duration,
    fail,
    open_streams,
    print_json,
    results_json,
    run_study,
    so_far_json,
    stdout_for_the_answer,
    wrote_spec,
)
from steep.cli.watch.command import watch

app = typer.Typer(
    name="steep",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Elsewhere = Annotated[
    str | None,
    typer.Option("--executor", help="Where trials run: local, slurm, ray; default: the spec's."),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The study's folder (default: ./<study>).")
]


class OnceEach(TyperCommand):
    """A subcommand that refuses a repeated option unless it takes several values; typer would
    silently use the last value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, parameters = self.make_parser(ctx).parse_args(args=list(args))
        repeated = [p for p in parameters if parameters.count(p) > 1]
        for option in dict.fromkeys(repeated):
            if option.param_type_name != "option":
                continue
            if not (getattr(option, "multiple", False) or getattr(option, "is_flag", False)):
                name = max(option.opts, key=len)
                fail(f"{name} was given {parameters.count(option)} times: it takes one value")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # otherwise the exit code would be 1, that of a partial study
            raise OutputClosed from None


def main() -> None:
    """The entry point: known errors become one message and an exit code, never a traceback."""
    # Must be set before numpy is imported: beside busy workers, threads that wait for each other
    # made a search's decisions seven times as slow.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    open_streams()
    with clear_errors():
        app(prog_name="steep")


def _print_version(requested: bool) -> None:
    if requested:
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
    budget: Annotated[
        str | None, typer.Option(help="Time for the study: 10m, 2h; default 1h.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; one per core.")] = None,
    command: Annotated[
        str | None, typer.Option(help="Your own training command: 'python train.py {shard}'.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option(help="For the command: size=8,16 or lr=0.1,0.3; repeat it.")
    ] = None,
    items: Annotated[
        int | None, typer.Option(min=2, help="For the command: number of items, without FILES.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="For the command: the column of the class, to stratify.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="For the command: its metric (accuracy, loss, ...).")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="For the command: its output, 'accuracy: {number}'.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the spec.")] = False,
    as_json: Json = False,
) -> None:
    """Propose a study of your data within a budget: writes a commented spec.

    Nothing is trained but a short pilot, to know how long trials take. With --command it is a study
    of your own training command, which is run once on the smallest shard."""
    from steep.present.work import Work
    from steep.propose import propose

    paths = [*(files or ()), *(data or ())]
    if out.exists() and not force:
        fail(f"{out} exists: give another --out, or --force")
    if command is not None:
        options = {
            "items": items, "label": label, "metric": metric, "pattern": pattern,
            "budget": None if budget is None else duration(budget), "workers": workers,
        }  # fmt: skip
        init_command(paths, command, values or (), options, out, as_json)
        return
    if values or items or label or metric or pattern:
        fail("--values, --items, --label, --metric and --pattern are about a --command")
    if not paths:
        fail("name your files: steep init FILES")
    with Work(quiet=as_json) as work:
        proposal = propose(
            paths,
            domain=domain,
            family=family,
            seconds=duration(budget or "1h"),
            workers=workers,
            base=out.resolve().parent,
            tell=work.tell,
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(proposal.text, encoding="utf-8")
    if as_json:
        print_json({"spec": str(out), "notes": list(proposal.notes)})
        return
    for note in proposal.notes:
        typer.echo(note)
    typer.echo(wrote_spec(out))


def init_command(
    files: list[Path],
    command: str,
    values: Sequence[str],
    options: dict[str, Any],
    out: Path,
    as_json: bool,
) -> None:
    """Write a spec for a training command, after running it once on the smallest shard."""
    from steep.cli.init_command import propose

    if missing := [str(path) for path in files if not path.exists()]:
        fail(f"no such file: {', '.join(missing)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    base = out.resolve().parent
    proposal = propose(files, command, values, base=base, **options)
    out.write_text(proposal.text, encoding="utf-8")
    if as_json:
        notes = list(proposal.notes)
        print_json({"spec": str(out), "notes": notes, "problem": proposal.problem})
    elif proposal.problem is not None:
        typer.echo(f"Wrote {out}, but its command does not work yet.", err=True)
        typer.echo(f"steep: {proposal.problem}", err=True)
    else:
        for note in proposal.notes:
            typer.echo(note)
        typer.echo(wrote_spec(out))
    if proposal.problem is not None:
        raise typer.Exit(1)


def _study(spec: Path, out: Path | None, executor: str | None) -> Any:
    """The study of a spec or a folder, with its trials run by the ``executor`` if one is named."""
    from steep.spec.load import with_executor
    from steep.study import Study

    study = Study.open(spec) if spec.is_dir() else Study(spec, out)
    if executor is None:
        return study
    return Study(with_executor(study.loaded, executor), study.folder)


@app.command()
def plan(
    spec: Annotated[Path, typer.Argument(help="A spec, or the folder of a study begun before.")],
    out: Out = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Default: one per GPU or core.")
    ] = None,
    executor: Elsewhere = None,
    as_json: Json = False,
) -> None:
    """Dry run: trials, FLOPs, disk and estimated time; of a study begun, what is left."""
    from steep.present.work import Work

    study = _study(spec, out, executor)
    standing = study.standing() if study.begun else None
    with Work(quiet=as_json) as work:
        dry_run = study.plan(workers=workers, tell=work.tell)
    workers = dry_run.prediction.workers if dry_run.prediction else workers or study.worker_count()
    if as_json:
        ended = 0 if standing is None else standing.ended
        trials = [asdict(trial) for trial in dry_run.trials]
        print_json(asdict(dry_run) | {"trials": trials, "ended": ended})
        return
    from steep.present.lines import begun_sentence, plan_lines

    if standing is not None:
        typer.echo(begun_sentence(standing, study.folder, dry_run))
        if standing.complete and spec.is_dir():
            return
    for line in plan_lines(study.spec.study, study.cut.shards, dry_run, workers):
        typer.echo(line)


@app.command()
def run(
    spec: Annotated[Path, typer.Argument(help="A spec, or the folder of a study begun before.")],
    out: Out = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Default: one per GPU or core.")
    ] = None,
    executor: Elsewhere = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Stop starting trials after this: a time (2h, 10m) or FLOPs (1e15)."),
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Allow more seeds, sizes, choices or appended data.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry trials that failed or timed out.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Restart the trials of a machine that is gone.")
    ] = False,
    track: Annotated[
        str | None, typer.Option(help="Log to wandb, trackio, mlflow or tensorboard too.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing, forecast, confront, report. The same command resumes."""
    study = _study(spec, out, executor)
    options = {"extend": extend, "retry_failed": retry_failed, "take_over": take_over}
    with stdout_for_the_answer() if as_json else nullcontext():
        code = run_study(study, workers, budget, quiet or as_json, track, **options)
    if as_json:
        print_json(results_json(study))
    raise typer.Exit(code)


@app.command()
def status(study: Path, as_json: Json = False) -> None:
    """How far a study is: best error and forecast so far, time left, what runs, what failed."""
    from steep.analysis.published import Published, is_published
    from steep.present.lines import seconds_of, status_lines, trial_states
    from steep.study import Study

    standing = (Published if is_published(study) else Study).open(study).standing()
    rows = standing.rows
    if as_json:
        trials = [
            asdict(r.trial)
            | {"id": r.trial.id, "status": r.status, "attempts": r.attempts}
            | {"reason": r.reason, "seconds": r.seconds, "error": r.error, "place": r.place}
            for r in rows
        ]
        seconds_left = None if standing.left is None else asdict(standing.left)
        budget = {"budget": standing.budget, "budget_left": standing.budget_left}
        state = {"complete": standing.complete, "seconds_left": seconds_left} | budget
        state |= {"trial_states": trial_states(rows), "seconds": seconds_of(rows)}
        found = so_far_json(standing.analysis)
        print_json({"study": str(study)} | state | found | {"trials": trials})
        return
    for line in status_lines(standing, study):
        typer.echo(line)


@app.command()
def salvage(study: Path, as_json: Json = False) -> None:
    """Rebuild a damaged study from what can still be read; the damaged files are put aside."""
    from steep.store.store import Store

    intact = Store.damage(study) is None
    trials, measured = Store.restore(study)
    if as_json:
        print_json({"trials": trials, "measured": measured, "damaged": not intact})
    elif intact:
        typer.echo(
            f"{study} is not damaged: {trials} trials, {measured} with a result; nothing was "
            "changed."
        )
    else:
        typer.echo(f"{trials} trials read, {measured} with a result. Next: steep run {study}")


for question in (read, fit, forecast, joint, compare, diagnose, backtest, cost, report, watch):
    app.command()(question)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The demo's folder.")] = Path("demo"),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Default: one per GPU or core.")
    ] = None,
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
def worker(
    job: Annotated[Path, typer.Option(help="The worker.json that the driver wrote.")],
) -> None:
    """Train for a study that runs elsewhere: what executors on other machines start."""
    from steep.executors.pilot import serve

    if (problem := serve(job)) is not None:
        fail(problem)


@app.command()
def schema(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The reference, as in docs/spec.md.")
    ] = False,
) -> None:
    """Every key of a spec, its type, default and meaning: a JSON schema, or a reference."""
    from steep.spec.schema import reference, schema

    if markdown:
        typer.echo(reference(), nl=False)
    else:
        print_json(schema())


@app.command(name="plugins")
def list_plugins(as_json: Json = False) -> None:
    """Members that installed packages announce: families, laws, trainers and more."""
    from steep.spec.plugins import announced, problem

    plugins = [(one, problem(one)) for one in announced()]
    if as_json:
        print_json([asdict(one) | {"problem": reason} for one, reason in plugins])
        return
    if not plugins:
        typer.echo("No installed package has plugins for steep.")
    for one, reason in plugins:
        typer.echo(f"{one.kind} {one.name}: {one.reference} ({one.package})")
        if reason is not None:
            typer.echo(f"  {reason}")


app.add_typer(data)


def _finish(group: typer.Typer) -> None:
    """Make every subcommand refuse repeated options, and let ``--help`` show the whole first line
    of each docstring, which typer would truncate."""
    for one in group.registered_commands:
        one.cls = OnceEach
        one.short_help = (getattr(one.callback, "__doc__", None) or "").partition("\n")[0]
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            inner.short_help = str(inner.typer_instance.info.help)
            _finish(inner.typer_instance)


_finish(app)

if __name__ == "__main__":
    main()
