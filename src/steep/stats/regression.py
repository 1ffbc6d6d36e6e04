"""A linear model with a normal prior on its coefficients: what few observations say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steep.laws.law import Array


@dataclass(frozen=True)
class Linear:
    """y = x @ coefficients + noise * normal, the coefficients normal."""

    mean: Array
    """(k,)"""
    covariance: Array
    """(k, k)"""
    noise: float

    def given(self, x: Array, y: Array) -> Linear:
        """The posterior after observations ``y`` (n,) at ``x`` (n, k)."""
        gain = self.covariance @ x.T
        between = x @ gain + self.noise**2 * np.eye(len(y))
        weight = np.linalg.solve(between, gain.T).T
        mean = self.mean + weight @ (y - x @ self.mean)
        covariance = self.covariance - weight @ gain.T
        return Linear(mean, (covariance + covariance.T) / 2, self.noise)

    def draw(self, random: np.random.Generator) -> Array:
        """Coefficients, (k,)."""
        return np.asarray(random.multivariate_normal(self.mean, self.covariance, method="eigh"))
