"""Characters: language modelling of text files, one character at a time.

Items are paragraphs (blocks between blank lines, white space folded to single blanks); unit:
characters, each paragraph's end symbol counted as one. The vocabulary belongs to the task, not to
a shard: it is the option ``alphabet``, or the most frequent characters of all the files, which no
shard, seed or split can change. The rest is one unknown symbol, predicted like any other. How a
shard is read, and V evaluated: see ``stream.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from steep.domains.stream import END, UNKNOWN, Stream
from steep.domains.text import blocks, read
from steep.spec.sections import Count, Strict


class Options(Strict):
    """Where the text is. Relative paths start from the spec's folder."""

    train: str
    """A file (.txt, .txt.gz), a folder of them, or a glob such as texts/*.txt."""
    validation: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    test: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    alphabet: str | None = None
    """The characters to model. None: the most frequent ones of all the files."""
    vocabulary: Count = 98
    """Symbols in all where ``alphabet`` is None: characters, unknown and end of paragraph."""
    shortest: Count = 1
    """Paragraphs of fewer characters are left out."""
    longest: Count = 2000
    """Paragraphs of more characters are cut, at a blank where there is one."""


def open_domain(options: Options, base: Path) -> Stream:
    """Read and check every file. Raises DataError naming the file that cannot be used."""

    def paragraphs(text: str) -> list[str]:
        return _paragraphs(text, options)

    texts = read(base, options.train, options.validation, options.test, paragraphs)
    alphabet = options.alphabet
    if alphabet is None:
        alphabet = most_frequent(texts.paragraphs, options.vocabulary - 2)
    symbols = _lookup(alphabet)
    # Each paragraph is followed by its end symbol; \0 cannot occur in folded text.
    codes = np.minimum(_codes("\0".join(texts.paragraphs) + "\0"), len(symbols) - 1)
    length = np.array([len(text) + 1 for text in texts.paragraphs], np.int64)
    return Stream(
        texts,
        symbols[codes],
        length,
        unit="characters",
        metrics=("cross_entropy", "bits_per_character", "error"),
        spelling=["", "\N{REPLACEMENT CHARACTER}", *sorted(set(alphabet))],
        between="",
        learnt={"alphabet": alphabet},
    )


def most_frequent(texts: list[str], count: int) -> str:
    """The ``count`` most frequent characters, ties by code point, in code point order."""
    codes, occurrences = np.unique(_codes("".join(texts)), return_counts=True)
    kept = np.sort(codes[np.lexsort((codes, -occurrences))[: max(count, 0)]])
    return "".join(map(chr, kept))


def _paragraphs(text: str, options: Options) -> list[str]:
    """Blocks between blank lines, long ones cut at a blank."""
    found: list[str] = []
    for rest in blocks(text):
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
