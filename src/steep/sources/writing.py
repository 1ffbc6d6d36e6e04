"""Pairs and texts as domains read them, written the same way by every source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

HEADER = "source\ttarget\tgroup"


def write_pairs(path: Path, pairs: Sequence[tuple[str, str, str]]) -> dict[str, int | float]:
    """Tab-separated UTF-8 lines of source, target and group under a header."""
    rows = ["\t".join(" ".join(cell.split()) for cell in pair) for pair in pairs]
    path.write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8", newline="\n")
    return {
        "pairs": len(pairs),
        "groups": len({group for *_, group in pairs}),
        "English words": sum(len(target.split()) for _, target, _ in pairs),
    }


def write_texts(folder: Path, texts: Iterable[tuple[str, Iterable[str]]]) -> dict[str, int | float]:
    """A .txt file for each name with its paragraphs, blank lines between; none for no paragraph."""
    folder.mkdir(exist_ok=True)
    counts = {"files": 0, "paragraphs": 0, "characters": 0, "words": 0}
    for name, paragraphs in texts:
        kept = list(paragraphs)
        if kept:
            (folder / f"{name}.txt").write_text("\n\n".join(kept) + "\n", encoding="utf-8")
            counts["files"] += 1
            counts["paragraphs"] += len(kept)
            counts["characters"] += sum(map(len, kept))
            counts["words"] += sum(len(paragraph.split()) for paragraph in kept)
    return counts
