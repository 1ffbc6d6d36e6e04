"""Forecasts of all kinds of curve in one table: errors, bias, coverage, widths, interval scores.

    python benchmarks/forecasts.py [--quick] [--only sft] [--save FILE] [--against FILE]

Of every curve the larger sizes are hidden, the others fitted without standard errors, and the
hidden errors forecast:

- ``alab``: 45 curves of Alabdulmohsin et al. 2022, ``fit`` and ``score`` parts as published (at
  most twelve of the latter, evenly);
- ``sft``: 14 curves of language models' fine-tuning, 13 sizes in steps of two, 2x to 16x;
- ``studies``: this repository's own (``deep_curves.py``), 2x and 4x;
- ``lcdb``: 160 curves of small data (``lcdb.py``), 4x and 16x;
- ``rows``: simulated power laws, with a floor in every second, eight sizes in steps of two, of 20
  runs each, whose noise falls from 50 % as size**-0.75; the mean of 20 runs is forecast 8x beyond
  them; ``means``: the same curves as mean and standard error.

Scored in log, a curve's forecasts averaged first: |forecast / truth| capped at 1, the bias, how
often the 90 % interval holds, its median width, its interval score (Gneiting and Raftery 2007), and
the share of truths below the median. Peers, besides those of ``lcdb.py``: the slope of the last two
points continued, and the damped line (a line over the last factor of e, its slope times 0.7).

``--save`` keeps the rows; ``--against`` such a file shows the differences to it, paired by curve,
with their standard error over groups (data sets of lcdb, tasks or models of the others).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import deep_curves
import numpy as np
import pandas as pd
from lcdb import DATA, PEERS, tasks

from steep.fit import fit
from steep.forecast import forecast

DEEP = Path(__file__).parent / "data" / "deep_dev.csv.gz"
PLACES = 12
"""Of a curve's published score part at most so many places, evenly, are forecast."""
RUNS, SIMULATED = 20, 60
Logs = np.ndarray


@dataclass(frozen=True)
class Task:
    """One curve with its larger sizes hidden."""

    source: str
    curve: str
    group: str
    samples: np.ndarray
    error: np.ndarray
    at: np.ndarray
    truth: np.ndarray
    se: np.ndarray | None = None


def deep(frame: pd.DataFrame) -> Iterator[Task]:
    """Those of ``deep_dev.csv.gz``."""
    for curve, rows in frame.sort_values("samples", kind="stable").groupby("curve", sort=False):
        name, m, error = str(curve), rows["samples"].to_numpy(), rows["error"].to_numpy()
        if name.startswith("alab"):
            shown, hidden = (np.flatnonzero(rows["part"] == part) for part in ("fit", "score"))
            even = np.linspace(0, len(hidden) - 1, min(PLACES, len(hidden)))
            hidden, group = hidden[np.round(even).astype(int)], name.split("|")[1]
            yield Task("alab", name, group, m[shown], error[shown], m[hidden], error[hidden])
            continue
        for steps in (1, 2, 3, 4):
            source, shown = f"sft {2**steps}x", slice(None, -steps)
            yield Task(source, name, name, m[shown], error[shown], m[-1:], error[-1:])


def studies() -> Iterator[Task]:
    curves = deep_curves.own_curves()
    for reach in (2, 4):
        frame = deep_curves.fitted(curves, reach)
        for name, m, error, at, truth in tasks(frame, reach, deep_curves.SLACK):
            group, places = name.split(",")[0], (np.array([at]), np.array([truth]))
            yield Task(f"studies {reach}x", name, group, m, error, *places)


def lcdb() -> Iterator[Task]:
    for reach in (4, 16):
        for name, m, error, at, truth in tasks(pd.read_csv(DATA), reach, 1.0001):
            group, places = name.split("/")[0], (np.array([at]), np.array([truth]))
            yield Task(f"lcdb {reach}x", name, group, m, error, *places)


def replicated(count: int = SIMULATED) -> Iterator[Task]:
    """Simulated curves as rows of runs, and as means with standard errors."""
    rng = np.random.default_rng(24)
    m = 1000.0 * 2.0 ** np.arange(8)
    places = np.append(m, 8 * m[-1])
    for i in range(count):
        share = rng.uniform(0.0, 0.6) if i % 2 else 0.0
        truth = 0.3 * (share + (1 - share) * (places / m[-1]) ** -rng.uniform(0.1, 0.5))
        noise = 0.5 * (places / m[0]) ** -0.75
        runs = truth[:, None] * np.exp(noise[:, None] * rng.normal(size=(len(places), RUNS)))
        shown, name = runs[:-1], f"simulated {i}"
        new = np.array([np.exp(np.log(runs[-1]).mean())])
        yield Task("rows 8x", name, name, np.repeat(m, RUNS), shown.ravel(), places[-1:], new)
        mean, se = shown.mean(axis=1), shown.std(axis=1, ddof=1) / RUNS**0.5
        yield Task("means 8x", name, name, m, mean, places[-1:], new, se)


