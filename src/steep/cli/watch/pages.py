"""The pages of what is watched: sections of the report, and what only a live page has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from steep import __version__
from steep.present import figures, live, numbers
from steep.present.drawing import Drawing
from steep.present.figures import NARROW
from steep.present.learning import learning_curve, learning_curves
from steep.present.tables import overview_table
from steep.records import ENDED, Curve
from steep.records.live import LiveState, TrialRecord
from steep.report import Page, Section, asset, environment, figures_json, shown_figure

POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'"
)
"""What an exported page may load: its script and its style sheet, nothing else."""
LIVE = "Learning curve, live"
STUDIES = "All studies"

Links = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Part:
    """A part of a page that is replaced as a whole when it changes."""

    name: str
    html: Markup
    title: str = ""
    """Of the link to it; '' has none."""
    anchor: str = ""

    @property
    def digest(self) -> str:
        return _digest(self.html)


@cache
def _digest(html: str) -> str:
    return hashlib.sha256(html.encode(errors="surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True)
class View:
    """One page."""

    title: str
    status: str
    """How what it shows stands, in some words."""
    parts: tuple[Part, ...]
    trail: Links = ()
    """Texts and places of the pages above this one, and of this one without a place."""
    final: bool = False
    """Whether nothing is expected to change any more."""
    gallery: bool = False

    def state(self) -> dict[str, Any]:
        """What the page's script asks for every two seconds."""
        return {
            "title": self.title,
            "status": self.status,
            "final": self.final,
            "parts": [[part.name, part.digest] for part in self.parts],
            "steps": [[part.anchor, part.title] for part in self.parts if part.title],
        }


@dataclass(frozen=True)
class Card:
    """A study among others."""

    name: str
    about: str
    answer: str
    state: str
    curve: Curve | None = None
    final: bool = False
    """Whether nothing of it is expected to change any more."""


# ---------------------------------------------------------------- rendering


@cache
def _templates() -> Any:
    return environment()


@cache
def _macros() -> Any:
    return _templates().get_template("parts.html").module


def html_of(view: View, path: str, served: bool) -> str:
    """A whole page as HTML; ``served`` by steep watch, where it keeps itself up to date, or not."""
    depth, name = path.count("/"), path.rpartition("/")[2]
    text: str = (
        _templates()
        .get_template("watch.html")
        .render(
            view=view,
            live=served,
            state=quote(name.removesuffix(".html") + ".json"),
            root="../" * depth,
            policy=POLICY,
            version=__version__,
        )
    )
    return text


@cache
def assets() -> dict[str, str]:
    """The style sheet and the script of all pages, by file name."""
    templates = _templates()
    style = figures.style([])
    return {
        "watch.css": f"{asset(templates, 'report.css')}{style}\n{asset(templates, 'watch.css')}",
        "watch.js": f"{asset(templates, 'report.js')}\n{asset(templates, 'watch.js')}",
    }


def top_part(page: Page) -> Part:
    return Part("top", Markup(_macros().top(page)))


def section_part(section: Section) -> Part:
    html = _macros().part(section)
    return Part(section.name, _with_figures(html, section.drawings), section.title, section.name)


def _with_figures(html: str, drawings: Sequence[Drawing]) -> Markup:
    """A part with the colours of its figures, and what hovering needs to know of them."""
    data, colours = ("", "")
    if drawings:
        data, colours = figures_json(drawings), figures.style(drawings)
    return Markup(_macros().with_figures(html, Markup(data), Markup(colours)))


def trouble_part(text: str) -> Part:
    """What keeps the page from being up to date."""
    return section_part(Section("trouble", "Not up to date", lines=(text,)))


# ---------------------------------------------------------------- a study


