"""The drawer of laws. To add one: a file with a ``LAW``, and a line here."""

from __future__ import annotations

from steep.laws import power, power_floor
from steep.laws.law import Law

LAWS: dict[str, Law] = {
    "power": power.LAW,
    "power+floor": power_floor.LAW,
}

__all__ = ["LAWS", "Law"]
