"""What a model family is: a builder of models of any size, its options, and a reduced recipe.

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


PAIR_LENGTH = 19
"""Word pieces of either side of a pair for which FLOPs are counted: the 2019 graph's."""


@dataclass(frozen=True)
class Family:
    name: str
    build: Callable[[int, Mapping[str, int], Any], torch.nn.Module]
    """(model size, the domain's shape, ``Options``) -> a freshly initialised model.

    Initialisation draws from torch's global generator only. A stream model's forward is
    ``(tokens_BxT, state) -> (logits_BxTxV, state)`` with ``state`` None at the start (and always,
    where a model carries nothing from one sequence to the next), and is
    ``decoder``, a Linear, after ``hidden(tokens_BxT, state) -> (h_BxTxH, state)``: domains take
    the two apart and never hold all logits at once. A classifier's is
    ``(x_BxCxHxW) -> logits_BxK``. A pairs model's is ``(source_BxS, length_B, read_BxT) ->
    logits_BxTxV`` (``read`` is the target one step late, ``length`` None where no source is
    padded), ``decoder`` after ``hidden`` of the same; ``write(source_BxS, length_B, beam,
    longest_B)`` gives each row's likeliest target without its end, symbol 0. A speech model's is
    ``(x_BxTxF, frames_B, text_BxL) -> logits``; of what ``hear(x_BxTxF, frames_B)`` returns,
    ``nats(encoded, text_BxL, characters_B) -> nats_B`` is minus the log-probability of each
    transcript, and ``transcribe(encoded)`` the symbols it reads greedily, a list a clip. Lengths
    are int64 of numpy; symbol 0 (CTC's blank, attention's end) is in no transcript; what is given
    is zero beyond a clip's end, and no result depends on how much of that there is. A model may say
    in ``engine`` what it runs on."""
    kind: str
    """'classifier', 'stream', 'pairs' or 'speech': equal to ``domain.kind``."""
    dial: str = "width"
    smallest: int = 1
    recipe: Mapping[str, Value] = field(default_factory=dict)
    """Default hyperparameters: optimizer, learning_rate, batch_size, clip, ..."""
    embeddings: Callable[[torch.nn.Module], int] = lambda model: 0
    """Parameters in embedding and output tables, left out of parameters_without_embeddings."""
    flops: Callable[[torch.nn.Module, Mapping[str, int]], float] | None = None
    """(model on the meta device, the domain's shape) -> training FLOPs per unit of the domain, of
    the plain model's operations. None: as engine/count.py counts this ``kind``."""
    plain: bool = False
    """Whether it runs without kernels and gradients of ours where ``only_plain`` says so, on
    batches of one shape whatever the seed. Such trials can be packed (engine/packed.py), or compute
    in bfloat16."""
    misfit: Callable[[Any, Mapping[str, Value]], str | None] = lambda options, values: None
    """(``Options``, hyperparameters) -> why they do not go together, as a sentence, or None."""


def parameters_under(*names: str) -> Callable[[torch.nn.Module], int]:
    """Counts a model's parameters whose names begin so: for ``Family.embeddings``."""

    def count(model: torch.nn.Module) -> int:
        return sum(p.numel() for name, p in model.named_parameters() if name.startswith(names))

    return count