def study_view(
    page: Page,
    state: LiveState,
    sections: Sequence[Part],
    trail: Links,
    trouble: str | None,
    waiting: str,
    published: bool,
) -> View:
    """The first page of a study. ``sections`` are those of its report, ``waiting`` says what is
    still being computed."""
    rows = state.standing.rows
    going = not published and is_going(state)
    status = waiting or live.headline(rows)
    if state.standing.complete and not waiting and not going:
        status = f"Complete: {status}"
    parts = [top_part(page), *([] if trouble is None else [trouble_part(trouble)])]
    parts += _now(state) if going else []
    if lines := live.trouble_lines(rows, state.unit):
        parts.append(section_part(Section("failures", "Did not go well", lines=tuple(lines))))
    parts += [*sections, section_part(_newest_trials(state))]
    title = f"{page.study}: {live.headline(rows)}"
    return View(title, status, tuple(parts), trail, final=not going and not waiting)


def is_going(state: LiveState) -> bool:
    """Whether a study runs, or will: its search is not complete."""
    return bool(state.running) or not state.standing.complete


def _now(state: LiveState) -> list[Part]:
    """Progress, what runs, what waits."""
    how = numbers.scale(state.metric or "error", _largest(state))
    links = _trial_links(state)
    html = _macros().progress(live.facts(state), live.shares(state.standing.rows))
    parts = [Part("progress", Markup(html), "Progress", "progress")]
    if state.running:
        drawing = live.running_curves(state.running, how, state.unit)
        drawings = () if drawing is None else (drawing,)
        section = Section(
            "running",
            "Running now",
            figures=tuple(shown_figure(d) for d in drawings),
            tables=(live.running_table(state.running, how, state.unit, links),),
            drawings=drawings,
        )
        parts.append(section_part(section))
    if state.queue:
        table = live.queue_table(state.queue, state.unit, links)
        parts.append(section_part(Section("queue", "Queue", tables=(table,))))
    return parts


def _newest_trials(state: LiveState) -> Section:
    rows = state.standing.rows
    places = live.latest(rows, state.ends)
    table = live.trials_table(
        [(i + 1, rows[i]) for i in places],
        {m.trial.id: m for m in state.measurements},
        numbers.scale(state.metric or "error", _largest(state)),
        state.unit,
        _trial_links(state),
        "The last trials that ended",
    )
    tables = (table,) if places else ()
    every = f"All {numbers.exact(len(rows))} trials"
    links = ((every, "trials.html"),) if rows else ()
    return Section("trials", "Trials", tables=tables, links=links)


def trials_view(name: str, state: LiveState, trail: Links) -> View:
    """The page with every trial of a study."""
    rows = state.standing.rows
    table = live.trials_table(
        list(enumerate(rows, 1)),
        {m.trial.id: m for m in state.measurements},
        numbers.scale(state.metric or "error", _largest(state)),
        state.unit,
        _trial_links(state),
        "In the order of planning",
    )
    headline = live.headline(rows)
    top = Page("Trials", name, live.capital(headline), "", ())
    part = section_part(Section("trials", "All trials", tables=(table,)))
    return View(f"{name}: trials", headline, (_short_top(top), replace(part, title="")), trail,
                final=not is_going(state))  # fmt: skip


def trial_view(study: str, record: TrialRecord, state: LiveState, trail: Links) -> View:
    """The page of one trial: configuration, result, curves, log, single validation items."""
    how = numbers.scale(state.metric or "error", _largest(state))
    standing, unit = record.standing, state.unit
    title = live.trial_title(standing.trial, unit)
    drawings = [live.trial_curve(record.curve, how), live.loss_curves(record.curve)]
    drawn = tuple(d for d in drawings if d is not None)
    measured = record.measurement
    log = live.log_text(record)
    failures = tuple(
        (f"Message of attempt {one.number}", one.detail) for one in record.attempts if one.detail
    )
    sections = [
        Section("configuration", "Configuration", pairs=tuple(live.settings_pairs(record, unit))),
        Section("curves", "Curves", figures=tuple(map(shown_figure, drawn)), drawings=drawn)
        if drawn
        else None,
        Section("result", "Result", pairs=tuple(live.result_pairs(measured, how)))
        if measured is not None
        else None,
        Section("items", "Validation items", tables=(live.items_table(record.items),))
        if record.items is not None
        else None,
        Section(
            "samples",
            "What its model makes of some of them",
            tables=(live.samples_table(record.samples),),
        )
        if record.samples
        else None,
        Section(
            "log",
            "Log",
            tables=(live.attempts_table(record),) if record.attempts else (),
            texts=(*((("Notes, times in UTC", log),) if log else ()), *failures),
        )
        if record.attempts or log
        else None,
    ]
    page = Page(f"Trial {record.number} of {study}", title, "", live.trial_answer(record, how), ())
    parts = [top_part(page), *(section_part(one) for one in sections if one is not None)]
    ended = standing.status in ENDED
    return View(f"{study}: {title}", standing.status.value, tuple(parts), trail, final=ended)


