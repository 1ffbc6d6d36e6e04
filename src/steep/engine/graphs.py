"""The gradient of a batch as one CUDA graph: recorded once for each shape, then launched whole.

For GPUs, where a small model's step is hundreds of kernels that run for microseconds each, and
launching one takes longer than that. What a graph computes is what the loop would: the same
kernels, on the same addresses at every launch, so that what changes from step to step (the batch,
and the state of a stream) is copied to where the recording found it. Clipping, the optimizer, the
average and evaluations stay outside, in the loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steep.contracts.trainer import Handle, ShardItems
from steep.engine import loop
from steep.engine.loop import Loss, Run, Setup
from steep.engine.parts import parts, whole
from steep.records import Measurement, Trial

BEFORE = 3
"""Batches of a shape that are computed as ever before it is recorded: rare ones never are."""
_WARM = 2
"""Runs before a recording, on a stream of their own: libraries allocate what they keep at their
first calls, which must not be in the graph."""


class BatchResult(NamedTuple):
    """Of one batch."""

    loss: Loss
    gradients: list[Tensor | None]
    """One a parameter, in its memory format; None for one that the loss does not depend on."""


Launch = Callable[[], object]
Record = Callable[[Callable[[], BatchResult]], tuple[BatchResult, Launch]]
"""What a recorded computation made, in tensors that each launch fills anew; and the launch."""


def train(setup: Setup, trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
    """As ``loop.train``."""
    return loop.answered(loop.training(setup, trial, shard, handle), Graphs(setup).gradient)


class Graphs:
    """Of one trial: a graph for each shape of batch that it has met often."""

    def __init__(self, setup: Setup, record: Record | None = None) -> None:
        self._setup, self._record = setup, record or on_cuda
        self._met: Counter[Any] = Counter()
        self._known: dict[Any, Callable[[Sequence[Tensor]], BatchResult]] = {}

    def gradient(self, run: Run, batch: Any) -> Loss:
        """As ``loop.gradient``. The next call overwrites the tensors of the result."""
        tensors, *how = parts((batch, run.state))
        shape = (tuple((x.shape, x.dtype) for x in tensors), *how)
        self._met[shape] += 1
        if self._met[shape] <= BEFORE:
            return loop.gradient(self._setup, run, batch)
        if shape not in self._known:
            self._known[shape] = self._recorded(run, tensors, how)
        made = self._known[shape](tensors)
        for parameter, gradient in zip(run.model.parameters(), made.gradients, strict=True):
            parameter.grad = gradient
        return made.loss

    def _recorded(
        self, run: Run, tensors: Sequence[Tensor], how: Sequence[Any]
    ) -> Callable[[Sequence[Tensor]], BatchResult]:
        setup, model = self._setup, run.model
        given = [x.clone() for x in tensors]
        parameters = list(model.parameters())

        def work() -> BatchResult:
            with setup.computing():
                total, count, state = setup.domain.loss(model, *whole(given, *how))
            found = torch.autograd.grad(total / count, parameters, allow_unused=True)
            pairs = zip(parameters, found, strict=True)
            return BatchResult(Loss(total.detach(), count, state), [_like(p, g) for p, g in pairs])

        # recording runs the model, which batch norm's statistics must not see
        buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        made, launch = self._record(work)
        for buffer, before in buffers:
            buffer.copy_(before)

        def launched(tensors: Sequence[Tensor]) -> BatchResult:
            for own, new in zip(given, tensors, strict=True):
                own.copy_(new)
            launch()
            return made

        return launched


def _like(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    """The optimizers' kernels walk both in order of memory."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def on_cuda(work: Callable[[], BatchResult]) -> tuple[BatchResult, Launch]:
    """A ``Record``. Raises RuntimeError where ``work`` waits for the GPU or allocates on it in a
    way that a graph cannot hold."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = work()
    return made, graph.replay
