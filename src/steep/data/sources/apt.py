"""What apt offers of a package, from the machine's lists, or from lists beside the downloads.

A machine's lists may be empty, as in most containers, or lack a component such as non-free.
Neither needs root: the same sources, with the component added, are fetched into a folder that
belongs to the user, and apt is configured to look there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from steep.contracts.source import Package, SourceError, Tell
from steep.data.sources.clients import answer, client, complaint

FOLDER = "apt"
"""Among the downloads: lists of our own, and the configuration that names them."""

CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::sourcelist "{0}/sources.list";
Dir::Etc::sourceparts "{0}/sources/";
Dir::State::lists "{0}/lists/";
Dir::Cache "{0}/cache/";
APT::Sandbox::User "";
Acquire::Languages "none";
"""


@dataclass(frozen=True)
class Offer:
    """The version that apt would install, its file, and the command that downloads it."""

    version: str
    file: str
    size: int
    sha256: str
    command: list[str]


def offer(package: Package, downloads: Path, tell: Tell) -> Offer:
    """Raises SourceError where there is no apt, or none of its archives has the package."""
    file = f"{package.name}_{package.version}_all.deb"
    elsewhere = f"put {file} (SHA-256 {package.sha256}) into {downloads} and try again"
    client("apt-get", f"it fetches {package.name} on Debian and Ubuntu. Elsewhere, {elsewhere}")
    found = _shown(package, [])
    if found is None:
        own = ["-c", str(_own_lists(downloads.resolve() / FOLDER, package.component, tell))]
        found = _shown(package, own)
    if found is None:
        raise SourceError(
            f"apt finds no package {package.name} in {package.component}: this distribution"
            f" may not have it; if so, {elsewhere}"
        )
    return found


def _shown(package: Package, options: list[str]) -> Offer | None:
    """What ``apt-cache show`` says of the candidate version; None where it knows none."""
    good, output = answer(["apt-cache", *options, "show", "--no-all-versions", package.name])
    fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", output, re.MULTILINE)) if good else {}
    if not {"Version", "Filename", "Size", "SHA256", "Architecture"} <= set(fields):
        return None
    version = fields["Version"]
    return Offer(
        version,
        f"{package.name}_{version.replace(':', '%3a')}_{fields['Architecture']}.deb",
        int(fields["Size"]),
        fields["SHA256"],
        ["apt-get", *options, "download", f"{package.name}={version}"],
    )


def _own_lists(folder: Path, component: str, tell: Tell) -> Path:
    """Fetch the archives' lists, with ``component``, into ``folder``; the configuration file."""
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    wanted = ["LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]
    _, output = answer(["apt-config", "shell", *wanted])
    places = dict(re.findall(r"^(LIST|PARTS)='(.*)'$", output, re.MULTILINE))
    sources = [Path(places["LIST"])] if "LIST" in places else []
    sources += sorted(Path(places["PARTS"]).glob("*")) if "PARTS" in places else []
    for path in sources:
        if path.is_file():
            name = "sources.list" if path.name == "sources.list" else f"sources/{path.name}"
            (folder / name).write_text(with_component(path.read_text(), component))
    configuration = folder / "apt.conf"
    configuration.write_text(CONFIGURATION.format(folder))
    tell(f"fetching package lists with {component}", 0.0)
    good, output = answer(["apt-get", "-c", str(configuration), "update"])
    if not good:
        raise SourceError(f"apt-get could not fetch package lists: {complaint(output)}")
    return configuration


def with_component(sources: str, component: str) -> str:
    """apt sources, in either format, with ``component`` added to archives that have a main."""
    line = r"^((?:Components:|deb )(?:.*[ \t])?main(?:[ \t].*)?)$"
    return re.sub(line, rf"\1 {component}", sources, flags=re.MULTILINE)
