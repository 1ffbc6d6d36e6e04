"""A stream of symbols: what the language-modelling domains share once their text is symbols.

Training reads the shard's paragraphs as a stream, reshuffled each epoch, in parallel lanes with
the hidden state carried along (truncated back-propagation). Evaluation starts every paragraph
afresh, as if after an end symbol: then an item's error does not depend on which other items are
evaluated or in what order, which paired tests and clustered standard errors rely on; shuffled
paragraphs have no context to lose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.contracts.domain import (
    Items,
    Position,
    Scores,
    by_length,
    epochs,
    unigram_guess,
)
from steep.domains.text import Texts
from steep.records import Sample

if TYPE_CHECKING:
    import torch

END, UNKNOWN = 0, 1
"""Symbols 0 and 1, end of paragraph and everything rare; the vocabulary follows."""

EVALUATION_TOKENS = 32_768
"""Tokens, padding included, in one batch of an evaluation."""

SHOWN = {"characters": 80, "words": 16}
"""Symbols of a sample's beginning, and of what follows, at most."""


class Stream:
    """The opened domain: one array of symbols and where each paragraph starts in it."""

    kind = "stream"

    def __init__(
        self,
        texts: Texts,
        symbols: np.ndarray,
        length: np.ndarray,
        *,
        unit: str,
        metrics: tuple[str, ...],
        spelling: Sequence[str],
        between: str,
        learnt: Mapping[str, str],
    ) -> None:
        """``symbols`` int32: all paragraphs one after the other, an END behind each; ``length``
        int64 [N]: symbols of each paragraph, its END included; ``spelling``: how each symbol is
        written, with ``between`` between them."""
        self.unit, self.metrics, self.learnt = unit, metrics, learnt
        self.shape = {"vocabulary": len(spelling)}
        self._spelling, self._between = spelling, between
        self._part, self._source, self._files = texts.part, texts.source, texts.files
        self._digest = texts.digest
        self._tokens, self._length = symbols, length
        self._start = np.concatenate([[0], np.cumsum(length)[:-1]])
        self._device = "cpu"

    def items(self) -> Items:
        """Groups are source files; in a part that is one file, equal paragraphs."""
        group = np.unique(self._digest, return_inverse=True)[1]
        for part in np.unique(self._part):
            rows = self._part == part
            if len(np.unique(self._source[rows])) > 1:
                group[rows] = len(group) + self._source[rows]
        return Items(
            self._length.astype(float),
            self._digest,
            group.astype(np.int64),
            self._part,
            None,
            self._files,
        )

    def best_guess(self, items: np.ndarray, validation: np.ndarray) -> Mapping[str, float]:
        nats, error = unigram_guess(
            self._stream(items), self._stream(validation), self.shape["vocabulary"]
        )
        return self._metrics(nats, error)

    def steps_per_epoch(self, items: np.ndarray, hyperparameters: Mapping[str, Any]) -> int:
        _, lane = self._lanes(items, hyperparameters)
        return -(-lane // int(hyperparameters["sequence_length"]))

    def _lanes(self, items: np.ndarray, hyperparameters: Mapping[str, Any]) -> tuple[int, int]:
        """(lanes, symbols in each). Fewer lanes than the batch size where the shard is too small
        to fill them with one sequence each; at most lanes - 1 symbols an epoch go unused."""
        total = int(self._length[items].sum())
        sequence, batch = (int(hyperparameters[n]) for n in ("sequence_length", "batch_size"))
        lanes = max(1, min(batch, total // sequence))
        return lanes, total // lanes

    def batches(
        self, items: np.ndarray, hyperparameters: Mapping[str, Any], seed: int, position: Position
    ) -> Iterator[tuple[Any, Position]]:
        """Batches (x_BxT, y_BxT, fresh): y is the symbol after x; fresh at an epoch's start."""
        import torch

        steps = self.steps_per_epoch(items, hyperparameters)
        lanes, lane = self._lanes(items, hyperparameters)
        for generator, epoch, taken in epochs(seed, position):
            stream = self._stream(items[generator.permutation(len(items))])[: lanes * lane]
            y_BxS = torch.from_numpy(stream.astype(np.int64).reshape(lanes, lane))
            x_BxS = y_BxS.roll(1)  # a symbol's input is the one before it in the whole stream
            x_BxS[0, 0] = END
            x_BxS, y_BxS = x_BxS.to(self._device), y_BxS.to(self._device)
            cuts = np.linspace(0, lane, steps + 1).round().astype(int)
            for index in range(taken, steps):
                span = slice(cuts[index], cuts[index + 1])
                after = (epoch, index + 1) if index + 1 < steps else (epoch + 1, 0)
                yield (x_BxS[:, span].contiguous(), y_BxS[:, span], index == 0), after

    def loss(self, model: Any, batch: Any, state: Any) -> tuple[torch.Tensor, float, Any]:
        """The state is dropped at the start of an epoch: its stream is another one."""
        from steep.engine.softmax import summed_cross_entropy

        x_BxT, y_BxT, fresh = batch
        h_BxTxH, state = model.hidden(x_BxT, None if fresh else state)
        head = model.decoder
        total = summed_cross_entropy(h_BxTxH.flatten(0, 1), head.weight, head.bias, y_BxT.flatten())
        return total, float(y_BxT.numel()), _detached(state)

    def evaluate(self, model: Any, items: np.ndarray) -> Scores:
        """Paragraphs of like length together, padded: padding is masked out of every sum."""
        import torch
        import torch.nn.functional as F

        from steep.engine.softmax import cross_entropy_and_errors

        length = self._length[items]
        nats, wrong = np.zeros(len(items)), np.zeros(len(items))
        for rows in by_length(length, EVALUATION_TOKENS):
            padded = np.full((len(rows), int(length[rows].max())), END, np.int64)
            for place, row in enumerate(rows):
                start = self._start[items[row]]
                padded[place, : length[row]] = self._tokens[start : start + length[row]]
            y_BxT = torch.from_numpy(padded).to(self._device)
            x_BxT = F.pad(y_BxT[:, :-1], (1, 0), value=END)
            valid_BxT = torch.from_numpy(np.arange(padded.shape[1]) < length[rows][:, None])
            kept_BxT = valid_BxT.to(self._device)
            h_NxH = model.hidden(x_BxT, None)[0][kept_BxT]
            head = model.decoder
            found = cross_entropy_and_errors(h_NxH, head.weight, head.bias, y_BxT[kept_BxT])
            place_N = np.repeat(rows, length[rows])
            for totals, values_N in zip((nats, wrong), found, strict=True):
                totals += np.bincount(place_N, values_N.double().cpu().numpy(), len(items))
        return Scores(length.astype(float), self._metrics(nats, wrong))

    def samples(self, model: Any, items: np.ndarray) -> list[Sample]:
        """How each paragraph begins, how it goes on, and how the model goes on: each next symbol
        drawn by the model's probabilities."""
        found: dict[int, Sample] = {}
        known = np.minimum(SHOWN[self.unit], self._length[items] // 2)
        for count in np.unique(known):
            rows = np.flatnonzero(known == count)
            begun = np.stack([self._tokens[self._start[items[row]] :][:count] for row in rows])
            drawn = self._drawn(model, begun, SHOWN[self.unit])
            for row, first, following in zip(rows, begun, drawn, strict=True):
                start = self._start[items[row]] + count
                rest = self._tokens[start : start + min(SHOWN[self.unit], self._length[items[row]])]
                found[int(row)] = Sample(*(self._spelt(one) for one in (first, rest, following)))
        return [found[row] for row in range(len(items))]

    def _drawn(self, model: Any, begun_BxT: np.ndarray, count: int) -> np.ndarray:
        """So many symbols that follow, [B, count]."""
        import torch
        import torch.nn.functional as F

        generator = torch.Generator().manual_seed(0)
        seen_BxT = F.pad(torch.from_numpy(begun_BxT.astype(np.int64)), (1, 0), value=END)
        new_BxT, state = seen_BxT, None
        for _ in range(count):
            h_BxTxH, state = model.hidden(new_BxT.to(self._device), state)
            probability_BxV = model.decoder(h_BxTxH[:, -1]).double().softmax(1).cpu()
            next_Bx1 = torch.multinomial(probability_BxV, 1, generator=generator)
            seen_BxT = torch.cat([seen_BxT, next_Bx1], 1)
            new_BxT = seen_BxT if state is None else next_Bx1  # no state: it looks at all again
        return seen_BxT[:, -count:].numpy()

    def _spelt(self, symbols: np.ndarray) -> str:
        """The symbols up to the paragraph's end."""
        ends = np.flatnonzero(symbols == END)
        kept = symbols[: ends[0]] if len(ends) else symbols
        return self._between.join(self._spelling[symbol] for symbol in kept)

    def _metrics(self, nats: Any, wrong: Any) -> dict[str, Any]:
        known = {"cross_entropy": nats, "bits_per_character": nats / np.log(2), "error": wrong}
        return {name: known[name] for name in self.metrics}

    def to(self, device: str) -> None:
        self._device = device

    def _stream(self, items: np.ndarray) -> np.ndarray:
        """The items' symbols, one after the other."""
        length = self._length[items]
        ends = np.cumsum(length)
        within = np.arange(ends[-1]) - np.repeat(ends - length, length)
        return self._tokens[np.repeat(self._start[items], length) + within]


def _detached(state: Any) -> Any:
    """The same nest of tuples with every tensor cut from its graph."""
    if isinstance(state, tuple):
        return tuple(_detached(inner) for inner in state)
    return None if state is None else state.detach()
