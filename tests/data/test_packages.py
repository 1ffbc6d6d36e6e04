"""Clients: nothing whole is fetched twice, damage is found, and what is missing is said."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from making import apt_with, digest, make_client, make_deb, make_tgz, package_of, silent

from steep.contracts.source import Package, SourceError
from steep.data.sources import apt
from steep.data.sources.clients import complaint
from steep.data.sources.packages import fetch, members

FILES = {"usr/share/a.txt": b"first", "usr/share/deep/b.txt": b"second", "usr/c.bin": b"\0" * 5000}


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return make_deb(tmp_path / "archive" / "thing_1.0_all.deb", FILES)


def test_members_of_a_real_deb(deb: Path) -> None:
    assert dict(members(deb, lambda name: True)) == FILES
    assert list(members(deb, "usr/share/a.txt".__eq__)) == [("usr/share/a.txt", b"first")]


def test_a_reader_that_has_enough_may_stop(deb: Path) -> None:
    assert next(iter(members(deb, lambda name: name.endswith(".txt"))))[1] in (b"first", b"second")


def test_members_of_an_npm_package(tmp_path: Path) -> None:
    path = make_tgz(
        tmp_path / "scope-thing-2.0.tgz", {"package/data/x.txt": b"x", "package/y": b"y"}
    )
    assert list(members(path, lambda n: n.endswith(".txt"))) == [("package/data/x.txt", b"x")]


def test_a_damaged_archive_is_said(tmp_path: Path, deb: Path) -> None:
    for name in ("thing.tgz", "thing.deb"):
        (tmp_path / name).write_bytes(b"no archive" * 100)
        with pytest.raises(SourceError, match=rf"{name}: damaged archive"):
            list(members(tmp_path / name, lambda n: True))
    whole = deb.read_bytes()
    deb.write_bytes(whole[:-4000])
    with pytest.raises(SourceError, match="damaged archive"):
        list(members(deb, lambda n: True))


def test_what_is_there_whole_needs_no_client(
    tmp_path: Path, deb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    found = fetch(package_of(deb), deb.parent, silent)
    assert (found.path, found.version, found.sha256) == (deb, "1.0", digest(deb))


def test_fetched_once(tmp_path: Path, deb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = apt_with(tmp_path / "bin", deb, monkeypatch)
    downloads = tmp_path / "downloads"
    for _ in range(2):
        assert fetch(package_of(deb), downloads, silent).path.read_bytes() == deb.read_bytes()
    assert log.read_text() == "download thing=1.0\n"


def test_another_version_is_taken_and_recorded(
    tmp_path: Path, deb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = apt_with(tmp_path / "bin", deb, monkeypatch)
    tested = replace(package_of(deb), version="0.9", sha256="0" * 64, size=17)
    for _ in range(2):  # the second time it is known by what apt says of it
        found = fetch(tested, tmp_path / "downloads", silent)
        assert (found.version, found.sha256) == ("1.0", digest(deb))
    assert log.read_text().count("download") == 1


def test_a_damaged_download_is_fetched_again(
    tmp_path: Path, deb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt-get itself takes a file of the right size for the right file."""
    apt_with(tmp_path / "bin", deb, monkeypatch)
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    whole = deb.read_bytes()
    (downloads / deb.name).write_bytes(b"X" + whole[1:])
    make_client(tmp_path / "bin", "apt-get", f"test -e {deb.name} || cp {deb} .")
    assert fetch(package_of(deb), downloads, silent).path.read_bytes() == whole


def test_a_client_that_brings_the_wrong_file(
    tmp_path: Path, deb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt_with(tmp_path / "bin", deb, monkeypatch)
    make_client(tmp_path / "bin", "apt-get", f"echo other > {deb.name}")
    with pytest.raises(SourceError, match=r"thing_1.0_all.deb: downloaded, but its SHA-256"):
        fetch(package_of(deb), tmp_path / "downloads", silent)
    assert not (tmp_path / "downloads" / deb.name).exists()


def test_a_client_that_fails_is_quoted(
    tmp_path: Path, deb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt_with(tmp_path / "bin", deb, monkeypatch)
    script = "echo 'W: chatter' >&2; echo 'E: Could not resolve the host' >&2; exit 100"
    make_client(tmp_path / "bin", "apt-get", script)
    with pytest.raises(SourceError, match=r"could not fetch thing_1.0_all.deb: Could not resolve"):
        fetch(package_of(deb), tmp_path / "downloads", silent)


def test_a_client_that_says_a_lot_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """npm names every file of a package: more than a pipe holds."""
    made = make_tgz(tmp_path / "made.tgz", {"package/x": b"x"})
    chatter = "i=0; while [ $i -lt 3000 ]; do echo 'npm notice one more file of the package' >&2;"
    script = f"{chatter} i=$((i+1)); done; cp {made} scope-thing-2.0.tgz"
    make_client(tmp_path / "bin", "npm", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    package = Package("npm", "@scope/thing", "2.0", made.stat().st_size, digest(made))
    assert fetch(package, tmp_path / "downloads", silent).path.name == "scope-thing-2.0.tgz"


@pytest.mark.parametrize(("client", "name"), [("apt", "apt-get"), ("npm", "npm")])
def test_a_missing_client_is_a_sentence(
    client: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    package = Package(client, "thing", "1.0", 1, "0" * 64)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=f"the command {name} is not on this machine: it fetches"):
        fetch(package, tmp_path / "downloads", silent)


def test_no_dpkg_deb(deb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="the command dpkg-deb is not on this machine"):
        list(members(deb, lambda n: True))


def test_a_package_that_apt_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own lists are asked too, in a folder of the user's, before it is given up."""
    log = apt_with(tmp_path / "bin", None, monkeypatch)
    package = Package("apt", "thing", "1.0", 1, "0" * 64, "non-free")
    with pytest.raises(SourceError, match="apt finds no package thing in non-free"):
        fetch(package, tmp_path / "downloads", silent)
    configuration = tmp_path / "downloads" / "apt" / "apt.conf"
    assert log.read_text() == f"-c {configuration} update\n"
    if (reader := Path("/usr/bin/apt-config")).exists():
        said = subprocess.run(
            [str(reader), "-c", str(configuration), "dump", "Dir::State::lists"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f'"{tmp_path}/downloads/apt/lists/"' in said.stdout


def test_a_component_is_added_to_both_formats_of_sources() -> None:
    old = "deb [arch=amd64] http://a.example/debian stable main\n# deb main\ndeb-src x y main\n"
    assert apt.with_component(old, "non-free").splitlines() == [
        "deb [arch=amd64] http://a.example/debian stable main non-free",
        "# deb main",
        "deb-src x y main",
    ]
    new = "Types: deb\nSuites: stable\nComponents: main contrib\nSigned-By: /usr/share/a.gpg\n"
    wanted = "Components: main contrib non-free\nSigned-By: /usr/share/a.gpg\n"
    assert apt.with_component(new, "non-free").endswith(wanted)
    assert apt.with_component("Components: maintained\n", "x") == "Components: maintained\n"


def test_complaints() -> None:
    assert complaint("W: w\nE: one\nE: two\n") == "one; two"
    assert complaint("npm error code E404\nnpm error 404 Not Found\n") == "code E404; 404 Not Found"
    assert complaint("a\nb\nc\nd\n") == "b; c; d"
    assert complaint("") == "no reason given"
