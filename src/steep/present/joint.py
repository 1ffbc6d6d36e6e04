"""A law of data and model size in words: its parameters, and what compute buys."""

from __future__ import annotations

from collections.abc import Sequence

from steep.present import numbers
from steep.present.table import named_table
from steep.records import Frontier, JointFit


def joint_lines(fit: JointFit, frontier: Sequence[Frontier], unit: str, metric: str) -> list[str]:
    """The answer, the law with its intervals, and the best-fit frontier as a table."""
    if not fit.parameters:
        return [f"No joint fit: {fit.outcome}. {fit.reason}."]
    lines = [
        f"{fit.law}: {fit.formula}, over {fit.runs} runs, which scatter by "
        f"{numbers.share(fit.scatter or 0.0)} about it."
    ]
    if fit.outcome != "ok":
        lines.append(f"The fit is {fit.outcome}: other starts end elsewhere; do not rely on it.")
    lines += [
        f"  {name} = {numbers.interval(value)}"
        for name, value in zip(fit.names, fit.parameters, strict=True)
    ]
    if frontier:
        rows = [
            {
                "compute": numbers.flops(f.flops),
                "best parameters": numbers.counts(f.parameters),
                f"{unit}": numbers.counts(f.samples),
                metric: numbers.interval(f.error),
            }
            for f in frontier
        ]
        lines += ["", "Best split of compute between model and data (C = 6 N D):"]
        lines += named_table(rows).text().splitlines()
    return lines
