"""Propose a study: read the user's files, choose splits, shards and sizes that fit a budget.

Nothing is trained but a few steps, to measure this machine's speed. What is proposed is a spec
with comments; the user is meant to read and change it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from steep.config import QuestionError, parse
from steep.plainyaml import scalar
from steep.present.numbers import count, duration, exact
from steep.study import Study

IMAGES, TEXTS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"), (".txt", ".txt.gz")
FAMILY = {
    "images": "resnet",
    "characters": "rhn",
    "words": "lstm",
    "translation": "seq2seq",
    "speech": "deepspeech2",
}
LADDER = {
    "resnet": (2, 4, 8, 16, 32),
    "rhn": (16, 24, 32, 48, 64, 96, 128),
    "lstm": (16, 32, 64, 128, 256),
    "transformer": (16, 32, 64, 128, 256),
    "seq2seq": (32, 64, 128, 256, 512),
    "deepspeech2": (16, 24, 32, 48, 64, 96, 128),
    "attention": (16, 24, 32, 48, 64, 96, 128),
}
RATES = {
    "resnet": (0.05, 0.15, 0.45),
    "rhn": (0.004, 0.01, 0.025),
    "lstm": (0.004, 0.01, 0.025),
    "transformer": (0.001, 0.003, 0.009),
    "seq2seq": (0.001, 0.0025, 0.006),
    "deepspeech2": (0.0015, 0.003, 0.006),
    "attention": (0.0015, 0.003, 0.006),
}
SMALLEST = {
    "images": 100.0,
    "characters": 4000.0,
    "words": 16000.0,
    "translation": 16000.0,
    "speech": 0.05,
}
"""A first shard below this says little: a few images of each class, a page of text, a speech,
sentences from which a model learns hardly more than which word pieces are frequent, three minutes
of speech."""
OPTIONS = {"words": "\n  vocabulary: 10000          # the most frequent words; fewer train faster"}
"""Of a domain, worth a user's thought: the default, written out."""
ORDERS = 1000.0
"""Largest over smallest shard, at most: three orders of magnitude."""
FEWEST_FITTED, FEWEST_SIZES = 4, 4


@dataclass(frozen=True)
class Proposal:
    text: str
    """The spec, commented YAML."""
    notes: tuple[str, ...]
    """What it can answer within the budget, and what it cannot."""


def propose(
    data: Sequence[Path],
    *,
    domain: str | None,
    family: str | None,
    seconds: float,
    workers: int | None,
    base: Path,
) -> Proposal:
    """The largest study of ``data`` whose expected time is within ``seconds``.

    Raises QuestionError for files that no domain reads, DataError for unreadable ones."""
    missing = [str(path) for path in data if not path.exists()]
    if missing:
        raise QuestionError(f"no such file: {', '.join(missing)}")
    domain = domain or guess_domain(data)
    if domain not in FAMILY:
        raise QuestionError(f"no proposals for domain {domain!r}; there are: {', '.join(FAMILY)}")
    family = family or FAMILY[domain]
    if family not in LADDER:
        raise QuestionError(f"no proposals for family {family!r}; there are: {', '.join(LADDER)}")
    draft = Draft(domain, family, place(data, base), base, workers)
    return draft.fit_to(seconds)


def guess_domain(data: Sequence[Path]) -> str:
    """By the names of the files: IDX, npz or folders of images; text files."""
    names = [p.name.lower() for path in data for p in ([path] if path.is_file() else _inside(path))]
    if any("idx3-ubyte" in n or n.endswith((".npz", *IMAGES)) for n in names):
        return "images"
    if any(n.endswith(TEXTS) for n in names):
        return "characters"
    found = ", ".join(sorted({Path(n).suffix or n for n in names})[:5])
    raise QuestionError(f"neither images nor text in what you gave ({found}): name the --domain")


def _inside(folder: Path) -> list[Path]:
    """Some files of a folder and of its sub-folders."""
    return [p for p in [*folder.glob("*"), *folder.glob("*/*")] if p.is_file()][:1000]


def place(data: Sequence[Path], base: Path) -> dict[str, str]:
    """Which file is the training, validation or test part, by its name; labels left out."""
    files = [p for p in data if "idx1-ubyte" not in p.name]
    parts: dict[str, str] = {}
    for path in files:
        part = _part(path.name) if len(files) > 1 else "train"
        if part in parts:
            raise QuestionError(
                f"{parts[part]} and {path} both look like the {part} part: give a folder, or"
                " write the spec by hand"
            )
        absolute = path.resolve()
        inside = absolute.is_relative_to(base.resolve())
        parts[part] = str(absolute.relative_to(base.resolve()) if inside else absolute)
    if "train" not in parts:
        raise QuestionError("none of the files looks like training data")
    return parts


_NAMES = {
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "t10k"},
}