def _short_top(page: Page) -> Part:
    return Part("top", Markup(_macros().short_top(page)))


def _trial_links(state: LiveState) -> dict[str, str]:
    return {row.trial.id: f"trial/{row.trial.id}.html" for row in state.standing.rows}


def _largest(state: LiveState) -> float | None:
    """The largest of the shards' lowest errors: as of a fit's points, it shows whether an error is
    a rate."""
    lowest: dict[tuple[int, float], float] = {}
    for m in state.measurements:
        if m.validation_error is not None:
            shard = m.trial.permutation, m.trial.samples
            lowest[shard] = min(m.validation_error, lowest.get(shard, m.validation_error))
    return max(lowest.values(), default=None)


# ---------------------------------------------------------------- several studies


def gallery_view(name: str, cards: Mapping[str, Card]) -> View:
    """The page of a folder of studies, by the name of their folders."""
    status = f"{len(cards)} studies" if len(cards) != 1 else "1 study"
    top = Page("Studies side by side", name, live.capital(status), "", ())
    parts = [_short_top(top)]
    parts += [_card_part(folder, card) for folder, card in cards.items()]
    parts += [section_part(section) for section in _together(cards)]
    final = all(card.final for card in cards.values())
    return View(f"{name}: studies", status, tuple(parts), ((STUDIES, ""),), final, gallery=True)


def _card_part(folder: str, card: Card) -> Part:
    drawings: tuple[Drawing, ...] = ()
    figure = None
    if card.curve is not None:
        drawing = learning_curve(card.curve.fit, card.curve.forecast, name=f"curve_{folder}")
        drawings = (drawing,)
        figure = shown_figure(drawing) | {"svg": Markup(figures.figure(drawing, (NARROW,)))}
    values = {
        "href": f"{quote(folder)}/index.html",
        "name": folder,
        "about": card.about,
        "answer": card.answer,
        "state": card.state,
        "figure": figure,
    }
    html = _macros().card(values)
    return Part(f"card-{folder}", _with_figures(html, drawings))


def _together(cards: Mapping[str, Card]) -> list[Section]:
    """One section for the studies of each metric and unit of which there are several."""
    groups: dict[tuple[str, str], dict[str, Curve]] = {}
    for folder, card in cards.items():
        if card.curve is not None:
            fit = card.curve.fit
            groups.setdefault((fit.metric, fit.unit), {})[folder] = card.curve
    sections = []
    for number, ((metric, unit), curves) in enumerate(groups.items(), 1):
        if len(curves) < 2:
            continue
        fits = {name: curve.fit for name, curve in curves.items()}
        reach = max((c.forecast.reach or 1.0 for c in curves.values()), default=1.0)
        drawing = learning_curves(fits, reach, name=f"together_{number}")
        sections.append(
            Section(
                f"together-{number}",
                f"{live.capital(numbers.scale(metric).label)} against {unit}",
                figures=(shown_figure(drawing),),
                tables=(overview_table(fits, {n: c.forecast for n, c in curves.items()}),),
                drawings=(drawing,),
            )
        )
    return sections
