"""``steep watch``: the pages say what the store holds and what the report says, follow a study
while it is written, and give nothing else away."""

from __future__ import annotations

import hashlib
import html
import math
import os
import re
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

import tiny
from steep.analysis.published import tables
from steep.cli.answers import Source
from steep.cli.watch import background, command, pages, server, sources
from steep.cli.watch.server import AccessPolicy, access_policy, respond
from steep.cli.watch.site import Site, exported, site_of
from steep.contracts.executor import Event, Kind
from steep.present import numbers
from steep.records import Evaluation, Measurement, Sample, Status, Trial
from steep.spec.load import QuestionError
from steep.store.folder import StoreError, read_samples, write_samples
from steep.store.store import Store
from steep.study import Study

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the synthetic trainer, complete."""
    folder = tmp_path_factory.mktemp("watched") / "study"
    values = tiny.spec(
        family={"sizes": [2, 4, 8]}, shards={"smallest": 250, "largest": 2000, "held_out": 1}
    )
    assert Study(values, folder).run(progress=False).word == "complete"
    return folder


@pytest.fixture(scope="module")
def analysed(finished: Path) -> sources.Reported:
    return sources._reported(*Study.open(finished).reported())


@pytest.fixture
def study(
    finished: Path, analysed: sources.Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of it that may change, looked at without pauses. Its analysis, which takes seconds, is
    that of the finished study, except in tests that ask for ``anew``."""
    monkeypatch.setattr(sources, "EVERY", 0.0)
    monkeypatch.setattr(background, "PAUSE", 0.0)
    monkeypatch.setattr(background, "SHARE", math.inf)
    monkeypatch.setattr(sources.LiveStudy, "_analyse", lambda _: analysed)
    return Path(shutil.copytree(finished, tmp_path / "study"))


ANALYSE = sources.LiveStudy._analyse


