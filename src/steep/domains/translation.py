"""Translation: sentence pairs, one word piece of the target at a time, under teacher forcing.

Items are pairs; unit: word pieces of the target, each sentence's end symbol counted as one. The
word pieces belong to the task, not to a shard: they are learnt once from both languages of the
training file (with what is later cut from it for validation), one vocabulary for both, so that
small shards are cut into pieces that they could not have learnt by themselves: errors compare only
between studies with the same ones. ``word_pieces_from`` says from how many of its first pairs, so
that appended data changes no piece; their fingerprint is kept with the study's, and a study whose
pieces would change is refused.

A pair's error is the share of its target's pieces whose likeliest continuation, after the true
ones before, is wrong. What a model writes by itself (beam search) is scored by BLEU, once a trial.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.contracts.domain import (
    POOL,
    TRAIN,
    DataError,
    Items,
    Position,
    Scores,
    by_length,
    epochs,
    unigram_guess,
)
from steep.domains.files import by_part, digest_of
from steep.domains.pairs import END, Pair, WordPieces, learn_pieces, read_pairs
from steep.records import Sample
from steep.spec.sections import Count, Strict

if TYPE_CHECKING:
    import torch

EVALUATION_TOKENS = 8_192
"""Tokens of the longer side, padding included, in one batch of an evaluation."""
NEIGHBOURHOOD = 50
"""Batches whose pairs are sorted by length together: enough for little padding, few enough that
most orders remain possible."""
PIECES = "word pieces"
"""Their name among the fingerprints."""


class Options(Strict):
    """Where the pairs are. Relative paths start from the spec's folder."""

    train: str
    """A file of pairs (see pairs.py): .tsv or .jsonl, plain or .gz."""
    validation: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    test: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    vocabulary: Count = 2000
    """Word pieces of both languages together, the end and the unknown one included."""
    word_pieces_from: Count | None = None
    """Word pieces are learnt from so many of ``train``'s first pairs. None: from all there are when
    the study begins."""
    longest: Count = 100
    """Pairs with more word pieces on either side, its end counted, are left out."""
    beam: Count = 4
    """Translations kept at each step of the beam search that BLEU is measured on."""


def open_domain(options: Options, base: Path) -> Translation:
    """Read and check every file, learn the word pieces. Raises DataError naming the file, or what
    is not installed."""
    for package in ("sentencepiece", "sacrebleu"):
        if importlib.util.find_spec(package) is None:
            raise DataError(f"translation needs {package}: pip install 'steep[translation]'")
    paths = by_part(options.train, options.validation, options.test)
    pairs: list[Pair] = []
    part: list[int] = []
    files: dict[str, str] = {}
    for number, path in paths.items():
        found, files[path] = read_pairs(base / path)
        if number in (POOL, TRAIN):
            count = options.word_pieces_from or len(found)
            if count > len(found):
                raise DataError(
                    f"{base / path}: {len(found)} pairs, and word_pieces_from is {count}"
                )
            texts = [text for pair in found[:count] for text in pair[:2]]
            pieces = learn_pieces(texts, options.vocabulary)
        pairs += found
        part += [number] * len(found)
    return Translation(pairs, np.array(part, np.int8), pieces, files, options)


class Side:
    """One language: all its sentences' symbols in one array, each sentence with its end."""

    def __init__(self, sentences: Sequence[list[int]]) -> None:
        self.length = np.array([len(sentence) + 1 for sentence in sentences], np.int64)
        self._start = np.concatenate([[0], np.cumsum(self.length)[:-1]])
        self._symbols = np.full(self.length.sum(), END, np.int32)
        within = np.ones(len(self._symbols), bool)
        within[self._start + self.length - 1] = False
        self._symbols[within] = [symbol for sentence in sentences for symbol in sentence]

    def stream(self, items: np.ndarray) -> np.ndarray:
        """The items' symbols, one after the other."""
        length = self.length[items]
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        return self._symbols[np.repeat(self._start[items], length) + within]

    def padded(self, items: np.ndarray) -> np.ndarray:
        """Symbols int64 [items, longest], END where a sentence is over."""
        length = self.length[items]
        rows = np.full((len(items), length.max()), END, np.int64)
        rows[np.arange(rows.shape[1]) < length[:, None]] = self.stream(items)
        return rows


