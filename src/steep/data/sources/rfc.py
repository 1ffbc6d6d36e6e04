"""The Requests for Comments, 1969 to 2023: prose of networking engineers.

Page breaks, running headers, tables, diagrams and code are left out; a paragraph that a page break
cuts is joined again. One file an RFC, which is its group. What is repeated word for word but for
numbers, such as licences and 'Status of This Memo', is kept where it comes first.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from steep.contracts.source import Counts, Members, Package, Source, Tell
from steep.data.sources.prose import blocks, folded, is_prose, unseen
from steep.data.sources.writing import write_texts

VERSION = "20230121-1"
CONTENTS = {
    "doc-rfc-std-proposed": (
        195_360_980, "b34f60b4bee98891524a2c2508f3d4dcb1e1468a2bd26e0a5f5aecf95806eea0"),
    "doc-rfc-informational": (
        113_662_096, "143e78778eda9f187548b74028e98acf64ed42e2ea075af0774ca3bbcb0c6d01"),
    "doc-rfc-others": (
        72_846_040, "2b36a22145dd3fcb380079706d1a39afa7714499018d0a607a32325ead292500"),
    "doc-rfc-old-std": (
        31_483_192, "13aa366cbed958a3decc3a89e32c058746764906e1045b5cd00425b1be0ffc8a"),
    "doc-rfc-experimental": (
        21_567_500, "bff38cd2d63f0f85ed7eaf954845f34bbaba56dfe3111c9e3e07624296889817"),
    "doc-rfc-misc": (
        13_702_840, "395ce1db9ecbd281e162984aa6416487702cfa79f5e9d508522db55645ab20dc"),
    "doc-rfc-std": (
        13_986_128, "b9bfead1a230da198ab96ce70cc9fbb64dc600d914c1504eeb4c19e29f95734b"),
    "doc-rfc-fyi-bcp": (
        13_275_964, "d1db7332103b14ac2ce4e9e09188e38b3ade332bcc791990c7eb8064333a2b9e"),
}  # fmt: skip
FILE = re.compile(r"usr/share/doc/RFC/.*/rfc(\d+)\.txt(\.gz)?")

SOURCE = Source(
    title="RFCs: prose of the Requests for Comments, English",
    domains=("words", "characters"),
    files="text",
    counts={"files": 9109, "paragraphs": 781249, "characters": 233013247, "words": 37181228},
    licence="each RFC may be copied unchanged; train on the cleaned text, do not hand it on",
    packages=tuple(
        Package("apt", name, VERSION, size, sha256, "non-free")
        for name, (size, sha256) in CONTENTS.items()
    ),
)


def prepare(members: Members, folder: Path, tell: Tell) -> Counts:
    return write_texts(folder / SOURCE.files, _texts(members, tell))


def _texts(members: Members, tell: Tell) -> Iterator[tuple[str, Iterator[str]]]:
    seen: set[int] = set()
    done: set[str] = set()
    read = 0
    for package in SOURCE.packages:
        for name, content in members(package.name, FILE.fullmatch):
            number = re.sub(r"\D", "", Path(name).name)
            if number in done:  # some packages share a few
                continue
            done.add(number)
            tell(f"reading RFC {number}", read / SOURCE.size)
            text = gzip.decompress(content) if name.endswith(".gz") else content
            yield f"rfc{number}", unseen(paragraphs(text.decode("utf-8", "replace")), seen)
        read += package.size


RUNNING = re.compile(r".*\[Page [\dxvi]+\]\s*|RFC \d+ .*\d{4}\s*", re.IGNORECASE)
"""The last line of a page, and the first."""


def paragraphs(text: str) -> Iterator[str]:
    """Prose of one RFC, joined across pages."""
    for block in blocks(_unpaged(text)):
        drawn = any(re.search(r"\S {3,}\S|[|+_=-]{4,}|\.{4,}", line) for line in block)
        paragraph = folded(" ".join(block))
        if not drawn and is_prose(paragraph):
            yield paragraph


def _unpaged(text: str) -> Iterator[str]:
    """Lines without page breaks. What goes on in lower case after one goes on in its paragraph."""
    lines = [line.rstrip() for line in text.replace("\f", "\n\f\n").splitlines()]
    blank, broken = 0, False
    for line in lines:
        if line == "\f" or RUNNING.fullmatch(line):
            broken = True
        elif not line:
            blank += 1
        else:
            goes_on = broken and re.match(r"\s*[a-z(]", line)
            if blank and not goes_on:
                yield ""
            yield line
            blank, broken = 0, False
