"""Subcommands about a study or a table of results; each prints what ``answers`` computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steep.cli.table_options import CURVES, FITS, Columns, Level, reads
from steep.cli.terminal import (
    Json,
    answered,
    fail,
    print_json,
    print_record,
    show,
    title,
)

if TYPE_CHECKING:
    from steep.records import Fit, Forecast, SizeLaw

Plot = Annotated[bool, typer.Option("--plot", help="Draw a small curve in the terminal.")]
Png = Annotated[
    Path | None, typer.Option(help="Draw the figure into this file, .png or .svg.", metavar="FILE")
]
Draws = Annotated[bool, typer.Option("--draws", help="With --json: the draws of each law too.")]
Place = Annotated[str, typer.Argument(help="A study folder, a CSV/JSON/Parquet file, or -.")]


@reads(*CURVES, "parameters", "unique")
def read(
    *,
    source: Place,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the table as it was read, a CSV.")
    ] = None,
    columns: Columns,
    as_json: Json = False,
) -> None:
    """What a table is taken for: columns, units, curves, replicates; writes it tidy with --out."""
    from steep.cli.answers import Source
    from steep.present.reading import reading_lines, tidy

    results = Source(source, **columns)
    if results.is_study:
        fail(f"{source} is a study: steep report {source} --publish FOLDER writes its tables")
    table = results.table()
    if out is not None and any(c.points for c in table.curves):
        # The tidy table has no place for points that the fit leaves aside nor for what they share.
        fail(f"{source} is a study's own table and is read as it is: copy it")
    if out is not None:
        from steep.cli.reports import write_file

        write_file(out, tidy(table))
    if as_json:
        print_json(asdict(table))
        return
    for line in reading_lines(table):
        typer.echo(line)
    if out is not None:
        typer.echo(f"Wrote {out}")


@reads(*FITS, "robust")
def fit(
    *,
    source: Place,
    columns: Columns,
    level: Level = 0.9,
    plot: Plot = False,
    png: Png = None,
    draws: Draws = False,
    as_json: Json = False,
) -> None:
    """Fit the laws to a learning curve: exponent, regions, what the points support."""
    from steep.cli.answers import Source, fits_of

    if draws and not as_json:
        fail("--draws belongs to --json: they are thousands of numbers")
    curves = fits_of(Source(source, **columns), level)
    if not as_json:
        from steep.present.fits import size_lines, summary

        for curve, following in zip(curves, [*curves[1:], None], strict=True):
            title(curve.name, len(curves))
            typer.echo(summary(curve.fit, curve.seeds))
            # all metrics of a study have the same best sizes
            if following is None or following.size_laws != curve.size_laws:
                for line in size_lines(curve.size_laws):
                    typer.echo(line)
    _draw({c.name: (c.fit, None) for c in curves}, plot and not as_json, png)
    if as_json:
        print_json([{"curve": c.name} | _plain(c.fit, draws) | _sizes(c.size_laws) for c in curves])
    answered(curve.fit.outcome == "ok" for curve in curves)


def _plain(fit: Fit, draws: bool) -> dict[str, Any]:
    """A fit as plain values, with or without its posterior draws."""
    return {k: v for k, v in asdict(fit).items() if draws or k != "draws"}


def _sizes(laws: Sequence[tuple[str, SizeLaw]]) -> dict[str, Any]:
    """The size laws as plain values, and beta_p of the first."""
    plain = [
        {"of": name} | {k: v for k, v in asdict(law).items() if k != "draws"} for name, law in laws
    ]
    return {"size_laws": plain, "beta_p": plain[0]["beta_p"] if plain else None}


def _draw(curves: Mapping[str, tuple[Fit, Forecast | None]], plot: bool, png: Path | None) -> None:
    """Draw the curves as one figure, in the terminal and into a file."""
    if not curves or not (plot or png):
        return
    from steep.present.learning import learning_curve, learning_curves

    if len(curves) == 1:
        (fit, forecast) = next(iter(curves.values()))
        drawing = learning_curve(fit, forecast)
    else:
        fits = {name: fit for name, (fit, _) in curves.items()}
        forecasts = [forecast for _, forecast in curves.values() if forecast is not None]
        drawing = learning_curves(fits, max((f.reach or 1.0 for f in forecasts), default=1.0))
    show(drawing, plot, png)


@reads(*FITS, "robust")
def forecast(
    *,
    source: Place,
    at: Annotated[
        list[str] | None, typer.Option(help="10x (of the largest size used), 1e6 or 2M; repeat.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="An error to reach: 0.05 or 5%; repeat.")
    ] = None,
    columns: Columns,
    level: Level = 0.9,
    single_run: Annotated[
        bool,
        typer.Option(
            "--single-run", help="Intervals of one new run, not of a mean like the points."
        ),
    ] = False,
    plot: Plot = False,
    png: Png = None,
    as_json: Json = False,
) -> None:
    """The error at other sizes, and the data a target error needs, with intervals."""
    from steep.cli.answers import Source, forecasts_of

    places = at or ["4x", "10x"]
    curves = forecasts_of(Source(source, **columns), places, target or [], level, single_run)
    if as_json:
        plain = [{"curve": c.name, "largest": c.fit.at_hand} | asdict(c.forecast) for c in curves]
        print_json([p | _sizes(c.size_laws) for p, c in zip(plain, curves, strict=True)])
    else:
        from steep.present.sentences import answer, caveat, size_sentence
        from steep.present.tables import forecast_text

        for curve in curves:
            title(curve.name, len(curves))
            headline = answer(curve.forecast, curve.fit, curve.requested)
            lines = [
                *curve.fit.warnings,
                headline,
                caveat(curve.forecast),
                *curve.fit.notes,
                *curve.notes,
            ]
            lines = list(dict.fromkeys(lines))
            table = forecast_text(curve.forecast, curve.fit)
            lines += [size_sentence(*law) for law in curve.size_laws[:1]]
            for line in (*lines, table):
                if line:
                    typer.echo(line)
    _draw({c.name: (c.fit, c.forecast) for c in curves}, plot and not as_json, png)
    answered(curve.forecast.outcome == "ok" for curve in curves)


@reads(*CURVES, "best_guess")
def compare(
    *,
    sources: Annotated[
        list[str], typer.Argument(help="Two or more sources; or one table with --by.")
    ],
    margin: Annotated[
        float, typer.Option(help="Share of the slope within which exponents are the same.")
    ] = 0.10,
    error: Annotated[
        str | None, typer.Option(help="Error at which to give the data multiplier: 0.05 or 5%.")
    ] = None,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Equal sizes are not the same data.")
    ] = False,
    axis: Annotated[
        str, typer.Option(help="data, or compute: compare compute instead of data.")
    ] = "data",
    flops: Annotated[
        list[float] | None, typer.Option(help="With --axis compute: where; repeat.")
    ] = None,
    shared_floor: Annotated[
        bool, typer.Option("--shared-floor", help="With --axis compute: hold both at one floor E.")
    ] = False,
    columns: Columns,
    level: Level = 0.9,
    plot: Plot = False,
    png: Png = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write it as a page that opens offline.", metavar="FILE"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Same exponent? How much data is one worth of the other? Where do they cross?"""
    from steep.cli.answers import Source
    from steep.cli.comparisons import compared

    tables = [Source(path, **columns) for path in sources]
    if axis not in ("data", "compute"):
        fail(f"--axis {axis!r}: data or compute")
    if axis == "data" and (flops or shared_floor):
        fail("--flops and --shared-floor belong to --axis compute")
    if axis == "compute":
        _compare_compute(tables, flops or [], shared_floor, level, as_json)
        return
    paired = False if unpaired else None
    comparison, fits = compared(tables, margin=margin, error=error, level=level, paired=paired)
    if as_json:
        print_record(comparison)
    else:
        from steep.present.comparing import lines

        for line in lines(comparison):
            typer.echo(line)
    _draw({name: (fit, None) for name, fit in fits.items()}, plot and not as_json, png)
    if html is not None:
        from steep.cli.reports import write_comparison

        write_comparison(comparison, fits, html)
        typer.echo(f"Wrote {html}", err=as_json)
    answered(pair.outcome == "ok" for pair in comparison.pairs)


