"""Sentence pairs from files, and the word pieces they are cut into.

A file of pairs is either text with tabs between columns and the columns' names in its first line,
or JSON lines; both may be gzipped. ``source`` and ``target`` are wanted, ``group`` may be there:
pairs of one group (a document, say) stay on one side of a split. There is no quoting: a sentence
with a tab or a line break in it is JSON's business. White space is folded to single blanks.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from steep.contracts.domain import DataError
from steep.domains.files import content, unzipped

END, UNKNOWN = 0, 1
"""Symbols 0 and 1 of every vocabulary of word pieces. END also starts what a decoder reads."""

MOST_TOLD = 5
"""Bad rows that a message names; of more it says how many."""


class Pair(NamedTuple):
    source: str
    target: str
    group: str
    """'' where the file has no groups."""


def read_pairs(path: Path) -> tuple[list[Pair], str]:
    """(the file's pairs in order, its SHA-256). Raises DataError naming the file and its lines."""
    data = content(path)
    plain = unzipped(path, data)
    try:
        text = plain.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = plain[: error.start].count(b"\n") + 1
        raise DataError(f"{path}: line {line}: not UTF-8 text") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    rows = _from_json(lines) if text.lstrip()[:1] == "{" else _from_tabs(lines, path)
    pairs: list[Pair] = []
    bad: list[str] = []
    for number, found in rows:
        if isinstance(found, str):
            bad.append(f"line {number}: {found}")
        else:
            pairs.append(found)
    if bad:
        shown = "; ".join(bad[:MOST_TOLD])
        more = f"; and {len(bad) - MOST_TOLD} more bad lines" if len(bad) > MOST_TOLD else ""
        raise DataError(f"{path}: {shown}{more}")
    if not pairs:
        raise DataError(f"{path}: holds no pair of sentences")
    return pairs, hashlib.sha256(data).hexdigest()


Row = tuple[int, Pair | str]
"""(line number from 1, the pair or what is wrong with it)."""


def _from_tabs(lines: list[str], path: Path) -> Iterator[Row]:
    names = [name.strip() for name in lines[0].split("\t")]
    missing = [name for name in ("source", "target") if name not in names]
    if missing:
        raise DataError(
            f"{path}: line 1: no column {' and no column '.join(missing)}; the first line holds"
            " the names of the columns, tabs between them: source, target and, if you have it,"
            " group"
        )
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != len(names):
            yield number, f"{len(cells)} columns where the first line has {len(names)}"
        else:
            yield number, _pair(dict(zip(names, cells, strict=True)))


def _from_json(lines: list[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, _pair(values) if isinstance(values, dict) else "not an object"


def _pair(values: dict[str, Any]) -> Pair | str:
    for name in ("source", "target"):
        if not isinstance(values.get(name), str):
            return f"no text under {name!r}"
        if not values[name].strip():
            return f"an empty {name}"
    group = values.get("group")
    if not isinstance(group, (str, int, type(None))):
        return "a group that is neither text nor a whole number"
    name = "" if group is None else str(group).strip()
    return Pair(_folded(values["source"]), _folded(values["target"]), name)


def _folded(text: str) -> str:
    return " ".join(text.split())


# ---------------------------------------------------------------- word pieces


class WordPieces:
    """A frozen vocabulary of word pieces (sentencepiece's byte-pair encoding)."""

    def __init__(self, model: bytes) -> None:
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.pieces = [self._processor.id_to_piece(i) for i in range(len(self._processor))]
        self.fingerprint = hashlib.sha256("\n".join(self.pieces).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Each text's symbols, without an end."""
        return self._processor.encode(texts)

    def decode(self, symbols: Iterable[list[int]]) -> list[str]:
        return self._processor.decode(list(symbols))


def learn_pieces(texts: Iterable[str], size: int) -> WordPieces:
    """Byte-pair encoding (Sennrich et al. 2016) of ``size`` symbols in all, the end and the unknown
    one included; of the characters those that make up 99.95 %. Raises DataError where the texts
    hold fewer pieces."""
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            eos_id=END,
            unk_id=UNKNOWN,
            bos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        message = str(error).rpartition("] ")[2] or str(error)
        raise DataError(
            f"a vocabulary of {size} word pieces cannot be learnt from this text: {message}"
        ) from None
    return WordPieces(model.getvalue())