def _part(name: str) -> str:
    """'fashion_val.npz' is validation; 'latest.txt' and 'valley.txt' are training data."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return next((part for part, names in _NAMES.items() if words & names), "train")


def _yaml(path: str) -> str:
    """A path as YAML, quoted where it could be taken for anything else."""
    plain = re.fullmatch(r"[A-Za-z_./][\w./-]*", path) and scalar(path) == path
    return path if plain else json.dumps(path, ensure_ascii=False)


class Draft:
    """One data set, opened once, under specs of different extent."""

    def __init__(
        self, domain: str, family: str, parts: dict[str, str], base: Path, workers: int | None
    ) -> None:
        self.domain, self.family, self.parts = domain, family, parts
        self.base, self.workers = base, workers

    def spec(self, smallest: float, largest: float | None, sizes: Sequence[int]) -> str:
        """The commented spec."""
        where = "\n".join(f"  {part}: {_yaml(path)}" for part, path in self.parts.items())
        where += OPTIONS.get(self.domain, "")
        split = [f"  {p}: 0.1" for p in ("validation", "test") if p not in self.parts]
        cut = "split:                       # shares of the data, by group\n" + "\n".join(split)
        top = "" if largest is None else f"\n  largest: {largest:.6g}"
        rates = ", ".join(f"{r:g}" for r in RATES[self.family])
        return f"""\
# Written by steep init; change what you know better. Next: steep plan, then steep run.
study: {self.domain}-study

domain:
  name: {self.domain}
{where}
{cut if split else ""}
family:
  name: {self.family}
  sizes: [{", ".join(map(str, sizes))}]   # the dial (width); extended where an edge is best

shards:                      # nested training sets, each twice the one before
  smallest: {smallest:.6g}{top}
  held_out: 1                # the largest is forecast first, then trained and fitted, too

search:
  planner: frugal            # the trials that the answer needs; grid: every one
  seeds: 2
  hyperparameters:
    learning_rate: [{rates}]
"""

    def study(self, smallest: float, largest: float | None, sizes: Sequence[int]) -> Study:
        found = Study(parse(self.spec(smallest, largest, sizes), self.base))
        found.__dict__["domain"] = self.opened.domain
        found.__dict__["items"] = self.opened.items
        return found

    @cached_property
    def opened(self) -> Study:
        """The data, read once."""
        # Far below what is proposed: data too small for that is told of in fit_to.
        smallest = min(1.0, SMALLEST[self.domain] / 50)
        return Study(parse(self.spec(smallest, None, LADDER[self.family]), self.base))

    @cached_property
    def total(self) -> float:
        """Training units there are after the split."""
        cut = self.opened.cut
        return float(self.opened.items.size[cut.orders[0]].sum())

    def fit_to(self, seconds: float) -> Proposal:
        """The largest ladder of shards whose expected time is within ``seconds``."""
        smallest = max(SMALLEST[self.domain], self.total / ORDERS)
        smallest = float(f"{smallest:.2g}")
        rungs = math.floor(math.log2(self.total / smallest)) if self.total > smallest else 0
        if rungs < 2:
            have = f"{exact(self.total)} {self.opened.domain.unit}"
            raise QuestionError(
                f"{have} to train on are too few: a curve needs about ten times more"
            )
        ladder, speed = LADDER[self.family], None
        for top in range(rungs, 1, -1):
            largest = None if top == rungs else smallest * 2**top
            for sizes in (ladder[:n] for n in range(len(ladder), FEWEST_SIZES - 1, -1)):
                study = self.study(smallest, largest, sizes)
                speed = speed or study.speed()
                estimate = study.expected_seconds(speed, self.workers)
                if estimate <= seconds:
                    return self._proposal(study, smallest, largest, estimate, seconds)
        return self._proposal(study, smallest, largest, estimate, seconds)

    def _proposal(
        self, study: Study, smallest: float, largest: float | None, took: float, given: float
    ) -> Proposal:
        fitted = [s for s in study.cut.shards if not s.held_out]
        unit = study.domain.unit
        notes = [
            f"{exact(self.total)} {unit} to train on, {exact(len(study.cut.validation))} items to"
            f" validate, {exact(len(study.cut.test))} to test"
            f" ({study.cut.removed} duplicates removed, {study.items.left_out} left out by"
            " the domain's options).",
            f"{len(fitted)} shards to fit, {count(fitted[0].samples)} to"
            f" {count(fitted[-1].samples)} {unit}, and one of {count(study.cut.shards[-1].samples)}"
            f" held out: about {duration(took)} on this machine.",
        ]
        if took > given:
            notes.append(
                f"That is more than the {duration(given)} you gave: there is no smaller study that"
                " says anything. Fewer sizes or seeds would shorten it."
            )
        if len(fitted) < FEWEST_FITTED:
            notes.append(
                f"With {len(fitted)} points there is no honest exponent: this budget can tell which"
                " model is better, not how far more data goes."
            )
        else:
            notes.append(
                f"It can answer what {count(4 * fitted[-1].samples)} {unit} would bring (4x the"
                " largest fitted shard); 10x is a guess with a wide interval."
            )
        sizes, ladder = study.spec.family.sizes, LADDER[self.family]
        if len(sizes) < len(ladder):
            notes.append(
                f"Models larger than size {sizes[-1]} are left out to fit the budget: if that size"
                " comes out best, larger ones might be better still."
            )
        if largest is not None:
            notes.append(f"The whole data ({count(self.total)} {unit}) would need a larger budget.")
        return Proposal(self.spec(smallest, largest, sizes), tuple(notes))