@pytest.fixture
def anew(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Analyse the study itself."""
    monkeypatch.setattr(sources.LiveStudy, "_analyse", ANALYSE)


@dataclass
class Running:
    """A driver that trains one more trial, and has another in its queue."""

    store: Store
    trial: Trial
    queued: Trial
    attempt: int

    def evaluates(self, step: int, error: float) -> None:
        seen = Evaluation(step, 100.0 * step, 0.5, 2 * error, 1.5 * error, error)
        assert self.store.record(Event(Kind.PROGRESS, self.trial.id, self.attempt, seen))

    def ends(self, error: float) -> None:
        curve = tuple(self.store.progress(self.trial.id))
        measured = Measurement(
            self.trial, Status.COMPLETE, validation_error=error, curve=curve, seconds=3.0,
            parameters=600, steps=20, best_step=20, flops=2e9,
        )  # fmt: skip
        assert self.store.record(Event(Kind.RESULT, self.trial.id, self.attempt, measured))


@pytest.fixture
def running(study: Path) -> Iterator[Running]:
    first = Store.open(study, read_only=True)
    with closing(first):
        like = first.rows()[0].trial
    trial, queued = replace(like, seed=77), replace(like, seed=78)
    with Store.open(study) as store:
        store.add([trial, queued], "one more seed")
        attempt = store.claim(trial, store.owner)
        assert attempt is not None
        store.record(Event(Kind.STARTED, trial.id, attempt, {"pid": os.getpid()}))
        yield Running(store, trial, queued, attempt)


def text_of(markup: str) -> str:
    """What a reader sees, with single spaces."""
    shown = re.sub(r"<(script|style)\b.*?</\1>", " ", markup, flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", shown)))


def part(site: Site, name: str, path: str = "index", wait: bool = False) -> str:
    view = site.view(path, wait)
    assert view is not None
    return next(str(one.html) for one in view.parts if one.name == name)


def names(site: Site, path: str = "index") -> list[str]:
    view = site.view(path)
    assert view is not None
    return [one.name for one in view.parts]


def site(source: Path, **options: Any) -> Site:
    return site_of(Source(str(source), **options))


# ---------------------------------------------------------------- while a study runs


def test_the_page_follows_a_study_while_it_is_written(study: Path, running: Running) -> None:
    watched = site(study)
    ended = len(Study.open(study).measurements())
    assert f"Ended {ended} of {ended + 2} trials" in text_of(part(watched, "progress"))
    assert "1 running" in text_of(part(watched, "progress"))
    shown = text_of(part(watched, "running"))
    assert f"process {os.getpid()}" in shown
    assert "seed 77" in shown
    assert "one more seed" in text_of(part(watched, "queue"))
    assert "seed 78" in text_of(part(watched, "queue"))

    digests = dict(watched.view("index").state()["parts"])  # type: ignore[union-attr]
    running.evaluates(5, 0.8125)
    running.evaluates(10, 0.625)
    shown = part(watched, "running")
    assert "62.5 %" in text_of(shown)
    assert 'data-figure="running_curves"' in shown
    after = dict(watched.view("index").state()["parts"])  # type: ignore[union-attr]
    assert after["running"] != digests["running"]
    assert after["queue"] == digests["queue"]

    running.ends(0.4375)
    assert not {"running", "progress"} & set(names(watched))  # its search was complete before
    assert f"{ended + 1} of {ended + 2} trials have ended" in watched.view("index").title  # type: ignore[union-attr]
    row = text_of(part(watched, "trials"))
    assert f"#{ended + 1}" in row
    assert "43.8 %" in row


def test_memory_is_that_of_the_workers(study: Path, running: Running) -> None:
    psutil = pytest.importorskip("psutil")
    state = site(study)._source  # type: ignore[union-attr]
    state.view("index")
    (one,) = state._state.running
    held = psutil.Process().memory_info().rss
    assert one.worker == os.getpid()
    assert one.memory == pytest.approx(held, rel=0.3)


def test_a_worker_that_is_gone_is_not_shown(study: Path, running: Running) -> None:
    process = {"pid": 2**22 + 5}  # above the largest number of a process
    running.store.record(Event(Kind.STARTED, running.trial.id, running.attempt, process))
    assert running.store.workers() == {}
    assert "process" not in text_of(part(site(study), "running"))


@pytest.mark.usefixtures("anew")
def test_results_reach_the_report_s_part(study: Path, running: Running) -> None:
    watched = site(study)
    before = part(watched, "provenance", wait=True)
    running.ends(0.4375)
    assert part(watched, "provenance", wait=True) != before


def test_a_failure_is_shown_with_its_reason(study: Path, running: Running) -> None:
    reason = {"reason": f"broke {HOSTILE}", "detail": f"Traceback {HOSTILE}"}
    running.store.record(Event(Kind.FAILURE, running.trial.id, running.attempt, reason))
    shown = part(site(study), "failures")
    assert f"broke {HOSTILE}" in text_of(shown).replace(" ;", ";")
    assert "<script>alert" not in shown


def test_nothing_is_written_by_looking(study: Path, running: Running) -> None:
    def contents() -> dict[str, str]:
        return {
            str(path.relative_to(study)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(study.rglob("*"))
            if path.is_file() and not path.name.endswith("-shm")  # readers' marks, by SQLite
        }

    before = contents()
    for _ in exported(site(study)):
        pass
    assert contents() == before


def test_its_connection_cannot_write(study: Path, running: Running) -> None:
    source = site(study)._source  # type: ignore[union-attr]

    def write() -> None:
        source._opened[2]._db._db.execute("DELETE FROM trials")

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        source._workers.reader.submit(write).result()


def test_a_study_that_is_taken_away_is_said_and_comes_back(study: Path) -> None:
    watched = site(study)
    part(watched, "learning-curve", wait=True)
    study.rename(study.with_name("away"))
    assert "holds no study" in text_of(part(watched, "trouble"))
    assert "learning-curve" in names(watched)
    study.with_name("away").rename(study)
    assert "trouble" not in names(watched)


def test_a_damaged_study_is_one_sentence(study: Path) -> None:
    (study / "trials.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="damaged"):
        site(study)


# ---------------------------------------------------------------- the same as the report


@pytest.fixture(scope="module")
def written(finished: Path) -> dict[str, str]:
    """The export of the finished study."""
    return dict(exported(site(finished)))


def test_report_and_page_share_figures_and_words(finished: Path, written: dict[str, str]) -> None:
    report, page = (finished / "report.html").read_text(), written["index.html"]
    drawn = re.findall(r"<svg class=\"plot.*?</svg>", report, flags=re.S)
    assert len(drawn) >= 8
    assert all(figure in page for figure in drawn)
    sections = re.findall(r"<section id=.*?</section>", report, flags=re.S)
    assert len(sections) >= 6
    seen = text_of(page)
    assert all(text_of(section).strip() in seen for section in sections)
    answer = re.search(r'<p class="first">.*?</p>', report)
    assert answer is not None
    assert answer[0] in page


@pytest.mark.usefixtures("anew")
def test_before_the_analysis_the_page_says_so(study: Path, monkeypatch: Any) -> None:
    begun, done = threading.Event(), threading.Event()

    def slow(analysis: Any, measurements: Any) -> Any:
        begun.set()
        assert done.wait(60)
        return reported(analysis, measurements)

    reported = sources._reported
    monkeypatch.setattr(sources, "_reported", slow)
    watched = site(study)
    view = watched.view("index")
    assert view is not None
    assert view.status == sources.WORKING
    assert sources.WORKING in text_of(part(watched, "top"))
    assert begun.wait(60)
    done.set()
    assert "learning-curve" in [
        one.name
        for one in watched.view("index", wait=True).parts  # type: ignore[union-attr]
    ]


# ---------------------------------------------------------------- trials


def test_a_trial_s_page_has_all_that_is_kept(study: Path, running: Running) -> None:
    trial, attempt, store = running.trial, running.attempt, running.store
    running.evaluates(5, 0.8125)
    running.evaluates(10, 0.625)
    store.record(Event(Kind.NOTE, trial.id, attempt, {"text": f"a note {HOSTILE}"}))
    errors = np.array([0.0, 3.0, 1.0, 0.0])
    counts = np.array([1.0, 4.0, 1.0, 2.0])
    store.record(Event(Kind.ITEMS, trial.id, attempt, {"error": errors, "count": counts}))
    running.ends(0.4375)
    watched = site(study)
    path = f"trial/{trial.id}"
    said = text_of(part(watched, "configuration", path))
    assert "planned because one more seed" in said
    assert "seed 77" in said
    assert f"learning rate {numbers.setting(dict(trial.hyperparameters)['learning_rate'])}" in said
    said = text_of(part(watched, "result", path))
    assert "validation error rate 43.8 %" in said
    assert "training compute 2 GFLOPs" in said
    assert "training time 3 s" in said
    assert "device cpu, 1 thread " in said
    shown = part(watched, "curves", path)
    assert 'data-figure="trial_curve"' in shown
    assert 'data-figure="loss_curves"' in shown
    assert "step 10: 62.5 %" in shown
    rows = re.findall(r"<tr><td.*?</tr>", part(watched, "items", path))
    assert [text_of(row).split() for row in rows] == [
        ["2", "100", "%", "1"], ["1", "75.0", "%", "4"], ["0", "0", "%", "1"],
        ["3", "0", "%", "2"],
    ]  # fmt: skip
    log = part(watched, "log", path)
    assert f"a note {HOSTILE}" in text_of(log)
    assert "<script>alert" not in log


def test_a_failed_attempt_s_message_is_on_the_trial_s_page(study: Path, running: Running) -> None:
    payload = {"reason": "it broke", "detail": "last lines", "whole": "the whole message"}
    running.store.record(Event(Kind.FAILURE, running.trial.id, running.attempt, payload))
    log = text_of(part(site(study), "log", f"trial/{running.trial.id}"))
    assert "it broke" in log
    assert "the whole message" in log


def test_what_the_model_wrote_is_on_the_trial_s_page(finished: Path, study: Path) -> None:
    trial = Study.open(finished).standing().rows[0].trial.id
    path = f"trial/{trial}"
    assert "samples" not in names(site(study), path)  # its trainer has no model
    write_samples(study, trial, [Sample("Ein Hund", "a dog", HOSTILE), Sample("", "", "\ud800")])
    assert read_samples(study, trial)[0] == Sample("Ein Hund", "a dog", HOSTILE)
    shown = text_of(part(site(study), "samples", path))
    assert re.search(r"Ein Hund\s+a dog\s+<script>", shown), shown
    assert "<script>alert" not in part(site(study), "samples", path)
    (study / "samples" / f"{trial}.json").write_text('[{"given": 1}]')
    assert read_samples(study, trial) == ()


def test_every_trial_is_listed_and_linked(finished: Path) -> None:
    watched = site(finished)
    rows = Study.open(finished).standing().rows
    shown = part(watched, "trials", "trials")
    links = re.findall(r'<a href="trial/(\w+)\.html">#(\d+)</a>', shown)
    assert [key for key, _ in links] == [row.trial.id for row in rows]
    assert [int(number) for _, number in links] == list(range(1, len(rows) + 1))
    measured = {m.trial.id: m for m in Study.open(finished).measurements()}
    for line in re.findall(r"<tr><td.*?</tr>", shown):
        key = re.search(r"trial/(\w+)", line)[1]  # type: ignore[index]
        error = numbers.measured(measured[key].validation_error, numbers.scale("error"))
        assert error in text_of(line).replace("\u00a0", " ")


# ---------------------------------------------------------------- published, galleries, tables


@pytest.fixture(scope="module")
def gallery(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    published = folder / "published & old"
    published.mkdir()
    for name, content in tables(Study.open(finished)).items():
        (published / name).write_bytes(content)
    shutil.copytree(finished, folder / "own")
    (folder / "notes").mkdir()
    return folder


def test_a_published_study_has_the_same_page(gallery: Path, written: dict[str, str]) -> None:
    ours, theirs = dict(exported(site(gallery / "published & old"))), written
    assert {name for name in ours if "/" in name} == {name for name in theirs if "/" in name}
    for name in ("learning-curve", "error-by-size", "model-size", "tables"):
        section = rf'<section id="{name}">.*?</section>'
        assert re.findall(section, ours["index.html"], flags=re.S) == re.findall(
            section, theirs["index.html"], flags=re.S
        )


def test_a_folder_s_studies_stand_side_by_side(gallery: Path, tmp_path: Path) -> None:
    watched = site(gallery)
    (gallery / "link").symlink_to(tmp_path)
    shutil.copytree(gallery / "own", tmp_path, dirs_exist_ok=True)
    try:
        assert [n for n in names(watched) if n.startswith("card-")] == [
            "card-own",
            "card-published & old",
        ]
        card = part(watched, "card-published & old", wait=True)
        assert 'href="published%20%26%20old/index.html"' in card
        report = (gallery / "own" / "report.html").read_text()
        answer = re.search(r'<p class="first">(.*?)</p>', report)
        assert answer is not None
        assert answer[1] in card
        together = part(watched, "together-1")
        assert 'data-figure="together_1"' in together
        assert watched.view("link/index") is None
        assert watched.view("notes/index") is None
        assert watched.view("own/trials") is not None
    finally:
        (gallery / "link").unlink()


def test_a_study_that_cannot_be_read_does_not_hide_the_others(
    gallery: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(gallery, tmp_path / "all"))
    (folder / "own" / "trials.sqlite").write_bytes(b"no database" * 100)
    watched = site(folder)
    assert "damaged" in text_of(part(watched, "card-own"))
    assert "published" in part(watched, "card-published & old")


def test_a_new_study_appears(gallery: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(gallery, tmp_path / "all"))
    watched = site(folder)
    shutil.copytree(gallery / "own", folder / "later")
    assert "card-later" in names(watched)


TABLE = "samples,error\n1000,0.30\n2000,0.243\n4000,0.198\n8000,0.161\n16000,0.131\n"


def test_a_table_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "PAUSE", 0.0)
    monkeypatch.setattr(background, "SHARE", math.inf)
    path = tmp_path / "results.csv"
    path.write_text(TABLE)
    watched = site(path)
    first = text_of(part(watched, "top"))
    assert "5 sizes, 1,000 to 16,000" in first
    path.write_text(TABLE + "32000,0.107\n")
    assert "6 sizes, 1,000 to 32,000" in text_of(part(watched, "top", wait=True))
    path.write_text("samples,error\nmany,0.3\n")
    trouble = text_of(part(watched, "trouble", wait=True))
    assert "many" in trouble
    assert "6 sizes" in text_of(part(watched, "top"))
    path.write_text(TABLE)
    assert "5 sizes" in text_of(part(watched, "top", wait=True))
    assert "trouble" not in names(watched)


def test_what_cannot_be_watched_is_said(tmp_path: Path, study: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(QuestionError, match="neither a study nor a table"):
        site(tmp_path / "empty")
    with pytest.raises(QuestionError, match="there is no such file"):
        site(tmp_path / "absent.csv")
    with pytest.raises(QuestionError, match="standard input does not change"):
        site(Path("-"))
    with pytest.raises(QuestionError, match="part of a study"):
        site(study / "items")
    with pytest.raises(QuestionError, match="for tables only"):
        site(study, x="n")


# ---------------------------------------------------------------- export


def test_an_export_opens_offline_and_every_link_leads_somewhere(
    gallery: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name, text in exported(site(gallery)):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    written = sorted(out.rglob("*.html"))
    trials = len(Study.open(gallery / "own").measurements())
    assert len(written) == 1 + 2 * (2 + trials)
    for page in written:
        text = page.read_text()
        assert "data-state" not in text
        assert "http://" not in text
        assert "https://" not in text
        assert "default-src 'none'" in html.unescape(text)
        for link in re.findall(r'(?:href|src)="([^"#]+)"', text):
            if not link.startswith("data:"):
                assert (page.parent / unquote(link)).is_file(), f"{page}: {link}"
        anchors = set(re.findall(r'href="#([^"]+)"', text))
        assert anchors <= set(re.findall(r'id="([^"]+)"', text))
        ids = re.findall(r' id="([^"]+)"', text)
        assert len(ids) == len(set(ids)), page


def test_an_export_into_a_study_is_refused(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command._study_around(study / "pages") == study
    assert command._study_around(study.parent) is None
    code, _, said = steep(monkeypatch, capsys, "watch", study, "--export", study / "pages")
    assert code == 2
    assert "only read" in said
    assert not (study / "pages").exists()


def steep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    from steep.cli import app

    monkeypatch.setattr(sys, "argv", ["steep", *map(str, arguments)])
    capsys.readouterr()
    code = 0
    try:
        app.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_command_exports_without_the_extra_and_serves_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("uvicorn", "starlette"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "results.csv"
    path.write_text(TABLE)
    code, out, _ = steep(monkeypatch, capsys, "watch", path, "--export", tmp_path / "out")
    assert code == 0
    assert "index.html" in out
    assert (tmp_path / "out" / "index.html").is_file()
    code, _, said = steep(monkeypatch, capsys, "watch", path)
    assert code == 2
    assert said.strip() == "steep: this needs uvicorn: pip install 'steep[web]'"


# ---------------------------------------------------------------- who may ask, and for what

HERE_NAME = "127.0.0.1"
HERE = access_policy(HERE_NAME, 8484, "secret")
Ask = Callable[..., tuple[int, str, dict[str, str]]]


@pytest.fixture(scope="module")
def table_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("table") / "results.csv"
    path.write_text(TABLE)
    return site(path)


@pytest.fixture
def ask(table_site: Site) -> Ask:
    def asked(
        path: str = "/",
        method: str = "GET",
        query: str = "",
        access: AccessPolicy = HERE,
        watched: Site = table_site,
        **headers: str | None,
    ) -> tuple[int, str, dict[str, str]]:
        sent = {"host": "127.0.0.1:8484", **{k.replace("_", "-"): v for k, v in headers.items()}}
        scope = {
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in sent.items() if v is not None],
        }
        return respond(scope, watched, access)

    return asked


def test_its_own_page_is_served(ask: Ask) -> None:
    for path in ("/", "/index.html"):
        status, text, headers = ask(path)
        assert status == 200
        assert 'data-state="index.json"' in text
        assert headers["Content-Type"].startswith("text/html")
    assert ask("/watch.js")[2]["Content-Type"].startswith("text/javascript")
    assert ask("/watch.css")[2]["Content-Type"].startswith("text/css")
    assert ask("/index.json")[0] == 200
    assert "learning-curve" in ask("/index.html", query="part=learning-curve")[1]
    assert ask("/index.html", query="part=nothing")[:2] == (204, "")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8484", "127.0.0.1.evil.example", "localhost.evil.example",
     "192.168.1.9:8484", "[2001:db8::1]:8484", "", "127.0.0.1@evil.example", None],
)  # fmt: skip
def test_a_foreign_host_is_refused(ask: Ask, host: str | None) -> None:
    assert ask(host=host)[0] == 403


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9", "127.0.0.1", "127.0.0.1:9000", "[::1]:8484", "[::1]"]
)
def test_this_machine_is_known_by_its_names(ask: Ask, host: str) -> None:
    assert ask(host=host)[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", f"https://{HERE_NAME}:8484", f"http://{HERE_NAME}:9999"],
)
def test_a_foreign_origin_is_refused(ask: Ask, origin: str) -> None:
    assert ask(origin=origin)[0] == 403
    assert ask(origin=f"http://{HERE_NAME}:8484")[0] == 200


def test_what_a_page_elsewhere_embeds_or_fetches_is_refused(ask: Ask) -> None:
    for site_ in ("cross-site", "same-site"):
        fetched = {"sec_fetch_site": site_, "sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"}
        assert ask("/watch.js", **fetched)[0] == 403
        framed = {"sec_fetch_site": site_, "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}
        assert ask(**framed)[0] == 403
        link = {"sec_fetch_site": site_, "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
        assert ask(**link)[0] == 200
    assert ask(sec_fetch_site="same-origin", sec_fetch_mode="cors")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(ask: Ask, method: str) -> None:
    status, _, headers = ask(method=method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


BEYOND = access_policy("0.0.0.0", 8484, "secret")


def test_beyond_this_machine_a_token_is_needed(ask: Ask) -> None:
    far = {"access": BEYOND, "host": "192.168.1.9:8484"}
    assert ask(**far)[0] == 401
    assert ask(query="token=wrong", **far)[0] == 401
    assert ask(query="token=", **far)[0] == 401
    assert ask("/watch.js", **far)[0] == 401
    status, _, headers = ask("/trials.html", query="token=secret&part=x", **far)
    assert status == 303
    assert headers["Location"] == "/trials.html?part=x"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert ask(cookie=cookie.partition(";")[0], **far)[0] == 200
    assert ask(cookie="steep-8484=wrong", **far)[0] == 401
    assert ask(authorization="Bearer secret", **far)[0] == 200
    assert ask(authorization="Bearer wrong", **far)[0] == 401
    assert ask(access=BEYOND, host="evil.example", cookie="steep-8484=secret")[0] == 403


def test_a_token_s_address_leads_nowhere_else(ask: Ask) -> None:
    far = {"access": BEYOND, "host": "192.168.1.9:8484", "query": "token=secret"}
    for path in ("//evil.example/x", "/\\evil.example", "///evil.example"):
        place = ask(path, **far)[2]["Location"]
        assert place.startswith("/")
        assert not place.startswith(("//", "/\\"))


def test_here_no_token_is_needed_and_there_it_is_long() -> None:
    assert HERE.token is None
    assert access_policy("localhost", 1, "secret").token is None
    assert access_policy("::1", 1, "secret").token is None
    for host in ("0.0.0.0", "::", "192.168.1.9"):
        assert access_policy(host, 1, "secret").token == "secret"


@pytest.mark.parametrize(
    "path",
    ["/../results.csv", "/..%2fresults.csv", "/%2e%2e/results.csv", "/results.csv", "//etc/passwd",
     "/etc/passwd", "/index.html/../../x", "/trial/../index.html", "/trial/%00.html", "/.html",
     "/trials.html", "/study.yaml", "/watch.css/../report.html", "/templates/report.html"],
)  # fmt: skip
def test_no_path_of_the_disk_is_served(ask: Ask, path: str) -> None:
    assert ask(path)[0] == 404


@pytest.mark.parametrize(
    "path",
    ["/study.yaml", "/trials.sqlite", "/items/x.npz", "/report.html", "/results/trials.csv",
     "/trial/..%2f..%2freport.html", "/trial/x.html", "/acknowledged.log",
     "/own/../published/index.html"],
)  # fmt: skip
def test_no_file_of_a_study_is_served(finished: Path, gallery: Path, ask: Ask, path: str) -> None:
    assert ask(path, watched=site(finished))[0] == 404
    assert ask(path, watched=site(gallery))[0] == 404
    assert ask(f"/own{path}", watched=site(gallery))[0] == 404


def test_a_link_out_of_the_study_is_not_followed(
    study: Path, running: Running, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("a secret of another folder")
    running.store.record(
        Event(Kind.FAILURE, running.trial.id, running.attempt, {"reason": "broke", "detail": "d"})
    )
    (study / "failures").mkdir(exist_ok=True)
    (study / "failures" / f"{running.trial.id}-{running.attempt}.txt").symlink_to(
        tmp_path / "secret"
    )
    watched = site(study)
    view = watched.view(f"trial/{running.trial.id}")
    shown = "" if view is None else "".join(str(one.html) for one in view.parts)
    assert "a secret" not in shown


def test_names_and_texts_of_a_table_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "bad<img src=x>.csv"
    rows = "".join(f'{m},{e},"{HOSTILE.replace(chr(34), chr(34) * 2)}"\n{m},{e / 2},b\n'
                   for m, e in ((1000, 0.3), (2000, 0.24), (4000, 0.2), (8000, 0.16)))  # fmt: skip
    path.write_text("samples,error,model\n" + rows)
    page = dict(exported(site(path, by="model")))["index.html"]
    assert HOSTILE in html.unescape(page)
    assert "<script>alert" not in page
    assert "<img" not in page


def test_its_policy_lets_no_request_leave_the_page() -> None:
    for policy in (server.HEADERS["Content-Security-Policy"], pages.POLICY):
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        allowed = {source for value in rules.values() for source in value.split()}
        assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:", "file:"}
        assert "'unsafe-inline'" not in rules["script-src"]
