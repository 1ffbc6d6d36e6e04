"""Pairs and texts as domains read them, written the same way by every source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby, islice
from pathlib import Path
from typing import IO

HEADER = "source\ttarget\tgroup\n"
SENTENCES = 10_000
"""Sentences in a file, where nothing else groups them."""

Pair = tuple[str, str, str]
"""Source, target, group."""


def write_pairs(path: Path, pairs: Iterable[Pair]) -> dict[str, int | float]:
    """Tab-separated UTF-8 lines of source, target and group under a header."""
    found = write_pairs_by_part(path.parent, ((path.stem, pair) for pair in pairs))
    return {name.removeprefix(f"{path.stem} "): count for name, count in found.items()}


def write_pairs_by_part(folder: Path, pairs: Iterable[tuple[str, Pair]]) -> dict[str, int | float]:
    """PART.tsv for each part: see ``write_pairs``."""
    counts: dict[str, int | float] = {}
    groups: dict[str, set[int]] = {}
    with ExitStack() as stack:
        files: dict[str, IO[str]] = {}
        for part, pair in pairs:
            if part not in files:
                path = folder / f"{part}.tsv"
                files[part] = stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
                files[part].write(HEADER)
                counts[f"{part} pairs"] = counts[f"{part} target words"] = 0
                groups[part] = set()
            files[part].write("\t".join(" ".join(cell.split()) for cell in pair) + "\n")
            counts[f"{part} pairs"] += 1
            counts[f"{part} target words"] += len(pair[1].split())
            groups[part].add(hash(pair[2]))
    return counts | {f"{part} groups": len(found) for part, found in groups.items()}


def write_texts(folder: Path, texts: Iterable[tuple[str, Iterable[str]]]) -> dict[str, int | float]:
    """A .txt file for each name with its paragraphs, blank lines between; none for no paragraph."""
    folder.mkdir(exist_ok=True)
    counts: dict[str, int | float] = {"files": 0, "paragraphs": 0, "characters": 0, "words": 0}
    for name, paragraphs in texts:
        kept = list(paragraphs)
        if kept:
            (folder / f"{name}.txt").write_text("\n\n".join(kept) + "\n", encoding="utf-8")
            counts["files"] += 1
            counts["paragraphs"] += len(kept)
            counts["characters"] += sum(map(len, kept))
            counts["words"] += sum(len(paragraph.split()) for paragraph in kept)
    return counts


def write_sentences_by_part(
    folder: Path, sentences: Iterable[tuple[str, str]]
) -> dict[str, int | float]:
    """PART/sentences_N.txt of so many sentences each, a paragraph every one. Parts come in turn."""
    counts: dict[str, int | float] = {}
    for part, found in groupby(sentences, key=lambda row: row[0]):
        made = write_texts(folder / part, _files(sentence for _, sentence in found))
        counts |= {f"{part} sentences": made["paragraphs"], f"{part} words": made["words"]}
    return counts


def _files(sentences: Iterator[str]) -> Iterator[tuple[str, list[str]]]:
    number = 0
    while block := list(islice(sentences, SENTENCES)):
        yield f"sentences_{number:05d}", block
        number += 1
