"""The default trainer: our own engine (engine/loop.py). Needs torch: ``steep[train]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from steep.base.registry import FAMILIES
from steep.contracts.domain import Domain
from steep.contracts.family import Family
from steep.contracts.trainer import Cost, PackedTrainer, Trainer
from steep.records import StepCost, Trial, Value
from steep.spec.load import Loaded, member
from steep.spec.sections import Count, Strict

if TYPE_CHECKING:
    from steep.engine.loop import Setup

PRELOAD = ("torch", "steep.engine.loop", "steep.engine.environment")
"""What every worker needs and is slow to import: done once, before workers are forked."""

GRAPHED = ("classifier", "stream")
"""Kinds of domains whose batches have few shapes, so that each can be a CUDA graph; pairs and clips
have another at almost every step."""


class Options(Strict):
    train_items: Count = 1000
    """Items of a trial's shard on which its training error is measured, at the best step."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of gradients. Weights, their updates and evaluations stay in float32. 'tf32' rounds the
    factors of products on NVIDIA GPUs; 'bfloat16' is torch's autocast, without kernels of ours."""
    cuda_graphs: bool = False
    """Whether a step's gradient is one launch on the GPU (engine/graphs.py), in ``GRAPHED``
    domains."""


def recipe(family: str) -> Mapping[str, Value] | None:
    """The family's hyperparameters with their defaults; {} for an unknown family."""
    if family not in FAMILIES:
        return {}
    return dict(member(FAMILIES, family).FAMILY.recipe)


def cost(loaded: Loaded, domain: Domain, size: int) -> Cost | None:
    """Counted on a model without storage: exact, in milliseconds."""
    from steep.engine import count

    family, options = _family(loaded, domain)
    return count.cost(family, size, domain.shape, options)


def steps(loaded: Loaded, domain: Domain) -> tuple[StepCost, ...]:
    """Counted as ``cost`` is, operation by operation; a second or two."""
    from steep.engine.steps import beyond

    family, options = _family(loaded, domain)
    sizes = beyond(family, tuple(sorted(loaded.spec.family.sizes)), domain.shape, options)
    return tuple(_step(loaded, domain, size) for size in sizes)


def _step(loaded: Loaded, domain: Domain, size: int) -> StepCost:
    from steep.engine.steps import step_cost

    family, options = _family(loaded, domain)
    values = {**family.recipe, **loaded.spec.training}
    return step_cost(family, size, domain.shape, options, values)


def extent(
    loaded: Loaded, domain: Domain, trial: Trial, items: np.ndarray
) -> tuple[float, float] | None:
    """From the fewest evaluations after which patience may end it, to the cap."""
    steps, per_epoch = schedule(loaded, domain, trial, items)
    fewest = steps[min(loaded.spec.stop.evaluations, len(steps)) - 1]
    return trial.samples * fewest / per_epoch, trial.samples * steps[-1] / per_epoch


def schedule(
    loaded: Loaded, domain: Domain, trial: Trial, items: np.ndarray
) -> tuple[tuple[int, ...], int]:
    """The evaluations of a trial, and the steps in one of its epochs."""
    from steep.engine.schedule import evaluation_steps

    per_epoch = domain.steps_per_epoch(items, dict(trial.hyperparameters))
    return evaluation_steps(loaded.spec.stop, per_epoch), per_epoch


def memory(loaded: Loaded, domain: Domain, trial: Trial, items: np.ndarray) -> float:
    """A process with torch, what a step of the plain model has alive, and copies of the weights.

    Good to a factor of two: kernels keep less, and an evaluation may take more than a step."""
    step = _step(loaded, domain, trial.size)
    units = trial.samples / domain.steps_per_epoch(items, dict(trial.hyperparameters))
    return _PROCESS + step.footprint(units) + _COPIES * 4 * step.parameters


_PROCESS = 4e8
"""Bytes of a worker with torch loaded that trains nothing large."""
_COPIES = 3
"""Of the weights, beside those of a step: the average, the best, and one being saved."""


def open_trainer(loaded: Loaded, domain: Domain) -> Trainer:
    """A trainer for all trials of the study. Raises ValueError where the pieces do not fit."""
    from steep.engine import graphs, loop

    setup = _setup(loaded, domain)
    return partial(graphs.train if setup.gradients == "graphs" else loop.train, setup)


def open_packed(loaded: Loaded, domain: Domain) -> PackedTrainer:
    """The same for packs of trials, of a family that ``packs``."""
    from steep.engine import packed

    return partial(packed.train, replace(_setup(loaded, domain), gradients="packed"))


def absent(loaded: Loaded) -> tuple[str, str] | None:
    """A GPU."""
    options = Options.model_validate(loaded.spec.trainer.options)
    device = loaded.spec.run.device
    if device in ("auto", "cpu") and not options.cuda_graphs:
        return None  # without waiting for torch
    from steep.engine.environment import choose_device

    try:
        device = choose_device(device)
    except ValueError as error:
        return "run.device", str(error)
    if options.cuda_graphs and not device.startswith("cuda"):
        return "trainer.cuda_graphs", f"they need an NVIDIA GPU, and the device is {device!r}"
    return None


def _setup(loaded: Loaded, domain: Domain) -> Setup:
    from steep.engine import allocator, environment, loop

    family, options = _family(loaded, domain)
    spec = loaded.spec
    metric = spec.metric or domain.metrics[0]
    if metric not in domain.metrics:
        known = ", ".join(domain.metrics)
        raise ValueError(f"metric: {spec.domain.name} has no {metric!r}; there are: {known}")
    allocator.keep_buffers()
    environment.make_deterministic()
    device = environment.choose_device(spec.run.device)
    own = Options.model_validate(spec.trainer.options)
    environment.choose_precision(own.precision)
    domain.to(device)
    return loop.Setup(
        domain=domain,
        family=family,
        options=options,
        hyperparameters={**family.recipe, **spec.training},
        stop=spec.stop,
        metric=metric,
        group=domain.items().group,
        device=device,
        train_items=own.train_items,
        gradients="graphs" if own.cuda_graphs else "alone",
        precision=own.precision,
    )


def _family(loaded: Loaded, domain: Domain) -> tuple[Family, Any]:
    section = loaded.spec.family
    module = member(FAMILIES, section.name)
    family: Family = module.FAMILY
    if family.kind != domain.kind:
        raise ValueError(
            f"family: {section.name!r} is made for a {family.kind} domain, "
            f"but {loaded.spec.domain.name!r} is a {domain.kind}"
        )
    return family, module.Options.model_validate(section.options)
