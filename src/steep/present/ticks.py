"""Where a logarithmic axis has its ticks, and what they say."""

from __future__ import annotations

import math

from steep.present.numbers import count, short

NARROW = 3.5
"""Over less than this ratio equal steps look even on a logarithmic axis."""
_LADDERS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round values within [low, high] for a logarithmic axis, ``most`` at the most."""
    if not 0 < low < high:
        return [low] if low > 0 else []
    if high / low < NARROW and len(_linear_ticks(low, high, most)) >= 4:
        return _linear_ticks(low, high, most)
    for ladder in _LADDERS:
        ticks = _on_ladder(ladder, low, high)
        if 3 <= len(ticks) <= most:
            return ticks
    decades = _on_ladder((1,), low, high)
    if len(decades) > most:
        return decades[:: math.ceil(len(decades) / most)]
    return _linear_ticks(low, high, most)


def _on_ladder(ladder: tuple[float, ...], low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values = [
        float(f"{step * 10.0**power:.3g}") for power in range(first, last + 1) for step in ladder
    ]
    return [v for v in values if low <= v <= high]


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough)
    first = math.ceil(low / step)
    return [float(f"{i * step:.6g}") for i in range(first, math.floor(high / step) + 1)]


def tick(value: float) -> str:
    """A tick's label: 125, 1k, 20k, 0.5."""
    return count(value) if value >= 1 else short(value, 3)
