"""A fit as text: what ``fit.summary()`` returns and ``steep fit`` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from steep.present import numbers
from steep.present.sentences import (
    definition,
    fit_lines,
    joined,
    no_break,
    size_sentence,
)
from steep.present.table import named_table
from steep.present.tables import counted_laws, parameters_text, weight_text
from steep.records import Fit, SizeLaw

WIDTH = 100
"""Columns of text that a terminal shows without breaking lines by itself."""


def summary(fit: Fit, seeds: Mapping[float, int] | None = None) -> str:
    """Sentences, the laws and the points of a fit, for a terminal. ``seeds``: of how many each
    size's best fit is, in a study."""
    blocks = ["\n".join(fit_lines(fit)), law_lines(fit), point_lines(fit, seeds)]
    return "\n\n".join(block for block in blocks if block)


def size_lines(laws: Sequence[tuple[str, SizeLaw]]) -> list[str]:
    """beta_p, or why there is none, by the first definition of the best size, then by others."""
    if not laws:
        return []
    first, *others = counted_laws(laws)
    lines = [size_sentence(*first)]
    measured = [
        f"{definition(name)} {numbers.interval(law.beta_p)}"
        for name, law in others
        if law.outcome == "ok"
    ]
    missing = [definition(name) for name, law in others if law.outcome != "ok"]
    if missing:
        measured.append(f"not measured by {joined(missing)}")
    if others:
        lines.append(f"By other definitions of the best size: {'; '.join(measured)}.")
    return lines


def law_lines(fit: Fit) -> str:
    """One law a paragraph: weight, name, parameters with intervals, what went wrong."""
    if not fit.laws:
        return ""
    wide = max(len(law.law) for law in fit.laws)
    lines = [f"Laws, their weight and {numbers.level(fit.level)} profile-likelihood intervals:"]
    for law in fit.laws:
        start = f"  {weight_text(fit, law):>5}  {law.law:<{wide}}  "
        parts = [parameters_text(law)]
        if law.outcome != "ok":
            parts.append(f"({law.outcome}{': ' + law.reason if law.reason else ''})")
        elif law.reason:
            parts.append(f"({law.reason})")
        wrapped = textwrap.wrap(
            no_break(" ".join(part for part in parts if part)),
            WIDTH,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_on_hyphens=False,
        )
        lines += wrapped or [start.rstrip()]
    return "\n".join(lines).replace("\u00a0", " ")


def point_lines(fit: Fit, seeds: Mapping[float, int] | None = None) -> str:
    """The points as a table: size, error, replicates or ``seeds``, why one is not used."""
    how = numbers.fit_scale(fit)
    rows = [
        {
            fit.unit: numbers.exact(p.samples),
            how.label: numbers.measured(p.error, how),
            **(
                {"replicates": str(p.replicates)}
                if seeds is None
                else {"seeds": str(seeds.get(p.samples, numbers.UNKNOWN))}
            ),
            "not used": p.reason,
        }
        for p in fit.points
    ]
    if not any(row["not used"] for row in rows):
        for row in rows:
            del row["not used"]
    return named_table(rows).text() if rows else ""
