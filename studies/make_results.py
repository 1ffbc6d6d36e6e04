"""Makes every fit, table and figure of studies/results anew, from the tables of each study there.

    python studies/make_results.py

A study's folder becomes tables by `steep report FOLDER --publish studies/results/NAME`. A test
makes all of this in memory and fails where it differs from what is committed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from steep.analysis.published import Published
from steep.analysis.result_tables import result_files
from steep.cli.answers import Source
from steep.cli.comparisons import comparison_of
from steep.present import numbers
from steep.records import Analysis, Interval
from steep.report import export_figures

RESULTS = Path(__file__).parent / "results"
FIGURE = "learning_curve.png"
MEASURED_BEFORE = {
    ("words", "cross_entropy", ""): ("-0.066", "0.68"),
    ("characters", "cross_entropy", "sgd"): ("-0.094", "0.78"),
    ("characters", "cross_entropy", "adam"): ("-0.095", "0.92"),
    ("translation", "error", ""): ("-0.128", "0.68"),
    ("images", "error", ""): ("-0.309", "0.57"),
    ("images", "cross_entropy", ""): ("-0.35", "0.57"),
    ("speech", "error", ""): ("-0.299", "0.54"),
}
"""(domain, metric, optimizer where it matters) -> beta_g and beta_p of Hestness et al. 2017, or of
Hestness, Ardalani & Diamos 2019, for far more data. To look at, not to be judged by."""

HEAD = """# What the studies found

Made by `python studies/make_results.py` from the tables in these folders; each spec in `studies`
says what it took to measure them. Brackets: 90 % intervals. The paper's exponents (Hestness et
al. 2017; beta_p by their paper of 2019) are of other data, a hundred to ten thousand times as much.

| study | training sets | error | beta_g | theirs | beta_p | theirs | held out: forecast, measured |
|---|---|---|---|---|---|---|---|
"""


def names() -> list[str]:
    return sorted(folder.name for folder in RESULTS.iterdir() if (folder / "study.json").exists())


def files(name: str) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of everything that is made for one study."""
    study = Published.open(RESULTS / name)
    found = study.analyse()
    for file, text in result_files(found).items():
        yield file, text.encode()
    for file, data in export_figures(found, ()):
        if file == FIGURE:
            yield file, data


def page() -> str:
    """The page of all studies: exponents beside the paper's, and comparisons inside a domain."""
    studies = {name: Published.open(RESULTS / name) for name in names()}
    found = {name: study.analyse() for name, study in studies.items()}
    rows = "".join(_row(name, studies[name], made) for name, made in found.items())
    return HEAD + rows + "".join(_comparisons(found))


def _row(name: str, study: Published, made: Analysis) -> str:
    fit = made.curves[0].fit
    how = numbers.fit_scale(fit)
    ends = [numbers.count(p.samples) for p in (fit.points[0], fit.points[-1])]
    law = dict(made.size_laws)["smallest adequate"]
    optimizers = {dict(b.best.hyperparameters).get("optimizer") for b in made.best_fits}
    key = [(made.domain, made.metric, str(o)) for o in optimizers] + [
        (made.domain, made.metric, "")
    ]
    beta_g, beta_p = next((MEASURED_BEFORE[k] for k in key if k in MEASURED_BEFORE), ("", ""))
    errors = [p.error for p in fit.points]
    cells = [
        f"[{name}]({name})",
        f"{ends[0]} to {ends[1]} {made.unit}",
        f"{numbers.measured(errors[0], how)} to {numbers.measured(errors[-1], how)}",
        _exponent(fit.beta_g),
        beta_g,
        _exponent(law.beta_p) if law.outcome == "ok" else "not measured",
        beta_p,
        "; ".join(_confronted(made)) or "none",
    ]
    return f"| {' | '.join(cells)} |\n"


def _exponent(found: Interval | None) -> str:
    return numbers.interval(found) if found is not None else "not measured"


def _confronted(made: Analysis) -> Iterator[str]:
    how = numbers.fit_scale(made.curves[0].fit)
    for c in made.confrontations:
        told = numbers.estimate(c.forecast.error, c.forecast.lower, c.forecast.upper, how)
        yield f"{told}, {numbers.measured(c.error, how)}"


def _comparisons(found: dict[str, Analysis]) -> Iterator[str]:
    domains = defaultdict(list)
    for name, made in found.items():
        domains[(made.domain, made.metric)].append(name)
    for (domain, _), members in domains.items():
        if len(members) < 2:
            continue
        told = comparison_of([Source(str(RESULTS / name)) for name in members])
        yield f"\n## {domain}: {', '.join(members)}\n\n{told.sentence}\n"
        for pair in told.pairs if len(members) > 2 else ():  # the sentence of two says it
            yield f"\n**{pair.first} against {pair.second}.** {' '.join(pair.sentences)}\n"
        for note in told.notes:
            yield f"\n{note}\n"


def main() -> None:
    for name in names():
        for file, content in files(name):
            (RESULTS / name / file).write_bytes(content)
            print(f"{name}/{file}")
    (RESULTS / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
