"""Plain records for programs, with every error beside the user's own metric: its accuracy, its
perplexity. What is fitted is an error; nobody who reads the record should have to convert it."""

from __future__ import annotations

from typing import Any

from steep.base.metrics import Original, higher, original


def with_own_metric(value: Any, made_of: Original | None = None) -> Any:
    """``value`` (dicts and lists of plain values), in which each error of a ``metric`` that was
    computed from another one is followed by that one: ``error`` by ``perplexity``, its ``lower``
    and ``upper`` ends by ``perplexity_lower`` and ``perplexity_upper``, a ``target`` by
    ``target_perplexity``."""
    if isinstance(value, list | tuple):
        return [with_own_metric(one, made_of) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("metric"), str):
        made_of = original(value["metric"])
    plain = {key: with_own_metric(one, made_of) for key, one in value.items()}
    return plain if made_of is None else plain | _beside(value, made_of)


def _beside(value: dict[str, Any], made_of: Original) -> dict[str, Any]:
    name = made_of.name.replace(" ", "_")
    names = {"error": name, "target": f"target_{name}", "forecast": f"forecast_{name}"}
    if "error" in value:  # else the ends are those of samples
        low, high = ("upper", "lower") if higher(made_of.metric) else ("lower", "upper")
        names |= {low: f"{name}_lower", high: f"{name}_upper"}
    found = {new: _converted(value[old], made_of) for old, new in names.items() if old in value}
    return {key: one for key, one in found.items() if one is not None}


def _converted(error: Any, made_of: Original) -> Any:
    """A number, a list of them or an interval; None for anything else."""
    if isinstance(error, list) and all(_is_number(one) for one in error):
        return [made_of.value(float(one)) for one in error]
    if isinstance(error, dict) and {"value", "lower", "upper"} <= error.keys():
        ends = ["lower", "upper"]
        swapped = dict(zip(ends, reversed(ends), strict=True)) if higher(made_of.metric) else {}
        return error | {
            swapped.get(key, key): None if one is None else made_of.value(float(one))
            for key, one in error.items()
            if key in ("value", *ends)
        }
    return made_of.value(float(error)) if _is_number(error) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
