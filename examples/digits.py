"""A user's own training code as the trainer of a study: scikit-learn on its digits.

Run the study beside it:  steep run examples/digits.yaml
"""

from functools import cache

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.random_projection import GaussianRandomProjection


@cache
def data():
    return load_digits(return_X_y=True)


def train(shard, size, seed, regularisation):
    """``shard.train`` are the row numbers this trial may learn from; ``size`` is the dial."""
    x, y = data()
    model = make_pipeline(
        StandardScaler(),
        GaussianRandomProjection(size, random_state=seed),
        PolynomialFeatures(2),
        StandardScaler(),
        LogisticRegression(C=regularisation, max_iter=300),
    )
    model.fit(x[shard.train], y[shard.train])
    wrong = model.predict(x[shard.validation]) != y[shard.validation]
    return {
        "validation_error": wrong.mean(),
        "test_error": (model.predict(x[shard.test]) != y[shard.test]).mean(),
        "parameters": int(model[-1].coef_.size + model[-1].intercept_.size),
        "items": wrong,
    }
