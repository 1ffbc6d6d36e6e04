"""Trials of one family and size side by side: one forward and backward pass for all of them.

For GPUs, where a small model's step is all launches: K trials take about the time of one. Only
gradients are computed together, by ``torch.func``; seeds and learning rates are its batch
dimension K. Each trial keeps its own order of data, clipping, optimizer, average, evaluations,
checkpoints and end, all of them the loop's, so that it takes the steps that it would take alone,
but for rounding, and one that diverges or ends leaves the others as they were.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from steep.contracts.domain import Domain
from steep.contracts.trainer import Ended, Handle, ShardItems
from steep.engine.loop import Loss, Run, Setup, training
from steep.engine.parts import parts, whole
from steep.engine.plain import plainly
from steep.records import Measurement, Trial


def train(
    setup: Setup, members: Sequence[tuple[Trial, ShardItems, Handle]]
) -> Iterator[tuple[int, Ended]]:
    """Train trials of one size together; each one's number in ``members`` as it ends."""
    alive = {k: training(setup, *member) for k, member in enumerate(members)}
    waiting: dict[int, tuple[Run, Any]] = {}
    answers: dict[int, Loss] = {}
    while alive:
        for k, trial in list(alive.items()):
            if k in waiting:
                waiting[k][0].started = time.perf_counter()
            try:
                waiting[k] = trial.send(answers.get(k))
            except BaseException as end:  # a result, an interruption, a failure: the trial's
                del alive[k]
                waiting.pop(k, None)
                yield k, partial(_told, end)
            else:
                waiting[k][0].seconds += time.perf_counter() - waiting[k][0].started
        for together in _stackable(waiting):
            began = time.perf_counter()
            runs, batches = zip(*(waiting[k] for k in together), strict=True)
            found = gradients(setup.domain, runs, batches)
            answers |= zip(together, found, strict=True)
            for run in runs:
                run.seconds += (time.perf_counter() - began) / len(runs)


def _told(end: BaseException) -> Measurement:
    if isinstance(end, StopIteration):
        measured: Measurement = end.value
        return measured
    raise end


def _stackable(waiting: dict[int, tuple[Run, Any]]) -> list[list[int]]:
    """Numbers of the trials whose batches have one shape: those at an epoch's end are shorter."""
    groups = defaultdict(list)
    for k, (run, batch) in waiting.items():
        tensors, *how = parts((batch, run.state))
        groups[tuple(x.shape for x in tensors), *how].append(k)
    return list(groups.values())


def gradients(domain: Domain, runs: Sequence[Run], batches: Sequence[Any]) -> list[Loss]:
    """Puts the gradient of each run's mean loss into its model; what ``loop.gradient`` returns."""
    parameters_of = [dict(run.model.named_parameters()) for run in runs]
    buffers_of = [dict(run.model.named_buffers()) for run in runs]
    rest, structure = parts((batches[0], runs[0].state))[1:]
    given = [parts((b, r.state))[0] for b, r in zip(batches, runs, strict=True)]
    loss = _Loss(domain, runs[0].model)
    layout: list[Any] = []

    def one(
        parameters: dict[str, Tensor], buffers: dict[str, Tensor], tensors: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
        values = {f"model.{name}": value for name, value in {**parameters, **buffers}.items()}
        total, count, state = functional_call(loss, values, whole(tensors, rest, structure))
        of_state, *how = parts(state)
        layout[:] = [count, *how]
        return total / count, (total.detach(), of_state)

    buffers_K = _stacked(buffers_of)
    with plainly():
        found_K, (_, (totals_K, states_K)) = vmap(grad_and_value(one, has_aux=True))(
            _stacked(parameters_of),
            buffers_K,
            [torch.stack(of) for of in zip(*given, strict=True)],
        )
    count, *how = layout
    answers = []
    for k, (parameters, buffers) in enumerate(zip(parameters_of, buffers_of, strict=True)):
        for name, parameter in parameters.items():
            # the optimizers' kernels walk both in order of memory
            parameter.grad = torch.empty_like(parameter).copy_(found_K[name][k])
        for name, buffer in buffers.items():
            buffer.copy_(buffers_K[name][k])
        answers.append(Loss(totals_K[k], count, whole([of[k] for of in states_K], *how)))
    return answers


class _Loss(nn.Module):
    """A domain's loss as the forward pass of a module, which is what ``functional_call`` takes."""

    def __init__(self, domain: Domain, model: nn.Module) -> None:
        super().__init__()
        self.model, self._domain = model, domain

    def forward(self, batch: Any, state: Any) -> tuple[Tensor, float, Any]:
        return self._domain.loss(self.model, batch, state)


def _stacked(tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """By name, along a new first dimension K."""
    return {name: torch.stack([of[name].detach() for of in tensors]) for name in tensors[0]}
