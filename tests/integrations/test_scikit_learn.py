"""Learning curves of scikit-learn estimators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import steep

sklearn = pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402
from sklearn.metrics import make_scorer, mean_squared_error  # noqa: E402
from sklearn.model_selection import LearningCurveDisplay  # noqa: E402
from sklearn.model_selection import learning_curve as theirs  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

from steep.integrations.scikit_learn import LearningCurve, _curve  # noqa: E402


class Known(ClassifierMixin, BaseEstimator):
    """Errs on a share of the items that is a power law of how many it was given; worse by a fifth
    where ``depth`` is not 2. Keeps what it was fitted on."""

    fitted: list[Any] = []  # noqa: RUF012

    def __init__(self, depth: int = 2) -> None:
        self.depth = depth

    def fit(self, X: Any, y: Any) -> Known:
        self.classes_ = np.unique(y)
        self.n_ = len(y)
        Known.fitted.append((self.depth, X[:, 0].astype(int), np.asarray(y)))
        return self

    def predict(self, X: Any) -> Any:
        error = self.n_**-0.4 * (1.0 if self.depth == 2 else 1.2)
        wrong = np.arange(len(X)) < round(error * len(X))
        return np.where(wrong, 1 - X[:, 1], X[:, 1]).astype(int)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """4,000 items with their number and their class."""
    y = np.arange(4000) % 4 // 3
    Known.fitted.clear()
    return np.c_[np.arange(4000), y], y


def test_the_exponent_of_a_known_estimator(data: Any) -> None:
    X, y = data
    curve = steep.learning_curve(Known(), X, y, grid={"depth": [1, 2, 3]}, dial="depth")
    assert curve.metric == "1 - accuracy"
    assert curve.best["depth"].tolist() == [2] * 7
    assert curve.best["samples"].tolist() == [50, 100, 200, 400, 800, 1600, 3200]
    assert curve.best["error"].to_numpy() == pytest.approx(
        curve.best["samples"].to_numpy() ** -0.4, rel=0.03
    )
    assert curve.beta_g is not None
    assert curve.beta_g.value == pytest.approx(-0.4, abs=0.01)
    told = curve.predict("10x")
    assert told["samples"].tolist() == [32000]
    assert told["accuracy"][0] == pytest.approx(1 - 32000**-0.4, abs=0.003)
    assert curve.samples_for("99%").samples == pytest.approx(0.01 ** (-1 / 0.4), rel=0.1)
    assert len(curve.trials) == 7 * 5 * 3
    assert "beta_g" in repr(curve)


def test_subsets_are_nested_and_stratified(data: Any) -> None:
    X, y = data
    steep.learning_curve(Known(), X, y, sizes=[40, 400, 0.5], cv=2)
    by_size = {len(rows): (set(rows), label) for _, rows, label in Known.fitted[::2]}
    assert sorted(by_size) == [40, 400, 1000]
    for count, (_, label) in by_size.items():
        assert abs(label.sum() - count / 4) <= 1
    first = [(set(rows), len(rows)) for _, rows, _ in Known.fitted]
    chains = [[s for s, n in first if n == size] for size in (40, 400, 1000)]
    for small, middle, large in zip(*chains, strict=True):
        assert small < middle < large


def test_groups_stay_on_one_side_and_come_whole(data: Any) -> None:
    X, y = data
    groups = np.arange(4000) // 40  # a hundred groups of forty
    steep.learning_curve(Known(), X, y, sizes=[80, 800], groups=groups, cv=4)
    for _, rows, _ in Known.fitted:
        assert len(set(rows // 40)) == len(rows) / 40


def test_jobs_and_seeds_give_the_same(data: Any) -> None:
    X, y = load_digits(return_X_y=True)
    tree = DecisionTreeClassifier(random_state=0)
    given: dict[str, Any] = {"sizes": [100, 300, 900], "cv": 3, "grid": {"max_depth": [3, 8]}}
    one = steep.learning_curve(tree, X, y, **given)
    two = steep.learning_curve(tree, X, y, n_jobs=2, **given)
    assert one.trials["error"].equals(two.trials["error"])
    other = steep.learning_curve(tree, X, y, random_state=1, **given)
    assert not one.trials["error"].equals(other.trials["error"])


def test_a_regression_and_its_losses() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 5))
    y = X @ np.arange(5) + rng.normal(size=800)
    curve = steep.learning_curve(Ridge(), X, y, scoring="neg_mean_squared_error", cv=4)
    assert curve.metric == "mse"
    assert curve.best["error"].iloc[-1] == pytest.approx(1.0, rel=0.15)  # the noise
    same = make_scorer(mean_squared_error, greater_is_better=False)
    assert steep.learning_curve(Ridge(), X, y, scoring=same, cv=4).metric == "mse"
    assert steep.learning_curve(Ridge(), X, y, cv=4).metric == "1 - r2"
    with pytest.raises(ValueError, match="say what the scorer's score is"):
        steep.learning_curve(Ridge(), X, y, scoring=lambda m, X, y: 0.5, cv=4)
    named = steep.learning_curve(Ridge(), X, y, scoring=lambda m, X, y: 0.5, cv=4, metric="r2")
    assert named.best["error"].tolist() == [0.5] * len(named.best)


class Fails(RegressorMixin, BaseEstimator):
    """Cannot be fitted to fewer than thirty items."""

    def fit(self, X: Any, y: Any) -> Fails:
        if len(X) < 30:
            raise RuntimeError("too few")
        self.n_ = len(X)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), float(self.n_))


def test_fits_that_fail_are_left_out_and_said(data: Any) -> None:
    X, y = np.zeros((400, 1)), np.zeros(400)
    scoring = "neg_mean_absolute_error"
    curve = steep.learning_curve(Fails(), X, y, sizes=[10, 40, 80, 160], scoring=scoring, cv=2)
    assert curve.best["samples"].tolist() == [40, 80, 160]
    assert curve.notes == ("2 of 8 fits failed and are left out: RuntimeError: too few",)
    with pytest.raises(ValueError, match="no estimator could be fitted: RuntimeError: too few"):
        steep.learning_curve(Fails(), X, y, sizes=[5, 10], cv=2)


def test_what_scikit_learn_measured_is_taken() -> None:
    sizes = np.array([50, 100, 200, 400])
    test = 1 - sizes[:, None] ** -0.5 * np.exp(np.array([[-0.02, 0.0, 0.02]]))
    curve = steep.learning_curve((sizes, np.ones_like(test), test), scoring="accuracy")
    assert curve.beta_g is not None
    assert curve.beta_g.value == pytest.approx(-0.5, abs=0.005)
    display = LearningCurveDisplay(train_sizes=sizes, train_scores=test, test_scores=test)
    assert steep.learning_curve(display, scoring="accuracy").beta_g == curve.beta_g
    with pytest.raises(ValueError, match="name the scores"):
        steep.learning_curve((sizes, test, test))
    X, y = load_digits(return_X_y=True)
    real = theirs(DecisionTreeClassifier(random_state=0), X, y, train_sizes=[100, 400, 1000], cv=3)
    found = steep.learning_curve(real, scoring="accuracy")
    assert found.best["samples"].tolist() == [100, 400, 1000]
    assert found.best["score"].to_numpy() == pytest.approx(real[2].mean(axis=1))


def test_it_is_drawn() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    sizes = np.array([50, 100, 200, 400])
    test = 1 - sizes[:, None] ** -0.5 * np.ones((1, 3))
    curve = steep.learning_curve((sizes, test, test), scoring="accuracy")
    assert curve.plot() is not None
    assert "<svg" in curve._repr_html_()
    assert "beta_g" in curve.summary()


def test_zero_errors_count_as_half_an_item(data: Any) -> None:
    X, y = data

    class Perfect(Known):
        def predict(self, X: Any) -> Any:
            return X[:, 1].astype(int)

    curve = steep.learning_curve(Perfect(), X, y, sizes=[100, 1000], cv=2)
    assert curve.best["error"].tolist() == [0.5 / 2000] * 2
    assert not math.isinf(np.log(curve.best["error"]).min())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dial": "depth"}, "grid has no values of the dial 'depth'"),
        ({"sizes": [10**6]}, "sizes: from 1 to 3200"),
        ({"y": None}, "give the data"),
        ({"scoring": ["accuracy", "f1"]}, r"of one score, and scoring names 2 \(accuracy, f1\)"),
        ({"scoring": {"a": "accuracy"}}, r"of one score, and scoring names 1 \(a\)"),
        ({"scoring": lambda *_: {"a": 0.5, "b": 1}, "metric": "accuracy"}, "several scores, a, b:"),
        ({"scoring": lambda *_: 95.0, "metric": "accuracy"}, "a score of 95.0 is no accuracy"),
        ({"grid": {"depth": 2}}, "^grid: .*'depth'"),
        ({"grid": {"depth": []}}, "^grid: .*'depth'"),
        ({"grid": [{"depth": [1, 2]}]}, "^grid: one mapping"),
    ],
)
def test_arguments_that_do_not_fit(data: Any, given: dict[str, Any], words: str) -> None:
    X, y = data
    with pytest.raises(ValueError, match=words):
        steep.learning_curve(Known(), **({"X": X, "y": y} | given))


class Perfect(Known):
    """Misses nothing from 200 items on."""

    def predict(self, X: Any) -> Any:
        return X[:, 1].astype(int) if self.n_ >= 200 else super().predict(X)


def test_an_error_of_zero_counts_as_half_an_item_and_is_said(data: Any) -> None:
    X, y = data
    curve = steep.learning_curve(Perfect(), X, y)
    assert curve.best["error"].iloc[-1] == pytest.approx(0.5 / 800)
    assert curve.best["score"].iloc[-1] == 1.0
    (note,) = curve.notes
    assert note.startswith("25 of 35 folds of the best models missed none of their items")
    assert note in curve.summary()


def chosen(best: list[int], grid: list[int]) -> LearningCurve:
    """A curve whose best value of the dial at each size is as given."""
    sizes = [100 * 2**k for k in range(len(best))]
    rows = [
        {"samples": m, "fold": fold, "k": value, "score": 1 - error, "error": error,
         "seconds": 0.0, "failed": ""}
        for m, chosen in zip(sizes, best, strict=True) for value in grid for fold in range(3)
        for error in [m**-0.3 * (1 + 0.01 * fold + (0.1 if value != chosen else 0.0))]
    ]  # fmt: skip
    return _curve(pd.DataFrame(rows), ["k"], "k", "1 - accuracy", 0.0, 0.9)


@pytest.mark.parametrize(("value", "which"), [(1, "smallest"), (9, "largest")])
def test_a_best_value_at_the_edge_of_its_grid_is_no_measured_optimum(
    value: int, which: str
) -> None:
    curve = chosen([value] * 7, [1, 3, 9])
    law = curve.size_law
    assert law is not None
    assert (law.outcome, law.two_sided, law.censored) == ("not measured", 0, 7)
    assert law.beta_p is None
    assert f"The {which} k tried ({value}) is the best at every size" in curve.summary()


def test_optima_inside_the_grid_are_a_law_of_the_dial() -> None:
    curve = chosen([3, 3, 9, 9, 27, 27, 81], [1, 3, 9, 27, 81])
    law = curve.size_law
    assert law is not None
    assert (law.outcome, law.two_sided, law.censored) == ("ok", 6, 1)
    assert "The largest k tried (81) is the best at 1 of 7 sizes" in curve.summary()


def test_what_scikit_learn_would_refuse_is_one_sentence() -> None:
    X, y = np.zeros((20, 2)), np.arange(20) // 2
    with pytest.raises(ValueError, match=r"^5 folds need 5 samples of a class, and there are 2:"):
        steep.learning_curve(DecisionTreeClassifier(), X, y)
    with pytest.raises(ValueError, match=r"^scikit-learn has no scoring 'nope'; sklearn.metrics"):
        steep.learning_curve(DecisionTreeClassifier(), X, y, scoring="nope")
    with pytest.raises(ValueError, match=r"did you mean 'accuracy'\?$"):
        steep.learning_curve(DecisionTreeClassifier(), X, y, scoring="acuracy")


def test_scores_under_another_name_than_theirs_are_refused() -> None:
    """Negated squared errors were taken for accuracies of -3,000."""
    measured = (np.array([100, 200, 400]), None, np.array([[-9.0], [-5.0], [-3.0]]))
    assert steep.learning_curve(measured, scoring="neg_mean_squared_error").metric == "mse"
    with pytest.raises(ValueError, match=r"^a score of -9.0 is no accuracy: name the scoring"):
        steep.learning_curve(measured, scoring="accuracy")
    with pytest.raises(ValueError, match=r"did you mean 'neg_mean_squared_error'\?$"):
        steep.learning_curve(measured, scoring="mean_squared_error")


class Deep(Known):
    """Its best depth is None, without a limit, from 200 items on."""

    def predict(self, X: Any) -> Any:
        best = None if self.n_ > 200 else 2
        error = self.n_**-0.4 * (1.0 if self.depth == best else 1.2)
        wrong = np.arange(len(X)) < round(error * len(X))
        return np.where(wrong, 1 - X[:, 1], X[:, 1]).astype(int)


def test_a_best_depth_without_a_limit_has_no_law_and_stays_none(data: Any) -> None:
    X, y = data
    curve = steep.learning_curve(Deep(), X, y, dial="depth", grid={"depth": [1, 2, None]})
    assert curve.best["samples"].tolist() == [50, 100, 200, 400, 800, 1600, 3200]
    assert curve.best["depth"].tolist() == [2, 2, 2, None, None, None, None]
    law = curve.size_law
    assert law is not None
    assert (law.outcome, law.beta_p) == ("not measured", None)
    assert law.reason.startswith("a power law is of numbers, and depth = None is the best")
