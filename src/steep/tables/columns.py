"""Which column is which: as asked, or guessed by stated rules, each said when it is applied.

A column asked for is matched exactly, else without case, punctuation and the prefixes of trackers
('metrics.val_acc', 'params.train_size', 'config/n'). One not asked for is guessed from its words
(``words.py``), only when exactly one fits; for sizes then from words that can mean them ('size',
'data'); of two columns the one that grows in whole numbers holds the sizes, the other the errors;
and where nothing looks like errors, the numbers that are left are: one column, or a curve each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from steep.base.spelling import did_you_mean
from steep.tables import words
from steep.tables.amounts import Writing, numbers_of
from steep.tables.raw import Array, Issues, column_of

_SCALARS = {"wall_time", "step", "value"}
"""The columns of a scalar that TensorBoard exports."""
FIRST = ("samples", "error", "validation_error")
"""steep's own names go before other spellings."""
_VALUES = ("value", "values_0", "value_0", "objective")
"""What Optuna calls what it optimizes."""
_CURVE = "curve"
_SPREADS = ("se", "sd", "low", "high", "other")


@dataclass(frozen=True)
class Asked:
    """Columns that were asked for by name; None and () for those that were not."""

    x: str | None = None
    y: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    se: str | None = None
    sd: str | None = None
    ci: tuple[str, ...] = ()
    runs: str | None = None
    """A number, or a column of numbers."""
    parameters: str | None = None
    unique: str | None = None


@dataclass(frozen=True)
class Names:
    """The columns of a table that are read."""

    x: str
    y: tuple[str, ...]
    by: tuple[str, ...]
    se: str | None = None
    sd: str | None = None
    ci: tuple[str, str] | None = None
    runs: str | None = None
    parameters: str | None = None
    unique: str | None = None

    @property
    def read(self) -> set[str]:
        """All of them."""
        some = (self.x, self.se, self.sd, self.runs, self.parameters, self.unique)
        return {n for n in (*some, *self.y, *self.by, *(self.ci or ())) if n}


def find(asked: str, columns: Sequence[str]) -> str | None:
    """The column called ``asked``, exactly or without case, punctuation and prefixes."""
    if asked in columns:
        return asked
    alike = [c for c in columns if words.normal(c) == words.normal(asked)]
    return alike[0] if len(alike) == 1 else None


def apart(asked: Asked, columns: Sequence[str]) -> Asked:
    """With 'a,b' as two names, where no column is called so."""

    def parted(names: tuple[str, ...]) -> tuple[str, ...]:
        found = []
        for name in names:
            whole = "," not in name or find(name, columns) is not None
            found += [name] if whole else [part.strip() for part in name.split(",")]
        return tuple(dict.fromkeys(found))

    return replace(asked, y=parted(asked.y), by=parted(asked.by), ci=parted(asked.ci))


def known_columns(columns: Sequence[str], asked: Asked) -> list[str]:
    """Columns that are asked for."""
    asked = apart(asked, columns)
    named = [asked.x, *asked.y, *asked.by, asked.se, asked.sd, *asked.ci]
    return [c for c in columns if any(n and find(n, columns) == c for n in named)]


def choose(issues: Issues, asked: Asked) -> Names:
    """Which column is which; what is missing is one of the problems."""
    table = issues.table
    asked = apart(asked, table.columns)
    chinchilla = _model_and_data(issues, asked)
    of_two = _of_two(issues, asked)
    x, y = (of_two or (None, None)) if chinchilla is None else (chinchilla[1], None)
    if x is None:
        x = _sizes(issues, asked)
    errors = (y,) if y is not None else _errors(issues, asked, x)
    by = tuple(b for name in asked.by if (b := _asked(issues, name)))
    if not asked.by and _CURVE in table.columns and _CURVE not in (x, *errors):
        by = (_CURVE,)
        issues.notes.append("Column 'curve' tells curves apart.")
    taken = {x, *errors}
    size = _asked(issues, asked.parameters) if asked.parameters else chinchilla and chinchilla[0]
    if not asked.parameters and not size:
        size = _only(
            issues,
            [c for c in table.columns if words.is_parameters(c) and c not in taken],
            "model sizes",
        )
    runs = asked.runs if asked.runs and _is_count(asked.runs) else _asked(issues, asked.runs)
    names = Names(
        x or "",
        errors,
        by,
        parameters=size,
        unique=_asked(issues, asked.unique),
        runs=runs,
        sd=_spread_in_cells(issues, asked.sd, errors) if asked.sd else None,
        ci=_bounds(issues, asked, errors),
        se=_asked(issues, asked.se),
    )
    if names.sd and asked.runs is None:
        issues.problems.append(
            f"--sd {asked.sd}: of how many runs? A standard deviation over N runs is a standard "
            f"error times the root of N: add --runs N, a number or a column"
        )
    if asked.runs is not None and not asked.sd:
        issues.problems.append("--runs belongs to --sd, the column of standard deviations")
    if names.se is None and names.sd is None and names.ci is None:
        return _spread_guessed(issues, names)
    return names


