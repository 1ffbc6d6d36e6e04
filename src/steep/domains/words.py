"""Words: language modelling of text files, one word at a time.

Items are paragraphs, as for ``characters``. A token is a number with its inner points and commas
("1,000.50"), a run of letters, digits and underscores with its inner apostrophes ("nation's"), or
any other single mark ("," or "$"). Upper and lower case are different words unless ``lower_case``.
Unit: words, as the model predicts them: punctuation marks and each paragraph's end count as one.

The vocabulary belongs to the task, not to a shard: the option ``words``, or the most frequent
words of all the files in ``train``, which no shard, seed or split can change. A model of a small
shard therefore knows the word list of the whole data, though not how its words are used. The rest
is one unknown symbol, predicted like any other: errors compare only between studies with one
vocabulary. How a shard is read, and V evaluated: see ``stream.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from steep.contracts.domain import TEST, VALIDATION
from steep.domains.stream import END, UNKNOWN, Stream
from steep.domains.text import Texts, blocks, read
from steep.spec.sections import Count, Strict

TOKEN = re.compile(r"\d+(?:[.,]\d+)+|\w+(?:['\u2019]\w+)*|[^\w\s]")


class Options(Strict):
    """Where the text is. Relative paths start from the spec's folder."""

    train: str
    """A file (.txt, .txt.gz), a folder of them, or a glob such as texts/*.txt."""
    validation: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    test: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    words: str | None = None
    """The words to model, with blanks between. None: the most frequent ones of ``train``."""
    vocabulary: Count = 10_000
    """How many words to model where ``words`` is None; unknown and end of paragraph come on top."""
    lower_case: bool = False
    """Whether all words are read in lower case."""
    shortest: Count = 1
    """Paragraphs of fewer words are left out."""
    longest: Count = 400
    """Paragraphs of more words are cut."""


def open_domain(options: Options, base: Path) -> Stream:
    """Read and check every file. Raises DataError naming the file that cannot be used."""

    def paragraphs(text: str) -> list[str]:
        return _paragraphs(text, options)

    texts = read(base, options.train, options.validation, options.test, paragraphs)
    words = options.words
    if words is None:
        words = " ".join(most_frequent(texts, options.vocabulary))
    known = {word: END + 2 + number for number, word in enumerate(sorted(set(words.split())))}
    symbols, length = _symbols(texts.paragraphs, known)
    return Stream(
        texts,
        symbols,
        length,
        unit="words",
        metrics=("cross_entropy", "error"),
        spelling=["", "<unknown>", *sorted(known)],
        between=" ",
        learnt={"words": words},
    )


def most_frequent(texts: Texts, count: int) -> list[str]:
    """The ``count`` most frequent words outside of V and test files, ties in code point order."""
    occurrences: Counter[str] = Counter()
    for paragraph, part in zip(texts.paragraphs, texts.part.tolist(), strict=True):
        if part not in (VALIDATION, TEST):
            occurrences.update(paragraph.split(" "))
    ranked = sorted(occurrences, key=lambda word: (-occurrences[word], word))
    return ranked[:count]


def _paragraphs(text: str, options: Options) -> list[str]:
    """Blocks between blank lines as words with single blanks between, long ones cut."""
    found: list[list[str]] = []
    for block in blocks(text):
        words = TOKEN.findall(block.lower() if options.lower_case else block)
        found += [words[k : k + options.longest] for k in range(0, len(words), options.longest)]
    return [" ".join(words) for words in found if len(words) >= options.shortest]


def _symbols(paragraphs: list[str], known: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """(int32 symbols of all paragraphs, each followed by its END; int64 symbols of each)."""
    rows = []
    for paragraph in paragraphs:
        symbols = [known.get(word, UNKNOWN) for word in paragraph.split(" ")]
        rows.append(np.array([*symbols, END], np.int32))
    return np.concatenate(rows), np.array([len(row) for row in rows], np.int64)
