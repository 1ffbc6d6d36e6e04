"""The command line: subcommands in pipeline order. Imports what a subcommand needs, no more."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from steep.cost.command import cost
from steep.sources.commands import data
from steep.terminal import (
    clear_errors,
    duration,
    fail,
    print_json,
    print_record,
    results_json,
    run_study,
    title,
)

app = typer.Typer(
    name="steep",
    help="Measure how steeply a model learns: learning curves, forecasts, model sizes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The study's folder (default: ./<study>).")
]
Level = Annotated[float, typer.Option(help="Level of the intervals.", min=0.01, max=0.999)]
X = Annotated[str | None, typer.Option("--x", help="Column of training-set sizes.")]
Y = Annotated[str | None, typer.Option("--y", help="Column of errors.")]
By = Annotated[str | None, typer.Option(help="Column that tells curves apart.")]
Se = Annotated[str | None, typer.Option(help="Column of standard errors.")]
Parameters = Annotated[str | None, typer.Option(help="Column of model sizes.")]
Higher = Annotated[
    bool, typer.Option("--higher-is-better", help="The column is an accuracy: 1 - it is fitted.")
]
Source = Annotated[str, typer.Argument(help="A study folder, a CSV/JSON/Parquet file, or -.")]


def main() -> None:
    """The entry point: known errors as one clear message and an exit code, never a traceback."""
    with clear_errors():
        app()


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
    """How far a study is: trials by state, what failed and why."""
    from steep.study import Study

    with Study.open(study).store() as store:
        rows = store.rows()
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

    for line in status_lines(rows):
        typer.echo(line)


@app.command()
def salvage(study: Path, as_json: Json = False) -> None:
    """Rebuild a damaged study from what can still be read; the damaged files are put aside."""
    from steep.store import Store

    trials, measured = Store.restore(study)
    if as_json:
        print_json({"trials": trials, "measured": measured})
    else:
        typer.echo(f"{trials} trials read, {measured} with a result. Next: steep run {study}")


@app.command()
def fit(
    source: Source,
    x: X = None,
    y: Y = None,
    by: By = None,
    se: Se = None,
    parameters: Parameters = None,
    higher_is_better: Higher = False,
    level: Level = 0.9,
    as_json: Json = False,
) -> None:
    """Fit the laws to a learning curve: exponent, regions, what the points support."""
    from steep.answers import fits_of

    found = fits_of(source, x, y, by, se, parameters, higher_is_better, level)
    if as_json:
        print_json([{"curve": c.name, "notes": c.notes} | asdict(c.fit) for c in found])
        return
    from steep.present.fits import summary

    for curve in found:
        title(curve.name, len(found))
        for note in curve.notes:
            typer.echo(note)
        typer.echo(summary(curve.fit))


@app.command()
def forecast(
    source: Source,
    at: Annotated[
        list[str] | None, typer.Option(help="10x (of the largest size used), 1e6 or 2M; repeat.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="An error to reach: 0.05 or 5%; repeat.")
    ] = None,
    x: X = None,
    y: Y = None,
    by: By = None,
    se: Se = None,
    parameters: Parameters = None,
    higher_is_better: Higher = False,
    level: Level = 0.9,
    as_json: Json = False,
) -> None:
    """The error at other sizes, and the data a target error needs, with intervals."""
    from steep.answers import forecasts_of

    sources = (source, x, y, by, se, parameters, higher_is_better, level)
    found = forecasts_of(sources, at or ["4x", "10x"], target or [])
    if as_json:
        print_json([{"curve": c.name, "notes": c.notes} | asdict(c.forecast) for c in found])
        return
    from steep.present.sentences import answer, caveat
    from steep.present.tables import forecast_text

    for curve in found:
        title(curve.name, len(found))
        typer.echo(answer(curve.forecast, curve.fit))
        typer.echo(caveat(curve.forecast))
        for note in curve.notes:
            typer.echo(note)
        typer.echo(forecast_text(curve.forecast))


@app.command()
def joint(
    source: Source,
    law: Annotated[str, typer.Option(help="chinchilla or rosenfeld.")] = "chinchilla",
    flops: Annotated[
        list[float] | None, typer.Option(help="Compute at which the best model is wanted; repeat.")
    ] = None,
    x: X = None,
    y: Y = None,
    by: By = None,
    parameters: Parameters = None,
    higher_is_better: Higher = False,
    level: Level = 0.9,
    as_json: Json = False,
) -> None:
    """Error against data and model size together: the law, and the best split of compute."""
    from steep.answers import joint_of

    found = joint_of((source, x, y, by, parameters, higher_is_better), law, flops or [], level)
    if as_json:
        print_json([asdict(curve) for curve in found])
        return
    from steep.present.joint import joint_lines

    for curve in found:
        title(curve.name, len(found))
        for line in (
            *curve.notes,
            *joint_lines(curve.fit, curve.frontier, curve.unit, curve.metric),
        ):
            typer.echo(line)


@app.command()
def compare(
    sources: Annotated[
        list[str], typer.Argument(help="Two or more sources; or one table with --by.")
    ],
    margin: Annotated[
        float, typer.Option(help="Share of the slope within which exponents are the same.")
    ] = 0.10,
    error: Annotated[
        float | None, typer.Option(help="The error at which the data multiplier is wanted.")
    ] = None,
    x: X = None,
    y: Y = None,
    by: By = None,
    se: Se = None,
    higher_is_better: Higher = False,
    level: Level = 0.9,
    as_json: Json = False,
) -> None:
    """Same exponent? How much data is one worth of the other? Where do they cross?"""
    from steep.answers import comparison_of

    found = comparison_of(
        sources, x, y, by, se, higher_is_better, level=level, margin=margin, error=error
    )
    if as_json:
        print_record(found)
        return
    typer.echo(found.sentence)
    for pair in found.pairs:
        title(f"{pair.first} against {pair.second}", len(found.pairs) + 1)
        for sentence in pair.sentences:
            typer.echo(sentence)
    for note in found.notes:
        typer.echo(note)


@app.command()
def diagnose(
    source: Source,
    x: X = None,
    y: Y = None,
    by: By = None,
    se: Se = None,
    parameters: Parameters = None,
    higher_is_better: Higher = False,
    as_json: Json = False,
) -> None:
    """What is off: points, trials, ladders, noise; each with evidence and the next step."""
    from steep.answers import findings_of

    found = findings_of(source, x, y, by, se, parameters, higher_is_better)
    if as_json:
        print_json([{"curve": n, "findings": [asdict(f) for f in fs]} for n, fs in found])
        return
    from steep.present.lines import finding_lines

    for name, findings in found:
        title(name, len(found))
        for line in finding_lines(findings):
            typer.echo(line)


@app.command()
def backtest(
    source: Source,
    x: X = None,
    y: Y = None,
    by: By = None,
    se: Se = None,
    parameters: Parameters = None,
    higher_is_better: Higher = False,
    level: Level = 0.9,
    as_json: Json = False,
) -> None:
    """Hide the largest sizes, forecast them, and score the forecasts."""
    from steep.answers import backtests_of

    found = backtests_of(source, x, y, by, se, parameters, higher_is_better, level)
    if as_json:
        print_json([{"curve": name} | asdict(made) for name, made in found])
        return
    from steep.present.tables import backtest_table

    for name, made in found:
        title(name, len(found))
        typer.echo(made.sentence)
        if made.scores:
            typer.echo(backtest_table(made).text())


app.command()(cost)


@app.command()
def report(
    source: Source,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Of a table: the HTML file to write.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Also write every figure as PNG and SVG into this folder.")
    ] = None,
    publish: Annotated[
        Path | None, typer.Option(help="Of a study: also write all it says as tables, here.")
    ] = None,
    x: X = None,
    y: Y = None,
    by: By = None,
    se: Se = None,
    parameters: Parameters = None,
    higher_is_better: Higher = False,
    as_json: Json = False,
) -> None:
    """Write a report that opens offline: of a study (report.html) or of a table of results."""
    from steep.answers import report_of

    table = (source, x, y, by, se, parameters, higher_is_better)
    written = report_of(table, out, figures, publish)
    if as_json:
        print_json({"written": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"Wrote {path}")


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


app.add_typer(data)

if __name__ == "__main__":
    main()
