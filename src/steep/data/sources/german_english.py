"""German-English pairs: the Ding dictionary's phrases and sentences, and LibreOffice's help.

Ding has entries of variants, ``de ; de2 | plural :: en ; en2 | plural``: the first variant of each
field is taken, fields are paired by position, remarks in brackets are dropped, and only pairs with
at least three words on both sides are kept (most others are single words). The help has the same
paragraph under the same id in both languages; paragraphs of as many sentences are split into them.

Pairs that share an entry or, but for case and punctuation, a side, are one group; a help page is
one group, and holds no side that stands anywhere else: a split by group cannot see a text twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

from steep.contracts.source import Counts, Members, Package, Source, SourceError, Tell
from steep.data.sources.prose import bare
from steep.data.sources.writing import Pair, write_pairs

FEWEST_WORDS = 3
DING = Package(
    "apt", "trans-de-en", "1.9-6", 6_276_816,
    "45f6b4cf1c434776fba6811d7bc522efabb5425c43ba8afd0e289bf9e2e53df4",
)  # fmt: skip
HELP = {
    "de": Package(
        "apt", "libreoffice-help-de", "4:7.4.7-1+deb12u14", 3_293_908,
        "00490b63c509ac96f7f212d6a6e40452d3e0d1f97ccf4b824dd5ec4c01e8277f",
    ),
    "en-US": Package(
        "apt", "libreoffice-help-en-us", "4:7.4.7-1+deb12u14", 1_753_504,
        "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712",
    ),
}  # fmt: skip

SOURCE = Source(
    title="Ding dictionary sentences and LibreOffice help, German-English",
    domains=("translation",),
    files="pairs.tsv",
    counts={
        "pairs": 96126,
        "target words": 804834,
        "groups": 32276,
        "Ding pairs": 61181,
        "LibreOffice pairs": 34945,
    },
    licence="Ding GPL-2+; LibreOffice help MPL-2.0",
    packages=(DING, *HELP.values()),
)


def prepare(members: Members, folder: Path, tell: Tell) -> Counts:
    tell("reading the Ding dictionary", 0.0)
    (dictionary,) = [text for _, text in members(DING.name, "usr/share/trans/de-en".__eq__)]
    ding = grouped(ding_pairs(dictionary.decode("utf-8")))
    pages = {}
    for place, (language, package) in enumerate(HELP.items()):
        tell(f"reading LibreOffice help, {language}", 0.2 + 0.35 * place)
        root = f"usr/share/libreoffice/help/{language}/text/"
        html = members(package.name, re.compile(rf"{root}.*\.html").fullmatch)
        pages[language] = {name.removeprefix(root): paragraphs(text) for name, text in html}
    if not pages["de"]:
        raise SourceError(f"{HELP['de'].name}: holds no help page where they used to be")
    help_ = list(new_pairs(help_pairs(pages["de"], pages["en-US"]), ding))
    return write_pairs(folder / SOURCE.files, [*ding, *help_]) | {
        "Ding pairs": len(ding),
        "LibreOffice pairs": len(help_),
    }


# ---------------------------------------------------------------- Ding


def ding_pairs(text: str) -> Iterator[Pair]:
    """Pairs of the dictionary's fields, each with the number of its line."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") or " :: " not in line:
            continue
        german, _, english = line.partition(" :: ")
        fields = german.split("|"), english.split("|")
        if len(fields[0]) != len(fields[1]):
            raise SourceError(f"trans-de-en: line {number} has unequal fields on its two sides")
        for first, second in zip(*fields, strict=True):
            pair = first_variant(first), first_variant(second)
            if all(len(side.split()) >= FEWEST_WORDS for side in pair):
                yield *pair, str(number)


REMARK = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]|\([^()]*\)|<[^<>]*>|(?<!\S)/[^/\s]+/(?!\S)")
"""Grammar {m}, register [ugs.], explanations (...), other spellings <...>, abbreviations /AI/."""


def first_variant(field: str) -> str:
    """A field without remarks, nested ones too, up to its first semicolon."""
    bare, before = field, None
    while bare != before:
        bare, before = REMARK.sub(" ", bare), bare
    return " ".join(bare.split(";")[0].split())


def grouped(pairs: Iterable[Pair]) -> list[Pair]:
    """Each pair once, with its group: pairs linked by an entry or by a side, through any number
    of others, are in one (the components of that graph, by union-find)."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    once: dict[tuple[str, str], str] = {}
    for german, english, entry in pairs:
        once.setdefault((german, english), entry)
        for node in (f"de {bare(german)}", f"en {bare(english)}"):
            parent[root(node)] = root(f"entry {entry}")
    names: dict[str, str] = {}
    return [
        (german, english, names.setdefault(root(f"entry {entry}"), f"ding/{entry}"))
        for (german, english), entry in once.items()
    ]


# ---------------------------------------------------------------- LibreOffice


def help_pairs(
    german: dict[str, dict[str, str]], english: dict[str, dict[str, str]]
) -> Iterator[Pair]:
    """Pairs of two trees of pages, each page a group."""
    for page in sorted(german.keys() & english.keys()):
        for name, text in german[page].items():
            other = english[page].get(name, "")
            parts = sentences(text), sentences(other)
            alike = len(parts[0]) == len(parts[1])
            for pair in zip(*parts, strict=True) if alike else [(text, other)]:
                if pair[0] != pair[1] and all(len(s.split()) >= FEWEST_WORDS for s in pair):
                    yield *pair, f"help/{page.removesuffix('.html')}"


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+(?=[A-ZÄÖÜ\"„“(])", text)


def new_pairs(pairs: Iterable[Pair], known: Iterable[Pair]) -> Iterator[Pair]:
    """Those of ``pairs`` neither of whose sides has come before, in them or in ``known``."""
    seen = {f"{n} {bare(side)}" for pair in known for n, side in enumerate(pair[:2])}
    for pair in pairs:
        sides = {f"{n} {bare(side)}" for n, side in enumerate(pair[:2])}
        if not sides & seen:
            seen |= sides
            yield pair


def paragraphs(html: bytes) -> dict[str, str]:
    """A page's paragraphs and headings by id, but for program code."""
    reader = _Paragraphs()
    reader.feed(html.decode("utf-8"))
    reader.close()
    return reader.found


class _Paragraphs(HTMLParser):
    """Of text that varies with the program or the system, all variants are in the page, hidden:
    the default is read, the others are not (else 'Command' and 'Ctrl' stand side by side)."""

    TAGS = ("p", "h1", "h2", "h3", "h4", "h5", "h6")
    EMPTY = ("br", "img", "input", "meta", "link", "hr", "col", "source")

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._name = ""
        self._text: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("id") or ""
        if tag in self.TAGS:
            self._finish()
            code = "code" in (given.get("class") or "")
            aligned = not name.startswith(("bm_", "lang_"))  # what the page says of itself
            self._name = name if aligned and not code else ""
        elif tag == "br":
            self._text.append(" ")
        elif tag not in self.EMPTY:
            self._open.append((tag, "hidden" in given and not name.startswith("default")))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.TAGS:
            self._finish()
        elif any(tag == begun for begun, _ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._name and not any(hidden for _, hidden in self._open):
            self._text.append(data)

    def _finish(self) -> None:
        text = " ".join("".join(self._text).split())
        if self._name and text:
            self.found.setdefault(self._name, text)
        self._name, self._text = "", []
