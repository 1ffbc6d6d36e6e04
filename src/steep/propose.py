"""Propose a study: read the user's files, choose splits, shards and sizes that fit a budget.

Nothing is trained but a few steps, to measure this machine's speed. What is proposed is a spec
with comments; the user is meant to read and change it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from steep.base.spelling import no_such
from steep.contracts.trainer import Cost
from steep.domains.guess import DESCRIBED, guess_domain, left_aside
from steep.plan import clock
from steep.plan.calibrate import StepTimes
from steep.plan.estimate import SCENARIOS
from steep.present.numbers import count, duration, exact
from steep.records import FEWEST_POINTS, Measurement
from steep.select import next_size
from steep.spec.load import QuestionError, parse
from steep.spec.sections import written_duration
from steep.spec.yaml_reader import scalar
from steep.study import Study

FAMILIES = {
    "images": ("resnet",),
    "characters": ("rhn", "lstm", "transformer"),
    "words": ("lstm", "rhn", "transformer"),
    "translation": ("seq2seq",),
    "speech": ("deepspeech2", "attention"),
}
"""By domain; the first one is proposed."""
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
    "characters": 8000.0,
    "words": 16000.0,
    "translation": 16000.0,
    "speech": 0.05,
}
"""A first shard below this says little: a hundred images, a few pages of text, a speech, sentences
from which a model learns hardly more than which word pieces are frequent, three minutes of speech.
"""
VALIDATED = {
    "images": 2000.0,
    "characters": 100_000.0,
    "words": 20_000.0,
    "translation": 20_000.0,
    "speech": 0.25,
}
OF_LARGEST = {"images": 0.5, "speech": 0.25}
SHARE, OF_TEXT = 0.1, 0.125
"""V and the test part are each such a share of the largest shard (``OF_LARGEST``, and of texts
``OF_TEXT``), at least so many units and at most ``SHARE`` of the data: all of V is looked at ten to
twenty times in every trial. Half as much as the largest shard took two thirds of the time of models
of words; an eighth, 32,000 words, measures an error to 0.3 %."""
LEAST = {
    "images": 125.0,
    "characters": 2000.0,
    "words": 10_000.0,
    "translation": 8000.0,
    "speech": 0.025,
}
"""A first shard may be so small where a budget or the data bear no curve otherwise. From fewer
words a model learns no more than which are frequent: of 4,000 to 16,000 words of a dictionary
three shards of five were no points of the law."""
A_CLASS = 25
"""Images of each class in the first shard, where there are enough: of ten digits a hundred images
teach a network less than their nearest neighbours do."""
IMPROVEMENT = {"images": 0.02}
CREEPS = 0.01
"""A trial ends when three evaluations, 2.5 times the steps, have not lowered its error by this
fraction; of domains not named ``CREEPS``. Without it models that know their shard by heart may go
on for twenty times the steps. On the published studies it takes 0.5 to 0.9 of the training and
costs their best fits 0.1 % of their error (LOG.md)."""
SEEDS = (2, 3, 5)
"""More of them, where the budget allows."""
PILOT = 15.0
"""Seconds of the processor for trials that show when trials stop, at most: ``plan`` and ``run``
take longer ones, and predict anew."""
VOCABULARIES = {"words": (10_000, 4_000, 2_000, 1_000)}
"""Words of a model, where the domain has them: the first with which a curve fits the budget. Most
of what a small model of words costs is its last layer, which has a row for each."""
ORDERS = 1000.0
"""Largest over smallest shard, at most: three orders of magnitude."""
FEWEST_FITTED, WANTED_FITTED = 4, 5
"""Shards to fit: below the first an exponent is not reliable, and a study with fewer than the
second is proposed only where all that makes trials cheaper does not bring it into the budget."""
FEWEST_SIZES, MORE_SIZES = 4, 2
CONCESSIONS = ((1, FEWEST_SIZES), (2, FEWEST_SIZES), (4, FEWEST_SIZES), (4, 3))
"""(smallest shard divided by, sizes of the ladder), in the order in which they are made until
``WANTED_FITTED`` shards fit the budget."""
OVER = 1.5
"""How many times the budget the search of a study may be expected to take that is the cheapest with
enough shards: the search covers all shards first, and a budget cuts what would settle its optima.
Fewer shards would bear no forecast at all."""


Tell = Callable[[str, float], None]
Extent = tuple[float, float | None, tuple[int, ...], int, float]
"""(smallest shard, largest, sizes, seeds, share of the data that is V)."""
Chosen = tuple[int, int, int, int]
"""(doublings of the smallest shard, sizes, seeds, what the smallest shard is divided by)."""


def _silent(what: str, done: float) -> None: ...


@dataclass(frozen=True)
class Proposal:
    text: str
    """The spec, commented YAML."""
    first: tuple[str, ...]
    """What to know before all else: that it is expected to take longer than its budget."""
    notes: tuple[str, ...]
    """What it can answer within the budget, and what it cannot."""
    fitted: int
    """Shards to fit that its budget holds; 0 if it holds not even the fewest."""
    wanted: float
    """Seconds on the clock of the smallest study with as many shards as are wanted, or its own."""


def propose(
    data: Sequence[Path],
    *,
    domain: str | None,
    family: str | None,
    seconds: float,
    workers: int | None,
    base: Path,
    tell: Tell = _silent,
) -> Proposal:
    """The largest study of ``data`` whose expected time is within ``seconds``. ``tell`` is called
    with what is being done, and the share of it that is done.

    Raises QuestionError for files that no domain reads, DataError for unreadable ones."""
    missing = [str(path) for path in data if not path.exists()]
    if missing:
        raise QuestionError(f"no such file: {', '.join(missing)}")
    given, data = data, [_read_by(path) for path in data]
    if domain is not None and domain not in FAMILIES:
        raise QuestionError(no_such("domain", domain, FAMILIES))
    guess, why = guess_domain(data, domain)
    families = FAMILIES[guess]
    if family is not None and family not in families:
        others = [d for d, names in FAMILIES.items() if family in names]
        if not others:
            known = sorted({name for names in FAMILIES.values() for name in names})
            raise QuestionError(no_such("family", family, known))
        raise QuestionError(
            f"{family} models {' and '.join(others)}, and this is read as {guess}{why}: "
            f"--family {' or '.join(families)}, or --domain {others[0]}"
        )
    name = study_name(given, base, guess)
    model = family or families[0]
    parts, vocabularies = place(data, base), VOCABULARIES.get(guess, (None,))
    drafts: list[tuple[Proposal, Draft]] = []
    for vocabulary in vocabularies:
        # A step takes at most in proportion to the words: one of too many is not tried.
        last = drafts[-1] if drafts else None
        too_many = last and seconds / last[0].wanted < (vocabulary or 1) / (last[1].vocabulary or 1)
        if too_many and vocabulary != vocabularies[-1]:
            continue
        draft = Draft(name, guess, model, parts, base, workers, seconds, vocabulary, tell)
        if last is not None:
            timing = last[1].timing
            draft.pilot = None if timing is None else timing.pilot
        drafts.append((draft.fit_to(seconds), draft))
        if drafts[-1][0].fitted >= WANTED_FITTED:
            break
    proposal, draft = max(drafts, key=lambda one: one[0].fitted)
    other = "words is the other one for text" if guess == "characters" else "names another"
    chosen = "as you say" if domain else f"guessed{why}; --domain {other}"
    usual = "as you say" if family else "the usual one; --family names another"
    read = (
        f"Read as {guess} ({chosen}), in {draft.opened.domain.unit}. Model family: {draft.family} "
        f"({usual}). Models are chosen by {draft.opened.metric.replace('_', '-')}."
    )
    aside = left_aside(data, guess, getattr(draft.opened.domain, "left_aside", ()))
    notes = (*proposal.first, read, *aside, *proposal.notes)
    if draft.vocabulary is not None and draft.vocabulary != vocabularies[0]:
        notes += (
            f"A vocabulary of {count(draft.vocabulary)} words, where {count(vocabularies[0])} are "
            "usual, takes less time: all others count as one unknown word, and errors are lower; "
            "compare them with no study of another vocabulary.",
        )
    return replace(proposal, notes=notes)


def _read_by(path: Path) -> Path:
    """The file in a folder that names what else is there; the path itself where there is none."""
    inside = [path / name for name in DESCRIBED if path.is_dir() and (path / name).is_file()]
    return inside[0] if len(inside) == 1 else path


def study_name(data: Sequence[Path], base: Path, domain: str) -> str:
    """After the folder of the data, or the one file of it; never the name of what is there, for
    that is where the study's own folder will be."""
    first = data[0].resolve()
    words = set(re.split(r"[^a-z0-9]+", first.name.lower()))
    general = words & ({"train", "training", "data", "images", "manifest"} | _NAMES["test"])
    one = len(data) == 1 and not (first.is_file() and general)
    stem = first.name if first.is_dir() else first.name.split(".")[0]
    name = stem if one else first.parent.name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:60]
    if not name:
        return f"{domain}-study"
    return f"{name}-study" if (base / name).exists() else name


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


