"""How long fits and forecasts take, on one core: one curve, a thousand, a whole process.

    OMP_NUM_THREADS=1 python benchmarks/fit_speed.py [--curves 1000]

The aims: 50 ms for the fit and forecast of a curve of 10 points with intervals, a minute for 1,000
curves, 1.5 s for ``steep fit FILE`` as a process, 0.3 s for ``import steep``. Beside them scipy's
``curve_fit`` as people use it: one law, no forecast interval, no weights of laws.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import curve_fit

from steep.fit import fit
from steep.forecast import forecast


def seconds(run: Callable[[], object], repeats: int = 7) -> float:
    """Best of ``repeats`` in processor time, after one to warm up."""
    run()
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def process_seconds(command: list[str]) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - start)
    return best


def curves(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    m = np.geomspace(100, 50_000, 10)
    result = []
    for _ in range(count):
        b, share = rng.uniform(0.05, 0.6), rng.uniform(0, 0.6)
        error = 0.3 * (share + (1 - share) * (m / m[-1]) ** -b)
        result.append((m, error * np.exp(0.01 * rng.normal(size=len(m)))))
    return result


def whole(m: np.ndarray, error: np.ndarray) -> object:
    return forecast(fit(samples=m, error=error), at=[4 * m[-1], 10 * m[-1]])


def scipy_floor(m: np.ndarray, error: np.ndarray) -> object:
    def law(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a * x**-b + c

    return curve_fit(law, m, error, p0=(1.0, 0.5, 0.01), bounds=(0, [1e3, 3, 1]), maxfev=5000)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", type=int, default=1000)
    options = parser.parse_args()
    m, error = curves(1)[0]
    print(f"fit and forecast, 10 points   {1e3 * seconds(lambda: whole(m, error)):8.1f} ms")
    print(f"scipy curve_fit, 10 points    {1e3 * seconds(lambda: scipy_floor(m, error)):8.1f} ms")
    start = time.process_time()
    for one in curves(options.curves):
        whole(*one)
    print(f"{options.curves} curves                   {time.process_time() - start:8.1f} s")
    load = process_seconds([sys.executable, "-c", "import steep"])
    print(f"import steep                  {load:8.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "results.csv"
        rows = (f"{a:.0f},{b:.6f}" for a, b in zip(m, error, strict=True))
        table.write_text("samples,error\n" + "\n".join(rows) + "\n")
        command = [str(Path(sys.executable).with_name("steep")), "fit", str(table)]
        print(f"steep fit FILE                {process_seconds(command):8.2f} s")


if __name__ == "__main__":
    main()
