"""Packages through their ordinary clients, without root: ``apt-get download`` and ``npm pack``.

Nothing is installed: archives are kept in a folder of downloads and read from there, member by
member. A download with the right checksum is not fetched again, so that a second call needs
neither network nor client.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from steep.contracts.source import Package, PathFilter, SourceError, Tell
from steep.data.sources.apt import offer
from steep.data.sources.clients import client, complaint

POLL = 0.5
"""Seconds between two looks at how much of a download has arrived."""


@dataclass(frozen=True)
class Archive:
    """A package on disk, and what it was checked against."""

    package: Package
    path: Path
    version: str
    sha256: str


def fetch(package: Package, downloads: Path, tell: Tell) -> Archive:
    """The package's archive in ``downloads``, fetched if it is not there whole.

    Raises SourceError: a sentence on the missing client, or the client's own words."""
    downloads.mkdir(parents=True, exist_ok=True)
    for path in sorted(downloads.glob(_pattern(package))):
        if path.stat().st_size == package.size and sha256(path) == package.sha256:
            return Archive(package, path, package.version, package.sha256)
    return (_from_npm if package.client == "npm" else _from_apt)(package, downloads, tell)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def members(path: Path, accepts: PathFilter) -> Iterator[tuple[str, bytes]]:
    """(path inside, content) of each accepted regular file of a .deb or .tgz, in its order."""
    try:
        with _tar(path) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for entry in archive:
                name = entry.name.removeprefix("./")
                if entry.isfile() and accepts(name):
                    content = archive.extractfile(entry)
                    assert content is not None  # a regular file
                    yield name, content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise SourceError(f"{path}: damaged archive: {error}; delete it and try again") from None


@contextmanager
def _tar(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".deb":
        with path.open("rb") as file:
            yield file
        return
    tool = client("dpkg-deb", "it unpacks .deb files; other systems have it in the package dpkg")
    process = subprocess.Popen(
        [tool, "--fsys-tarfile", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        while process.stdout.read(1 << 20):  # padding behind the last file
            pass
        if process.wait():
            raise tarfile.ReadError("dpkg-deb cannot read it to its end")
    finally:
        process.stdout.close()  # where the reader has enough: dpkg-deb then ends by itself
        process.wait()


# ---------------------------------------------------------------- clients


def _from_npm(package: Package, downloads: Path, tell: Tell) -> Archive:
    client("npm", f"it fetches {package.name} and comes with Node.js (Debian: package npm)")
    name = f"{package.name}@{package.version}"
    path = downloads / _npm_file(package, package.version)
    _download(["npm", "pack", "--loglevel=error", name], downloads, path, package.size, tell)
    return _checked(package, path, package.version, package.sha256)


def _from_apt(package: Package, downloads: Path, tell: Tell) -> Archive:
    found = offer(package, downloads, tell)
    path = downloads / found.file
    if path.exists():
        if sha256(path) == found.sha256:
            return Archive(package, path, found.version, found.sha256)
        if path.stat().st_size >= found.size:
            path.unlink()  # apt-get takes a file of the right size for the right file
    _download(found.command, downloads, path, found.size, tell)
    return _checked(package, path, found.version, found.sha256)


def _checked(package: Package, path: Path, version: str, expected: str) -> Archive:
    if not path.exists():
        raise SourceError(f"{package.client} said nothing, but {path.name} did not arrive")
    found = sha256(path)
    if found != expected:
        path.unlink()
        raise SourceError(
            f"{path.name}: downloaded, but its SHA-256 is {found}, not {expected}; removed: "
            "try again"
        )
    return Archive(package, path, version, found)


def _download(command: list[str], into: Path, path: Path, size: int, tell: Tell) -> None:
    """Run a client in ``into``; what has arrived of ``path`` is reported twice a second."""
    what = f"downloading {path.name}"
    tell(what, 0.0)
    with tempfile.TemporaryFile("w+") as errors:  # a pipe would fill up: npm lists every file
        process = subprocess.Popen(command, cwd=into, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while process.poll() is None:
                time.sleep(POLL)
                here = path.stat().st_size if path.exists() else 0
                tell(what, min(here / size, 1.0))
        finally:
            process.terminate()  # after an interrupt; the client resumes next time
            process.wait()
        errors.seek(0)
        output = errors.read()
    if process.returncode:
        raise SourceError(
            f"{' '.join(command[:2])} could not fetch {path.name}: {complaint(output)}"
        )


def _pattern(package: Package) -> str:
    return _npm_file(package, "*") if package.client == "npm" else f"{package.name}_*.deb"


def _npm_file(package: Package, version: str) -> str:
    """The name npm gives its file: @scope/name becomes scope-name."""
    return f"{package.name.removeprefix('@').replace('/', '-')}-{version}.tgz"
