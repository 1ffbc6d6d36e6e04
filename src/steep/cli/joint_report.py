"""The sections of a report about data and model size together: surface, residuals, frontier."""

from __future__ import annotations

from pathlib import Path

from steep.cli.answers import Source
from steep.cli.joint_command import JointAnswer, answer, lines
from steep.present import joint as words
from steep.present.surface import residual_drawing, surface_drawing
from steep.present.tables import backtest_table
from steep.report import Section, shown_figure


def joint_sections(source: Source) -> list[Section]:
    """A section for each curve of a table whose runs have several model sizes at one data size;
    none for a table without model sizes, or with best fits only."""
    from steep.cli.answers import joint_fits_of

    columns = {
        name: getattr(source, name)
        for name in ("x", "y", "by", "parameters", "unique", "higher_is_better", "validation_items")
    }
    if source.path == "-" or not Path(source.path).exists():
        return []  # a stream cannot be read a second time
    try:
        fits = joint_fits_of(source.path, columns, None, {"flops_per_parameter_sample": 6.0})
    except ValueError:  # no model sizes; other problems of the table are reported with its curves
        return []
    crossed = [
        (name, fit) for name, fit in fits
        if fit.rows and len({r.samples for r in fit.rows}) < len(fit.rows)
        and len({r.parameters for r in fit.rows}) > 1 and fit.outcome != "too few points"
    ]  # fmt: skip
    return [
        joint_section(answer(name, fit, tested=True), i + 1)
        for i, (name, fit) in enumerate(crossed)
    ]


def joint_section(result: JointAnswer, number: int = 1) -> Section:
    """Error against data and model size: the surface with its frontier, residuals, back-test."""
    fit = result.fit
    drawings = [surface_drawing(fit, result.frontier)]
    if fit.draws:
        drawings.append(residual_drawing(fit))
    tables = [words.frontier_table(fit, result.frontier)] if result.frontier else []
    if result.backtest is not None and result.backtest.scores:
        tables.append(backtest_table(result.backtest))
    texts = [line for line in lines(result) if line]
    table = (
        words.frontier_table(fit, result.frontier).text().splitlines() if result.frontier else []
    )
    texts = [line.strip() for line in texts if line not in table and line not in fit.notes]
    return Section(
        f"joint-{number}",
        f"Data and model size together: {result.name}",
        figures=tuple(shown_figure(drawing) for drawing in drawings),
        lines=tuple(texts),
        tables=tuple(tables),
        drawings=tuple(drawings),
    )
