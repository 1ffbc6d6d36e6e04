"""The live page in a real browser: content, updates without a reload, both widths, keyboard and
labels, dark mode, and no request that leaves it. Screenshots for the eye go to out/web."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from web.conftest import SHOTS, Running, Served, served

pytest.importorskip("playwright.sync_api")
WIDE, NARROW = 1280, 390
PATIENCE = 60_000
"""Milliseconds for anything that takes two seconds on an idle machine."""


@dataclass
class Look:
    """An open page, and what happened in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def go(self, address: str) -> Any:
        self.page.goto(address)
        return self.page

    def shot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    def fits(self) -> bool:
        """Whether nothing has to be scrolled sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))

    def serious(self) -> list[str]:
        """What axe-core finds that keeps people from using the page."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]


@contextmanager
def looking(browser: Any, width: int, scheme: str = "light", **options: Any) -> Iterator[Look]:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, **options
    )
    context.set_default_timeout(PATIENCE)
    look = Look(context.new_page())
    look.page.on("request", lambda request: look.requests.append(request.url))
    look.page.on("pageerror", lambda error: look.problems.append(str(error)))
    look.page.on("console", lambda said: look.problems.append(said.text))
    look.page.on("dialog", lambda dialog: look.problems.append(dialog.message))
    try:
        yield look
    finally:
        context.close()


@pytest.fixture
def live(running: Running) -> Iterator[Served]:
    with served(running.folder) as place:
        yield place


def test_it_follows_the_study_without_a_reload(
    browser: Any, live: Served, running: Running
) -> None:
    with looking(browser, WIDE) as look, looking(browser, NARROW, "dark") as small:
        page = look.go(live.url)
        small.go(live.url)
        page.wait_for_selector("#running >> text=75.0 %")
        page.wait_for_selector("#learning-curve svg.plot.wide")  # the analysis came by itself
        page.evaluate("window.marked = true")
        # what the reader did stays: a series switched off, a figure opened, the focus
        button = page.locator("#running .legend button").first
        button.click()
        page.locator("#learning-curve details summary").first.click()
        look.shot("running-1280-light")
        button.focus()
        running.evaluates(10, 0.4375)
        page.wait_for_selector("#running >> text=43.8 %")
        small.page.wait_for_selector("#running >> text=43.8 %")
        small.page.wait_for_selector("#learning-curve svg.plot.narrow")
        small.shot("running-390-dark")
        assert page.evaluate("window.marked") is True
        assert (
            page.locator("#running .legend button").first.get_attribute("aria-pressed") == "false"
        )
        assert page.evaluate("document.activeElement.dataset.entry") is not None
        assert (
            page.locator("#running g[data-legend]").first.evaluate("n => n.style.display") == "none"
        )
        assert page.locator("#learning-curve details[open]").count() == 1
        running.ends(0.25)
        page.wait_for_selector("#running", state="detached")
        assert page.locator("#trials >> text=25.0 %").count() >= 1
        assert "have ended" in page.locator("[role=status]").inner_text()
        assert "ended" in page.title()
        assert page.evaluate("window.marked") is True
        assert look.fits()
        assert small.fits()
        for one in (look, small):
            assert one.problems == []
            assert {urlsplit(r).netloc for r in one.requests} == {urlsplit(live.url).netloc}


PAGES = ("index", "trials", "trial")


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "dark"), (NARROW, "light")])
def test_nothing_serious_keeps_anybody_from_using_it(
    browser: Any, live: Served, running: Running, gallery: Path, width: int, scheme: str
) -> None:
    addresses = {
        "study": live.url,
        "trials": f"{live.url}trials.html",
        "trial": f"{live.url}trial/{running.trial.id}.html",
    }
    with looking(browser, width, scheme) as look, served(gallery) as folder:
        for name, address in {**addresses, "gallery": folder.url}.items():
            page = look.go(address)
            if name == "study":
                page.wait_for_selector("#provenance")
            if name == "gallery":
                page.wait_for_selector("#together-1")
            look.shot(f"{name}-{width}-{scheme}")
            assert look.serious() == [], name
            assert look.fits(), name
            if name == "trial":
                assert "a note <img" in page.locator("#log").inner_text()
        page.locator(".card a").first.click()
        page.wait_for_selector("#provenance")
        page.locator("nav[aria-label=Pages] a").click()
        page.wait_for_selector("#together-1")
        assert look.problems == []  # and nothing hostile ran


def test_a_keyboard_is_enough(browser: Any, live: Served, running: Running) -> None:
    with looking(browser, WIDE) as look:
        page = look.go(live.url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        pressed = page.locator("#running .legend button").first
        pressed.focus()
        page.keyboard.press("Space")
        assert pressed.get_attribute("aria-pressed") == "false"
        page.locator("#running td a").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/trial/{running.trial.id}.html")
        assert page.locator("[aria-current=page]").inner_text().startswith("Trial ")


def test_no_request_leaves_the_page(browser: Any, live: Served) -> None:
    with looking(browser, WIDE) as look:
        page = look.go(live.url)
        blocked = """() => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", (e) => done(e.violatedDirective));
            fetch("http://localhost:1/").catch(() => setTimeout(() => done("not by policy"), 500));
        })"""
        assert page.evaluate(blocked) == "connect-src"
        script = """() => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", (e) => done(e.violatedDirective));
            const inline = document.createElement("script");
            inline.textContent = "window.ran = true";
            document.body.append(inline);
        })"""
        assert page.evaluate(script).startswith("script-src")
        assert page.evaluate("window.ran") is None


def test_a_server_that_is_gone_is_said(browser: Any, live: Served) -> None:
    with looking(browser, NARROW) as look:
        page = look.go(live.url)
        assert live.stop() == 0
        page.wait_for_selector("text=Not live since")
        assert page.locator("#running").count() == 1  # what was there stays


def test_a_table_is_followed(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    rows = "samples,error\n1000,0.30\n2000,0.243\n4000,0.198\n8000,0.161\n16000,0.131\n"
    path.write_text(rows)
    with served(path) as place, looking(browser, WIDE) as look:
        page = look.go(place.url)
        page.wait_for_selector("text=5 sizes, 1,000 to 16,000")
        path.write_text(rows + "32000,0.107\n")
        page.wait_for_selector("text=6 sizes, 1,000 to 32,000")
        look.shot("table-1280-light")


def test_an_export_works_offline(browser: Any, finished: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "steep", "watch", finished, "--export", tmp_path / "out"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with looking(browser, WIDE, offline=True) as look:
        page = look.go((tmp_path / "out" / "index.html").as_uri())
        button = page.locator("#learning-curve .legend button").first
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        button.click()
        svg = page.locator("#learning-curve svg.plot.wide").first
        area = svg.evaluate(
            "n => { const [l, t, r, b] = n.dataset.area.split(' ').map(Number);"
            " const k = n.getBoundingClientRect().width / n.viewBox.baseVal.width;"
            " return [l * k, t * k, r * k, b * k]; }"
        )
        box = svg.bounding_box()
        left, top, right, bottom = area
        found = ""
        for k in range(2, 40):  # along the diagonal, which the curve crosses or runs beside
            x = box["x"] + left + (right - left) * k / 40
            page.mouse.move(x, box["y"] + top + (bottom - top) * k / 40)
            found = found or page.locator(".tip").inner_text()
        assert "items" in found
        page.locator("#trials .more a").click()
        page.locator("td a").first.click()
        assert page.locator("h1").inner_text()
        assert look.problems == []
