"""What a study says, in sentences: the answer, its largest caveat, and the fit in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from steep.present import numbers
from steep.present.numbers import PERCENT, Scale
from steep.present.tables import forecast_table, study_table
from steep.records import (
    ALREADY_MET,
    ALREADY_REACHED,
    BEYOND_REACH,
    NOT_REACHABLE,
    ONE_SEED,
    PERHAPS_NOT,
    Analysis,
    Finding,
    Fit,
    Forecast,
    ForecastPoint,
    HeldOutForecast,
    Interval,
    Region,
    RequiredSamples,
    Shard,
    SizeLaw,
)

MOST_AT = 2
"""Sizes that the answer names by default; the table has the others."""
MOST_CURVES = 3
"""Curves whose forecasts stand in one sentence."""


# ---------------------------------------------------------------- the answer


def answer(
    forecast: Forecast, subject: Analysis | Fit | None = None, requested: Sequence[float] = ()
) -> str:
    """The first line: "10x the data: 8.1 % [7.2, 9.4]; 5 % is not reachable with this family".

    ``subject`` is what was forecast from: it says whether errors are rates, and its law is the
    answer where no forecast was requested. ``requested`` are the sizes to name, by default the
    farthest."""
    fit = _fit(subject)
    how = numbers.forecast_scale(forecast, fit)
    none = "" if forecast.outcome == "ok" else f"No forecast: {_outcome(forecast.outcome, fit)}"
    if none and (forecast.outcome != "not a power law" or not forecast.at):
        return none
    parts = _at_phrases(forecast, how, numbers.largest_measured(fit), requested)
    parts += [target_phrase(t, how, forecast.unit, fit) for t in forecast.targets]
    if none:  # before any number
        return f"{none}; the last points are extended: {'; '.join(parts)}"
    if parts:
        return "; ".join(parts)
    return slope_sentence(fit) if fit is not None else "No forecast was requested"


def several_answers(curves: Mapping[str, tuple[Forecast, Fit]]) -> str:
    """The first line of a page of several curves: the farthest forecast of each."""
    if len(curves) > MOST_CURVES:
        return f"{len(curves)} curves, each with its forecast below"
    lines = []
    for name, (forecast, fit) in curves.items():
        farthest = sorted(forecast.at, key=lambda a: a.factor)[-1:]
        lines.append(f"{name}: {answer(replace(forecast, at=tuple(farthest), targets=()), fit)}")
    return "; ".join(lines)


def caveat(forecast: Forecast) -> str:
    """The second line: the largest caveat, a sentence with a full stop."""
    return sentence(forecast.caveat) if forecast.caveat else ""


def unfinished_sentence(analysis: Analysis) -> str:
    """That the search has not come to its end, and what is missing; '' where nothing is."""
    shards = [s for s in analysis.shards if not s.held_out]
    fits = {(b.permutation, b.samples): b for b in analysis.best_fits}
    found = [(s, fits.get((s.permutation, s.samples))) for s in shards]
    few = [s for s, b in found if b and "incomplete" in b.flags and not b.withheld]
    open_ = [s for s, b in found if b and b.withheld and b.withheld != ONE_SEED]
    rough = [s for s, b in found if b and "rough" in b.flags]
    once = [s for s, b in found if b and b.withheld == ONE_SEED]
    none = [s for s, b in found if b is None]

    def which(some: Sequence[Shard]) -> str:
        sizes = joined([numbers.exact(m) for m in sorted({s.samples for s in some})])
        return f"{sizes} {analysis.unit}"

    parts = []
    if few:
        have = "has" if len(few) == 1 else "have"
        parts.append(f"{len(few)} of {len(shards)} shards {have} fewer seeds than requested")
    if open_:
        parts.append(
            f"at {which(open_)} too few trials ended to choose the best model: in the "
            "fit as an upper bound"
        )
    if rough:
        parts.append(
            f"at {which(rough)} too few trials ended to choose the best model; it is in the fit "
            "with a wide error, since too few shards remain without it"
        )
    if none:
        parts.append(f"no model has finished training on {which(none)}")
    text = f"The search is unfinished: {'; '.join(parts)}." if parts else ""
    if once:
        text += (
            f" At {which(once)} one seed is too few to choose the best model: in the fit as an "
            "upper bound."
        )
    return text.strip()


def _fit(subject: Analysis | Fit | None) -> Fit | None:
    if isinstance(subject, Analysis):
        return subject.headline.fit if subject.curves else None
    return subject


def _at_phrases(
    forecast: Forecast, how: Scale, largest: float | None, requested: Sequence[float]
) -> list[str]:
    """The requested sizes, or the farthest ones, nearest first."""
    chosen = sorted(forecast.at, key=lambda a: a.factor)
    chosen = [a for a in chosen if a.samples in requested] or chosen[-MOST_AT:]
    phrases = []
    for i, at in enumerate(chosen):
        found = numbers.estimate(at.error, at.lower, at.upper, how)
        place = _place(at, forecast.unit, largest, first=i == 0)
        phrases.append(f"{place}: {numbers.named(how) if i == 0 else ''}{found}")
    return phrases


def _place(at: ForecastPoint, unit: str, largest: float | None, first: bool) -> str:
    times = at.samples / largest if largest else at.factor
    if times < 1.0 or abs(times - round(times, 1)) > 0.001 * times:
        return f"{numbers.count(at.samples)} {unit}"
    return f"{numbers.factor(times)} the data" if first else numbers.factor(times)


def target_phrase(found: RequiredSamples, how: Scale, unit: str, fit: Fit | None = None) -> str:
    """One target's answer: what it takes, or that it cannot be reached. ``fit`` knows whether a
    size that was measured has reached it."""
    goal = numbers.target(found.target, how)
    needed = Interval(found.samples, found.lower, found.upper)
    if found.outcome in UNTOLD:
        return untold_phrase(goal, found.outcome, needed, found.unreachable, unit)
    if found.samples is None:
        return f"{goal}: no answer"
    shown = f"{numbers.counts(needed, found.smallest)} {unit}"
    if found.outcome == ALREADY_REACHED and _seen(found, fit):
        return f"{goal} is reached at {shown}, within the data"
    if found.outcome == ALREADY_REACHED:
        return (
            f"{goal} needs {shown}, which is within the data at hand, though none of the sizes "
            "measured reached it"
        )
    times = f" ({numbers.factor(found.factor)} the data)" if found.factor else ""
    return f"{goal} needs {shown}{times}"


def _seen(found: RequiredSamples, fit: Fit | None) -> bool:
    """Whether a target within the data is met there for sure: by a size that was measured, or with
    all of its interval. Without a fit nobody knows of a doubt."""
    if fit is None or not fit.points or fit.at_hand is None:
        return True
    whole = found.upper is not None and found.upper <= fit.at_hand
    return whole or any(p.error <= found.target for p in fit.points)


UNTOLD = (NOT_REACHABLE, PERHAPS_NOT, BEYOND_REACH, ALREADY_MET)
"""Outcomes of a target without a number of samples."""


def untold_phrase(goal: str, outcome: str, samples: Interval, unreachable: float, unit: str) -> str:
    """One of these outcomes in words."""
    if outcome == ALREADY_MET:
        return f"{goal} is {ALREADY_MET}, {numbers.exact(samples.value)} {unit}"
    if outcome == NOT_REACHABLE:
        return f"{goal} is not reachable with this family"
    far = "more than a million times the data"
    least = "" if samples.lower is None else f"{numbers.count(samples.lower, 2)} {unit}"
    if outcome == BEYOND_REACH:
        return f"{goal} is beyond reach ({far}{f', at least {least}' if least else ''})"
    perhaps = f"{goal} is probably out of reach for this family"
    probability = f"(probability {numbers.share(unreachable)})"
    return f"{perhaps} {probability}; otherwise it takes at least {least or far}"


def _outcome(outcome: str, fit: Fit | None) -> str:
    reasons = {
        "too few points": "too few training-set sizes to fit a law",
        "not a power law": "the error does not fall as a power law of the data",
        "not converged": "no law's fit converged",
        "bound hit": "every law's fit ended at a bound of its parameters",
    }
    if fit is not None and fit.beta_g_reason and outcome == "not a power law":
        return f"{fit.beta_g_reason}{_turns(fit)}, so no law was fitted"
    return reasons.get(outcome, outcome)


def few_sizes(count: int, measured: int) -> str:
    """What ``count`` different sizes, of those ``measured`` the ones that a law can be fitted to,
    cannot show; '' where they are enough for a fit."""
    if count == 0:  # sizes that were measured may all be left out
        return "No training-set size could be used; a law needs at least three."
    sizes = "1 size is" if count == 1 else f"{count} sizes are"
    if measured > count:
        sizes = f"{count} of {measured} sizes {'is' if count == 1 else 'are'} usable,"
    if count < 3:
        return f"{sizes} too few to fit a law; at least three are needed."
    if count == 3:
        return f"{sizes} too few to test a law; the intervals rest on prior assumptions."
    return ""


def _turns(fit: Fit) -> str:
    """The first, the lowest and the last error, where there are any."""
    if not fit.used:
        return ""
    how, lowest = numbers.fit_scale(fit), min(fit.used, key=lambda p: p.error)
    shown = dict.fromkeys(sorted((fit.used[0], lowest, fit.used[-1]), key=lambda p: p.samples))
    errors = [f"{numbers.measured(p.error, how)} at {numbers.exact(p.samples)}" for p in shown]
    return f" ({', '.join(errors)} {fit.unit})"


# ---------------------------------------------------------------- the fit


def slope_sentence(fit: Fit) -> str:
    """beta_g with where it holds, and what twice the data brings from the largest size on; or why
    they are not measured."""
    if fit.outcome != "ok":
        return f"No exponent: {_outcome(fit.outcome, fit)}"
    if fit.beta_g is None or fit.beta_g.value is None:
        first = f"beta_g is not measured: {fit.beta_g_reason or _outcome(fit.outcome, fit)}"
    else:
        first = f"beta_g = {numbers.interval(fit.beta_g)}{_where_it_holds(fit)}"
    return f"{first}{_doubling(fit)}"


def _where_it_holds(fit: Fit) -> str:
    """The region of an exponent that is not that of all points."""
    power = next((r for r in shown_regions(fit) if r.name == "power-law"), None)
    ends = (
        [b.value if power and b and b.value else None for b in (power.start, power.end)]
        if power
        else [None, None]
    )
    inside = [p for p in fit.used if (ends[0] or 0.0) <= p.samples <= (ends[1] or p.samples)]
    if not inside or len(inside) == len(fit.used):
        return ""
    first, last = (numbers.count(p.samples) for p in (inside[0], inside[-1]))
    return f" from {first} to {last} {fit.unit} ({len(inside)} of {len(fit.used)} points)"


def _doubling(fit: Fit) -> str:
    """What twice the data takes off the error, from the largest size on."""
    gain = fit.doubling
    if gain is None or gain.value is None or fit.reference is None:
        return ""
    found = numbers.estimate(gain.value, gain.lower, gain.upper, PERCENT)
    size = f"{numbers.count(fit.reference)} {fit.unit}"
    return (
        f"; from {size} on, twice the data takes {found} off the {numbers.scale(fit.metric).fitted}"
    )


def fit_lines(fit: Fit) -> list[str]:
    """A fit in sentences: the slope, what was done to its input, laws, points, noise."""
    own = [note for note in fit.notes if note not in fit.warnings]
    lines = [*fit.warnings, slope_sentence(fit), power_law_sentence(fit), *own]
    if fit.laws:
        lines.append(weights_sentence(fit))
    if fit.supports:
        lines.append(fit.supports)
    lines += [points_sentence(fit), *region_sentences(fit), *noise_sentences(fit)]
    return [sentence(line) for line in lines if line]


def weights_sentence(fit: Fit) -> str:
    """Which laws carry the evidence, '' where the points are too few for any."""
    if len(fit.used) <= 3:
        return ""
    heavy = [law for law in fit.laws if law.weight >= 0.005]
    weights = [f"{law.law} {numbers.share(law.weight)}" for law in heavy]
    rest = sum(law.weight for law in fit.laws if law not in heavy)
    weights += [f"the other laws {numbers.share(rest)}"] if rest >= 0.005 else []
    text = f"Evidence among the laws: {', '.join(weights)}"
    untested = [law.law for law in heavy if law.outcome == "too few points"]
    if untested:
        text += f" (that of {joined(untested)} mostly its prior: the points are too few to test it)"
    return text


def points_sentence(fit: Fit) -> str:
    """How many points were used, from where to where, and why the others were not."""
    used = fit.used
    if not used:
        if len(fit.points) == 1:
            return "The one point could not be used"
        return f"None of the {len(fit.points)} points could be used"
    first, last = (numbers.exact(p.samples) for p in (used[0], used[-1]))
    place = first if len(used) == 1 else f"{first} to {last}"
    text = f"{len(used)} of {len(fit.points)} points used, {place} {fit.unit}"
    bounds = fit.bounds
    left_out = [p for p in fit.points if not p.used and p not in bounds]
    for what, some in (("upper bounds", bounds), ("left out", left_out)):
        reasons = Counter(p.reason for p in some)
        if reasons:
            text += f"; {what}: " + ", ".join(
                f"{n} ({why})" if " " in why else f"{n} {why}" for why, n in reasons.items()
            )
    return text


SURE = 0.9
"""Probability from which on a region is drawn; points are left out of beta_g from there, too."""


def shown_regions(fit: Fit) -> list[Region]:
    """The regions to draw: the power law, up to neighbours that are nearly certain."""
    sure = {r.name for r in fit.regions if r.probability >= SURE}
    return [
        replace(
            r,
            start=r.start if r.name != "power-law" or "small-data" in sure else None,
            end=r.end if r.name != "power-law" or "irreducible-error" in sure else None,
        )
        for r in fit.regions
        if r.name in sure
    ]


def _likely_regions(fit: Fit) -> list[Region]:
    """The regions to speak of, with their probability: more likely there than not."""
    return [r for r in fit.regions if r.probability >= 0.5]


def power_law_sentence(fit: Fit) -> str:
    """The power-law region, as far as its ends are nearly certain: beta_g is the slope there."""
    found = next((r for r in shown_regions(fit) if r.name == "power-law"), None)
    if found is None:
        return ""
    start, end = (b.value if b and b.value else None for b in (found.start, found.end))
    inside = [p for p in fit.used if (start or 0.0) <= p.samples <= (end or p.samples)]
    if len(inside) == len(fit.used):
        if len(_likely_regions(fit)) > 1:
            n = len(inside)
            return f"power-law region: its ends are uncertain, beta_g is the slope of all {n}"
        first, last = (numbers.exact(p.samples) for p in (fit.used[0], fit.used[-1]))
        return f"power-law region: all {len(inside)} points, {first} to {last} {fit.unit}"
    if fit.beta_g is None:
        return "power-law region: none was found"
    places = [f"from {numbers.counts(found.start)}"] if start else []
    places += [f"up to {numbers.counts(found.end)}"] if end else []
    return (
        f"power-law region: {' '.join(places)} {fit.unit}, {len(inside)} of the {len(fit.used)} "
        "points, of which beta_g is the slope"
    )


def region_sentences(fit: Fit) -> list[str]:
    """Where the neighbours of the power-law region begin and end, and how sure they are."""
    lines = []
    for region in _likely_regions(fit):
        sure = numbers.share(region.probability)
        if region.name == "small-data" and region.end is not None:
            place = f"up to {numbers.counts(region.end)} {fit.unit}"
        elif region.name == "irreducible-error" and region.start is not None:
            place = f"from {numbers.counts(region.start)} {fit.unit}"
        else:
            continue
        lines.append(f"{region.name} region {place} (probability that there is one: {sure})")
    return lines


def noise_sentences(fit: Fit) -> list[str]:
    """The parts of the noise that are known, in percent of the error."""
    noise = fit.noise
    parts = []
    if noise.scatter is not None:
        point = f"{numbers.measured(noise.scatter, PERCENT, 2)} for one typical point"
        mean = fit.runs is not None and fit.runs > 1
        parts.append(f"{point}, a mean of {fit.runs} runs" if mean else point)
    if noise.replicate is not None:
        replicate = numbers.measured(noise.replicate, PERCENT, 2)
        where = "replicates of the largest size" if noise.replicate_growth else "replicates"
        parts.append(f"{replicate} between {where} ({noise.replicate_df} degrees of freedom)")
    if noise.validation is not None:
        common = numbers.measured(noise.validation, PERCENT, 2)
        parts.append(f"{common} shared by all points through the one validation set")
    of = numbers.scale(fit.metric).fitted
    return [f"Noise, as a share of the {of}: {', '.join(parts)}"] if parts else []


# ---------------------------------------------------------------- a study


def definition(name: str) -> str:
    """A definition of the best size as one item of a list: without a comma in it."""
    return name.replace(",", "")


def size_sentence(name: str, law: SizeLaw) -> str:
    """beta_p by one definition of the best-fit size, or why it is not measured."""
    if law.outcome != "ok":
        return sentence(f"beta_p ({definition(name)}) is not measured: {law.reason}")
    points = f"{law.two_sided} shards where that size lies inside the ladder"
    if law.censored:
        points += f" and {law.censored} where it is at an edge"
    if law.places:
        points = f"the errors of {law.places} places (model size, training-set size)"
    return f"beta_p ({name}) = {numbers.interval(law.beta_p)}, from {points}."


SAME_ITEMS = (
    "A held-out forecast is of an error on the same validation set: its interval lacks that set's "
    "own error, which those of all other answers have."
)
VERDICTS = {True: "inside the interval", False: "outside the interval"}


def held_out_sentence(found: HeldOutForecast, how: Scale, unit: str) -> str:
    """The forecast and the truth that met it."""
    place = f"{numbers.exact(found.samples)} {unit}"
    at = found.forecast
    expected = numbers.estimate(at.error, at.lower, at.upper, how)
    when = ", made after its training had begun" if found.afterwards else ""
    text = f"Forecast for the held-out {place}{when}: {expected}"
    if found.error is None:
        return f"{text}; not yet measured{f' ({found.remark})' if found.remark else ''}."
    verdict = found.remark if found.inside is None else VERDICTS[found.inside]
    return f"{text}; measured: {numbers.measured(found.error, how)}, {verdict}."


def held_out_sentences(analysis: Analysis) -> list[str]:
    """The same of all held-out shards of a study; another metric than that of the headline is
    named."""
    if not analysis.curves:
        return []
    scales = {c.metric: numbers.forecast_scale(c.forecast, c.fit) for c in analysis.curves[::-1]}
    shown = []
    for metric, found in analysis.headline_forecasts:
        text = held_out_sentence(found, scales[metric], analysis.unit)
        if metric != analysis.headline.metric:
            text = f"Of {scales[metric].label}: {text}"
        shown.append(text + _better_model(analysis, metric, found, scales[metric]))
    waiting = any(c.error is None for c in analysis.confrontations)
    if waiting and analysis.headline.fit.noise.validation:
        shown.append(SAME_ITEMS)
    met = {c.samples for c in analysis.confrontations}
    missing = [b.samples for b in analysis.best_fits if b.held_out and b.samples not in met]
    if missing:
        places = joined([numbers.exact(samples) for samples in missing])
        why = "too few training-set sizes to fit a law, or none that could be fitted"
        shown.append(f"Nothing was forecast for the held-out {places} {analysis.unit}: {why}.")
    return shown


def _better_model(analysis: Analysis, metric: str, found: HeldOutForecast, how: Scale) -> str:
    """Of a held-out shard that was searched later: its best fit, where that is another model than
    the one that confronts the forecast."""
    for b in analysis.best_fits:
        model = b.best.size, b.best.hyperparameters
        if b.samples != found.samples or model == (found.size, found.hyperparameters):
            continue
        error = b.best.score if metric == analysis.metric else dict(b.metrics).get(metric)
        if found.error is None or not isinstance(error, float) or error >= found.error:
            continue
        at = found.forecast
        inside = at.lower is None or at.upper is None or at.lower <= error <= at.upper
        verdict = "inside it, too" if inside else "outside it"
        return (
            f" That is the model of size {found.size} that was chosen beforehand; the best one "
            f"trained there, of size {b.best.size}, has {numbers.measured(error, how)}, {verdict}."
        )
    return ""


def unmeasured_sentence(analysis: Analysis) -> str:
    """Which part of the noise a study with one draw of the data cannot know."""
    if any(shard.permutation > 0 for shard in analysis.shards):
        return ""
    return (
        "One draw of the data was made: what another draw would change is not measured, "
        "and no interval here contains it except through the scatter about the law."
    )


def study_lines(analysis: Analysis) -> list[str]:
    """A study for a terminal: answer, caveat, best-fit models, exponents, forecast, truth."""
    if not analysis.curves:
        return ["No forecast: no shard has a finished model yet."]
    first, chosen = analysis.headline, analysis.curves[0]
    lines = [sentence(answer(first.forecast, analysis)), caveat(first.forecast)]
    if first is not chosen:
        lines.append(switch_sentence(analysis.metric, first.metric))
    if unfinished := unfinished_sentence(analysis):
        lines.insert(1, unfinished)
    lines += [*first.fit.notes, ""]
    lines += [study_table(analysis).text(), ""]
    if analysis.baseline is not None:
        lines[-1:] = [baseline_sentence(analysis), ""]
    lines.append(sentence(slope_sentence(first.fit)))
    if not analysis.one_model:
        lines += [size_sentence(name, law) for name, law in analysis.size_laws[:1]]
    if first.forecast.at or first.forecast.targets:
        lines += ["", forecast_table(first.forecast, first.fit).text(), ""]
    lines += held_out_sentences(analysis)
    flagged = [f for f in analysis.findings if f.severity != "note"]
    if flagged and first is not chosen:
        lines.append(findings_sentence(analysis.metric))
    lines += [sentence(f"{f.severity} ({f.kind}): {f.where}: {f.evidence}") for f in flagged]
    return lines


def tuning_sentence(analysis: Analysis) -> str:
    """How far the points may be above those of the best models, and what that does to beta_g."""
    found = analysis.tuning
    if found is None:
        return ""
    ends = [
        f"{numbers.share(below)} (at most {numbers.share(most)}) off the error on "
        f"{numbers.exact(samples)} {analysis.unit}"
        for samples, below, most in list(
            zip(found.samples, found.below, found.at_most, strict=True)
        )[:: len(found.samples) - 1]
    ]
    moved = numbers.interval(found.beta_g)
    return (
        "Tuning: among the sizes and hyperparameters tried (and one step beyond a list whose end "
        f"is best), a better model would take {ends[0]} and {ends[1]}. That would add {moved} to "
        "beta_g, whose interval includes it."
    )


def switch_sentence(chosen: str, shown: str) -> str:
    """That an answer is about another metric than the one by which models were chosen."""
    by, about = numbers.scale(chosen).label, numbers.scale(shown).label
    return f"Models are chosen by {by}; the answer is about their {about}."


def serious_sentence(findings: Sequence[Finding]) -> str:
    """The serious findings by kind and place, beside an answer that they put in doubt; '' where
    there are none. Shards of unfinished searches have a sentence of their own."""
    places: dict[str, list[str]] = {}
    for found in findings:
        if found.severity == "serious" and found.kind != "unfinished":
            places.setdefault(found.kind, []).append(found.where)
    told = {"edge": "the best size is the largest tried"}
    named = "; ".join(f"{told.get(k, k)} ({', '.join(where)})" for k, where in places.items())
    return f"In doubt: {named}. 'steep diagnose' says why, and what to do." if named else ""


def findings_sentence(chosen: str) -> str:
    """That findings are about the metric that selects, where answers are about another one."""
    return f"Findings are about {numbers.scale(chosen).label}, by which models are chosen."


def baseline_sentence(analysis: Analysis) -> str:
    """What a simple method reaches on the smallest and the largest shard."""
    found = analysis.baseline
    if found is None:
        return ""
    how = numbers.scale(found.metric)
    ends = [found.values[0], *found.values[1:][-1:]]
    shown = [f"{numbers.measured(v, how)} {how.label} on {numbers.exact(m)}" for m, v in ends]
    guess = dict(analysis.best_guess).get(found.metric)
    most = (
        ""
        if guess is None
        else f"; always the most frequent: {numbers.measured(float(guess), how)}"
    )
    return sentence(
        f"For comparison, {found.what}, without training: {joined(shown)} {analysis.unit}{most}"
    )


def joined(words: Sequence[str]) -> str:
    """a, b and c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(text: str) -> str:
    """``text`` with a capital (unless it starts with a symbol such as beta_g) and a full stop."""
    text = text.strip()
    if not text:
        return ""
    first = text.split()[0]
    if first.replace("-", "").isalpha():
        text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else f"{text}."


def no_break(text: str) -> str:
    """No line break between a number and its unit, nor inside an interval: hard spaces there."""
    text = re.sub(r"\[[^\[\]]{1,40}\]", lambda found: found[0].replace(" ", "\u00a0"), text)
    text = re.sub(r"(?<=\d) (?=[%\[]|nats|bits|[kMGTPEZ]?FLOPs)", "\u00a0", text)
    return re.sub(r"(?<=\w) = ", "\u00a0=\u00a0", text)
