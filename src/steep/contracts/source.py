"""What a source of data is: packages that an ordinary client fetches, and a function that makes of
them the files which a domain reads.

A source is a module with ``SOURCE`` and ``prepare``. It says where the data comes
from and how it is cleaned; fetching, checking and resuming are the same for all of them, and live
in ``get``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Tell = Callable[[str, float], None]
"""What is being done, and which share of it is: shown as a line with the time left."""

Counts = Mapping[str, int | float]
"""What was made, by name: clips, hours, pairs, words."""


class SourceError(ValueError):
    """Data that cannot be had or made: a missing client, a failed download, damaged files."""


@dataclass(frozen=True)
class Package:
    """One package. Version, size in bytes and SHA-256 are those that the source was tested with;
    another version is used where the client offers no other, and is recorded."""

    client: Literal["apt", "npm"]
    name: str
    version: str
    size: int
    sha256: str
    component: str = "main"
    """Of the distribution's archive; 'non-free' is not among a default machine's lists."""


@dataclass(frozen=True)
class Hub:
    """A set on the Hugging Face hub, read through ``datasets``."""

    path: str
    config: str | None = None
    revision: str | None = None
    gated: bool = False
    """Needs an account that has accepted the set's terms."""


@dataclass(frozen=True)
class Source:
    """What ``steep data list`` shows. ``counts`` are those of the tested packages."""

    title: str
    domains: tuple[str, ...]
    files: str
    """The entry of the folder that a spec names as its data."""
    counts: Counts
    licence: str
    packages: tuple[Package, ...] = ()
    hub: Hub | None = None
    revision: int = 1
    """Raised when ``prepare`` makes something else of the same packages: it is made again."""

    @property
    def size(self) -> int:
        """Bytes to download; 0 for sets of the hub, which are streamed."""
        return sum(package.size for package in self.packages)


PathFilter = Callable[[str], object]
"""True, or a match, of a path inside a package that is to be read."""

Members = Callable[[str, PathFilter], Iterator[tuple[str, bytes]]]
"""``members(package, accepts)``: path and content of each file of a fetched package whose path in
it (without a leading './') ``accepts`` is true of, in the order of the archive."""


class FromPackages(Protocol):
    """A source that is made from packages."""

    SOURCE: Source

    def prepare(self, members: Members, folder: Path, tell: Tell) -> Counts:
        """Write the files into the empty ``folder``. Raises SourceError on what it cannot read."""
        ...


class FromHub(Protocol):
    """A source that is made from a set of the hub."""

    SOURCE: Source

    def prepare(
        self, folder: Path, limit: int | None, tell: Tell
    ) -> tuple[Mapping[str, object], Counts]:
        """Write at most ``limit`` rows of each part; also what SOURCE.json says of the origin."""
        ...
