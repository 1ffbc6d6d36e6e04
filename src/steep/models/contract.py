"""What a model family is: a builder with one dial, its options, and a reduced recipe.

A family's module holds ``FAMILY`` (a ``Family``) and ``Options``, a strict pydantic model of
what the spec may set beside ``name`` and ``sizes`` (depth, say), with its defaults.

*Hyperparameter-reduced* (Hestness et al. 2017): no weight decay, no augmentation, no dropout
unless the family's paper keeps it, so that size alone decides capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steep.records import Value

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Family:
    name: str
    build: Callable[[int, Mapping[str, int], Any], torch.nn.Module]
    """(size on the dial, the domain's shape, ``Options``) -> a freshly initialised model.

    Initialisation draws from torch's global generator only. A stream model's forward is
    ``(tokens_BxT, state) -> (logits_BxTxV, state)`` with ``state`` None at the start; a
    classifier's is ``(x_BxCxHxW) -> logits_BxK``."""
    kind: str
    """'classifier' or 'stream': which domains it fits; equal to ``domain.kind``."""
    dial: str = "width"
    smallest: int = 1
    recipe: Mapping[str, Value] = field(default_factory=dict)
    """Default hyperparameters: optimizer, learning_rate, batch_size, clip, ..."""
    embeddings: Callable[[torch.nn.Module], int] = lambda model: 0
    """Parameters in embedding and output tables, left out of parameters_without_embeddings."""
