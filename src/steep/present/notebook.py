"""Fits, forecasts and comparisons in one line, and in a notebook."""

from __future__ import annotations

import html

from steep.present import numbers
from steep.present.sentences import answer, caveat, fit_lines
from steep.present.table import Table
from steep.present.tables import forecast_table, pair_table
from steep.records import Comparison, Fit, Forecast


def fit_line(fit: Fit) -> str:
    """What ``repr`` says of a fit: outcome, exponent, and what was fitted."""
    used = fit.used
    parts = [fit.outcome]
    if fit.beta_g is not None:
        parts.append(f"beta_g = {numbers.interval(fit.beta_g)}")
    parts.append(f"{len(used)} of {len(fit.points)} points")
    if used:
        ends = (numbers.exact(used[0].samples), numbers.exact(used[-1].samples))
        parts.append(f"{' to '.join(ends)} {fit.unit}")
    return f"<Fit: {', '.join(parts)}>"


def forecast_line(forecast: Forecast) -> str:
    """The same of a forecast: its answer."""
    return f"<Forecast: {answer(forecast)}>"


def comparison_line(found: Comparison) -> str:
    """The same of a comparison: its answer."""
    return f"<Comparison: {found.sentence}>"


def fit_html(fit: Fit) -> str:
    """The fit's sentences and its curve."""
    from steep.present.figures import alone
    from steep.present.learning import learning_curve

    lines = "".join(f"<li>{html.escape(line)}</li>" for line in fit_lines(fit))
    figure = alone(learning_curve(fit)) if any(p.error > 0 for p in fit.points) else ""
    return f"<ul>{lines}</ul>{figure}"


def forecast_html(forecast: Forecast) -> str:
    """The answer, its caveat and the table."""
    headline = f"<p><b>{html.escape(answer(forecast))}</b><br>{html.escape(caveat(forecast))}</p>"
    table = forecast_table(forecast)
    return headline + (table_html(table) if table.rows else "")


def comparison_html(found: Comparison) -> str:
    """The answer and one row a pair."""
    return f"<p><b>{html.escape(found.sentence)}</b></p>{table_html(pair_table(found))}"


def table_html(table: Table) -> str:
    """A table in plain HTML."""

    def row(cells: tuple[str, ...], tag: str) -> str:
        styled = (
            f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>'
            for cell, side in zip(cells, table.sides, strict=True)
        )
        return f"<tr>{''.join(styled)}</tr>"

    body = "".join(row(cells, "td") for cells in table.rows)
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    return f"<table><thead>{row(table.columns, 'th')}</thead><tbody>{body}</tbody></table>{note}"
