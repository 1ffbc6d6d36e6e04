"""All pages of what is watched, by path: the same ones are served and exported."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from steep.cli.answers import Source
from steep.cli.terminal import for_the_user
from steep.cli.watch import pages
from steep.cli.watch.pages import Card, View
from steep.cli.watch.sources import Watched, WatchedTable, Workers, is_study, watched, workers
from steep.spec.load import QuestionError
from steep.store.folder import StoreError, inside_a_study

INDEX = "index"
HOME = "../index.html"


class OneSource:
    """The pages of one study or table."""

    def __init__(self, source: Watched) -> None:
        self._source = source

    def view(self, path: str, wait: bool = False) -> View | None:
        """The page at a path without its ending; None where there is none."""
        return self._source.view(path, wait)

    def paths(self) -> Iterator[str]:
        """The paths of all pages by now."""
        yield from self._source.names()


class Gallery:
    """The pages of a folder of studies, those that appear later too. A link is not followed."""

    def __init__(self, folder: Path, shared: Workers) -> None:
        """Raises QuestionError if none of the folder's folders holds a study."""
        self._folder, self._shared = folder, shared
        self._lock = threading.Lock()
        self._studies: dict[str, Watched] = {}
        self._problems: dict[str, str] = {}
        if not self._found():
            raise QuestionError(
                f"{folder} is neither a study nor a table of results, and none of its folders "
                "holds a study"
            )

    def _found(self) -> dict[str, Watched]:
        """The studies by now, by the name of their folder."""
        with self._lock:
            there = {
                path.name: path
                for path in sorted(self._folder.iterdir())
                if path.is_dir() and not path.is_symlink() and is_study(path)
            }
            for name, path in there.items():
                if name not in self._studies:
                    try:
                        self._studies[name] = watched(path, HOME, self._shared)
                        self._problems.pop(name, None)
                    except (StoreError, OSError) as error:
                        self._problems[name] = for_the_user(error) or str(error)
            self._studies = {n: s for n, s in self._studies.items() if n in there}
            self._problems = {n: p for n, p in self._problems.items() if n in there}
            return dict(sorted(self._studies.items()))

    def view(self, path: str, wait: bool = False) -> View | None:
        """The page at a path without its ending; None where there is none."""
        if path == INDEX:
            cards = {name: study.card(wait) for name, study in self._found().items()}
            for name, problem in self._problems.items():
                cards[name] = Card(name, "", problem, "cannot be read", final=True)
            return pages.gallery_view(self._folder.resolve().name, dict(sorted(cards.items())))
        name, _, page = path.partition("/")
        study = self._studies.get(name) or self._found().get(name)
        return None if study is None else study.view(page, wait)

    def paths(self) -> Iterator[str]:
        """The paths of all pages by now."""
        yield INDEX
        for name, study in self._found().items():
            yield from (f"{name}/{page}" for page in study.names())


Site = OneSource | Gallery


def site_of(source: Source) -> Site:
    """The site of a study, of a folder of studies, or of a table. Raises StoreError, TableError or
    QuestionError if it cannot be read."""
    shared, path = workers(), Path(source.path)
    if source.path == "-":
        raise QuestionError("standard input does not change: steep report reads it")
    if source.is_study:
        source.study()  # raises for what is no study, and for options of tables
        return OneSource(watched(path, "", shared))
    if not path.exists():
        raise QuestionError(f"{path}: there is no such file or folder")
    if path.is_dir():
        if inside := inside_a_study(path):
            raise QuestionError(inside)
        return Gallery(path, shared)
    return OneSource(WatchedTable(source, shared))


def exported(site: Site) -> Iterator[tuple[str, str]]:
    """Every page complete, as (path with its ending, content), and what they load."""
    yield from pages.assets().items()
    for path in site.paths():
        view = site.view(path, wait=path.endswith(INDEX))
        if view is not None:
            name = f"{path}.html"
            yield name, pages.html_of(view, name, served=False)