def _is_count(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?", text) is not None


def _asked(issues: Issues, asked: str | None) -> str | None:
    if asked is None:
        return None
    found = find(asked, issues.table.columns)
    if found is None:
        columns = issues.table.columns
        hint = did_you_mean(asked, columns) or "."
        issues.problems.append(f"no column {asked!r}{hint} The columns are {_listed(columns)}")
    elif found != asked:
        issues.notes.append(f"{asked!r} is column {found!r}.")
    return found


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(columns[:40])
    return shown if len(columns) <= 40 else f"{shown} and {len(columns) - 40} more"


def _only(issues: Issues, found: Sequence[str], what: str) -> str | None:
    if len(found) != 1:
        return None
    issues.notes.append(f"Column {found[0]!r} is taken for the {what}.")
    return found[0]


# ---------------------------------------------------------------- sizes


def _model_and_data(issues: Issues, asked: Asked) -> tuple[str, str] | None:
    """(model sizes, data) of a table with columns N and D, the letters of the scaling laws."""
    letters = {c.strip().lower(): c for c in issues.table.columns}
    if asked.x or asked.parameters or not {"n", "d"} <= set(letters):
        return None
    n, d = letters["n"], letters["d"]
    if _numeric(issues.table.cells[n]) is None or _numeric(issues.table.cells[d]) is None:
        return None
    issues.notes.append(f"Columns {n!r} and {d!r} are taken for model size and training data.")
    return n, d


def samples_from_compute(
    issues: Issues, compute: str | None, parameters: str | None, per_parameter_sample: float
) -> None:
    """Adds the column 'samples' = compute / (k * model size) to a table of runs without sizes of
    data, and says so."""
    names = issues.table.columns
    letters = {c.strip().lower() for c in names}
    if compute is None and (any(map(words.size_rank, names)) or {"n", "d"} <= letters):
        return
    flops = [_asked(issues, compute)] if compute else [c for c in names if words.is_compute(c)]
    guessed = [c for c in names if words.is_parameters(c)]
    sizes = [_asked(issues, parameters)] if parameters else guessed
    if len(flops) != 1 or len(sizes) != 1 or flops[0] is None or sizes[0] is None:
        return
    if "samples" in names:
        issues.problems.append(f"samples are in the table: leave out the column {flops[0]!r}")
        return
    how = Writing(size=True)
    products, models = (
        numbers_of(issues.table.cells[c], how).values * words.scale_of(c)[1].times
        for c in (flops[0], sizes[0])
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        made = products / (per_parameter_sample * models)
    made = np.where(np.isfinite(made) & (made > 0), made, np.nan)
    issues.table.cells["samples"] = column_of(made.tolist())
    issues.notes.append(
        f"Samples are computed from C = {per_parameter_sample:g} N D, C the column {flops[0]!r}."
    )


def _of_two(issues: Issues, asked: Asked) -> tuple[str, str] | None:
    """Of a table of two columns whose names do not tell, the one that grows in whole numbers as the
    sizes and the other one as the errors."""
    names = issues.table.columns
    told = any(words.size_rank(c) for c in names) and any(words.metric_kind(c) for c in names)
    given = (asked.x or "samples", *(asked.y or ("error",)))
    if len(names) != 2 or given != ("samples", "error") or told:
        return None
    growing = [name for name in names if _grows(issues.table.cells[name])]
    if len(growing) != 1 or words.metric_kind(growing[0]) or words.is_parameters(growing[0]):
        return None
    if words.is_steps(growing[0]):
        return None
    sizes = growing[0]
    errors = names[1 - names.index(sizes)]
    if words.size_rank(errors) == 2:
        return None
    issues.notes.append(
        f"Column {sizes!r} grows, and is taken for the sizes; {errors!r} for errors."
    )
    return sizes, errors


def _numeric(cells: Array) -> Array | None:
    """The numbers of a column, None where a cell is none."""
    found = numbers_of(cells, Writing(size=True))
    return None if len(found.bad) or len(found.unclear) else found.values


def _grows(cells: Array) -> bool:
    """Whether these are whole numbers from 1 on, each at least the one before, not all alike."""
    values = _numeric(cells)
    if values is None or len(values) < 2 or not np.isfinite(values).all():
        return False
    whole = bool((values >= 1).all() and (values % 1 == 0).all())
    return whole and bool((np.diff(values) >= 0).all()) and bool(values[0] < values[-1])


def _sizes(issues: Issues, asked: Asked) -> str | None:
    names = issues.table.columns
    if asked.x is not None and (asked.x != "samples" or asked.x in names):
        return _asked(issues, asked.x)
    found = ["samples"] if "samples" in names else []
    for rank in (2, 1):
        found = found or [c for c in names if words.size_rank(c) == rank and c not in asked.by]
    found = _varying(issues, found)
    if len(found) == 1:
        if found[0] != "samples":
            issues.notes.append(f"Column {found[0]!r} is taken for the training-set sizes.")
        return found[0]
    if found:
        which = " or ".join(repr(name) for name in found)
        issues.problems.append(f"the training-set sizes could be {which}: choose with --x")
        return None
    step = next((c for c in names if words.counts_steps(c)), None)
    if step is not None:
        issues.problems.append(
            f"no column looks like training-set sizes. {step!r} is taken for the steps of one "
            "training run, which make no learning curve; where it holds training-set sizes, say "
            f"--x {quoted(step)}"
        )
        return None
    issues.problems.append(
        "no column looks like training-set sizes: name it with --x. The columns are "
        f"{_listed(names)}{_example(issues)}"
    )
    return None


def _varying(issues: Issues, found: list[str]) -> list[str]:
    """Those that hold more than one value, where some do; of equal columns the first."""
    if len(found) < 2:
        return found
    values = {c: _numeric(issues.table.cells[c]) for c in found}
    kept = [c for c, v in values.items() if v is not None and len(np.unique(v[~np.isnan(v)])) > 1]
    first: list[str] = []
    for c in kept or found:
        own = values[c]
        others = (v for f in first if (v := values[f]) is not None)
        if own is None or not any(np.array_equal(own, v, equal_nan=True) for v in others):
            first.append(c)
    return first


def _example(issues: Issues) -> str:
    """A command that would work, by what the columns hold."""
    cells = issues.table.cells
    growing = [c for c in cells if _grows(cells[c]) and not words.is_steps(c)]
    numeric = [c for c in cells if c not in growing and _numeric(cells[c]) is not None]
    errors = [c for c in numeric if words.metric_kind(c)] or numeric
    if not growing or not errors:
        return ""
    return f"; for example: --x {quoted(growing[0])} --y {quoted(errors[0])}"


def quoted(name: str) -> str:
    """A name for a command line."""
    return name if re.fullmatch(r"[\w,.:/=+-]+", name) else f'"{name}"'


# ---------------------------------------------------------------- errors


def _errors(issues: Issues, asked: Asked, x: str | None) -> tuple[str, ...]:
    names = issues.table.columns
    if asked.y and (asked.y != ("error",) or "error" in names):
        chosen = [_asked(issues, name) for name in asked.y]
        return tuple(dict.fromkeys(c for c in chosen if c))
    own: list[str] = [c for c in FIRST if c in names and c not in (x, "samples")]
    taken = {x, *asked.by, asked.se, asked.sd, *asked.ci}
    found = own[:1] or [c for c in names if words.metric_kind(c) and c not in taken]
    found = [c for c in found if not words.on_training_data(c)] or found
    if any("mean" in words.tokens(c) for c in found):  # and the splits that it is the mean of
        found = [c for c in found if not re.match(r"(split|fold|cv)_?\d", words.normal(c))] or found
    sure = [c for c in found if words.metric_kind(c) != "rising"]
    found = sure or found
    if not found and {words.normal(c) for c in names} >= _SCALARS:
        found = [c for c in names if words.normal(c) == "value"]
    if not found:
        found = [c for c in names if words.normal(c) in _VALUES and not words.spread_kind(c)]
    if len(found) == 1:
        if found[0] != "error":
            issues.notes.append(f"Column {found[0]!r} is taken for the errors.")
        return (found[0],)
    runs = [words.run_of(c) for c in found]
    if (
        found
        and all(runs)
        and len({*runs}) == len(runs)
        and len({words.normal(c) for c in found}) == 1
    ):
        issues.notes.append(f"Columns {_listed(found)} are a curve each.")
        return tuple(found)
    if found:
        which = " or ".join(repr(name) for name in found)
        issues.problems.append(f"the errors could be {which}: choose with --y")
        return ()
    return _wide(issues, asked, x)


def _wide(issues: Issues, asked: Asked, x: str | None) -> tuple[str, ...]:
    """Where nothing looks like errors: the columns of numbers that are left, a curve each."""
    names = issues.table.columns
    left = [c for c in names if c != x and c not in asked.by and not words.size_rank(c)]
    left = [c for c in left if not words.is_parameters(c) and not words.is_replicate(c)]
    left = [c for c in left if not words.is_steps(c) and not words.spread_kind(c)]
    values = {c: v for c in left if (v := _numeric(issues.table.cells[c])) is not None}
    values = {c: v for c, v in values.items() if np.isfinite(v).any() and not words.time_or_rank(c)}
    if x is not None and len(values) == 1:
        (only,) = values
        issues.notes.append(f"Column {only!r} is taken for the errors: no other one can hold them.")
        return (only,)
    if (
        x is not None
        and len(values) > 1
        and len(left) == len(values)
        and _alike([*values.values()])
    ):
        issues.notes.append(
            f"No column looks like errors; {_listed([*values])} are taken as a curve each."
        )
        return tuple(values)
    issues.problems.append(
        "no column looks like errors: name it with --y. The columns are "
        f"{_listed(names)}{_example(issues)}"
    )
    return ()


def _alike(columns: Sequence[Array]) -> bool:
    """Whether columns hold numbers of one scale, as those of one metric do."""
    middles = [float(np.nanmedian(np.abs(v))) for v in columns]
    return min(middles) > 0 and max(middles) < 20 * min(middles)


# ---------------------------------------------------------------- spreads


def in_cells(y: str) -> str:
    """What the spread beside the values of a column is called."""
    return f"{y} ±"


def _spread_in_cells(issues: Issues, asked: str, errors: Sequence[str]) -> str | None:
    """The column of standard deviations; the errors' own column means the spread in its cells."""
    found = _asked(issues, asked)
    beside = in_cells(found or "")
    return beside if found in errors and beside in issues.table.cells else found


def _bounds(issues: Issues, asked: Asked, errors: Sequence[str]) -> tuple[str, str] | None:
    if asked.ci:
        ends = [e for name in asked.ci if (e := _asked(issues, name))]
        if len(asked.ci) != 2:
            issues.problems.append(
                "--ci takes two columns, the lower and the upper bound: --ci LOW,HIGH"
            )
        return (ends[0], ends[1]) if len(ends) == 2 else None
    return None


def _spread_guessed(issues: Issues, names: Names) -> Names:
    """Standard errors or confidence bounds that the table has beside the errors."""
    columns = [c for c in issues.table.columns if c not in names.read]
    if len(names.y) != 1:
        return names
    y = names.y[0]
    kinds = {c: words.spread_kind(c) for c in columns}
    # of several metrics' standard errors, that of this one
    own = {c: k for c, k in kinds.items() if words.belongs(c, y)}
    kinds = own or {c: k for c, k in kinds.items() if words.belongs(c, "")}
    of = {k: [c for c, kind in kinds.items() if kind == k] for k in _SPREADS}
    if in_cells(y) in issues.table.cells and issues.table.cells[in_cells(y)].any():
        said = (
            f"The spread in the cells of {y!r} is taken for a standard error; of standard "
            f"deviations over N runs say --sd {quoted(y)} --runs N."
        )
        issues.notes.append(said)
        return replace(names, se=in_cells(y))
    if len(of["se"]) == 1:
        issues.notes.append(f"Column {of['se'][0]!r} is taken for the standard errors.")
        return replace(names, se=of["se"][0])
    if len(of["low"]) == 1 and len(of["high"]) == 1:
        return replace(names, ci=(of["low"][0], of["high"][0]))
    for column in of["other"]:
        if words.tokens(column)[-1] in ("min", "max"):
            continue
        issues.notes.append(
            f"Column {column!r} may hold a spread, and is not used: --se, or --sd with --runs, "
            "names it."
        )
    if len(of["sd"]) == 1:
        issues.notes.append(
            f"Column {of['sd'][0]!r} is by its name a standard deviation, and is not used: "
            f"--sd {quoted(of['sd'][0])} --runs N makes standard errors of it."
        )
    return names