class Translation:
    """The opened domain: both sides' symbols, and the target's text for BLEU."""

    unit = "word pieces"
    kind = "pairs"
    metrics = ("cross_entropy", "error")

    def __init__(
        self,
        pairs: list[Pair],
        part: np.ndarray,
        pieces: WordPieces,
        files: Mapping[str, str],
        options: Options,
    ) -> None:
        sides = [pieces.encode([pair[side] for pair in pairs]) for side in (0, 1)]
        longest = [max(map(len, both)) + 1 for both in zip(*sides, strict=True)]
        kept = np.flatnonzero(np.array(longest) <= options.longest)
        for number in np.unique(part):
            if number not in part[kept]:
                name = list(files)[list(dict.fromkeys(part.tolist())).index(number)]
                raise DataError(f"{name}: every pair is longer than {options.longest} word pieces")
        self._source, self._target = (Side([side[i] for i in kept]) for side in sides)
        self._pairs = [pairs[i] for i in kept]
        self._left_out = len(pairs) - len(kept)
        self._part, self._options = part[kept], options
        self._files = {**files, PIECES: pieces.fingerprint}
        self.pieces = pieces
        learnt_from = options.word_pieces_from or int(np.isin(part, (POOL, TRAIN)).sum())
        self.learnt = {"word_pieces_from": learnt_from}
        self.shape = {"vocabulary": len(pieces)}
        self._device = "cpu"

    def items(self) -> Items:
        """Groups are those of the file; pairs without one go by their target's text."""
        names: dict[tuple[bool, str], int] = {}
        group = [
            names.setdefault((bool(p.group), p.group or p.target), len(names)) for p in self._pairs
        ]
        return Items(
            self._target.length.astype(float),
            np.array(
                [digest_of(f"{p.source}\0{p.target}".encode()) for p in self._pairs], np.uint64
            ),
            np.array(group, np.int64),
            self._part,
            files=self._files,
            fixed=(PIECES,),
            left_out=self._left_out,
        )

    def best_guess(self, items: np.ndarray, validation: np.ndarray) -> Mapping[str, float]:
        nats, error = unigram_guess(
            self._target.stream(items), self._target.stream(validation), len(self.pieces)
        )
        return {"cross_entropy": nats, "error": error}

    def steps_per_epoch(self, items: np.ndarray, hyperparameters: Mapping[str, Any]) -> int:
        return -(-len(items) // int(hyperparameters["batch_size"]))

    def batches(
        self, items: np.ndarray, hyperparameters: Mapping[str, Any], seed: int, position: Position
    ) -> Iterator[tuple[Any, Position]]:
        """Batches of ``batch_size`` pairs of like length, see ``_batch``."""
        size = int(hyperparameters["batch_size"])
        steps = self.steps_per_epoch(items, hyperparameters)
        for generator, epoch, taken in epochs(seed, position):
            order = items[generator.permutation(len(items))]
            for first in range(0, len(order), NEIGHBOURHOOD * size):
                near = order[first : first + NEIGHBOURHOOD * size]
                by = np.lexsort((self._source.length[near], self._target.length[near]))
                order[first : first + NEIGHBOURHOOD * size] = near[by]
            turns = generator.permutation(steps)
            for index in range(taken, steps):
                after = (epoch, index + 1) if index + 1 < steps else (epoch + 1, 0)
                yield self._batch(order[turns[index] * size :][:size]), after

    def _batch(self, items: np.ndarray) -> tuple[torch.Tensor, ...]:
        """(source_BxS, length_B, read_BxT, place_N, y_N): what the decoder reads is the target one
        step late; y holds the target without padding, from places b * T + t."""
        import torch

        y_BxT = self._target.padded(items)
        read_BxT = np.concatenate([np.full((len(items), 1), END), y_BxT[:, :-1]], 1)
        length_B = self._target.length[items]
        place_N = np.flatnonzero(np.arange(y_BxT.shape[1]) < length_B[:, None])
        arrays = (
            self._source.padded(items),
            self._source.length[items],
            read_BxT,
            place_N,
            y_BxT.ravel()[place_N],
        )
        return tuple(torch.from_numpy(array).to(self._device) for array in arrays)

    def loss(self, model: Any, batch: Any, state: Any) -> tuple[torch.Tensor, float, Any]:
        from steep.engine.softmax import summed_cross_entropy

        y_N = batch[-1]
        return summed_cross_entropy(*_before_softmax(model, batch), y_N), float(len(y_N)), None

    def evaluate(self, model: Any, items: np.ndarray) -> Scores:
        """Pairs of like length together; padding never reaches the softmax."""
        from steep.engine.softmax import cross_entropy_and_errors

        length = self._target.length[items]
        nats, wrong = np.zeros(len(items)), np.zeros(len(items))
        longer = np.maximum(length, self._source.length[items])
        for rows in by_length(longer, EVALUATION_TOKENS):
            batch = self._batch(items[rows])
            found = cross_entropy_and_errors(*_before_softmax(model, batch), batch[-1])
            place_N = np.repeat(rows, length[rows])
            for totals, values_N in zip((nats, wrong), found, strict=True):
                totals += np.bincount(place_N, values_N.double().cpu().numpy(), len(items))
        return Scores(length.astype(float), {"cross_entropy": nats, "error": wrong})

    def decoded(self, model: Any, items: np.ndarray) -> Mapping[str, float]:
        """BLEU (0 to 100, sacrebleu's own tokenisation) of the beam search's translations."""
        import sacrebleu

        texts = [self._pairs[item].target for item in items]
        return {"bleu": sacrebleu.corpus_bleu(self.translate(model, items), [texts]).score}

    def translate(self, model: Any, items: np.ndarray) -> list[str]:
        """The items' sources, translated by beam search; at most twice as long, and ten more."""
        import torch

        found: list[str] = [""] * len(items)
        length = self._source.length[items]
        for rows in by_length(length * self._options.beam, EVALUATION_TOKENS):
            source_BxS = torch.from_numpy(self._source.padded(items[rows])).to(self._device)
            length_B = torch.from_numpy(length[rows]).to(self._device)
            written = model.write(source_BxS, length_B, self._options.beam, 2 * length_B + 10)
            for row, text in zip(rows, self.pieces.decode(written), strict=True):
                found[row] = text
        return found

    def samples(self, model: Any, items: np.ndarray) -> list[Sample]:
        """Each sentence, its translation in the data and the model's."""
        written = self.translate(model, items)
        pairs = [self._pairs[item] for item in items]
        return [
            Sample(pair.source, pair.target, text)
            for pair, text in zip(pairs, written, strict=True)
        ]

    def to(self, device: str) -> None:
        self._device = device


def _before_softmax(model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(h_NxH at the target's places, the softmax's weight_VxH, its bias_V of zeros)."""
    source_BxS, length_B, read_BxT, place_N, _ = batch
    h_NxH = model.hidden(source_BxS, length_B, read_BxT).flatten(0, 1).index_select(0, place_N)
    weight_VxH = model.decoder.weight
    return h_NxH, weight_VxH, weight_VxH.new_zeros(len(weight_VxH))
