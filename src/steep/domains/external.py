"""The user's own data: steep knows only how many items there are, and divides their numbers.

For the trainers ``function``, ``command`` and ``synthetic``: the code gets the numbers of items
(rows of the user's own tables) and does the rest.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from steep.base.plainfile import read_file
from steep.contracts.domain import POOL, DataError, Items
from steep.spec.sections import Strict
from steep.tables.words import own_metric


class Options(Strict):
    items: Annotated[int, Field(ge=2, le=10**8)]
    """How many items the data holds, numbered from 0."""
    unit: str = "items"
    """What an item is called in reports: images, rows, ..."""
    metric: str | None = None
    """What your code answers. ``error`` and other error rates are shares from 0 to 1, checked;
    ``loss`` and any other name may be any positive number; ``accuracy``, ``f1``, ``r2``, ``bleu``
    and the like are higher for better models, and are given in answers and targets as such; of
    ``perplexity`` the logarithm is fitted, and answers and targets are perplexities. None: an error
    rate, or the well-known metric that the answers name."""
    labels: str | None = None
    """A .npy file of integer classes, one per item: shards are then stratified."""


class External:
    """Items without content: every item is one unit and unlike every other."""

    kind = "any"
    suffix = ".txt"
    shape: Mapping[str, int] = {}

    def __init__(self, options: Options, base: Path) -> None:
        self.unit = options.unit
        self.metrics = (own_metric(options.metric or "error"),)
        self.declared = options.metric is not None
        self._count = options.items
        self._labels, self._files = _labels(options, base)

    def items(self) -> Items:
        numbers = np.arange(self._count)
        return Items(
            size=np.ones(self._count),
            digest=numbers.astype(np.uint64),
            group=numbers.astype(np.int64),
            part=np.full(self._count, POOL, np.int8),
            label=self._labels,
            files=self._files,
            own_validation=True,
        )

    def text(self, items: np.ndarray) -> bytes:
        """The numbers of the items, one a line."""
        return b"".join(b"%d\n" % item for item in items)

    def best_guess(self, items: np.ndarray, validation: np.ndarray) -> Mapping[str, float]:
        """Always the class most frequent in ``items``, where labels are known; else nothing is
        guessed."""
        if self._labels is None or not len(validation):
            return {}
        names, counts = np.unique(self._labels[items], return_counts=True)
        most = names[counts.argmax()]
        return {self.metrics[0]: float(np.mean(self._labels[validation] != most))}

    def batches(self, *arguments: Any) -> Any:
        raise NotImplementedError("the external domain has no batches: its trainer reads the data")

    loss = evaluate = to = steps_per_epoch = batches


def _labels(options: Options, base: Path) -> tuple[np.ndarray | None, dict[str, str]]:
    if options.labels is None:
        return None, {}
    path = base / options.labels
    try:
        data = read_file(path)
        labels = np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as .npy: {error}") from None
    if not isinstance(labels, np.ndarray):
        raise DataError(f"{path}: an archive of arrays, not a single array of classes")
    if labels.shape != (options.items,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        found = f"{labels.dtype} of shape {labels.shape}"
        raise DataError(f"{path}: {options.items} classes from 0 on are expected, found {found}")
    return labels.astype(np.int64), {options.labels: hashlib.sha256(data).hexdigest()}


def open_domain(options: Options, base: Path) -> External:
    return External(options, base)
