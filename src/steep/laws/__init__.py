"""Laws of learning curves. To add one: a file with a ``LAW``, and a line here."""

from __future__ import annotations

from steep.laws import broken_power, m4, plateau_power, power, power_floor, shifted_power
from steep.laws.law import Law

LAWS: dict[str, Law] = {
    "power": power.LAW,
    "power+floor": power_floor.LAW,
    "shifted power": shifted_power.LAW,
    "plateau+power": plateau_power.LAW,
    "M4": m4.LAW,
    "broken power": broken_power.LAW,
}

__all__ = ["LAWS", "Law"]
