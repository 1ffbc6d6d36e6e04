"""What a joint law is: error as a plain function of data and model size, with names and a prior.

A law is evaluated in logs about a reference point inside the runs, n = log N - log N_0 and d = log
D - log D_0, and its terms are relative to the typical error of the runs: there the size of a term
means the same for every metric, unit and family, and a prior can be stated. ``natural`` gives the
parameters that papers print.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from steep.laws.law import Array, Shape


@dataclass(frozen=True)
class Reference:
    """Logs of the model size, the data and the error that a table's terms are relative to."""

    log_n: float
    log_d: float
    log_error: float


@dataclass(frozen=True)
class Surface:
    """A law of data and model size.

    ``log_surface(coordinates, n, d, u)`` is log error relative to the reference, (draws, places),
    for ``coordinates`` (draws, parameters) and relative log sizes (places,); u is d of the distinct
    samples. A coordinate is the logarithm of a term at the reference, or the parameter itself.
    ``terms`` says by which power each parameter's coordinate moves with the reference: ``("N",
    "alpha")`` is a constant of the term A / N^alpha; '' an exponent or another plain number.
    """

    name: str
    formula: str
    citation: str
    names: tuple[str, ...]
    terms: tuple[tuple[str, str], ...]
    priors: tuple[Shape, ...]
    log_surface: Callable[[Array, Array, Array, Array], Array]
    optimum: bool = False
    """A best split of compute follows from it in the closed form of Hoffmann et al. 2022."""
    needs_unique: bool = False

    def coordinates(self, z: Array) -> Array:
        """Coordinates at normal scores, both (draws, parameters)."""
        return np.stack([p.value(z[:, i]) for i, p in enumerate(self.priors)], axis=1)

    def natural(self, coordinates: Array, reference: Reference) -> Array:
        """Natural parameters, (draws, parameters)."""
        result = coordinates.copy()
        for i, (kind, _) in enumerate(self.terms):
            if kind:
                shift = self._shift(i, coordinates, reference)
                result[:, i] = np.exp(np.clip(coordinates[:, i] + shift, -700.0, 700.0))
        return result

    def hold(self, coordinates: Array, fixed: Mapping[str, float], reference: Reference) -> None:
        """Set the coordinates of natural parameters that are ``fixed``, in place."""
        for plain in (True, False):  # a term's coordinate depends on its exponent
            for name, value in fixed.items():
                i = self.names.index(name)
                if plain != (not self.terms[i][0]):
                    continue
                with np.errstate(divide="ignore"):
                    coordinates[:, i] = value if plain else np.log(value)
                if not plain:
                    coordinates[:, i] -= self._shift(i, coordinates, reference)

    def _shift(self, i: int, coordinates: Array, reference: Reference) -> Array | float:
        """Log of the natural parameter less its coordinate, (draws,)."""
        kind, exponent = self.terms[i]
        if kind == "size":
            return 0.0
        if not exponent:
            return reference.log_error
        log_size = reference.log_n if kind == "N" else reference.log_d
        power = coordinates[:, self.names.index(exponent)]
        return reference.log_error + power * log_size


def term(name: str, share: float = 1 / 3, spread: float = 1.5) -> Shape:
    """Prior of the logarithm of a term at the reference, relative to the error there: normal."""
    return Shape(name, "plain", float(np.log(share)), spread, -np.inf, np.inf)


def log_sum(*logs: Array) -> Array:
    """Logarithm of the sum of exponentials, elementwise."""
    top = reduce(np.maximum, logs)
    total = np.zeros_like(top)
    for one in logs:
        total += np.exp(one - top)
    return np.asarray(top + np.log(total))
