"""What a table was taken for, in lines for a terminal, and the same table tidy."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter

from steep.present import numbers
from steep.present.table import named_table
from steep.tables.read import Table, TableCurve

TIDY = ("curve", "samples", "error", "se", "parameters", "unique", "unit", "metric")


def reading_lines(table: Table) -> list[str]:
    """Columns and their roles, curves, and what was done, for ``steep read``."""
    roles = [{"column": column, "taken for": role} for column, role in table.roles]
    lines = [named_table(roles).text(), ""] if roles else []
    curves = [_curve_row(curve) for curve in table.curves]
    lines += [named_table(curves).text(), ""] if curves else []
    warnings = dict.fromkeys(w for curve in table.curves for w in curve.warnings)
    return [*warnings, *lines, *(note for note in table.notes if note not in warnings)]


def _curve_row(curve: TableCurve) -> dict[str, str]:
    sizes, errors = curve.columns["samples"], curve.columns["error"]
    if not sizes:
        return {"curve": curve.name, "rows": "0"}
    how = numbers.scale(curve.metric, max(errors))
    repeats = Counter(Counter(sizes).values())
    rows = ", ".join(f"{n} ({numbers.exact(k)}x)" for n, k in sorted(repeats.items()))
    first, last = (errors[sizes.index(end)] for end in (min(sizes), max(sizes)))
    spread = {"standard errors": "yes"} if "se" in curve.columns else {}
    return {
        "curve": curve.name,
        "rows": numbers.exact(len(sizes)),
        "rows a size": str(next(iter(repeats))) if len(repeats) == 1 else rows,
        "sizes": f"{numbers.exact(min(sizes))} to {numbers.exact(max(sizes))} {curve.unit}",
        how.label: f"{numbers.measured(first, how)} to {numbers.measured(last, how)}",
        **spread,
    }


def tidy(table: Table) -> str:
    """All curves below each other as CSV, in steep's own columns."""
    used = [
        c
        for c in TIDY
        if c in ("curve", "unit", "metric") or any(c in k.columns for k in table.curves)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(used)
    for curve in table.curves:
        fixed = {"curve": curve.name, "unit": curve.unit, "metric": curve.metric}
        for i in range(len(curve.columns["samples"])):
            row = [fixed.get(c, curve.columns[c][i] if c in curve.columns else "") for c in used]
            writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return text.getvalue()