def yaml_text(path: str) -> str:
    """A path as YAML, quoted where it could be taken for anything else."""
    plain = re.fullmatch(r"[A-Za-z_./][\w./-]*", path) and scalar(path) == path
    return path if plain else json.dumps(path, ensure_ascii=False)


def run_section(
    budget: float | None, workers: int | None, timed: Sequence[Measurement] = ()
) -> str:
    """How it runs, as far as it was specified, and what is known of how long trials take."""
    lines = []
    if budget is not None:
        time = f"{written_duration(budget):<15}"
        lines.append(f"  budget: {time}    # of all runs together; delete it to run to the end\n")
    if workers is not None:
        lines.append(f"  workers: {workers}\n")
    if timed:
        lines.append(
            "  timed:                     # trials that init ran: plan predicts from them\n"
        )
    for m in timed:
        at = f"samples: {m.trial.samples:.6g}, size: {m.trial.size}"
        lines.append(f"    - {{{at}, seconds: {m.seconds:.3g}}}\n")
    return f"\nrun:\n{''.join(lines)}" if lines else ""


class Draft:
    """One data set, opened once, under specs of different extent."""

    def __init__(
        self,
        name: str,
        domain: str,
        family: str,
        parts: dict[str, str],
        base: Path,
        workers: int | None,
        budget: float | None = None,
        vocabulary: int | None = None,
        tell: Tell = _silent,
    ) -> None:
        self.tell = tell
        self.pilot: tuple[Measurement, ...] | None = None
        """Of a draft of the same data, where one was made: when trials stop does not hang on the
        vocabulary."""
        self.name, self.budget, self.vocabulary = name, budget, vocabulary
        self._costs: dict[int, Cost | None] = {}
        self._seconds: dict[Extent, float] = {}
        self.domain, self.family, self.parts = domain, family, parts
        self.base, self.workers = base, workers

    def spec(
        self,
        smallest: float,
        largest: float | None,
        sizes: Sequence[int],
        seeds: int = SEEDS[0],
        share: float = SHARE,
    ) -> str:
        """The commented spec; ``share`` of the data is V, and as much the test part."""
        where = "\n".join(f"  {part}: {yaml_text(path)}" for part, path in self.parts.items())
        if self.vocabulary is not None:
            words = f"{self.vocabulary:<13}  # the most frequent words; fewer train faster"
            where += f"\n  vocabulary: {words}"
        split = [f"  {p}: {share:.2g}" for p in ("validation", "test") if p not in self.parts]
        cut = "split:                       # shares of the data, by group\n" + "\n".join(split)
        top = "" if largest is None else f"\n  largest: {largest:.6g}"
        rates = ", ".join(f"{r:g}" for r in RATES[self.family])
        creeps = IMPROVEMENT.get(self.domain, CREEPS)
        return f"""\
# Written by steep init; change what you know better. Next: steep plan, then steep run.
study: {yaml_text(self.name)}

domain:
  name: {self.domain}
{where}
{cut if split else ""}
family:
  name: {self.family}
  sizes: [{", ".join(map(str, sizes))}]   # the model size (width); extended where an edge is best

shards:                      # nested training sets, each twice the one before
  smallest: {smallest:.6g}{top}
  held_out: 1                # the largest is forecast first, then trained and fitted, too

search:
  planner: frugal            # the trials that the answer needs; grid: every one
  seeds: {seeds}
  hyperparameters:
    learning_rate: [{rates}]

stop:
  improvement: {creeps:g}          # a trial ends when 2.5x the steps bring less
{run_section(self.budget, self.workers)}"""

    def study(self, *extent: Any) -> Study:
        """Of that extent (as in ``spec``), on the data that is open."""
        found = Study(parse(self.spec(*extent), self.base))
        found.__dict__["domain"] = self.opened.domain
        found.__dict__["items"] = self.opened.items
        # What models of a size cost is the same in all of them, and counting takes a while.
        found.prices.costs.update(self._costs)
        self._costs = found.prices.costs
        return found

    @cached_property
    def opened(self) -> Study:
        """The data, read once."""
        # Far below what is proposed: data too small for that is reported in fit_to.
        smallest = min(1.0, SMALLEST[self.domain] / 50)
        return Study(parse(self.spec(smallest, None, LADDER[self.family]), self.base))

    @cached_property
    def total(self) -> float:
        """Training units there are after the split."""
        cut = self.opened.cut
        return float(self.opened.items.size[cut.orders[0]].sum())

    def share(self, largest: float | None) -> float:
        """Of the data, for V and as much for the test part, where that is the largest shard."""
        of_largest = OF_LARGEST.get(self.domain, OF_TEXT) * (largest or self.total)
        units = max(VALIDATED[self.domain], of_largest)
        return min(SHARE, float(f"{units / float(self.opened.items.size.sum()):.2g}"))

    def smallest(self, divisor: int = 1) -> float:
        """Of the shards: where a law can be seen, or so many times smaller to bear a curve at all.
        Its largest shard is at most three orders of magnitude larger: see ``extent``."""
        least = SMALLEST[self.domain]
        classes = self.opened.domain.shape.get("classes") if self.domain == "images" else None
        if classes:
            least = max(least, min(A_CLASS * classes, self.total / 2**4))
        return float(f"{max(least / divisor, LEAST[self.domain]):.3g}")

    def rungs(self, divisor: int = 1) -> int:
        """Shards to fit below one of all the data: how many times the smallest can be doubled, and
        one more where the rest is at least half a step, as ``shards.cut`` has it."""
        ratio = self.total / self.smallest(divisor)
        doublings = max(math.floor(math.log2(ratio)), 0)
        return doublings + int(ratio / 2**doublings > 2**0.5)

    def extent(self, top: int, sizes: int, seeds: int = SEEDS[0], divisor: int = 1) -> Extent:
        """What ``spec`` takes, of shards that reach up to ``top`` doublings, and the first
        ``sizes`` of the ladder."""
        smallest, ladder = self.smallest(divisor), [*LADDER[self.family]]
        largest = None if top >= self.rungs(divisor) else smallest * 2**top
        smallest = max(smallest, float(f"{(largest or self.total) / ORDERS:.2g}"))
        while len(ladder) < sizes:
            ladder.append(next_size(ladder, "high") or 2 * ladder[-1])
        return smallest, largest, tuple(ladder[:sizes]), seeds, self.share(largest)

    def seconds(self, *extent: Any) -> float:
        """The expected time of a study of that extent, by the estimator of plan, run and status."""
        if extent in self._seconds:
            return self._seconds[extent]
        study = self.study(*extent)
        largest = max(study.spec.family.sizes)
        if self.timing is not None and largest > self.timing.rows[-1].size:
            self.timing = clock.with_size(study, self.timing, largest)
        found = study.prediction(self.timing, self.workers, SCENARIOS)
        took = math.nan if found is None else found.clock.value or 0.0
        self._seconds[extent] = took
        return took

    @cached_property
    def timing(self) -> StepTimes | None:
        """This machine's, timed once: the ends of the whole ladder and two sizes between."""
        top = self.extent(WANTED_FITTED, len(LADDER[self.family]))
        study = self.study(self.smallest(), None, *top[2:])
        if self.pilot is None:
            pilot = min(PILOT, clock.pilot_seconds(self.budget) / 2)
            return clock.pace(study, pilot, self.tell)
        found = clock.pace(study, 0.0, self.tell)
        return None if found is None else replace(found, pilot=self.pilot)

    def fit_to(self, seconds: float) -> Proposal:
        """The largest study whose expected time is within ``seconds``: a curve first, with what
        concessions it takes; then more shards, more sizes, more seeds, and still larger models."""
        if self.rungs(CONCESSIONS[-1][0]) < 2:
            have = f"{exact(self.total)} {self.opened.domain.unit}"
            raise QuestionError(
                f"{have} to train on are too few: a curve needs about ten times more"
            )
        shards = self._by_shards()
        fewest = next(k for k, one in enumerate(shards) if one[0] == self._most_wanted)
        """The place of the cheapest with as many shards as are wanted."""

        def holds(studies: Sequence[Chosen]) -> int:
            """How many of them, each longer than the one before, the budget holds."""
            low, high = 0, len(studies)
            while low < high:
                middle = (low + high + 1) // 2
                self.tell("Simulating searches", 0.0)
                fits = self.seconds(*self.extent(*studies[middle - 1])) <= seconds
                low, high = (middle, high) if fits else (low, middle - 1)
            return low

        held = holds(shards)
        order = [*shards[: max(held, fewest + 1)]]
        if held == len(shards) or (held and shards[held - 1][1] == FEWEST_SIZES < held):
            more = self._by_models(order[-1])
            order += more[: holds(more)]
        wanted = math.nan
        while True:  # not every study takes longer than the one before it in the order
            chosen = order.pop()
            took = self.seconds(*self.extent(*chosen))
            if len(order) == fewest:
                wanted = took
            # Of a search that takes longer a budget cuts trials, and no shards.
            stretched = len(order) <= fewest and chosen[0] >= FEWEST_POINTS
            if took <= (OVER if stretched else 1.0) * seconds or not order:
                return self._proposal(self.extent(*chosen), took, seconds, wanted)

    @property
    def _most_wanted(self) -> int:
        """Shards to fit, where the data have so many."""
        return min(WANTED_FITTED, self.rungs(CONCESSIONS[-1][0]))

    def _by_shards(self) -> list[Chosen]:
        """From the cheapest study on: shards by the cheapest models, then better models and
        larger shards."""
        best, (divisor, sizes) = self._most_wanted, CONCESSIONS[-1]
        few = [(top, sizes, SEEDS[0], divisor) for top in range(2, best)]
        enough = [(best, n, SEEDS[0], d) for d, n in CONCESSIONS[::-1] if self.rungs(d) >= best]
        larger = [(top, FEWEST_SIZES, SEEDS[0], 1) for top in range(best + 1, self.rungs() + 1)]
        return [*few, *enough, *larger]

    def _by_models(self, chosen: Chosen) -> list[Chosen]:
        """The same shards with more sizes, then more seeds, then still larger models."""
        top, sizes, seeds, divisor = chosen
        whole = len(LADDER[self.family])
        return [
            *((top, n, seeds, divisor) for n in range(sizes + 1, whole + 1)),
            *((top, whole, more, divisor) for more in SEEDS[1:]),
            *((top, n, SEEDS[-1], divisor) for n in range(whole + 1, whole + MORE_SIZES + 1)),
        ]

    def _proposal(self, extent: Extent, took: float, given: float, wanted: float) -> Proposal:
        smallest, largest, _, seeds, _ = extent
        study = self.study(*extent)
        fitted = [s for s in study.cut.shards if not s.held_out]
        unit = study.domain.unit
        total = float(study.items.size[study.cut.orders[0]].sum())
        notes = [
            f"{exact(total)} {unit} to train on; {exact(len(study.cut.validation))} items are kept"
            f" to validate, {exact(len(study.cut.test))} to test"
            f" ({study.cut.removed} duplicates removed, {study.items.left_out} longer or shorter"
            " than the domain's options let them be).",
            f"{len(fitted)} shards to fit, {count(fitted[0].samples)} to"
            f" {count(fitted[-1].samples)} {unit}, and one of {count(study.cut.shards[-1].samples)}"
            f" held out: about {duration(took)} on this machine.",
        ]
        if seeds > SEEDS[0]:
            notes.append(
                f"{seeds} seeds of each best fit, and {len(study.spec.family.sizes)} sizes."
            )
        few = len(fitted) < self._most_wanted and not math.isnan(wanted)
        first = self._too_long(len(fitted), took, given) if took > given else ()
        if few:
            notes.append(
                f"A budget of {_budget(wanted)} would hold {self._most_wanted} shards to fit."
            )
        if len(fitted) < FEWEST_FITTED:
            notes.append(
                f"With {len(fitted)} points an exponent would not be reliable: this budget can "
                "show which model is better, not how far more data goes."
            )
        else:
            notes.append(
                f"It can answer what {count(4 * study.cut.shards[-1].samples)} {unit} would bring"
                " (4x the largest shard); 10x is a guess with a wide interval."
            )
        if smallest < self.smallest() and took <= given:
            notes.append(
                f"The smallest shard is smaller than the usual {count(self.smallest())} {unit}, so"
                f" that there are {len(fitted)} to fit: a model may learn little on it, and it"
                " counts then for less."
            )
        sizes, ladder = study.spec.family.sizes, LADDER[self.family]
        if len(sizes) < len(ladder):
            notes.append(
                f"Models larger than size {sizes[-1]} are left out to fit the budget: if that size"
                " comes out best, larger ones might be better still."
            )
        if largest is not None:
            notes.append(f"The whole data ({count(total)} {unit}) would need a larger budget.")
        held = len(fitted) if took <= OVER * given else 0
        return Proposal(self.spec(*extent), first, tuple(notes), held, wanted if few else took)

    def _too_long(self, fitted: int, took: float, given: float) -> tuple[str, ...]:
        """What a budget does not buy of a study that is expected to take longer, and what would."""
        lost = (
            f"Trials that would settle the best model of some of the {fitted} shards are left out"
            if took <= OVER * given
            else f"Some of the {fitted} shards are perhaps not reached at all"
        )
        return (
            f"This study does not fit: it is expected to take {duration(took)}, the budget is "
            f"{duration(given)}, and no smaller one of this data has so many shards. {lost}; "
            f"--budget {_budget(took)} would hold it all.",
        )


def _budget(seconds: float) -> str:
    """As it is written after --budget: no less than the seconds, in whole minutes."""
    return written_duration(60 * math.ceil(seconds / 60))
