"""The solver against NIST's Statistical Reference Datasets (public domain), from both starts.

Model functions are written here and residuals are linear and unbounded: this tests the solver, not
the laws. Certified parameters must come back to 5 digits, standard deviations to 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from steep.stats.least_squares import covariance, jacobian, minimise


@dataclass(frozen=True)
class Problem:
    model: Callable[..., np.ndarray]
    x: np.ndarray
    y: np.ndarray
    starts: tuple[tuple[float, ...], tuple[float, ...]]
    certified: tuple[float, ...]
    deviations: tuple[float, ...]


def numbers(text: str) -> np.ndarray:
    return np.array([float(v) for v in text.split()])


DANWOOD = Problem(
    model=lambda x, a, b: a * x**b,
    x=numbers("1.309 1.471 1.490 1.565 1.611 1.680"),
    y=numbers("2.138 3.421 3.597 4.340 4.882 5.660"),
    starts=((1, 5), (0.7, 4)),
    certified=(7.6886226176e-01, 3.8604055871e00),
    deviations=(1.8281973860e-02, 5.1726610913e-02),
)
MISRA1A = Problem(
    model=lambda x, a, b: a * (1 - np.exp(-b * x)),
    x=numbers("77.6 114.9 141.1 190.8 239.9 289.0 332.8 378.4 434.8 477.3 536.8 593.1 689.1 760.0"),
    y=numbers(
        "10.07 14.73 17.94 23.93 29.61 35.18 40.02 44.82 50.76 55.05 61.01 66.40 75.47 81.78"
    ),
    starts=((500, 0.0001), (250, 0.0005)),
    certified=(2.3894212918e02, 5.5015643181e-04),
    deviations=(2.7070075241e00, 7.2668688436e-06),
)
MGH09 = Problem(
    model=lambda x, a, b, c, d: a * (x**2 + x * b) / (x**2 + x * c + d),
    x=numbers("4 2 1 0.5 0.25 0.167 0.125 0.1 0.0833 0.0714 0.0625"),
    y=numbers("0.1957 0.1947 0.1735 0.16 0.0844 0.0627 0.0456 0.0342 0.0323 0.0235 0.0246"),
    starts=((25, 39, 41.5, 39), (0.25, 0.39, 0.415, 0.39)),
    certified=(1.9280693458e-01, 1.9128232873e-01, 1.2305650693e-01, 1.3606233068e-01),
    deviations=(1.1435312227e-02, 1.9633220911e-01, 8.0842031232e-02, 9.0025542308e-02),
)
RAT43 = Problem(
    model=lambda x, a, b, c, d: a / (1 + np.exp(b - c * x)) ** (1 / d),
    x=np.arange(1.0, 16.0),
    y=numbers(
        "16.08 33.83 65.80 97.20 191.55 326.20 386.87 520.53 590.03 651.92 724.93 699.56 689.96 "
        "637.56 717.41"
    ),
    starts=((100, 10, 1, 1), (700, 5, 0.75, 1.3)),
    certified=(6.9964151270e02, 5.2771253025e00, 7.5962938329e-01, 1.2792483859e00),
    deviations=(1.6302297817e01, 2.0828735829e00, 1.9566123451e-01, 6.8761936385e-01),
)
BENNETT5 = Problem(
    model=lambda x, a, b, c: a * (b + x) ** (-1 / c),
    x=numbers(
        """
        7.447168 8.102586 8.452547 8.711278 8.916774 9.087155 9.23259 9.359535 9.472166 9.573384
        9.665293 9.749461 9.827092 9.899128 9.966321 10.02928 10.08851 10.14443 10.19738
        10.24767 10.29556 10.34125 10.38495 10.42682 10.467 10.50564 10.54283 10.57869 10.61331
        10.64678 10.67915 10.71052 10.74092 10.77044 10.7991 10.82697 10.85408 10.88047 10.90619
        10.93126 10.95572 10.97959 11.00291 11.0257 11.04798 11.06977 11.0911 11.11198 11.13244
        11.15248 11.17213 11.19141 11.21031 11.22887 11.24709 11.26498 11.28256 11.29984
        11.31682 11.33352 11.34994 11.3661 11.382 11.39766 11.41307 11.42824 11.4432 11.45793
        11.47244 11.48675 11.50086 11.51477 11.52849 11.54202 11.55538 11.56855 11.58156
        11.59442 11.607121 11.61964 11.632 11.64421 11.65628 11.6682 11.67998 11.69162 11.70313
        11.71451 11.72576 11.73688 11.74789 11.75878 11.76955 11.7802 11.79073 11.80116 11.81148
        11.8217 11.83181 11.84182 11.85173 11.86155 11.87127 11.88089 11.89042 11.89987 11.90922
        11.91849 11.92768 11.93678 11.94579 11.95473 11.96359 11.97237 11.98107 11.9897 11.99826
        12.00674 12.01515 12.02349 12.03176 12.03997 12.0481 12.05617 12.06418 12.07212 12.08001
        12.08782 12.09558 12.10328 12.11092 12.1185 12.12603 12.1335 12.14091 12.14827 12.15557
        12.16283 12.17003 12.17717 12.18427 12.19132 12.19832 12.20527 12.21217 12.21903
        12.22584 12.2326 12.23932 12.24599 12.25262 12.2592 12.26575 12.27224
