"""What is watched: a study that runs, a published study, a table of results.

Each gives its pages by name: 'index', of studies also 'trials' and 'trial/ID'. Nothing is read
unless somebody asks for a page, and then at most once a second.
"""

from __future__ import annotations

import operator
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from steep.analysis.from_store import page_of
from steep.analysis.live import live_state, trial_record
from steep.analysis.published import FILE, Published
from steep.cli.answers import Source
from steep.cli.terminal import for_the_user
from steep.cli.watch import pages
from steep.cli.watch.background import Newest, Worker
from steep.cli.watch.pages import STUDIES, Card, Links, Part, View
from steep.present import live
from steep.records import Analysis, Measurement
from steep.records.live import LiveState, TrialRecord
from steep.report import Page
from steep.store.database import DATABASE
from steep.store.folder import SPEC, StoreError
from steep.store.store import Store

if TYPE_CHECKING:
    from steep.study import Study

EVERY = 1.0
"""Seconds between two looks at a store, at least."""
WORKING = "The analysis is being computed"


class Watched(Protocol):
    """A source and its pages. With ``wait``, a page is complete; else what takes long is left out
    until it is there."""

    def view(self, name: str, wait: bool = False) -> View | None:
        """The page of that name; None where there is none."""

    def card(self, wait: bool = False) -> Card: ...

    def names(self) -> Sequence[str]:
        """The names of all pages by now."""


@dataclass(frozen=True)
class Reported:
    """A study's report, in parts."""

    analysis: Analysis
    page: Page
    sections: tuple[Part, ...]


@dataclass
class Workers:
    """The threads that all sources share."""

    reader: Worker
    analyst: Worker


def workers() -> Workers:
    return Workers(Worker("reader"), Worker("analyst"))


# ---------------------------------------------------------------- a study that may run


class LiveStudy:
    """A study's folder, followed through one read-only connection."""

    def __init__(self, folder: Path, home: str, workers: Workers) -> None:
        """``home`` leads from the study's first page to that of all studies; '' where there is
        none. Raises StoreError if the folder holds no study that can be read."""
        self._folder, self._home, self._workers = folder, home, workers
        self._lock = threading.Lock()
        self._report: Newest[Reported] = Newest(workers.analyst)
        self._first, self._all = PageCache(), PageCache()
        self._opened: tuple[object, Study, Store] | None = None
        self._state: LiveState | None = None
        self._problem: str | None = None
        self._next = 0.0
        workers.reader.submit(self._read).result()
        if self._state is None:
            raise StoreError(self._problem or f"{folder} cannot be read")

    def view(self, name: str, wait: bool = False) -> View | None:
        state = self._look(wait)
        study = self._folder.name if self._opened is None else self._opened[1].spec.study
        if name == "trials":
            trail = _trail(study, "trials", self._home)
            return self._all.of((state,), lambda: pages.trials_view(study, state, trail))
        if name.startswith("trial/"):
            key = name.removeprefix("trial/")
            record = self._workers.reader.submit(lambda: self._trial(key)).result()
            if record is None:
                return None
            trail = _trail(study, f"trial {record.number}", self._home)
            return pages.trial_view(study, record, state, trail)
        if name != "index":
            return None
        trouble = self._problem or _why(self._report.error)
        trail = _trail(study, "", self._home)
        return _first_page(self._first, study, state, self._report, trail, trouble, False)

    def card(self, wait: bool = False) -> Card:
        state = self._look(wait)
        study = self._folder.name if self._opened is None else self._opened[1].spec.study
        report = self._report.value
        about = live.headline(state.standing.rows)
        return _card(study, about, report, not pages.is_going(state))

    def names(self) -> list[str]:
        trials = () if self._state is None else self._state.standing.rows
        return ["index", "trials", *(f"trial/{row.trial.id}" for row in trials)]

    def _look(self, wait: bool) -> LiveState:
        with self._lock:
            if wait or time.monotonic() >= self._next:
                self._workers.reader.submit(self._read).result()
                self._next = time.monotonic() + EVERY
            state = self._state
        assert state is not None
        ended = tuple((m.trial.id, m.status, m.steps) for m in state.measurements)
        if state.metric is not None and any(m.validation_error for m in state.measurements):
            self._report.follow((ended, state.standing.complete), self._analyse, wait)
        return state

    # ---------------------------------------------------- in the reader's thread

    def _read(self) -> None:
        from steep.plan.standing import standing

        try:
            study, store = self._open()
            self._state = live_state(store, standing(study, store, analysed=False))
            self._problem = None
        except StoreError as error:
            self._close()
            self._problem = str(error)

    def _open(self) -> tuple[Study, Store]:
        """The study and its store, opened anew if its files are others than they were."""
        from steep.study import Study

        files = _identity(self._folder / DATABASE), _content(self._folder / SPEC)
        if self._opened is None or self._opened[0] != files:
            self._close()
            study = Study.open(self._folder)
            self._opened = files, study, Store.open(self._folder, read_only=True)
        return self._opened[1:]

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[2].close()
        self._opened = None

    def _trial(self, key: str) -> TrialRecord | None:
        state = self._state
        if state is None or self._opened is None:
            return None
        try:
            return trial_record(self._opened[2], state.standing, key, state.metric or "error")
        except StoreError as error:
            self._problem = str(error)
            return None

    # ---------------------------------------------------- in the analyst's thread

    def _analyse(self) -> Reported:
        from steep.study import Study

        return _reported(*Study.open(self._folder).reported())


