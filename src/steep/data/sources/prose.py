"""What is prose in a text file: blocks between blank lines, folded, that read as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

SHORTEST = 60
"""Characters. Shorter blocks are headings, labels and list entries."""
LETTERS = 0.75
"""Least share of letters among all that is not blank: tables and code have fewer."""
GATHERED = 500
"""Characters at which a paragraph gathered from smaller pieces is long enough."""


def is_prose(paragraph: str) -> bool:
    """Long enough, ends as a sentence does, and is mostly letters."""
    solid = paragraph.replace(" ", "")
    return (
        len(paragraph) >= SHORTEST
        and re.search(r"[.!?:;][\"')\]]*$", paragraph) is not None
        and sum(map(str.isalpha, solid)) >= LETTERS * len(solid)
    )


def blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Runs of lines that are not blank."""
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def folded(text: str) -> str:
    return " ".join(text.split())


def gathered(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces joined into paragraphs of at least ``GATHERED`` characters; the rest is the last."""
    current = ""
    for piece in pieces:
        current = f"{current} {piece}".strip()
        if len(current) >= GATHERED:
            yield current
            current = ""
    if current:
        yield current


def bare(text: str) -> str:
    """What two texts have in common that differ in case, blanks and punctuation only."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text


def unseen(paragraphs: Iterable[str], seen: set[int]) -> Iterator[str]:
    """Those that have not come before but for digits, case and punctuation: a licence that is
    repeated with another year says nothing new. ``seen`` grows."""
    for paragraph in paragraphs:
        key = hash(bare(re.sub(r"\d", "", paragraph)))
        if key not in seen:
            seen.add(key)
            yield paragraph
