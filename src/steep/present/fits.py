"""A fit as text: what ``fit.summary()`` returns and ``steep fit`` prints."""

from __future__ import annotations

from steep.present import numbers
from steep.present.sentences import fit_lines
from steep.present.tables import law_table, named_table
from steep.records import Fit


def summary(fit: Fit) -> str:
    """Sentences, the laws and the points of a fit, for a terminal."""
    blocks = ["\n".join(fit_lines(fit))]
    if fit.laws:
        blocks.append(law_table(fit).text())
    if fit.points:
        how = numbers.fit_scale(fit)
        rows = [
            {
                fit.unit: numbers.exact(p.samples),
                how.label: numbers.measured(p.error, how),
                "replicates": str(p.replicates),
                "": p.reason,
            }
            for p in fit.points
        ]
        blocks.append(named_table(rows).text())
    return "\n\n".join(blocks)