def _identity(path: Path) -> object:
    with suppress(OSError):
        stat = path.stat()
        return stat.st_dev, stat.st_ino
    return None


def _content(path: Path) -> object:
    """Changes whenever the file does."""
    with suppress(OSError):
        stat = path.stat()
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
    return None


# ---------------------------------------------------------------- a published study


class PublishedStudy:
    """A folder of published tables."""

    def __init__(self, folder: Path, home: str, workers: Workers) -> None:
        """As of ``LiveStudy``."""
        self._folder, self._home = folder, home
        self._report: Newest[Reported] = Newest(workers.analyst)
        self._first, self._all = PageCache(), PageCache()
        self._lock = threading.Lock()
        self._files: object = None
        self._load()

    def _load(self) -> None:
        files = tuple(_content(path) for path in sorted(self._folder.iterdir()))
        if files == self._files:
            return
        self._study = Published.open(self._folder)
        measurements = tuple(self._study.measurements())
        standing = self._study.standing(analysed=False)
        facts = self._study.about["facts"]
        unit = self._study.shards[0].unit if self._study.shards else "samples"
        self._state = LiveState(standing, (), (), measurements, {}, facts["metric"], unit)
        self._files = files

    def view(self, name: str, wait: bool = False) -> View | None:
        trouble = self._look(wait)
        study, state, report = self._study.spec.study, self._state, self._report
        if name == "trials":
            trail = _trail(study, "trials", self._home)
            return self._all.of((state,), lambda: pages.trials_view(study, state, trail))
        if name.startswith("trial/"):
            record = self._trial(name.removeprefix("trial/"))
            if record is None:
                return None
            trail = _trail(study, f"trial {record.number}", self._home)
            return pages.trial_view(study, record, state, trail)
        if name != "index":
            return None
        trail = _trail(study, "", self._home)
        return _first_page(self._first, study, state, report, trail, trouble, True)

    def card(self, wait: bool = False) -> Card:
        self._look(wait)
        rows = self._state.standing.rows
        return _card(self._study.spec.study, live.headline(rows), self._report.value, True)

    def names(self) -> list[str]:
        return ["index", "trials", *(f"trial/{m.trial.id}" for m in self._state.measurements)]

    def _look(self, wait: bool) -> str | None:
        """Read what has changed; why it cannot be read, if so."""
        problem = None
        with self._lock:
            try:
                self._load()
            except (StoreError, OSError) as error:
                problem = for_the_user(error)
        study = self._study
        self._report.follow(self._files, lambda: _reported(*study.reported()), wait)
        return problem or _why(self._report.error)

    def _trial(self, key: str) -> TrialRecord | None:
        for number, row in enumerate(self._state.standing.rows, 1):
            if row.trial.id == key:
                measured = self._state.measurements[number - 1]
                return TrialRecord(number, row, "", measured.curve, measured)
        return None


