"""Findings about the search behind a curve: trials at an edge, cut short, lost or mixed.

``search_summary.py`` collects the facts, this module judges and words them, and ``diagnose.py``
adds findings about the curve itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steep.present import numbers
from steep.present.numbers import relative
from steep.questions.search_summary import SearchSummary
from steep.records import AHEAD, ONE_SEED, BestFit, Finding
from steep.stats.searched import UNSURE

UNEVEN = 0.05
"""A difference in tuning is reported if it changes the slope by at least this share."""
SERIOUS, WARNING, NOTE = "serious", "warning", "note"


def faults(search: SearchSummary) -> list[Finding]:
    """Findings about ladders, grids, how trials ended and what they ran on."""
    parts = (_unfinished, _ladder, _grids, _uneven, _ends, _engines)
    return [finding for part in parts for finding in part(search)]


def _shards(best_fits: Sequence[BestFit]) -> str:
    """The sizes of shards, for a message."""
    sizes = list(dict.fromkeys(numbers.exact(b.samples) for b in best_fits))
    text = sizes[0] if len(sizes) == 1 else f"{', '.join(sizes[:-1])} and {sizes[-1]}"
    return f"{text} {best_fits[0].unit}"


def _unfinished(search: SearchSummary) -> list[Finding]:
    findings = []
    within = relative(UNSURE).lstrip("+")
    unsure = (
        f"a better model may yet take more than {within} off the error, so it is in the fit as "
        "an upper bound."
    )
    once = [b for b in search.withheld if b.withheld == ONE_SEED]
    if once:
        step = (
            "search.seeds: 2 or more, with --extend; a search that was stopped goes on with the "
            "same command."
        )
        evidence = f"Each model was trained once: {unsure}"
        findings.append(Finding("one seed", SERIOUS, _shards(once), evidence, step))
    behind = [b for b in search.withheld if b.withheld == AHEAD]
    if behind:
        step = (
            "Run the study on: the same command resumes where it stopped. Where the search has "
            "ended, more seeds (search.seeds, with --extend) train more models to their end."
        )
        evidence = (
            "A trial that was stopped had a lower error already than the best of those that were "
            "trained to their end, so the shard is in the fit as an upper bound."
        )
        findings.append(Finding("unfinished", SERIOUS, _shards(behind), evidence, step))
    open_ = [b for b in search.withheld if b.withheld not in (ONE_SEED, AHEAD)]
    if open_:
        step = "Run the study on: the same command resumes where it stopped."
        evidence = f"Its search is not finished: {unsure}"
        findings.append(Finding("unfinished", SERIOUS, _shards(open_), evidence, step))
    rough = [b for b in search.incomplete if "rough" in b.flags]
    if rough:
        step = "Run the study on: the same command resumes where it stopped."
        evidence = (
            "Too few trials ended to choose the best model; it is in the fit with a wide error, "
            "since too few shards remain without it."
        )
        findings.append(Finding("unfinished", SERIOUS, _shards(rough), evidence, step))
    few = [b for b in search.incomplete if not b.withheld and b not in rough]
    if few:
        evidence = (
            "The best model so far has fewer seeds than requested: its score is less certain."
        )
        step = "Run the study on: it trains the missing seeds."
        findings.append(Finding("unfinished", WARNING, _shards(few), evidence, step))
    return findings


def _ladder(search: SearchSummary) -> list[Finding]:
    plateau = [p.best for p in search.ladder if p.plateau]
    high = [p.best for p in search.ladder if p.edge == "high" and not p.plateau]
    low = [p.best for p in search.ladder if p.edge == "low" and not p.plateau]
    findings = []
    if high:
        evidence = f"The best model is the largest tried ({_sizes(high)})."
        step = "Extend the ladder upwards: the best-fit error may be lower still."
        severity = SERIOUS if search.too_small else WARNING
        findings.append(Finding("edge", severity, _shards(high), evidence, step))
    if low:
        evidence = f"The best model is the smallest tried ({_sizes(low)})."
        step = "Extend the ladder downwards, or read the size law as one-sided here."
        findings.append(Finding("edge", NOTE, _shards(low), evidence, step))
    if plateau:
        evidence = f"Larger models are as good as {_sizes(plateau, adequate=True)} within noise."
        step = "The smallest adequate size enters the size law; more seeds would narrow it."
        findings.append(Finding("plateau", NOTE, _shards(plateau), evidence, step))
    return findings


def _sizes(best_fits: Sequence[BestFit], adequate: bool = False) -> str:
    sizes = sorted({b.adequate.size if adequate else b.best.size for b in best_fits})
    return f"size {', '.join(str(s) for s in sizes)}"


def _grids(search: SearchSummary) -> list[Finding]:
    findings = []
    for grid in search.grids:
        where = f"{numbers.exact(grid.samples)} {grid.unit}"
        value = f"{grid.name} {numbers.number(grid.value)}"
        evidence = (
            f"The best {value} is at the edge of the {len(grid.values)} values tried, and "
            f"{relative(-grid.advantage)} better than the next."
        )
        step = "Try values beyond it: the best-fit error may be lower still."
        severity = WARNING
        if len(grid.values) > 2 and grid.advantage > 0.05 and grid.sure:
            severity = SERIOUS
        findings.append(Finding("undertuned", severity, where, evidence, step))
    for name, values in search.inconsistent:
        path = ", ".join(numbers.number(v) for v in values)
        evidence = f"From the smallest shard to the largest the best {name} goes {path}."
        step = "An optimum that jumps is not found yet: compare the values at more shards or seeds."
        findings.append(Finding("undertuned", WARNING, name, evidence, step))
    return findings


def _uneven(search: SearchSummary) -> list[Finding]:
    """The finding that one end of the curve is worse tuned, which changes the slope."""
    tuning = search.tuning
    if tuning is None or tuning.beta_g.value is None:
        return []
    low, high = tuning.beta_g.lower or 0.0, tuning.beta_g.upper or 0.0
    steep = np.polyfit(np.log([p.samples for p in search.points]),
                       np.log([p.error for p in search.points]), 1)[0]  # fmt: skip
    if low * high <= 0 or abs(tuning.beta_g.value) < UNEVEN * abs(steep):
        return []
    worse, flatter = (0, "less steep") if tuning.beta_g.value > 0 else (-1, "steeper")
    where = f"{numbers.exact(tuning.samples[worse])} {search.unit}"
    evidence = (
        f"A better model would take {numbers.share(tuning.below[worse])} off the error there and "
        f"{numbers.share(tuning.below[-1 - worse])} at the other end, so the curve of best models "
        f"is {flatter}, by {numbers.interval(tuning.beta_g)} in beta_g."
    )
    step = "Try more values of the hyperparameters, or more seeds, at the worse end."
    return [Finding("uneven tuning", WARNING, where, evidence, step)]


def _ends(search: SearchSummary) -> list[Finding]:
    findings = []
    if search.capped:
        evidence = "The best-fit model met the cap on steps while improving: an upper bound."
        severity = SERIOUS if 2 * len(search.capped) > search.shards else WARNING
        step = (
            "Raise stop.evaluations (a trial may take twice as many), or stop.max_steps where it "
            "is set; of capped best fits the fit knows that the error is no higher."
        )
        findings.append(Finding("capped", severity, _shards(search.capped), evidence, step))
    if search.improving:
        gain = float(np.median([gain for _, gain in search.improving]))
        evidence = f"The last evaluation was the best one, {relative(-gain)} better than before it."
        severity = SERIOUS if gain > 0.05 and 2 * len(search.improving) > search.shards else WARNING
        where = _shards([b for b, _ in search.improving])
        step = "Train longer: more patience, or more steps."
        findings.append(Finding("still improving", severity, where, evidence, step))
    for word, count, at_best in search.lost:
        share = count / search.trials
        severity = SERIOUS if share > 0.5 else WARNING if share > 0.2 or at_best else NOTE
        best = ", some of them seeds of a best-fit model" if at_best else ""
        evidence = f"{count} of {search.trials} trials {word}{best}."
        steps = {
            "diverged": "Lower the largest learning rates, or clip gradients.",
            "failed": "Their reasons are in results/trials.csv.",
            "timed out": "Raise the time limit, or drop the largest sizes.",
        }
        findings.append(Finding(word, severity, "the trials", evidence, steps[word]))
    return findings


def _engines(search: SearchSummary) -> list[Finding]:
    findings = []
    for what, values, by_size in search.mixed:
        evidence = f"One curve holds trials of {len(values)} {what}: {', '.join(values)}."
        step = "Run all trials of a curve alike: equal seeds then give equal runs."
        severity = SERIOUS if what == "engines" else WARNING
        if by_size:  # each size has only one: a rule of the engine, not a change during the study
            evidence += " Every model size keeps to one of them."
            step = "Nothing, where they agree: each is checked against torch when it is loaded."
            severity = NOTE
        findings.append(Finding("mixed engines", severity, "the trials", evidence, step))
    return findings
