"""An error of exactly zero: nothing on a learning curve has one, and it has no logarithm.

That none of N items was missed says that the error is small against 1 / N. It counts as half an
item everywhere: in planning, selection, fits, findings and reports, of studies and of tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from steep.records import Measurement
from steep.records.measurements import Measurements


def half_an_item(items: float) -> float:
    """What an error of zero on so many items counts as."""
    return 0.5 / items


def counted(measurements: Iterable[Measurement], validation: int, test: int) -> list[Measurement]:
    """The measurements, every error of zero on the ``validation`` items of V or the ``test`` items
    of the test part as half an item's; 0 items: nobody knows how many, and nothing is changed. The
    store keeps what was measured."""
    return [_counted(m, validation, max(test, 1)) if validation else m for m in measurements]


class Counted:
    """The same of measurements as they come: see ``measurements``."""

    def __init__(self, validation: int, test: int) -> None:
        self.measurements = Measurements()
        self._items = validation, test

    def add(self, place: int, measurement: Measurement) -> None:
        self.measurements.add(place, counted([measurement], *self._items)[0])


def _counted(m: Measurement, validation: int, test: int) -> Measurement:
    half, half_of_test = half_an_item(validation), half_an_item(test)
    changes: dict[str, object] = {}
    for name in ("validation_error", "validation_loss"):
        if getattr(m, name) == 0:
            changes[name] = half
    for name in ("test_error", "test_loss"):
        if getattr(m, name) == 0:
            changes[name] = half_of_test
    if "validation_error" in changes or m.validation_error_se == 0:
        error = float(changes.get("validation_error") or m.validation_error or half)  # type: ignore[arg-type]
        if error < 1:
            changes["validation_error_se"] = math.sqrt(error * (1 - error) / validation)
    if any(value == 0 for _, value in m.metrics if not isinstance(value, (str, bool))):
        changes["metrics"] = tuple((name, value or half) for name, value in m.metrics)
    if any(e.validation_error == 0 or e.validation_loss == 0 for e in m.curve):
        changes["curve"] = tuple(
            replace(
                e,
                validation_error=e.validation_error or half,
                validation_loss=e.validation_loss or half,
            )
            for e in m.curve
        )
    return replace(m, **changes) if changes else m  # type: ignore[arg-type]
