"""A joint fit in words: the answer, what speaks against it, laws, forecasts, what compute buys."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from steep.present import numbers
from steep.present.notebook import in_metric
from steep.present.numbers import Scale
from steep.present.table import Table, named_table
from steep.records import (
    MISFIT,
    Allocation,
    Backtest,
    ComputeMultiplier,
    ForUse,
    Frontier,
    Influence,
    Interval,
    JointFit,
    Misfit,
    RequiredSamples,
    TargetAnswer,
)

SHOWN = 8
"""Rows that a sentence names one by one."""
SADDLE = 2.0
"""How much larger the saddle part of the corners is than the rest for the word to be used."""


def scale_of(fit: JointFit) -> Scale:
    return numbers.scale(fit.metric, max((r.error for r in fit.rows), default=None))


def summary(fit: JointFit) -> str:
    """The fit without a question: sentences, then the laws."""
    return "\n".join([*fit_lines(fit), *law_lines(fit), *fit.notes])


def line(fit: JointFit) -> str:
    """What ``repr`` says of a fit."""
    parts = [fit.outcome, f"{fit.runs} runs"]
    if fit.law:
        values = [f"{n} = {_parameter(p)}" for n, p in zip(fit.names, fit.parameters, strict=True)]
        parts = [fit.outcome, fit.law, *values[:1], *parts[1:]]
    return f"<JointFit: {', '.join(parts)}>"


def page(fit: JointFit) -> str:
    """The fit in a notebook: its sentences, and the runs with their surface."""
    from steep.present.figures import alone
    from steep.present.surface import surface_drawing

    items = "".join(f"<li>{html.escape(text)}</li>" for text in (*fit_lines(fit), *law_lines(fit)))
    return f"<ul>{items}</ul>{alone(surface_drawing(fit)) if fit.rows else ''}"


def fit_lines(fit: JointFit) -> list[str]:
    """What was fitted, then the largest caveats."""
    if not fit.draws:
        return [f"No joint fit: {fit.outcome}. {_sentence(fit.reason)}"]
    rows = f"{len(fit.rows)} rows of {fit.runs} runs" if len(fit.rows) > fit.runs else (
        f"{fit.runs} runs"
    )  # fmt: skip
    lines = [
        f"{fit.laws[0].law}: {fit.laws[0].formula}, over {rows}, which scatter by "
        f"{numbers.relative(fit.scatter or 0.0)} about the surface."
    ]
    if fit.line:
        lines.append(
            f"Not identifiable: {fit.reason}. Errors are forecast along the line of the runs only."
        )
    elif fit.laws[0].reason:
        lines.append(f"Not identifiable: {fit.laws[0].reason}.")
    if fit.misfit is not None:
        lines.append(_misfit_line(fit.misfit, fit.outcome == MISFIT, fit.unit))
    lines += [_influence_line(i, set(i.rows) <= set(fit.off)) for i in fit.influence[:3]]
    if len(fit.influence) > 3:
        lines.append(f"{len(fit.influence) - 3} more rows or runs move a parameter as far.")
    return lines


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith("?") else ".")


def _misfit_line(misfit: Misfit, visible: bool, unit: str) -> str:
    small_small, small_large, large_small, large_large = misfit.corners
    saddle = (small_small + large_large - small_large - large_small) / 4
    rest = max(abs(c - s * saddle) for c, s in zip(misfit.corners, (1, -1, -1, 1), strict=True))
    size = numbers.relative(misfit.largest)
    if abs(saddle) * SADDLE > rest and abs(saddle) > misfit.size / 3:
        up = "both are small or both large" if saddle > 0 else "one is small and the other large"
        pattern = f"a saddle, errors above the law where {up}"
    else:
        names = ("few parameters and few ", "few parameters and many ", "many parameters and few ",
                 "many parameters and many ")  # fmt: skip
        far = max(range(4), key=lambda i: abs(misfit.corners[i]))
        side = "above" if misfit.corners[far] > 0 else "below"
        pattern = f"most of all errors {side} the law at {names[far]}{unit}"
    law = misfit.law.capitalize()
    start = f"{law} does not describe the runs" if visible else f"{law} is slightly off"
    return (
        f"{start}: up to {size} in a pattern ({pattern}). Forecasts continue the pattern, and "
        "the intervals of the law's parameters allow for it."
    )


def _influence_line(found: Influence, off: bool) -> str:
    rows = ", ".join(map(str, found.rows[:SHOWN])) + (", ..." if len(found.rows) > SHOWN else "")
    one = len(found.rows) == 1
    named = f"Row {rows}" if one else f"{len(found.rows)} rows ({rows})"
    moved = f"{found.parameter} would be {numbers.number(found.with_them)} with "
    if off:
        return (
            f"{named} {'lies' if one else 'lie'} off the surface and hardly "
            f"{'counts' if one else 'count'}: {moved}{'it' if one else 'them'}, and is "
            f"{numbers.number(found.without)}."
        )
    return (
        f"{named} {'decides' if one else 'decide'} {found.parameter}: without "
        f"{'it' if one else 'them'} it is {numbers.number(found.without)}, outside its interval."
    )


def law_lines(fit: JointFit) -> list[str]:
    """Laws with their weight, and the parameters of those that matter."""
    if not fit.laws or not fit.draws:
        return []
    lines = []
    if len(fit.laws) > 1:
        values = ", ".join(f"{one.law} {numbers.share(one.weight)}" for one in fit.laws)
        lines.append(f"Weights in forecasts: {values}. Parameters are those of {fit.law}:")
    fixed = {name for name, _ in fit.fixed}
    for name, p in zip(fit.names, fit.parameters, strict=True):
        if fit.line:
            continue
        if name in fixed:
            lines.append(f"  {name} = {numbers.number(p.value)} (held)")
        else:
            lines.append(f"  {name} = {_parameter(p)}")
    return lines


def _parameter(p: Interval) -> str:
    if p.value is None:
        return "not identifiable from these runs"
    low = "no limit" if p.lower is None else numbers.number(p.lower)
    high = "no limit" if p.upper is None else numbers.number(p.upper)
    return f"{numbers.number(p.value)} [{low}, {high}]"


# ---------------------------------------------------------------- answers to questions


def at_lines(fit: JointFit, frame: Any) -> list[str]:
    """One sentence a place."""
    how = scale_of(fit)
    lines = []
    for row in frame.itertuples():
        unique = f" ({numbers.count(row.unique)} distinct)" if "unique" in frame else ""
        value = numbers.estimate(row.error, row.lower, row.upper, how)
        lines.append(
            f"{numbers.count(row.parameters)} parameters on {numbers.count(row.samples)} "
            f"{fit.unit}{unique}: {how.label} {value}."
        )
    if lines:
        lines.append(f"Brackets: {numbers.level(fit.level)} intervals of one new run.")
    return lines


def frontier_table(fit: JointFit, found: Sequence[Frontier]) -> Table:
    how = scale_of(fit)
    return named_table(
        [
            {
                "compute": numbers.flops(f.flops),
                "best parameters": numbers.counts(f.parameters),
                fit.unit: numbers.counts(f.samples),
                how.label: numbers.interval(f.error, how),
            }
            for f in found
        ]
    )


def frontier_lines(
    fit: JointFit, found: Sequence[Frontier], exponents: Sequence[Interval]
) -> list[str]:
    """The best split of compute as a table, and how it moves with compute and data."""
    if not found:
        return []
    how = f"C = {numbers.short(fit.flops_per_parameter_sample, 4)} N D"
    lines = ["", f"Best split of compute between model and data ({how}):"]
    lines += frontier_table(fit, found).text().splitlines()
    if exponents:
        a, beta_p = exponents
        lines.append(
            f"Best size grows as C^{numbers.interval(a)} and as data^beta_p, beta_p = "
            f"{numbers.interval(beta_p)}."
        )
    return lines


def allocation_lines(found: Sequence[Allocation], disagreement: str) -> list[str]:
    """The three ways side by side."""
    known = [a for a in found if a.outcome == "ok"]
    if not known:
        return []
    computes = known[0].flops
    rows = [
        {"way": a.method, "a": numbers.interval(a.exponent)}
        | {numbers.flops(c): numbers.counts(p) for c, p in zip(computes, a.parameters, strict=True)}
        for a in known
    ]
    lines = ["", "Best parameters three ways, with the exponent a of N ~ C^a:"]
    lines += named_table(rows).text().splitlines()
    lines += [f"No {a.method}: {a.reason}." for a in found if a.outcome != "ok"]
    lines += [f"{a.method}: {note}" for a in known for note in a.notes]
    if disagreement:
        lines.append(_sentence(disagreement))
    return lines


def multiplier_lines(found: ComputeMultiplier) -> list[str]:
    """'B is worth 1.25x [1.17, 1.34] the compute of A at 1e21 FLOPs, ...'."""
    if found.outcome != "ok":
        return [f"{found.first} and {found.second} cannot be compared: {found.reason}."]
    parts = []
    for c, m in zip(found.flops, found.multiplier, strict=True):
        at = f"at {numbers.number(c, 2)} FLOPs"
        if m.value is None:
            parts.append(f"more than {found.first} reaches with any compute {at}")
        else:
            high = "no limit" if m.upper is None else numbers.number(m.upper)
            span = f"[{numbers.number(m.lower)}, {high}]"
            parts.append(f"{numbers.number(m.value)}x {span} the compute of {found.first} {at}")
    lines = [f"{found.second} is worth {', '.join(parts)}."]
    if any(found.extrapolates):
        far = [c for c, beyond in zip(found.flops, found.extrapolates, strict=True) if beyond]
        beyond = [numbers.number(c, 2) for c in far]
        lines.append(f"Beyond the runs of either: {', '.join(beyond)} FLOPs.")
    if found.shared_floor is not None:
        lines.append(f"Both are held at one floor, E = {numbers.number(found.shared_floor)}.")
    return lines


def use_lines(fit: JointFit, found: ForUse) -> list[str]:
    how = scale_of(fit)
    goal = (
        f"{numbers.standing(found.error, how)} with {numbers.count(found.served)} {fit.unit} served"
    )
    if found.outcome != "ok":
        return [f"{_capital(goal)} is {found.outcome} with this model family."]
    return [
        f"Cheapest for {goal}: {numbers.counts(found.parameters)} parameters trained on "
        f"{numbers.counts(found.samples)} {fit.unit}, {numbers.operations(found.flops)} in all; "
        f"for training alone {numbers.counts(found.training_only)} parameters."
    ]


def needed_line(fit: JointFit, found: RequiredSamples, parameters: float) -> str:
    how = scale_of(fit)
    goal = f"{numbers.standing(found.target, how)} with {numbers.count(parameters)} parameters"
    if found.samples is None:
        return f"{_capital(goal)}: {found.outcome}."
    span = Interval(found.samples, found.lower, found.upper, found.level)
    return f"{_capital(goal)} takes {numbers.counts(span, found.smallest)} {fit.unit}."


def joint_target_answer(fit: JointFit, found: RequiredSamples, parameters: float) -> TargetAnswer:
    """The answer to ``JointFit.samples_for``."""
    return in_metric(found, fit.metric, needed_line(fit, found, parameters).removesuffix("."))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def backtest_sentence(found: Backtest) -> str:
    """How far forecasts of hidden runs were off, and whether their intervals held."""
    if not found.scores or found.log_error is None:
        return "Too few runs to hold out the largest and forecast them from the others."
    factors = [s.factor for s in found.scores]
    held = sum(s.inside for s in found.scores)
    return (
        f"Forecasting the runs of most compute from the others, {numbers.factor(min(factors))} to "
        f"{numbers.factor(max(factors))} beyond them, missed by "
        f"{numbers.number(100 * math.expm1(found.log_error), 2)} % on average; {held} of "
        f"{len(found.scores)} errors lay inside their {numbers.level(found.level)} intervals."
    )
