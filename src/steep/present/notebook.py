"""Fits, forecasts and comparisons in one line, and in a notebook."""

from __future__ import annotations

import html
import math
from typing import Any

from steep.base.metrics import original
from steep.present import numbers
from steep.present.sentences import answer, caveat, fit_lines, target_phrase
from steep.present.table import Table
from steep.present.tables import forecast_table, pair_table
from steep.records import (
    NOT_REACHABLE,
    PERHAPS_NOT,
    Comparison,
    Fit,
    Forecast,
    RequiredSamples,
    TargetAnswer,
)


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


def target_answer(found: RequiredSamples, fit: Fit) -> TargetAnswer:
    """The answer to ``Fit.samples_for``."""
    phrase = target_phrase(found, numbers.fit_scale(fit), fit.unit, fit)
    return in_metric(found, fit.metric, phrase[:1].upper() + phrase[1:])


def in_metric(found: RequiredSamples, metric: str, sentence: str) -> TargetAnswer:
    """A target's answer in the metric that its user knows, with ends that can be compared."""
    made_of = original(metric)
    never = found.outcome in (NOT_REACHABLE, PERHAPS_NOT)
    answered = never or found.samples is not None or found.lower is not None
    return TargetAnswer(
        sentence,
        metric if made_of is None else made_of.name,
        _readable(found.target) if made_of is None else _readable(made_of.value(found.target)),
        found.outcome,
        math.inf if never else found.samples,
        found.lower,
        math.inf if found.upper is None and answered else found.upper,
        found.level,
        found.factor,
        found.unreachable,
        found.smallest,
    )


def _readable(value: Any) -> float:
    """Without what a conversion there and back leaves: 0.9 and not 0.9000000000000001."""
    return float(f"{value:.12g}")


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
