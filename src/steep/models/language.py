"""What the language-model families share: recipe, initialisation, which parameters are tables.

Hestness et al. 2017, as far as it is known: no dropout and no weight decay, full softmax, weights
uniform(-0.1, 0.1) and biases zero but for forget gates (LSTM, +1) and transform gates (RHN, -4);
words by SGD, characters by SGD and by Adam. Of their training only graphs of two years later are
public: SGD at 0.2 (words) and 0.15 (characters), gradients clipped at norm 10, 128 sequences of 80
words or 150 characters; whether 2017 was the same is not known, nor any constant of their Adam.

``RECIPE`` departs from that where it must serve shards of a few thousand symbols: short batches
leave the unigram level within sixty steps, where 128 x 80 would take more than one epoch for one
step. ``studies/gpu`` sets the long batches.
"""

from __future__ import annotations

from torch import nn

from steep.contracts.family import parameters_under
from steep.records import Value

RECIPE: dict[str, Value] = {
    "optimizer": "adam",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "batch_size": 16,
    "sequence_length": 32,
    "clip": 1.0,
    "averaging": 8.0,
}


def initialise(model: nn.Module) -> None:
    """Weights uniform(-0.1, 0.1) in the order they were registered; biases are the family's."""
    for name, parameter in model.named_parameters():
        if "bias" not in name:
            nn.init.uniform_(parameter, -0.1, 0.1)


embeddings = parameters_under("embedding", "decoder")
"""Parameters of the input table and the softmax layer: 2 h V + V."""
