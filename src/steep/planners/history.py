"""A search as a sequence of decisions: each uses what earlier ones brought, not what came since.

A planner is pure in the set of results. A search that adapts becomes so by being played again from
its start: each decision is made anew from only the measurements that the decisions before it
wanted, as far as they wanted them, whatever else has arrived by now. The first decision whose
trials are not all measured is the plan. So a search that was killed, one that ran on many workers
and one that never stopped make the same decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from steep.contracts.planner import TrialRequest
from steep.records import Measurement, Status, Trial

Decide = Callable[[tuple[Measurement, ...]], Sequence[TrialRequest]]
"""The next trials, from what is known by now, in the order in which it was requested."""


def play(decide: Decide, finished: Sequence[Measurement]) -> list[TrialRequest]:
    """The trials requested now: those of the first decision that is not yet met."""
    found = {m.trial: m for m in finished}
    known: dict[Trial, Measurement] = {}
    while requests := decide(tuple(known.values())):
        missing = [request for request in requests if not met(request, found.get(request.trial))]
        if missing:
            return missing
        before = dict(known)
        known |= {w.trial: seen(found[w.trial], w.up_to_steps) for w in requests}
        if known == before:
            raise RuntimeError("a search requests a trial that has already finished")
    return []


def met(request: TrialRequest, measured: Measurement | None) -> bool:
    """Whether a trial has ended, or has come as far as requested."""
    if measured is None:
        return False
    if measured.status != Status.STOPPED:
        return True
    return request.up_to_steps is not None and measured.steps >= request.up_to_steps


def seen(measured: Measurement, up_to_steps: int | None) -> Measurement:
    """A measurement as it stood after ``up_to_steps``: what came later was not known then."""
    if up_to_steps is None or measured.steps <= up_to_steps or not measured.curve:
        return measured
    curve = tuple(point for point in measured.curve if point.step <= up_to_steps)
    best = min(curve, key=lambda point: point.validation_error, default=None)
    share = up_to_steps / measured.steps
    return replace(
        measured,
        status=Status.STOPPED,
        validation_error=best.validation_error if best else None,
        validation_loss=best.validation_loss if best else None,
        best_step=best.step if best else 0,
        steps=up_to_steps,
        samples_seen=measured.samples_seen * share,
        flops=None if measured.flops is None else measured.flops * share,
        seconds=measured.seconds * share,
        test_error=None,
        test_loss=None,
        curve=curve,
    )
