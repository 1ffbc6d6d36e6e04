"""Whole studies in a second or two: the synthetic trainer, inline, a few dozen trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def spec(trainer: Mapping[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    """Seven shards from 125 to 8000 items, the largest held out; six sizes, two seeds.

    The best size runs from inside the ladder's low end to inside its high end; a section given
    by keyword replaces keys of that section."""
    values: dict[str, Any] = {
        "study": "tiny",
        "domain": {"name": "external", "items": 9000},
        "family": {"name": "none", "sizes": [1, 2, 4, 8, 16, 32]},
        "shards": {"smallest": 125, "largest": 8000, "held_out": 1},
        "split": {"validation": 500, "test": 200},
        "search": {"planner": "grid", "seeds": 2},
        "stop": {"patience": 1, "evaluations": 3},
        "trainer": {"name": "synthetic", "steps": 8, "sigma": 8.0, "seed_noise": 0.01},
        "run": {"executor": "inline"},
    }
    values["trainer"] |= dict(trainer or {})
    for section, keys in sections.items():
        values[section] = {**values.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return values
