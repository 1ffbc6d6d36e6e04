"""The roles of a table's columns: as requested, or guessed by the rules below, with a note.

A requested column is matched exactly, else without case, punctuation and the prefixes of trackers
('metrics.val_acc', 'params.train_size', 'config/n'). Other roles are guessed from the words of the
names (``words.py``), if exactly one column fits. Sizes may then be guessed from words that can
mean them ('size', 'data'). Of two columns, the one of growing whole numbers holds the sizes and the
other the errors. If no name looks like errors, the remaining numeric columns are errors: a single
one, or a curve each.
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
"""steep's own names take precedence over other spellings."""
_VALUES = ("value", "values_0", "value_0", "objective")
"""Optuna's names of the optimized value."""
_CURVE = "curve"
_SPREADS = ("se", "sd", "low", "high", "other")


@dataclass(frozen=True)
class RequestedColumns:
    """Columns that were requested by name; None or () for those that were not."""

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
class ColumnNames:
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
        """All columns that are read."""
        some = (self.x, self.se, self.sd, self.runs, self.parameters, self.unique)
        return {n for n in (*some, *self.y, *self.by, *(self.ci or ())) if n}


def find(name: str, columns: Sequence[str]) -> str | None:
    """The column called ``name``, exactly or without case, punctuation and prefixes."""
    if name in columns:
        return name
    alike = [c for c in columns if words.normal(c) == words.normal(name)]
    return alike[0] if len(alike) == 1 else None


def apart(request: RequestedColumns, columns: Sequence[str]) -> RequestedColumns:
    """``request`` with 'a,b' split into two names, unless a column is called that."""

    def parted(names: tuple[str, ...]) -> tuple[str, ...]:
        parts = []
        for name in names:
            whole = "," not in name or find(name, columns) is not None
            parts += [name] if whole else [part.strip() for part in name.split(",")]
        return tuple(dict.fromkeys(parts))

    return replace(request, y=parted(request.y), by=parted(request.by), ci=parted(request.ci))


def known_columns(columns: Sequence[str], request: RequestedColumns) -> list[str]:
    """The columns that were requested."""
    request = apart(request, columns)
    named = [request.x, *request.y, *request.by, request.se, request.sd, *request.ci]
    return [c for c in columns if any(n and find(n, columns) == c for n in named)]


def choose(issues: Issues, request: RequestedColumns) -> ColumnNames:
    """The role of each column; missing ones are added to the problems."""
    table = issues.table
    request = apart(request, table.columns)
    chinchilla = _model_and_data(issues, request)
    of_two = _of_two(issues, request)
    x, y = (of_two or (None, None)) if chinchilla is None else (chinchilla[1], None)
    if x is None:
        x = _sizes(issues, request)
    errors = (y,) if y is not None else _errors(issues, request, x)
    by = tuple(b for name in request.by if (b := _asked(issues, name)))
    if not request.by and _CURVE in table.columns and _CURVE not in (x, *errors):
        by = (_CURVE,)
        issues.notes.append("Column 'curve' separates the curves.")
    taken = {x, *errors}
    size = (
        _asked(issues, request.parameters) if request.parameters else chinchilla and chinchilla[0]
    )
    if not request.parameters and not size:
        size = _only(
            issues,
            [c for c in table.columns if words.is_parameters(c) and c not in taken],
            "model sizes",
        )
    runs = (
        request.runs if request.runs and _is_count(request.runs) else _asked(issues, request.runs)
    )
    names = ColumnNames(
        x or "",
        errors,
        by,
        parameters=size,
        unique=_asked(issues, request.unique),
        runs=runs,
        sd=_spread_in_cells(issues, request.sd, errors) if request.sd else None,
        ci=_bounds(issues, request, errors),
        se=_asked(issues, request.se),
    )
    if names.sd and request.runs is None:
        issues.problems.append(
            f"--sd {request.sd}: of how many runs? A standard deviation over N runs is a standard "
            f"error times the root of N: add --runs N, a number or a column"
        )
    if request.runs is not None and not request.sd:
        issues.problems.append("--runs belongs to --sd, the column of standard deviations")
    if names.se is None and names.sd is None and names.ci is None:
        return _spread_guessed(issues, names)
    return names


