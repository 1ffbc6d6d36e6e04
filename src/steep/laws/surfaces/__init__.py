"""Laws of data and model size. To add one: a file with a ``SURFACE``, and a line here."""

from __future__ import annotations

from steep.laws.surface import Surface
from steep.laws.surfaces import chinchilla, interacting, kaplan, repeated, rosenfeld

SURFACES: dict[str, Surface] = {
    "chinchilla": chinchilla.SURFACE,
    "kaplan": kaplan.SURFACE,
    "rosenfeld": rosenfeld.SURFACE,
    "interacting": interacting.SURFACE,
    "repeated": repeated.SURFACE,
}

__all__ = ["SURFACES", "Surface"]
