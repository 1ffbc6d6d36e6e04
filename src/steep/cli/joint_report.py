"""The sections of a report about data and model size together: surface, residuals, frontier."""

from __future__ import annotations

from pathlib import Path

from steep.cli.answers import Source
from steep.cli.joint_command import JointAnswer, answer, lines
from steep.present import joint as words
from steep.present.surface import residual_drawing, surface_drawing
from steep.present.tables import backtest_table
from steep.report import Section, _shown


def joint_sections(source: Source) -> list[Section]:
    """One for each curve of a table whose runs have several model sizes at one size of data; none
    for a table without model sizes, or of best fits alone."""
    from steep.cli.answers import joint_fits_of

    columns = {
        name: getattr(source, name)
        for name in ("x", "y", "by", "parameters", "unique", "higher_is_better", "validation_items")
    }
    if source.path == "-" or not Path(source.path).exists():
        return []  # a stream was read to its end
    try:
        fits = joint_fits_of(source.path, columns, None, {"flops_per_parameter_sample": 6.0})
    except ValueError:  # no model sizes; what else is wrong with the table is told of its curves
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


def joint_section(found: JointAnswer, number: int = 1) -> Section:
    """Error against data and model size: the surface with its frontier, residuals, back-test."""
    fit = found.fit
    drawings = [surface_drawing(fit, found.frontier)]
    if fit.draws:
        drawings.append(residual_drawing(fit))
    made = [words.frontier_table(fit, found.frontier)] if found.frontier else []
    if found.backtest is not None and found.backtest.scores:
        made.append(backtest_table(found.backtest))
    told = [line for line in lines(found) if line]
    table = words.frontier_table(fit, found.frontier).text().splitlines() if found.frontier else []
    told = [line.strip() for line in told if line not in table and line not in fit.notes]
    return Section(
        f"joint-{number}",
        f"Data and model size together: {found.name}",
        figures=tuple(_shown(drawing) for drawing in drawings),
        lines=tuple(told),
        tables=tuple(made),
        drawings=tuple(drawings),
    )
