"""``steep data get``: fetch, make, verify, and write down what was made of what.

The folder holds what a spec points at, SOURCE.json beside it, and the downloads. Files are made in
a folder aside and moved when they are whole, SOURCE.json last: a kill at any moment leaves either
the old files or none that SOURCE.json vouches for, and the same command resumes.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import steep
from steep.base.registry import SOURCES
from steep.base.spelling import no_such
from steep.contracts.source import Counts, PathFilter, Source, SourceError, Tell
from steep.data.sources.packages import fetch, members, sha256
from steep.store.folder import alone_in

Record = dict[str, Any]
"""What SOURCE.json holds."""

RECORD, DOWNLOADS, MAKING = "SOURCE.json", "downloads", ".making"
_OURS = {RECORD, DOWNLOADS, MAKING, "SOURCE.new"}


def source_of(name: str) -> Any:
    """The module of a source. Raises SourceError naming those there are."""
    if name not in SOURCES:
        raise SourceError(no_such("source", name, SOURCES))
    return importlib.import_module(SOURCES[name])


def all_sources() -> dict[str, Source]:
    return {name: source_of(name).SOURCE for name in SOURCES}


def get(name: str, folder: Path, tell: Tell, limit: int | None = None) -> tuple[Record, bool]:
    """(what SOURCE.json says, were the files already there). ``limit``: rows of a set of the hub
    to take. A second call for the same folder waits for the first. Raises SourceError, with the
    client's own words where it failed."""
    module = source_of(name)
    source: Source = module.SOURCE
    if limit is not None and source.hub is None:
        raise SourceError(f"--limit is for sets of the hub; {name} is made whole")
    request = {"name": name, "revision": source.revision, "limit": limit}
    theirs = sorted({p.name for p in folder.iterdir()} - _OURS) if folder.exists() else []
    if theirs and not (folder / RECORD).exists():
        raise SourceError(f"{folder}: holds other files ({theirs[0]}): give an empty folder")
    (folder / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    with alone_in(folder / DOWNLOADS):
        return _made(module, request, folder, tell)


def _made(module: Any, request: Record, folder: Path, tell: Tell) -> tuple[Record, bool]:
    name, limit, source = request["name"], request["limit"], module.SOURCE
    known = _claim(name, folder)
    same = known["files"] and request.items() <= known.items()
    if same and not damaged(folder, known["files"], tell):
        return known, True
    making = folder / MAKING
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    if source.hub is None:
        origin, counts = _from_packages(module, folder, making, tell)
    else:
        origin, counts = module.prepare(making, limit, tell)
    record = {
        **request,
        "title": source.title,
        "licence": source.licence,
        "command": f"steep data get {name}" + (f" --limit {limit}" if limit else ""),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "steep": steep.__version__,
        **origin,
        "counts": dict(counts),
        "files": {file: sha256(making / file) for file in _files(making)},
    }
    _write(folder / RECORD, {"name": name, "files": {}})  # vouches for nothing meanwhile
    for entry in sorted(making.iterdir()):
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(entry, target)
    making.rmdir()
    _write(folder / RECORD, record)
    return record, False


def _from_packages(
    module: Any, folder: Path, making: Path, tell: Tell
) -> tuple[dict[str, Any], Counts]:
    source: Source = module.SOURCE
    archives = {p.name: fetch(p, folder / DOWNLOADS, tell) for p in source.packages}

    def contents(package: str, accepts: PathFilter) -> Iterator[tuple[str, bytes]]:
        return members(archives[package].path, accepts)

    counts = module.prepare(contents, making, tell)
    tested = all(a.sha256 == a.package.sha256 for a in archives.values())
    different = {k: (counts.get(k), v) for k, v in source.counts.items() if counts.get(k) != v}
    if tested and different:
        changes = ", ".join(f"{k}: {was} instead of {v}" for k, (was, v) in different.items())
        raise SourceError(f"made something else of the packages it was tested with: {changes}")
    packages = [
        {
            "client": a.package.client,
            "name": a.package.name,
            "version": a.version,
            "file": a.path.name,
            "bytes": a.path.stat().st_size,
            "sha256": a.sha256,
            "tested": a.sha256 == a.package.sha256,
        }
        for a in archives.values()
    ]
    return {"packages": packages}, counts


def damaged(folder: Path, files: dict[str, str], tell: Tell) -> list[str]:
    """Those of ``files`` (path to SHA-256) that are missing or altered."""
    found = []
    for number, (file, digest) in enumerate(files.items()):
        tell("verifying", number / len(files))
        path = folder / file
        if not path.is_file() or sha256(path) != digest:
            found.append(file)
    return found


def _claim(name: str, folder: Path) -> Record:
    """What SOURCE.json says; in a new folder it is begun. Raises SourceError where the folder
    holds another set: nothing is replaced."""
    path = folder / RECORD
    if not path.exists():
        _write(path, {"name": name, "files": {}})
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        other, _ = record["name"], record["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(f"{path}: cannot be read: delete it with the files it is for") from None
    if other != name:
        raise SourceError(f"{folder}: holds {other}, not {name}: give another folder")
    return dict(record)


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _write(path: Path, record: Record) -> None:
    """Whole or not at all."""
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(aside, path)