def all_tasks() -> Iterator[Task]:
    yield from deep(pd.read_csv(DEEP))
    yield from studies()
    yield from lcdb()
    yield from replicated()


# ---------------------------------------------------------------- methods: logs (places, 3)


def steep(task: Task) -> Logs:
    fitted = fit(samples=task.samples, error=task.error, se=task.se, intervals=False)
    answers = forecast(fitted, at=task.at).at
    return np.log([[a.lower, a.error, a.upper] for a in answers])


def slope_continued(task: Task) -> Logs:
    return _line(task, lambda x: x >= x[-2], 1.0)


def damped_line(task: Task) -> Logs:
    return _line(task, lambda x: x >= min(x[-2], x[-1] - 1.0 - 1e-9), 0.7)


def _line(task: Task, kept: Callable[[np.ndarray], np.ndarray], damp: float) -> Logs:
    """From the last point along the slope of the ``kept`` ones."""
    m, error = _means(task)
    x, y = np.log(m), np.log(error)
    slope = np.polyfit(x[kept(x)], y[kept(x)], 1)[0]
    middle = y[-1] + damp * slope * (np.log(task.at) - x[-1])
    return np.stack([np.full(len(middle), np.nan), middle, np.full(len(middle), np.nan)], axis=1)


def _means(task: Task) -> tuple[np.ndarray, np.ndarray]:
    rows = pd.Series(np.log(task.error)).groupby(task.samples).mean()
    return rows.index.to_numpy(), np.exp(rows.to_numpy())


def _peer(name: str) -> Callable[[Task], Logs]:
    def method(task: Task) -> Logs:
        m, error = _means(task)
        return np.log([PEERS[name](m, error, float(at)) for at in task.at])

    return method


METHODS: dict[str, Callable[[Task], Logs]] = {
    "last slope continued": slope_continued,
    "damped line": damped_line,
    **{name: _peer(name) for name in PEERS if name not in ("steep", "GP, scikit-learn")},
    "steep": steep,
}
QUICK = ("last slope continued", "damped line", "steep")


# ---------------------------------------------------------------- scores


def scored(task: Task, answer: Logs) -> dict[str, float | str]:
    """Of one curve, means over its places."""
    lower, middle, upper = answer.T
    truth = np.log(task.truth)
    outside = np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0)
    found = {
        "error": np.minimum(np.abs(middle - truth), 1.0),
        "bias": np.clip(middle - truth, -1.0, 1.0),
        "holds": np.where(np.isnan(lower), np.nan, (lower <= truth) & (truth <= upper)),
        "width": upper - lower,
        "interval score": upper - lower + 2 / 0.1 * outside,
        "below": (truth < middle).astype(float),
    }
    scores = {name: float(np.mean(values)) for name, values in found.items()}
    return {"source": task.source, "curve": task.curve, "group": task.group, **scores}


def measured(every: int, only: str, methods: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    chosen = [task for task in all_tasks() if task.source.startswith(only)]
    for source in dict.fromkeys(task.source for task in chosen):
        thinned = [task for task in chosen if task.source == source]
        for task in thinned[:: every if len(thinned) > 20 else 1]:
            for name in methods:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    rows.append({"method": name, **scored(task, METHODS[name](task))})
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    kinds = rows.groupby(["source", "method"], sort=False)
    return pd.DataFrame(
        {
            "n": kinds["curve"].size(),
            "mean": kinds["error"].mean(),
            "median": kinds["error"].median(),
            "bias": kinds["bias"].mean(),
            "holds": kinds["holds"].mean(),
            "width": kinds["width"].median(),
            "interval score": kinds["interval score"].mean(),
            "below": kinds["below"].mean(),
        }
    )


def differences(rows: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Of steep's scores, now less before, with standard errors over groups."""
    key, scores = ["source", "curve", "group"], ["error", "bias", "width", "interval score"]
    now, old = (f[f["method"] == "steep"].set_index(key)[scores] for f in (rows, before))
    change = (now - old).dropna()
    found = {}
    for source, some in change.groupby("source", sort=False):
        sums = some.groupby("group").sum()
        sizes = some.groupby("group").size()
        centred = sums - np.outer(sizes, some.mean())
        se = np.sqrt((centred**2).sum()) / len(some)
        found[source] = {s: f"{some[s].mean():+.4f} +- {se[s]:.4f}" for s in scores}
    return pd.DataFrame(found).T


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every fourth curve, two peers")
    parser.add_argument("--only", default="", help="sources whose names begin so")
    parser.add_argument("--steep", action="store_true", help="without the peers")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    methods = ("steep",) if options.steep else QUICK if options.quick else tuple(METHODS)
    rows = measured(4 if options.quick else 1, options.only, methods)
    print(table(rows).to_string(float_format=lambda v: f"{v:.4f}", na_rep="-"))
    if options.save:
        rows.to_csv(options.save, index=False)
    if options.against:
        print(f"\nless those of {options.against}")
        print(differences(rows, pd.read_csv(options.against)).to_string())


if __name__ == "__main__":
    main()
