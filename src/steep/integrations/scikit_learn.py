"""A learning curve of a scikit-learn estimator, and what more data would bring.

    curve = steep.learning_curve(estimator, X, y, dial="max_depth", grid={"max_depth": [2, 4, 8]})
    curve.predict("10x"); curve.samples_for("5%"); curve.plot()

Unlike ``sklearn.model_selection.learning_curve`` the estimator is searched anew at each size: what
is fitted and extrapolated is the best model of each.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import (
    GroupKFold,
    ParameterGrid,
    StratifiedGroupKFold,
    check_cv,
)
from sklearn.utils import _safe_indexing as rows_of
from sklearn.utils import indexable

from steep.base.metrics import ACCURACIES, higher, higher_metric, is_share
from steep.base.spelling import did_you_mean
from steep.fit import fit, fit_size_law
from steep.records import Fit, Interval, SizeLaw, TargetAnswer
from steep.shards import nested_order
from steep.stats.size_law import FEWEST_TWO_SIDED

FOLDS, SIZES, FEWEST = 5, 7, 8
"""Of the default: folds, sizes, and samples at the smallest."""
LOSSES = {
    "log_loss": "log_loss", "mean_squared_error": "mse", "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
}  # fmt: skip
"""Scores that scikit-learn calls neg_..., by their usual names."""


@dataclass(frozen=True, repr=False)
class LearningCurve:
    """What ``learning_curve`` measured, and the law that was fitted to it."""

    fit: Fit
    """Of the best model of each size; its folds are replicates."""
    best: pd.DataFrame
    """A row a size: ``samples``, the parameters chosen, ``error`` (mean over folds), ``score``."""
    trials: pd.DataFrame
    """A row an estimator that was fitted: samples, fold, parameters, error, score, seconds."""
    metric: str
    """The name of the error: '1 - accuracy', 'mse'."""
    size_law: SizeLaw | None = None
    """How the best value of ``dial`` grows; None without one, or where it is not measured."""
    notes: tuple[str, ...] = ()

    def predict(self, samples: Any, level: float | None = None) -> pd.DataFrame:
        """See ``Fit.predict``: 'samples', the metric, and an interval, at '10x' or 5000."""
        found: pd.DataFrame = self.fit.predict(samples, level)
        return found

    def samples_for(self, error: float | str, level: float | None = None) -> TargetAnswer:
        """Samples that a target takes ('95%' of an accuracy), see ``Fit.samples_for``."""
        return self.fit.samples_for(error, level)

    @property
    def beta_g(self) -> Interval | None:
        """The exponent of the curve."""
        return self.fit.beta_g

    def summary(self) -> str:
        return "\n".join([self.fit.summary(), *self.notes])

    def plot(self, ax: Any = None) -> Any:
        """The curve with its law and band on a matplotlib axis."""
        return self.fit.plot(ax)

    def __repr__(self) -> str:
        return f"<LearningCurve{repr(self.fit).removeprefix('<Fit')}"

    def _repr_html_(self) -> str:
        return self.fit._repr_html_()


def learning_curve(
    estimator: Any,
    X: Any = None,
    y: Any = None,
    *,
    sizes: Iterable[float] | None = None,
    dial: str | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    groups: Any = None,
    cv: Any = None,
    scoring: Any = None,
    metric: str | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    level: float = 0.9,
) -> LearningCurve:
    """The best of ``grid`` on nested subsets of the training folds, and a law of its error.

    ``sizes``: samples, or shares of the largest training fold; None: doublings up to all of it.
    Subsets are nested and, of a classifier, stratified; with ``groups`` the folds keep each group
    on one side and a subset takes group after group. ``dial`` names the parameter of ``grid`` that
    is the model's size. ``cv`` and ``scoring`` are scikit-learn's (5 folds; accuracy or R2), one
    score a curve; of a callable scorer ``metric`` says what its score is. The best of each size is
    chosen by the folds that measure it, as with ``GridSearchCV.best_score_``.

    In place of an estimator it takes what ``sklearn.model_selection.learning_curve`` returned, or a
    ``LearningCurveDisplay``, with the ``scoring`` that made it.

    Raises ValueError for arguments that do not fit together, and where no estimator could be
    fitted."""
    _check_scoring(scoring)
    if isinstance(estimator, tuple) or hasattr(estimator, "test_scores"):
        return _measured_before(estimator, scoring, metric, level)
    if X is None or y is None:
        raise ValueError("give the data: learning_curve(estimator, X, y)")
    _check_grid(grid, dial)
    X, y, groups = indexable(X, y, groups)
    classes = is_classifier(estimator)
    scorer = check_scoring(estimator, scoring=scoring)
    folds = _folds(X, y, classes, groups, cv)
    labels = np.unique(y, return_inverse=True)[1].reshape(-1) if classes else None
    orders = [_order(train, labels, groups, random_state, k) for k, (train, _) in enumerate(folds)]
    most = min(len(order) for order in orders)
    fewest = FEWEST if labels is None else max(FEWEST, 2 * len(np.unique(labels)))
    counts = _sizes(sizes, most, fewest)
    names = list(grid or {})
    candidates = [dict(zip(names, v, strict=True)) for v in product(*(grid or {}).values())]
    error_of = _Errors.of(scoring, scorer, metric, classes)
    tasks = list(product(counts, range(len(folds)), candidates))
    done = Parallel(n_jobs=n_jobs)(
        delayed(_trial)(estimator, X, y, orders[fold][:count], folds[fold][1], given, scorer)
        for count, fold, given in tasks
    )
    rows = []
    for (count, fold, given), (score, seconds, why) in zip(tasks, done, strict=True):
        error = error_of(score, len(folds[fold][1]))
        rows.append({"samples": count, "fold": fold, **given, "error": error, "score": score,
                     "seconds": seconds, "failed": why})  # fmt: skip
    trials = pd.DataFrame(rows)
    for name, values in (grid or {}).items():
        if None in list(values):  # else a column of 2, 4 and None would hold 2.0, 4.0 and NaN
            trials[name] = pd.Series([row[name] for row in rows], dtype=object)
    items = float(np.mean([len(test) for _, test in folds]))
    return _curve(trials, names, dial, error_of.metric, items, level)


def _curve(
    trials: pd.DataFrame, names: Sequence[str], dial: str | None, metric: str, items: float,
    level: float,
) -> LearningCurve:  # fmt: skip
    """The best candidate of each size, and the law of its folds' errors."""
    good = trials[np.isfinite(trials["error"])]
    if good.empty:
        raise ValueError(f"no estimator could be fitted: {trials['failed'].iloc[0]}")
    chosen, folds = [], []
    key = list(names) or ["samples"]
    for count, of_size in good.groupby("samples"):
        candidate = of_size.groupby(key, dropna=False, sort=False).ngroup()
        complete = of_size.groupby(candidate)
        mean = complete["error"].mean()
        whole = mean[complete["error"].size() == complete["error"].size().max()]
        best = of_size[candidate == whole.idxmin()]
        folds.append(best)
        first = best.iloc[0]
        chosen.append(
            {"samples": int(str(count))} | {n: first[n] for n in names}
            | {"error": best["error"].mean(), "error_sd": best["error"].std(),
               "score": best["score"].mean(), "folds": len(best)}
        )  # fmt: skip
    notes = []
    if failed := len(trials) - len(good):
        why = trials.loc[~np.isfinite(trials["error"]), "failed"].iloc[0]
        notes.append(f"{failed} of {len(trials)} fits failed and are left out: {why}")
    best = pd.DataFrame(chosen)
    for name in names:
        if trials[name].dtype == object:
            best[name] = pd.Series([row[name] for row in chosen], dtype=object)
    every = pd.concat(folds)
    if is_share(metric) and items and (none := int((1.0 - every["score"] == 0.0).sum())):
        notes.append(
            f"{none} of {len(every)} folds of the best models missed none of their items: an error "
            "of zero has no logarithm and counts as half an item."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its notes say the same
        found = fit(
            samples=every["samples"].astype(float), error=every["error"].astype(float),
            unit="samples", metric=metric, level=level,
        )  # fmt: skip
    law = None
    if dial is not None and len(best) >= 3 and np.isfinite(_numbers(trials[dial])).any():
        law, about = _size_law(best, trials, dial, level)
        notes += about
    return LearningCurve(found, best, trials, metric, law, tuple(notes))


def _size_law(
    best: pd.DataFrame, trials: pd.DataFrame, dial: str, level: float
) -> tuple[SizeLaw, list[str]]:
    """The law of the best values of ``dial``, and notes. Where the smallest or largest value tried
    is best, the optimum may lie beyond: it enters as such, as in a study."""
    tried = {n: _numbers(group) for n, group in trials.groupby("samples")[dial]}
    sizes = _numbers(best[dial])
    edges, steps = [], []
    for count, value in zip(best["samples"], sizes, strict=True):
        grid = np.unique(tried[count][np.isfinite(tried[count])])
        if not math.isfinite(value):
            edges.append("no number")
            steps.append(1.0)
            continue
        at = int(np.searchsorted(grid, value))
        low, high = max(at - 1, 0), min(at + 1, len(grid) - 1)
        single = len(grid) == 1
        edges.append("" if single else "low" if at == 0 else "high" if at == high else "")
        usable = not single and grid[low] > 0
        steps.append(float((grid[high] / grid[low]) ** (1 / (high - low))) if usable else 1.0)
    notes = [_edge_note(best, edges, dial, side) for side in ("low", "high") if side in edges]
    reason = ""
    no_number = [value for value, size in zip(best[dial], sizes, strict=True) if size != size]
    if no_number:
        reason = f"a power law is of numbers, and {dial} = {no_number[0]} is the best at some size"
    elif trials[dial].nunique(dropna=False) == 1:
        reason = f"one value of {dial} was tried"
    elif not (sizes > 0).all():
        reason = f"a power law is of positive values, and {dial} = {best[dial].min()} is among them"
    elif edges.count("") < FEWEST_TWO_SIDED:
        reason = (
            f"the best {dial} lies inside its grid at {edges.count('')} of {len(best)} sizes, and "
            f"the exponent needs {FEWEST_TWO_SIDED}"
        )
    if reason:
        found = SizeLaw(
            "not measured", reason, two_sided=edges.count(""),
            censored=edges.count("low") + edges.count("high"), level=level,
        )  # fmt: skip
        return found, notes
    return fit_size_law(best["samples"], pd.Series(sizes), edges, level, steps), notes


def _numbers(values: pd.Series) -> np.ndarray:
    """NaN for what is no number, such as the None of an unlimited depth."""
    real = [v if isinstance(v, Real) and not isinstance(v, bool) else math.nan for v in values]
    return np.array(real, dtype=float)


def _edge_note(best: pd.DataFrame, edges: Sequence[str], dial: str, side: str) -> str:
    values = [value for value, edge in zip(best[dial], edges, strict=True) if edge == side]
    which = "smallest" if side == "low" else "largest"
    value = ", ".join(str(one) for one in sorted(set(values)))
    where = f"{len(values)} of {len(best)} sizes" if len(values) < len(best) else "every size"
    return (
        f"The {which} {dial} tried ({value}) is the best at {where}: the optimum may lie beyond "
        "it, and better models with it. Extend the grid there, if it can be."
    )


# ---------------------------------------------------------------- the data, divided


def _folds(X: Any, y: Any, classes: bool, groups: Any, cv: Any) -> list[tuple[Any, Any]]:
    """(training items, test items) of each fold. Raises ValueError where there are too few."""
    count = cv if isinstance(cv, int) else FOLDS
    if cv is None or isinstance(cv, int):
        whole, fewest = "samples", len(np.asarray(y))
        if groups is not None:
            whole, fewest = "groups", len(np.unique(np.asarray(groups)))
        elif classes and np.ndim(y) == 1:
            counts = np.unique(np.asarray(y), return_counts=True)[1]
            whole, fewest = "samples of a class", int(counts.max())
        if fewest < count:
            hint = f"pass fewer folds (cv={fewest}), or" if fewest >= 2 else "give"
            raise ValueError(f"{count} folds need {count} {whole}, and there are {fewest}: {hint} "
                             "more data")  # fmt: skip
    try:
        return list(_splitter(cv, y, classes, groups).split(X, y, groups))
    except ValueError as problem:
        raise ValueError(f"the data cannot be divided into folds: {problem}") from None


def _check_scoring(scoring: Any) -> None:
    """Raises ValueError for several scores, and for a name that scikit-learn does not know."""
    if isinstance(scoring, str):
        if scoring not in get_scorer_names():
            near = did_you_mean(scoring, get_scorer_names())
            listed = "sklearn.metrics.get_scorer_names() lists them"
            raise ValueError(f"scikit-learn has no scoring {scoring!r}{near or f'; {listed}'}")
    elif isinstance(scoring, Iterable):
        names = [str(name) for name in scoring]
        raise ValueError(
            f"a curve is of one score, and scoring names {len(names)} ({', '.join(names)}): call "
            "learning_curve once for each, with scoring='accuracy', say"
        )


def _check_grid(grid: Mapping[str, Sequence[Any]] | None, dial: str | None) -> None:
    """Raises ValueError for what is no grid."""
    if grid is not None and not isinstance(grid, Mapping):
        raise ValueError(f"grid: one mapping of parameters to their values is wanted, not {grid!r}")
    if dial is not None and dial not in (grid or {}):
        raise ValueError(f"grid has no values of the dial {dial!r}: grid={{{dial!r}: [...]}}")
    try:
        ParameterGrid(dict(grid or {}))
    except (TypeError, ValueError) as problem:
        raise ValueError(f"grid: {problem}") from None


def _splitter(cv: Any, y: Any, classes: bool, groups: Any) -> Any:
    if groups is not None and (cv is None or isinstance(cv, int)):
        folds = cv or FOLDS
        return StratifiedGroupKFold(folds) if classes else GroupKFold(folds)
    return check_cv(FOLDS if cv is None else cv, y, classifier=classes)


def _order(
    train: np.ndarray, labels: np.ndarray | None, groups: Any, seed: int, fold: int
) -> np.ndarray:
    """The training items of a fold in the order in which subsets take them."""
    if groups is None:
        return nested_order(labels, train, seed, fold)
    names = np.unique(np.asarray(groups)[train])
    place = {
        name: k for k, name in enumerate(np.random.default_rng([seed, fold]).permutation(names))
    }
    shuffled = nested_order(None, train, seed, fold)
    return shuffled[np.argsort([place[g] for g in np.asarray(groups)[shuffled]], kind="stable")]


def _sizes(requested: Iterable[float] | None, most: int, fewest: int) -> list[int]:
    if requested is None:
        counts = [round(most / 2**k) for k in range(SIZES)]
        return sorted({count for count in counts if count >= min(fewest, most)})
    given = [float(size) for size in requested]
    counts = [round(s * most) if 0 < s <= 1 else round(s) for s in given]
    if not counts or min(counts) < 1 or max(counts) > most:
        raise ValueError(f"sizes: from 1 to {most}, the samples of a training fold, not {given}")
    return sorted(set(counts))


def _trial(
    estimator: Any, X: Any, y: Any, train: np.ndarray, test: np.ndarray, given: Mapping[str, Any],
    scorer: Any,
) -> tuple[float, float, str]:  # fmt: skip
    """(score, seconds, why it failed) of one estimator on one subset."""
    import time

    start = time.perf_counter()
    try:
        model = clone(estimator).set_params(**given)
        model.fit(rows_of(X, train), rows_of(y, train))
        score = scorer(model, rows_of(X, test), rows_of(y, test))
        if isinstance(score, Mapping):
            raise TypeError(f"the scorer returns several scores, {', '.join(score)}: one is wanted")
        score = float(score)
    except Exception as error:  # too few samples for it, say: the other sizes go on
        return math.nan, time.perf_counter() - start, f"{type(error).__name__}: {error}"
    return score, time.perf_counter() - start, "" if math.isfinite(score) else f"score {score}"


# ---------------------------------------------------------------- scores as errors


@dataclass(frozen=True)
class _Errors:
    """A scorer's score as an error."""

    metric: str
    negated: bool

    @classmethod
    def of(cls, scoring: Any, scorer: Any, metric: str | None, classes: bool) -> _Errors:
        """Raises ValueError where nobody can know what a score is."""
        name = scoring if isinstance(scoring, str) else None
        if name is None and scoring is None:
            name = "accuracy" if classes else "r2"
        function = getattr(getattr(scorer, "_score_func", None), "__name__", "")
        if name is None and function:  # make_scorer
            sign = getattr(scorer, "_sign", 1)
            name = function.removesuffix("_score") if sign > 0 else f"neg_{function}"
        if name is None and metric is None:
            raise ValueError("say what the scorer's score is: metric='accuracy' or 'neg_mse'")
        name = metric or str(name)
        if name.startswith("neg_"):
            plain = name.removeprefix("neg_")
            return cls(LOSSES.get(plain, plain), True)
        return cls(higher_metric(name).metric, False)

    def __call__(self, score: float, items: int) -> float:
        """An error rate of zero counts as half an item. Raises ValueError for what this score
        cannot be."""
        error = -score if self.negated else 1.0 - score
        made_of = higher(self.metric)
        if made_of is not None and (error < 0 or (error > 1 and made_of.name in ACCURACIES)):
            raise ValueError(
                f"a score of {score} is no {made_of.name}: name the scoring that the scores are of"
            )
        return 0.5 / items if error == 0.0 and is_share(self.metric) and items else error


def _measured_before(given: Any, scoring: Any, metric: str | None, level: float) -> LearningCurve:
    """Of what scikit-learn's own ``learning_curve`` returned."""
    if isinstance(given, tuple):
        if len(given) < 3:
            raise ValueError("three arrays are wanted: sizes, training scores, test scores")
        sizes, scores = np.asarray(given[0]), np.asarray(given[2], dtype=float)
    else:
        sizes, scores = np.asarray(given.train_sizes), np.asarray(given.test_scores, dtype=float)
    if scoring is None and metric is None:
        raise ValueError("name the scores: scoring='accuracy', as passed to learning_curve")
    if scores.ndim != 2 or scores.shape[0] != len(sizes):
        raise ValueError(
            f"{len(sizes)} sizes and scores of shape {scores.shape} do not go together"
        )
    error_of = _Errors.of(scoring, None, metric, True)
    rows = [
        {"samples": int(size), "fold": fold, "error": error_of(float(score), 0),
         "score": float(score), "seconds": math.nan, "failed": "score is NaN"}
        for size, of_size in zip(sizes, scores, strict=True)
        for fold, score in enumerate(of_size)
    ]  # fmt: skip
    return _curve(pd.DataFrame(rows), [], None, error_of.metric, 0.0, level)
