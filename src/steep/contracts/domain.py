"""What a domain is: items to permute, batches to train on, a loss, and an evaluation.

A domain opens without torch (``plan`` and ``shards`` need only ``items``); the methods that
train import it when first called. One shape carries images, recurrent streams, ragged CTC and
teacher forcing, because every loss is a *sum over units with its count*: neither padding nor
batch size can change it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

POOL, TRAIN, VALIDATION, TEST = 0, 1, 2, 3
"""Values of ``Items.part``: POOL items are split by steep, the others are placed by the user."""

Position = tuple[int, int]
"""(epoch, batches already taken in it): where a batch iterator stands, and can be resumed."""


class DataError(ValueError):
    """A data file that cannot be used: unreadable, truncated, empty. The text names the file."""


@dataclass(frozen=True)
class Items:
    """One row per item of the data, in file order. Arrays of length N.

    ``size`` float64, in the domain's primary unit; ``digest`` uint64, a hash of the content
    (equal content, equal digest); ``group`` int64: items that must stay on one side of a split
    (source file, speaker, unique text); ``label`` int64 class for stratified shards, or None;
    ``part`` int8, see POOL; ``files`` maps each file read to its SHA-256.
    """

    size: np.ndarray
    digest: np.ndarray
    group: np.ndarray
    part: np.ndarray
    label: np.ndarray | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    """Names in ``files`` of what even appended data must not change: a learnt vocabulary, say,
    under a name of its own. A begun study refuses to go on with another."""
    dedup_key: np.ndarray | None = None
    """uint64 [N], a hash of what a model could remember an item by, where less than the whole of
    it is enough (a transcript that several clips have): training items that share it with V or
    the test part are left out. None: ``digest``."""
    left_out: int = 0
    """Items of the files that the domain's options exclude (too long, say) and nobody sees."""
    own_validation: bool = False
    """The training code may have validation data of its own: V may then be empty."""


@dataclass(frozen=True)
class Scores:
    """Per-item results of one evaluation, in the order of the items given.

    A metric's value is ``sums[metric].sum() / count.sum()``: ``count`` float64 [N] holds each
    item's units (1 for an image, characters for a paragraph), ``sums`` float64 [N] each.
    """

    count: np.ndarray
    sums: Mapping[str, np.ndarray]

    def mean(self, metric: str) -> float:
        return float(self.sums[metric].sum() / self.count.sum())

    def standard_error(self, metric: str, group: np.ndarray) -> float:
        """Standard error of ``mean(metric)``, clustered by ``group`` [N] (ratio estimator)."""
        value = self.mean(metric)
        residual = self.sums[metric] - value * self.count
        _, cluster = np.unique(group, return_inverse=True)
        totals = np.bincount(cluster, weights=residual)
        clusters = len(totals)
        if clusters < 2:
            return float("nan")
        return float(np.sqrt(clusters / (clusters - 1) * (totals**2).sum()) / self.count.sum())


class Domain(Protocol):
    """An opened domain. Items are named by their row number in ``items()``.

    One that learns something from its data (a vocabulary, a tokenizer) holds it in ``learnt``:
    options by which the same domain opens with nothing learnt anew. A study keeps them
    from its beginning on, so that data added later changes no symbol; its report says that every
    shard, however small, knows them.

    It may have three methods more:

    ``units(batch) -> float``: units of m in a batch, where ``loss`` counts others: hours of audio,
    whose loss is taken over characters.

    ``decoded(model, items) -> Mapping[str, float]``: scores of what the model writes by itself
    (BLEU, word error rate). It is called once a trial, at its end, of the best step's model and at
    most 200 items of V, and stands among the trial's metrics; no model is chosen by it.

    ``samples(model, items) -> list[Sample]``: what the model makes of these few items of V, for a
    reader. It is called once a trial, at its end, of the best step's model. It draws nothing at
    random but from a seed of its own."""

    unit: str
    """Primary unit of m: 'images', 'characters', 'words', 'word pieces', 'hours'."""
    kind: str
    """What its models look like: 'classifier', 'stream', 'pairs', 'speech' (family.py)."""
    metrics: tuple[str, ...]
    """Names in ``Scores.sums``. The first is the default selection metric; ``cross_entropy``, or
    else the first, is the loss beside it."""
    shape: Mapping[str, int]
    """What a family needs to build a model: e.g. channels, height, width, classes; vocabulary."""

    def items(self) -> Items: ...

    def best_guess(self, items: np.ndarray, validation: np.ndarray) -> Mapping[str, float]:
        """Each metric's error on V of the best constant answer, learnt from training items.

        Cross-entropy of the add-one unigram of ``items`` on ``validation``; for errors, always
        the answer most frequent in ``items``; 1.0 for CER. Called with the largest shard; one
        constant per study."""
        ...

    # baseline(items, validation) -> (what, metric, value), optional: the error of a method that
    # needs no training, on those items; computed once a study, for each of its shards.

    def steps_per_epoch(self, items: np.ndarray, hyperparameters: Mapping[str, Any]) -> int:
        """Batches that ``batches`` yields in one epoch over ``items``: the same in each."""
        ...

    def batches(
        self, items: np.ndarray, hyperparameters: Mapping[str, Any], seed: int, position: Position
    ) -> Iterator[tuple[Any, Position]]:
        """Endless batches over ``items`` only, from ``position`` on, with the position after
        each. A pure function of its arguments: resuming gives the same batches."""
        ...

    def loss(self, model: Any, batch: Any, state: Any) -> tuple[Any, float, Any]:
        """(sum of the loss over units, with gradient; number of units; next state).

        ``state`` is None at the start of training, then what the last call returned, detached:
        hidden state of a recurrent stream, None for domains without one."""
        ...

    def evaluate(self, model: Any, items: np.ndarray) -> Scores: ...

    def to(self, device: str) -> None:
        """Move resident data to ``device``; called once before training."""
        ...


def unigram_guess(
    training: np.ndarray, validation: np.ndarray, symbols: int
) -> tuple[float, float]:
    """The best constant answer's (cross-entropy in nats, error) on ``validation``: the add-one
    unigram of the ``training`` symbols, and the most frequent of them."""
    count = np.bincount(training, minlength=symbols)
    probability = (count + 1) / (count.sum() + symbols)
    error = float((validation != count.argmax()).mean())
    return float(-np.log(probability[validation]).mean()), error


def by_length(length: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Row numbers of batches of like length, shortest first, of at most ``most`` symbols each,
    padding included (a longer item is a batch by itself)."""
    order = np.argsort(length, kind="stable")
    first = 0
    while first < len(order):
        # Ascending lengths: the batch is as wide as its last row.
        widths = length[order[first:]] * np.arange(1, len(order) - first + 1)
        rows = max(1, int(np.searchsorted(widths, most, side="right")))
        yield order[first : first + rows]
        first += rows


def epochs(seed: int, position: Position) -> Iterator[tuple[np.random.Generator, int, int]]:
    """(generator, epoch, batches to skip in it) from ``position`` on, for ``batches``.

    The generator depends on seed and epoch only, so that an epoch can be re-entered anywhere."""
    epoch, taken = position
    while True:
        yield np.random.default_rng((seed, epoch)), epoch, taken
        epoch, taken = epoch + 1, 0
