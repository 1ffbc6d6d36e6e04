"""Packages and clients made by hand: real .deb files, and commands on PATH that act like apt's."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from steep.contracts.source import Members, Package
from steep.data.sources.packages import members


def silent(what: str, share: float) -> None:
    assert what
    assert 0 <= share <= 1


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_deb(path: Path, files: Mapping[str, bytes], version: str = "1.0") -> Path:
    """A real .deb with these files."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not on this machine")
    root = path.with_suffix(".root")
    (root / "DEBIAN").mkdir(parents=True)
    name = path.name.split("_")[0]
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: n <n@n.nn>\n"
    (root / "DEBIAN" / "control").write_text(control + "Description: a test\n")
    for inside, content in files.items():
        (root / inside).parent.mkdir(parents=True, exist_ok=True)
        (root / inside).write_bytes(content)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(path)],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(root)
    return path


def make_tgz(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def package_of(path: Path, **others: Any) -> Package:
    """The package that a made .deb is, as a source would pin it."""
    name, version, _ = path.name.split("_")
    return Package("apt", name, version, path.stat().st_size, digest(path), **others)


def members_of(archives: Mapping[str, Path]) -> Members:
    return lambda package, wanted: members(archives[package], wanted)


def make_client(folder: Path, name: str, script: str) -> None:
    """A command that a test's PATH finds before the machine's."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def apt_with(folder: Path, deb: Path | None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt that offers ``deb`` and writes down its downloads; its log."""
    log = folder.parent / "apt.log"
    show = "echo 'E: No packages found' >&2; exit 100"
    if deb is not None:
        name, version, _ = deb.name.split("_")
        show = (
            f"printf 'Package: {name}\\nVersion: {version}\\nArchitecture: all\\n"
            f"Filename: pool/{deb.name}\\nSize: {deb.stat().st_size}\\nSHA256: {digest(deb)}\\n'"
        )
    make_client(folder, "apt-cache", show)
    make_client(
        folder, "apt-get", f'echo "$@" >> {log}\ncase " $* " in *" download "*) cp {deb} .;; esac'
    )
    make_client(folder, "apt-config", "true")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log