"""
    ),
    y=numbers(
        """
        -34.834702 -34.3932 -34.152901 -33.979099 -33.845901 -33.732899 -33.640301 -33.5592
        -33.486801 -33.4231 -33.365101 -33.313 -33.260899 -33.2174 -33.176899 -33.139198
        -33.101601 -33.066799 -33.035 -33.003101 -32.971298 -32.942299 -32.916302 -32.890202
        -32.864101 -32.841 -32.817799 -32.797501 -32.7743 -32.757 -32.733799 -32.7164 -32.6991
        -32.678799 -32.6614 -32.644001 -32.626701 -32.612202 -32.597698 -32.583199 -32.568699
        -32.554298 -32.539799 -32.525299 -32.510799 -32.499199 -32.487598 -32.473202 -32.461601
        -32.435501 -32.435501 -32.4268 -32.4123 -32.400799 -32.392101 -32.380501 -32.366001
        -32.3573 -32.348598 -32.339901 -32.3284 -32.319698 -32.311001 -32.2994 -32.290699
        -32.282001 -32.2733 -32.264599 -32.256001 -32.247299 -32.238602 -32.2299 -32.224098
        -32.215401 -32.2038 -32.198002 -32.1894 -32.183601 -32.1749 -32.169102 -32.1633
        -32.154598 -32.145901 -32.140099 -32.131401 -32.125599 -32.119801 -32.111198 -32.1054
        -32.096699 -32.0909 -32.088001 -32.0793 -32.073502 -32.067699 -32.061901 -32.056099
        -32.050301 -32.044498 -32.038799 -32.033001 -32.027199 -32.0243 -32.018501 -32.012699
        -32.004002 -32.001099 -31.9953 -31.9895 -31.9837 -31.9779 -31.972099 -31.969299
        -31.963501 -31.957701 -31.9519 -31.9461 -31.9403 -31.937401 -31.931601 -31.9258
        -31.922899 -31.917101 -31.911301 -31.9084 -31.902599 -31.8969 -31.893999 -31.888201
        -31.8853 -31.882401 -31.8766 -31.873699 -31.867901 -31.862101 -31.8592 -31.8563 -31.8505
        -31.8447 -31.841801 -31.8389 -31.833099 -31.8302 -31.827299 -31.8216 -31.818701
        -31.812901 -31.809999 -31.8071 -31.8013 -31.798401 -31.7955 -31.7897 -31.7868
"""
    ),
    starts=((-2000, 50, 0.8), (-1500, 45, 0.85)),
    certified=(-2.5235058043e03, 4.6736564644e01, 9.3218483193e-01),
    deviations=(2.9715175411e02, 1.2448871856e00, 2.0272299378e-02),
)
PROBLEMS = {
    "DanWood": DANWOOD,
    "Misra1a": MISRA1A,
    "MGH09": MGH09,
    "Rat43": RAT43,
    "Bennett5": BENNETT5,
}


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", PROBLEMS)
def test_certified_values(name: str, start: int) -> None:
    problem = PROBLEMS[name]
    count = len(problem.certified)
    free = np.full(count, np.inf)

    def residuals(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return problem.model(problem.x, *values.T[:, :, None]) - problem.y

    begin = np.array([problem.starts[start]], dtype=float)
    found = minimise(residuals, begin, -free, free, iterations=2000)
    assert found.converged[0]
    np.testing.assert_allclose(found.parameters[0], problem.certified, rtol=0.5e-5)
    spread = covariance(residuals, found.parameters[0], -free, free)
    variance = found.squares[0] / (len(problem.y) - count)
    np.testing.assert_allclose(np.sqrt(np.diag(spread) * variance), problem.deviations, rtol=0.5e-4)


def test_starts_of_a_batch_do_not_disturb_each_other() -> None:
    free = np.full(2, np.inf)

    def residuals(values: np.ndarray) -> np.ndarray:
        return MISRA1A.model(MISRA1A.x, *values.T[:, :, None]) - MISRA1A.y

    together = minimise(residuals, np.array(MISRA1A.starts, float), -free, free)
    for i, start in enumerate(MISRA1A.starts):
        alone = minimise(residuals, np.array([start], float), -free, free)
        np.testing.assert_allclose(together.parameters[i], alone.parameters[0], rtol=1e-9)


def test_bounds_hold_and_are_used() -> None:
    lower, upper = np.array([-np.inf, 4.0]), np.full(2, np.inf)

    def residuals(values: np.ndarray) -> np.ndarray:
        return DANWOOD.model(DANWOOD.x, *values.T[:, :, None]) - DANWOOD.y

    found = minimise(residuals, np.array([[1.0, 5.0]]), lower, upper)
    assert found.parameters[0, 1] == 4.0
    best = np.sum(DANWOOD.x**4 * DANWOOD.y) / np.sum(DANWOOD.x**8)
    assert found.parameters[0, 0] == pytest.approx(best, rel=1e-8)


def test_held_parameters_stay() -> None:
    free = np.full(2, np.inf)

    def residuals(values: np.ndarray) -> np.ndarray:
        return DANWOOD.model(DANWOOD.x, *values.T[:, :, None]) - DANWOOD.y

    held = np.array([[False, True]])
    found = minimise(residuals, np.array([[1.0, 3.5]]), -free, free, held)
    assert found.parameters[0, 1] == 3.5


def test_the_jacobian_is_the_derivative() -> None:
    free = np.full(2, np.inf)
    at = np.array([[0.8, 3.9]])

    def residuals(values: np.ndarray) -> np.ndarray:
        return DANWOOD.model(DANWOOD.x, *values.T[:, :, None]) - DANWOOD.y

    x = DANWOOD.x
    exact = np.stack([x**3.9, 0.8 * x**3.9 * np.log(x)], axis=1)
    np.testing.assert_allclose(jacobian(residuals, at, -free, free)[0], exact, rtol=1e-8)
