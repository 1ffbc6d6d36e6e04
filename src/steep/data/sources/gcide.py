"""The Collaborative International Dictionary of English (Webster 1913 and WordNet): definitions
and literary quotations.

Pronunciations, etymologies, usage labels and marks of origin are left out, so that words remain;
letters that are written as escapes, such as [e^] or [ae], become plain ones. The senses of an entry
are gathered into paragraphs. Neighbours in the alphabet share stems and wording, so that a block
of them is a file, and a group.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from steep.contracts.source import Counts, Members, Package, Source, Tell
from steep.data.sources.prose import folded, gathered, is_prose, unseen
from steep.data.sources.writing import write_texts

PACKAGE = Package(
    "apt", "dict-gcide", "0.48.5+nmu2", 14_800_692,
    "7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f",
)  # fmt: skip
BLOCK = 200
"""Entries a file."""

SOURCE = Source(
    title="GCIDE: definitions and quotations of a dictionary, English",
    domains=("words", "characters"),
    files="text",
    counts={
        "files": 623,
        "paragraphs": 98455,
        "characters": 22889862,
        "words": 3819909,
        "entries": 126224,
    },
    licence="GPL-2+",
    packages=(PACKAGE,),
)


def prepare(members: Members, folder: Path, tell: Tell) -> Counts:
    tell("reading the dictionary", 0.0)
    ((_, content),) = members(PACKAGE.name, "usr/share/dictd/gcide.dict.dz".__eq__)
    text = gzip.decompress(content).decode("cp1252", "replace")
    found = list(entries(text))
    return write_texts(folder / SOURCE.files, _texts(found, tell)) | {"entries": len(found)}


def _texts(found: list[list[str]], tell: Tell) -> Iterator[tuple[str, Iterable[str]]]:
    seen: set[int] = set()
    for first in range(0, len(found), BLOCK):
        tell("reading entries", first / len(found))
        made = [text for entry in found[first : first + BLOCK] for text in paragraphs(entry)]
        yield f"entries_{first // BLOCK:04d}", unseen(made, seen)


def entries(text: str) -> Iterator[list[str]]:
    r"""Lines of each entry: it begins at the margin with a word and its \pronunciation\.

    Many entries end with the word of the next one, a slip of the database: it is cut off."""
    entry: list[str] = []
    for line in text.splitlines():
        if re.match(r"[^\s\\][^\\]*\\", line) and not (entry and entry[-1].strip()):
            word = line.partition("\\")[0].strip()
            if entry:
                yield _without(entry, word)
            entry = [line]
        elif entry:  # else: the licence before the first
            entry.append(line)
    if entry:
        yield entry


def _without(entry: list[str], word: str) -> list[str]:
    kept = entry[: max((n for n, line in enumerate(entry) if line.strip())) + 1]
    return [*kept[:-1], re.sub(rf"(?<=[.\]\"]) {re.escape(word)}$", "", kept[-1])]


def paragraphs(entry: list[str]) -> Iterator[str]:
    """Prose of one entry: its word, then its senses and quotations."""
    text = "\n".join(line if line.strip() else "\0" for line in entry)
    senses = [sense for part in _plain(text).split("\0") if (sense := folded(part))]
    yield from filter(is_prose, gathered(senses))


ORIGIN = re.compile(r"\[(?:1913 Webster|Webster|WordNet|PJC|AS|Century|RDH)[^\]]*\].*")
"""Where a sense is from, at the end of its last line; the next entry's name may follow."""
SPOKEN = re.compile(r"\\[^\\]*\\(?:\s*\([^()]*\))?")
ESCAPE = re.compile(
    r"""\[[-=^~.,*'`"]+([A-Za-z]{1,2})[-=^~*'`"]*\]"""  # ['e], accents before the letter
    r"""|\[([A-Za-z]{1,2})[-=^~*'`"]+\]"""  # [e^], accents after it
    r"""|\[([a-z]{1,2}|AE|OE)\]"""  # [ae], a ligature; [R.] and [L] are labels
)
INSERTED = re.compile(r"\[(I|He|She|It|We|They|The)\]")
REMARK = re.compile(r"\[[^\[\]]*\]")


def _plain(text: str) -> str:
    text = SPOKEN.sub("", ORIGIN.sub("", text))
    text = INSERTED.sub(r"\1", ESCAPE.sub(lambda found: found[found.lastindex or 0], text))
    before = None
    while text != before:
        before, text = text, REMARK.sub("", text)
    text = re.sub(r"\{([^{}]*)\}", lambda found: re.sub(r"[\"*`]", "", found[1]), text)
    return re.sub(r"\s+([,.;:])", r"\1", text)