def _compare_compute(
    tables: list[Any], flops: list[float], shared_floor: bool, level: float, as_json: bool
) -> None:
    from steep.cli.comparisons import compared_by_compute

    pairs, notes = compared_by_compute(tables, flops, shared_floor, level)
    if as_json:
        print_json({"pairs": [asdict(pair) for pair in pairs], "notes": notes})
    else:
        from steep.present.joint import multiplier_lines

        for line in (*(text for pair in pairs for text in multiplier_lines(pair)), *notes):
            typer.echo(line)
    answered(pair.outcome == "ok" for pair in pairs)


@reads(*FITS)
def diagnose(
    *,
    source: Place,
    columns: Columns,
    as_json: Json = False,
) -> None:
    """What is off: points, trials, ladders, noise; each with evidence and the next step."""
    from steep.cli.answers import Source, findings_of

    curves = findings_of(Source(source, **columns))
    if as_json:
        plain = [(c.name, c.notes, [asdict(f) for f in c.findings]) for c in curves]
        print_json([{"curve": name, "notes": n, "findings": f} for name, n, f in plain])
        return
    from steep.present.lines import finding_lines

    for curve in curves:
        title(curve.name, len(curves))
        for line in (*finding_lines(curve.findings), *curve.notes):
            typer.echo(line)


@reads(*FITS, "robust")
def backtest(
    *,
    source: Place,
    columns: Columns,
    level: Level = 0.9,
    as_json: Json = False,
) -> None:
    """Hide the largest sizes, forecast them, and score the forecasts."""
    from steep.cli.answers import Source, backtests_of

    curves = backtests_of(Source(source, **columns), level)
    if as_json:
        print_json([{"curve": c.name, "notes": c.notes} | asdict(c.backtest) for c in curves])
    from steep.present.tables import backtest_table

    for curve in () if as_json else curves:
        title(curve.name, len(curves))
        for line in (curve.backtest.sentence, *curve.notes):
            typer.echo(line)
        if curve.backtest.scores:
            table = backtest_table(curve.backtest)
            typer.echo(f"{table.text()}\n{table.note}")
    answered(curve.backtest.outcome == "ok" for curve in curves)


@reads(*FITS, "robust")
def report(
    *,
    sources: Annotated[
        list[str],
        typer.Argument(help="A study folder or a table of results; several are compared."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The HTML file; a study's own is report.html in it."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Also write every figure as PNG and SVG into this folder.")
    ] = None,
    publish: Annotated[
        Path | None, typer.Option(help="Of a study: also write its results as tables, here.")
    ] = None,
    columns: Columns,
    as_json: Json = False,
) -> None:
    """Write a report that opens offline: of a study (report.html), of tables, of a comparison."""
    from steep.cli.answers import Source
    from steep.cli.reports import comparison_report_of, report_of

    first, *others = (Source(path, **columns) for path in sources)
    if others and publish is not None:
        fail("--publish is for one study")
    if others:
        written = comparison_report_of([first, *others], out, figures)
    else:
        written = report_of(first, out, figures, publish)
    if as_json:
        print_json({"written": [str(path) for path in written.paths], "notes": written.notes})
        return
    for line in (*written.notes, *(f"Wrote {path}" for path in written.paths)):
        typer.echo(line)