# ---------------------------------------------------------------- a table


class WatchedTable:
    """A table of results, read again whenever its file changes."""

    def __init__(self, source: Source, workers: Workers) -> None:
        """Raises TableError, or QuestionError for options that do not go with it."""
        self._source = source
        self._page: Newest[Page] = Newest(workers.analyst, share=1.0)  # who edits it waits
        self._look(wait=True)
        if self._page.error is not None:
            raise self._page.error

    def view(self, name: str, wait: bool = False) -> View | None:
        if name != "index":
            return None
        self._look(wait)
        page = self._page.value
        assert page is not None
        trouble = _why(self._page.error)
        parts = [pages.top_part(page), *([] if trouble is None else [pages.trouble_part(trouble)])]
        parts += [pages.section_part(section) for section in page.sections]
        status = "Read again when the file changes" if trouble is None else "Not up to date"
        return View(page.study, status, tuple(parts), ((page.study, ""),))

    def card(self, wait: bool = False) -> Card:
        raise NotImplementedError("a folder's tables are not watched")

    def names(self) -> list[str]:
        return ["index"]

    def _look(self, wait: bool = False) -> None:
        self._page.follow(_content(Path(self._source.path)), self._read, wait)

    def _read(self) -> Page:
        from steep.cli.reports import table_page

        return table_page(self._source)[0]


# ---------------------------------------------------------------- what they share


def _reported(analysis: Analysis, measurements: list[Measurement]) -> Reported:
    page = page_of(analysis, measurements)
    return Reported(analysis, page, tuple(map(pages.section_part, page.sections)))


class PageCache:
    """A page, made once for all requests that would get the same one."""

    def __init__(self) -> None:
        self._last: tuple[tuple[object, ...], View] | None = None

    def of(self, made_of: tuple[object, ...], make: Callable[[], View]) -> View:
        """The last page if it was made of these very objects, else a new one."""
        last = self._last
        if last is None or not all(map(operator.is_, last[0], made_of)):
            last = self._last = made_of, make()
        return last[1]


def _first_page(
    kept: PageCache,
    study: str,
    state: LiveState,
    report: Newest[Reported],
    trail: Links,
    trouble: str | None,
    published: bool,
) -> View:
    """A study's first page."""
    reported, waiting = report.value, report.busy and report.value is None

    def make() -> View:
        page = _before(study, state) if reported is None else reported.page
        sections = () if reported is None else reported.sections
        text = WORKING if waiting else ""
        return pages.study_view(page, state, sections, trail, trouble, text, published)

    return kept.of((state, reported, trouble, waiting), make)


def _before(study: str, state: LiveState) -> Page:
    """The top of a study's page before its first analysis."""
    ended = bool(state.measurements)
    text = WORKING if ended else "No forecast yet: no trial has ended"
    return Page(pages.LIVE, study, "", f"{text}.", ())


def _card(study: str, state: str, report: Reported | None, final: bool) -> Card:
    if report is None:
        return Card(study, "", f"{WORKING}.", state)
    analysis = report.analysis
    curve = analysis.headline if analysis.curves else None
    return Card(study, report.page.about, report.page.answer, state, curve, final)


def _trail(study: str, page: str, home: str) -> Links:
    """Where a study's page stands: all studies, the study, the page."""
    up = "../" if page.startswith("trial ") else ""
    above = ((STUDIES, f"{up}{home}"),) if home else ()
    if not page:
        return (*above, (study, ""))
    trials = () if page == "trials" else (("Trials", f"{up}trials.html"),)
    return (*above, (study, f"{up}index.html"), *trials, (live.capital(page), ""))


def _why(error: Exception | None) -> str | None:
    """Why something could not be computed, for the reader of a page."""
    if error is None:
        return None
    return for_the_user(error) or f"steep failed with {type(error).__name__}: {error}"


def watched(folder: Path, home: str, shared: Workers) -> Watched:
    """The study in a folder. Raises StoreError."""
    kind: Callable[[Path, str, Workers], Watched]
    kind = PublishedStudy if (folder / FILE).exists() else LiveStudy
    return kind(folder, home, shared)


def is_study(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in (FILE, SPEC))