def _is_count(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?", text) is not None


def _asked(issues: Issues, name: str | None) -> str | None:
    """The requested column; a problem if there is none of that name."""
    if name is None:
        return None
    column = find(name, issues.table.columns)
    if column is None:
        columns = issues.table.columns
        hint = did_you_mean(name, columns) or "."
        issues.problems.append(f"no column {name!r}{hint} The columns are {_listed(columns)}")
    elif column != name:
        issues.notes.append(f"{name!r} is column {column!r}.")
    return column


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(columns[:40])
    return shown if len(columns) <= 40 else f"{shown} and {len(columns) - 40} more"


def _only(issues: Issues, candidates: Sequence[str], role: str) -> str | None:
    if len(candidates) != 1:
        return None
    issues.notes.append(f"Column {candidates[0]!r} is taken for the {role}.")
    return candidates[0]


# ---------------------------------------------------------------- sizes


def _model_and_data(issues: Issues, request: RequestedColumns) -> tuple[str, str] | None:
    """(model sizes, data sizes) of a table with columns N and D, the letters of scaling laws."""
    letters = {c.strip().lower(): c for c in issues.table.columns}
    if request.x or request.parameters or not {"n", "d"} <= set(letters):
        return None
    n, d = letters["n"], letters["d"]
    if _numeric(issues.table.cells[n]) is None or _numeric(issues.table.cells[d]) is None:
        return None
    issues.notes.append(f"Columns {n!r} and {d!r} are taken for model size and training data.")
    return n, d


def samples_from_compute(
    issues: Issues, compute: str | None, parameters: str | None, per_parameter_sample: float
) -> None:
    """Add a column 'samples' = compute / (k * model size), with a note, to a table without data
    sizes; k is ``per_parameter_sample``."""
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
    writing = Writing(size=True)
    products, models = (
        numbers_of(issues.table.cells[c], writing).values * words.scale_of(c)[1].times
        for c in (flops[0], sizes[0])
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = products / (per_parameter_sample * models)
    samples = np.where(np.isfinite(samples) & (samples > 0), samples, np.nan)
    issues.table.cells["samples"] = column_of(samples.tolist())
    issues.notes.append(
        f"Samples are computed from C = {per_parameter_sample:g} N D, C the column {flops[0]!r}."
    )


def _of_two(issues: Issues, request: RequestedColumns) -> tuple[str, str] | None:
    """(sizes, errors) of a table of two columns whose names do not show their roles: the column of
    growing whole numbers holds the sizes."""
    names = issues.table.columns
    names_tell = any(words.size_rank(c) for c in names) and any(words.metric_kind(c) for c in names)
    requested = (request.x or "samples", *(request.y or ("error",)))
    if len(names) != 2 or requested != ("samples", "error") or names_tell:
        return None
    growing = [name for name in names if _grows(issues.table.cells[name])]
    if len(growing) != 1 or words.metric_kind(growing[0]) or words.is_parameters(growing[0]):
        return None
    if words.is_steps(growing[0]):
        return None
    sizes = growing[0]
    errors = names[1 - names.index(sizes)]
    if words.size_rank(errors) == 2 or words.time_or_rank(errors):
        return None
    issues.notes.append(
        f"Column {sizes!r} grows, and is taken for the sizes; {errors!r} for errors."
    )
    return sizes, errors


def _numeric(cells: Array) -> Array | None:
    """The numbers of a column; None if a cell is not a number."""
    numbers = numbers_of(cells, Writing(size=True))
    return None if len(numbers.bad) or len(numbers.unclear) else numbers.values


def _fractions(values: Array) -> bool:
    """Whether no value lies above 1, and some below."""
    return bool((values <= 1.0).all() and (values < 1.0).any())


def _varies(cells: Array) -> bool:
    """Whether these are numbers of at least three values, or all different."""
    values = _numeric(cells)
    return values is not None and len(np.unique(values)) >= min(3, len(values))


def _empty(cells: Array) -> bool:
    """Whether no cell holds a number or anything else."""
    values = _numeric(cells)
    return values is not None and not np.isfinite(values).any()


def _whole(cells: Array, least: int = 1) -> bool:
    """Whether these are whole numbers of at least ``least``."""
    values = _numeric(cells)
    if values is None or not len(values) or not np.isfinite(values).all():
        return False
    return bool((values >= least).all() and (values % 1 == 0).all())


def _grows(cells: Array, least: int = 1) -> bool:
    """Whether these are whole numbers that never decrease and are not all equal."""
    values = _numeric(cells)
    if values is None or not _whole(cells, least):
        return False
    return bool((np.diff(values) >= 0).all()) and bool(values[0] < values[-1])


def _sizes(issues: Issues, request: RequestedColumns) -> str | None:
    """The column of training-set sizes; a problem if there is none or several are possible."""
    names = issues.table.columns
    if request.x is not None and (request.x != "samples" or request.x in names):
        return _asked(issues, request.x)
    candidates = ["samples"] if "samples" in names else []
    for rank in (2, 1):
        candidates = candidates or [
            c for c in names if words.size_rank(c) == rank and c not in request.by
        ]
    if words.beside_parts(names):  # 'train' beside 'test': scores of the training data
        cells = issues.table.cells
        candidates = [
            c
            for c in candidates
            if words.normal(c) not in ("train", "training") or _whole(cells[c])
        ]
    candidates = _counts(issues, _varying(issues, candidates))
    if len(candidates) == 1:
        if candidates[0] != "samples":
            issues.notes.append(f"Column {candidates[0]!r} is taken for the training-set sizes.")
        return candidates[0]
    if candidates:
        choices = " or ".join(repr(name) for name in candidates)
        issues.problems.append(f"the training-set sizes could be {choices}: choose with --x")
        issues.choices["x"] = candidates[0]
        return None
    step = next(
        (c for c in names if words.counts_steps(c) and _varies(issues.table.cells[c])), None
    )
    if step is not None:
        issues.problems.append(
            f"no column looks like training-set sizes. {step!r} is taken for the steps of one "
            "training run, which are not a learning curve; where it holds training-set sizes, say "
            f"--x {quoted(step)}"
        )
        return None
    issues.problems.append(
        "no column looks like training-set sizes: name it with --x. The columns are "
        f"{_listed(names)}{_example(issues)}"
    )
    return None


def _varying(issues: Issues, candidates: list[str]) -> list[str]:
    """The candidates with more than one value, or all if none has; of equal columns the first."""
    if len(candidates) < 2:
        return candidates
    values = {c: _numeric(issues.table.cells[c]) for c in candidates}
    varying = [
        c for c, v in values.items() if v is not None and len(np.unique(v[~np.isnan(v)])) > 1
    ]
    distinct: list[str] = []
    for c in varying or candidates:
        numbers = values[c]
        others = (v for f in distinct if (v := values[f]) is not None)
        if numbers is None or not any(np.array_equal(numbers, v, equal_nan=True) for v in others):
            distinct.append(c)
    return distinct


def _counts(issues: Issues, candidates: list[str]) -> list[str]:
    """The candidates that count something, without those that hold the same as shares."""
    values = {c: _numeric(issues.table.cells[c]) for c in candidates}
    counts = [
        c
        for c, v in values.items()
        if words.size_unit(c) != words.SHARE_UNIT and v is not None and not _fractions(v)
    ]
    return counts or candidates


def _example(issues: Issues) -> str:
    """Example options that would work, from the content of the columns; '' if there are none."""
    cells = issues.table.cells
    growing = [c for c in cells if _grows(cells[c], 0) and not words.is_steps(c)]
    growing.sort(key=lambda c: not words.on_training_data(c))
    numeric = [c for c in cells if c not in growing and _numeric(cells[c]) is not None]
    errors = [c for c in numeric if words.metric_kind(c)] or numeric
    if not growing or not errors:
        return ""
    errors.sort(key=lambda c: _whole(cells[c], 0))
    return f"; for example: --x {quoted(growing[0])} --y {quoted(errors[0])}"


def quoted(name: str) -> str:
    """A name, quoted if a command line requires it."""
    return name if re.fullmatch(r"[\w,.:/=+-]+", name) else f'"{name}"'


# ---------------------------------------------------------------- errors


def _errors(issues: Issues, request: RequestedColumns, x: str | None) -> tuple[str, ...]:
    """The columns of errors: as requested, else by their names, else what ``_wide`` finds."""
    names = issues.table.columns
    if request.y and (request.y != ("error",) or "error" in names):
        chosen = [_asked(issues, name) for name in request.y]
        return tuple(dict.fromkeys(c for c in chosen if c))
    standard_names: list[str] = [c for c in FIRST if c in names and c not in (x, "samples")]
    spread = None if in_cells(request.sd or "") in names else request.sd
    taken = {x, *request.by, request.se, spread, *request.ci}
    candidates = standard_names[:1] or [c for c in names if words.metric_kind(c) and c not in taken]
    candidates = [c for c in candidates if not _empty(issues.table.cells[c])] or candidates
    candidates = [c for c in candidates if not words.on_training_data(c)] or candidates
    if any("mean" in words.tokens(c) for c in candidates):  # leave out the splits it averages
        candidates = [
            c for c in candidates if not re.match(r"(split|fold|cv)_?\d", words.normal(c))
        ] or candidates
    sure = [c for c in candidates if words.metric_kind(c) != "rising"]
    candidates = _typical(sure or candidates)
    if not candidates and {words.normal(c) for c in names} >= _SCALARS:
        candidates = [c for c in names if words.normal(c) == "value"]
    if not candidates:
        candidates = [c for c in names if words.normal(c) in _VALUES and not words.spread_kind(c)]
    if len(candidates) == 1:
        if candidates[0] != "error":
            issues.notes.append(f"Column {candidates[0]!r} is taken for the errors.")
        return (candidates[0],)
    runs = [words.run_of(c) for c in candidates]
    if (
        candidates
        and all(runs)
        and len({*runs}) == len(runs)
        and len({words.normal(c) for c in candidates}) == 1
    ):
        issues.notes.append(f"Columns {_listed(candidates)} are a curve each.")
        return tuple(candidates)
    if candidates:
        choices = " or ".join(repr(name) for name in candidates)
        issues.problems.append(f"the errors could be {choices}: choose with --y")
        issues.choices["y"] = candidates[0]
        return ()
    return _wide(issues, request, x)


def _typical(candidates: list[str]) -> list[str]:
    """The candidates without minima, maxima and quantiles of what has a mean among them."""
    kinds = {c: words.typical_of(c) for c in candidates}
    typical = {rest for rest, kind in kinds.values() if kind == "typical"}
    return [c for c, (rest, kind) in kinds.items() if kind != "other" or rest not in typical]


def _wide(issues: Issues, request: RequestedColumns, x: str | None) -> tuple[str, ...]:
    """If no name looks like errors: the remaining numeric columns, as a curve each."""
    names = issues.table.columns
    remaining = [c for c in names if c != x and c not in request.by and not words.size_rank(c)]
    remaining = [c for c in remaining if not words.is_parameters(c) and not words.is_replicate(c)]
    remaining = [c for c in remaining if not words.is_steps(c) and not words.spread_kind(c)]
    remaining = [c for c in remaining if not words.counts_units(c)]
    values = {c: v for c in remaining if (v := _numeric(issues.table.cells[c])) is not None}
    values = {c: v for c, v in values.items() if np.isfinite(v).any() and not words.time_or_rank(c)}
    means = [c for c in values if words.is_statistic(c)]
    if len(means) == 1 and any(words.spread_kind(c) for c in names):
        values = {means[0]: values[means[0]]}
    if x is not None and len(values) == 1:
        (only,) = values
        issues.notes.append(f"Column {only!r} is taken for the errors: no other one can hold them.")
        return (only,)
    if (
        x is not None
        and len(values) > 1
        and len(remaining) == len(values)
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
    """Whether columns hold numbers of similar size, as those of one metric do."""
    middles = [float(np.nanmedian(np.abs(v))) for v in columns]
    return min(middles) > 0 and max(middles) < 20 * min(middles)


# ---------------------------------------------------------------- spreads


def in_cells(y: str) -> str:
    """The name of the column with the spreads that the cells of ``y`` had besides their values."""
    return f"{y} ±"


def _spread_in_cells(issues: Issues, name: str, errors: Sequence[str]) -> str | None:
    """The column of standard deviations; if it is the errors' own column, the spreads in its
    cells."""
    column = _asked(issues, name)
    spread = in_cells(column or "")
    return spread if column in errors and spread in issues.table.cells else column


def _bounds(
    issues: Issues, request: RequestedColumns, errors: Sequence[str]
) -> tuple[str, str] | None:
    """The two columns of confidence bounds, if requested."""
    if request.ci:
        ends = [e for name in request.ci if (e := _asked(issues, name))]
        if len(request.ci) != 2:
            issues.problems.append(
                "--ci takes two columns, the lower and the upper bound: --ci LOW,HIGH"
            )
        return (ends[0], ends[1]) if len(ends) == 2 else None
    return None


def _spread_guessed(issues: Issues, names: ColumnNames) -> ColumnNames:
    """The roles with standard errors or confidence bounds that were found by name."""
    columns = [c for c in issues.table.columns if c not in names.read]
    if len(names.y) != 1:
        return names
    y = names.y[0]
    kinds = {c: words.spread_kind(c) for c in columns}
    # prefer spreads that name this metric; otherwise use those that name none
    of_metric = {c: k for c, k in kinds.items() if words.belongs(c, y)}
    kinds = of_metric or {c: k for c, k in kinds.items() if words.belongs(c, "")}
    by_kind = {k: [c for c, kind in kinds.items() if kind == k] for k in _SPREADS}
    in_its_cells = in_cells(y) in issues.table.cells and issues.table.cells[in_cells(y)].any()
    if in_its_cells and re.search(r"(±|\+/-)\s*(sd|std|s\.d)", y.lower()):
        issues.notes.append(
            f"The spread in the cells of {y!r} is by its name a standard deviation, and is not "
            f"used: --sd {quoted(y)} --runs N makes standard errors of it."
        )
        return names
    if in_its_cells:
        note = (
            f"The spread in the cells of {y!r} is taken for a standard error; of standard "
            f"deviations over N runs say --sd {quoted(y)} --runs N."
        )
        issues.notes.append(note)
        return replace(names, se=in_cells(y))
    if len(by_kind["se"]) == 1:
        issues.notes.append(f"Column {by_kind['se'][0]!r} is taken for the standard errors.")
        return replace(names, se=by_kind["se"][0])
    if len(by_kind["low"]) == 1 and len(by_kind["high"]) == 1:
        return replace(names, ci=(by_kind["low"][0], by_kind["high"][0]))
    for column in by_kind["other"]:
        if words.tokens(column)[-1] in ("min", "max"):
            continue
        issues.notes.append(
            f"Column {column!r} may hold a spread, and is not used: --se, or --sd with --runs, "
            "names it."
        )
    if len(by_kind["sd"]) == 1:
        issues.notes.append(
            f"Column {by_kind['sd'][0]!r} is by its name a standard deviation, and is not used: "
            f"--sd {quoted(by_kind['sd'][0])} --runs N makes standard errors of it."
        )
    return names
