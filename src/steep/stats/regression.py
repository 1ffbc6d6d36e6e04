"""A linear model with a normal prior on its coefficients: what few observations say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steep.laws.law import Array


class Sums:
    """What a linear model needs to know of observations, which come, and go, one by one."""

    def __init__(self, k: int) -> None:
        self.xx, self.xy = np.zeros((k, k)), np.zeros(k)
        """(k, k) and (k,): the sums of x x' and of x y."""
        self.count = 0

    def add(self, x: Array, y: float, times: int = 1) -> None:
        """One observation at ``x`` (k,); ``times`` -1 takes it out again."""
        self.xx += times * np.outer(x, x)
        self.xy += times * y * x
        self.count += times


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

    def given_sums(self, sums: Sums) -> Linear:
        """The same posterior from the sums of the observations, however many they are."""
        before = np.linalg.inv(self.covariance)
        precision = before + sums.xx / self.noise**2
        covariance = np.linalg.inv(precision)
        mean = covariance @ (before @ self.mean + sums.xy / self.noise**2)
        return Linear(mean, (covariance + covariance.T) / 2, self.noise)

    def draw(self, random: np.random.Generator) -> Array:
        """Coefficients, (k,)."""
        return np.asarray(random.multivariate_normal(self.mean, self.covariance, method="eigh"))
