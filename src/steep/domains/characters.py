"""Characters: language modelling of text files, one character at a time.

Items are paragraphs (blocks between blank lines, white space folded to single blanks); unit:
characters, each paragraph's end symbol counted as one. The vocabulary belongs to the task, not to
a shard: it is the option ``alphabet``, or the most frequent characters of all the files, which no
shard, seed or split can change. The rest is one unknown symbol, predicted like any other.

Training reads the shard's paragraphs as a stream, reshuffled each epoch, in parallel lanes with
the hidden state carried along (truncated back-propagation). Evaluation starts every paragraph
afresh, as if after an end symbol: then an item's error does not depend on which other items are
evaluated or in what order, which paired tests and clustered standard errors rely on; shuffled
paragraphs have no context to lose.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.config import Count, Strict
from steep.domains.contract import (
    POOL,
    TEST,
    TRAIN,
    VALIDATION,
    DataError,
    Items,
    Position,
    Scores,
    by_length,
    epochs,
    unigram_guess,
)

if TYPE_CHECKING:
    import torch

END, UNKNOWN = 0, 1
"""Symbols 0 and 1; the alphabet's characters follow."""

EVALUATION_TOKENS = 32_768
"""Tokens, padding included, in one batch of an evaluation."""


class Options(Strict):
    """Where the text is. Relative paths start from the spec's folder."""

    train: str
    """A file (.txt, .txt.gz), a folder of them, or a glob such as texts/*.txt."""
    validation: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    test: str | None = None
    alphabet: str | None = None
    """The characters to model. None: the most frequent ones of all the files."""
    vocabulary: Count = 98
    """Symbols in all where ``alphabet`` is None: characters, unknown and end of paragraph."""
    shortest: Count = 1
    """Paragraphs of fewer characters are left out."""
    longest: Count = 2000
    """Paragraphs of more characters are cut, at a blank where there is one."""


def open_domain(options: Options, base: Path) -> Characters:
    """Read and check every file. Raises DataError naming the file that cannot be used."""
    placed = {VALIDATION: options.validation, TEST: options.test}
    patterns = {TRAIN if all(placed.values()) else POOL: options.train} | {
        part: path for part, path in placed.items() if path
    }
    texts: list[str] = []
    part: list[int] = []
    source: list[int] = []
    files: dict[str, str] = {}
    for number, pattern in patterns.items():
        for path in _matching(base, pattern):
            text, digest = _text(path)
            name = str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
            found = _paragraphs(text, options)
            texts += found
            part += [number] * len(found)
            source += [len(files)] * len(found)
            files[name] = digest
        if number not in part:
            raise DataError(f"{base / pattern}: holds no paragraph of text")
    alphabet = options.alphabet
    if alphabet is None:
        alphabet = most_frequent(texts, options.vocabulary - 2)
    return Characters(texts, np.array(part, np.int8), np.array(source), alphabet, files)


def most_frequent(texts: list[str], count: int) -> str:
    """The ``count`` most frequent characters, ties by code point, in code point order."""
    codes, occurrences = np.unique(_codes("".join(texts)), return_counts=True)
    kept = np.sort(codes[np.lexsort((codes, -occurrences))[: max(count, 0)]])
    return "".join(map(chr, kept))


class Characters:
    """The opened domain: one array of symbols and where each paragraph starts in it."""

    unit = "characters"
    kind = "stream"
    metrics = ("cross_entropy", "bits_per_character", "error")

    def __init__(
        self,
        texts: list[str],
        part: np.ndarray,
        source: np.ndarray,
        alphabet: str,
        files: Mapping[str, str],
    ) -> None:
        self.alphabet = alphabet
        self.shape = {"vocabulary": len(set(alphabet)) + 2}
        self._part, self._source, self._files = part, source, files
        self._digest = np.array([_digest(text) for text in texts], np.uint64)
        symbols = _lookup(alphabet)
        codes = np.minimum(_codes("\0".join(texts) + "\0"), len(symbols) - 1)
        # Each paragraph is followed by its end symbol; \0 cannot occur in folded text.
        self._tokens = symbols[codes]
        self._length = np.array([len(text) + 1 for text in texts], np.int64)
        self._start = np.concatenate([[0], np.cumsum(self._length)[:-1]])
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
        return {"cross_entropy": nats, "bits_per_character": nats / np.log(2), "error": error}

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
        sums = {"cross_entropy": nats, "bits_per_character": nats / np.log(2), "error": wrong}
        return Scores(length.astype(float), sums)

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


# ---------------------------------------------------------------- reading text


def _matching(base: Path, pattern: str) -> list[Path]:
    """The files that a path, a folder or a glob names, sorted."""
    path = base / pattern
    if path.is_dir():
        found = [*path.rglob("*.txt"), *path.rglob("*.txt.gz")]
    elif any(sign in pattern for sign in "*?["):
        anchor = Path(path.anchor)
        found = [file for file in anchor.glob(str(path.relative_to(anchor))) if file.is_file()]
    else:
        found = [path]
    if not found:
        raise DataError(f"{path}: no .txt or .txt.gz file there")
    return sorted(found)


def _text(path: Path) -> tuple[str, str]:
    """(the file's text, SHA-256 of the file)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        text = plain.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: byte {error.start}") from None
    if not text.strip():
        raise DataError(f"{path}: empty")
    return text, hashlib.sha256(data).hexdigest()


def _paragraphs(text: str, options: Options) -> list[str]:
    """Blocks between blank lines with white space folded, long ones cut at a blank."""
    found: list[str] = []
    block: list[str] = []
    for line in [*text.replace("\0", " ").splitlines(), ""]:
        if line.strip():
            block.append(line)
            continue
        rest = " ".join(" ".join(block).split())
        block = []
        while len(rest) > options.longest:
            blank = rest.rfind(" ", 1, options.longest + 1)
            cut = blank if blank > 0 else options.longest
            found.append(rest[:cut])
            rest = rest[cut:].lstrip()
        found.append(rest)
    return [paragraph for paragraph in found if len(paragraph) >= options.shortest]


def _codes(text: str) -> np.ndarray:
    """Code points, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _lookup(alphabet: str) -> np.ndarray:
    """Symbol of each code point; the last entry stands for all that lie beyond the alphabet."""
    characters = sorted(set(alphabet))
    table = np.full(max(map(ord, characters), default=0) + 2, UNKNOWN, np.int32)
    table[[ord(character) for character in characters]] = np.arange(len(characters)) + 2
    table[0] = END
    return table


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
