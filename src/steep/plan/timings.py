"""What was timed of a machine before a study, kept in the user's cache: a second ``plan`` answers
by the same, and sooner, and ``run`` need not time again what ``plan`` has timed."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from steep.engine.compiled import cache_folder
from steep.plan import clock
from steep.plan.calibrate import StepTimes, Timed
from steep.records import decode, encode

if TYPE_CHECKING:
    from steep.store.store import Store
    from steep.study import Study


KEPT = 24 * 3600.0
"""Seconds for which it is: a machine that was busy is timed anew on another day."""


@dataclass(frozen=True)
class _Kept:
    times: StepTimes
    pilot: float
    """Seconds that its pilot was allowed."""
    at: str


def pace(study: Study, pilot: float, tell: clock.Tell, ends: float = math.inf) -> StepTimes | None:
    """As ``clock.pace``: kept from before where this spec, data and machine were timed with a pilot
    as long, else timed now and kept, unless the clock cut it."""
    file = _file(study)
    with suppress(OSError, ValueError):
        kept = decode(_Kept, file.read_text(encoding="utf-8"))
        if kept.pilot >= pilot and time.time() - file.stat().st_mtime < KEPT:
            return replace(kept.times, kept=(kept.at, str(file)))
    times = clock.pace(study, pilot, tell, ends)
    if times is not None and time.monotonic() < ends:
        now = datetime.datetime.now(datetime.UTC).isoformat(sep=" ", timespec="minutes")
        with suppress(OSError, ValueError):  # a full disk, an error that is no number
            _write(file, encode(_Kept(times, pilot, now.removesuffix("+00:00"))))
    return times


def _write(file: Path, text: str) -> None:
    """Beside it and renamed: two may write at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=file.parent, suffix=".json", delete=False
    ) as other:
        other.write(text)
    os.replace(other.name, file)


def _file(study: Study) -> Path:
    """Named by all that times hang on: the spec but for where it runs, the data, the user's code,
    versions, and the machine."""
    spec = study.spec.model_dump(mode="json", exclude={"study", "run"})
    parts = [spec, dict(study.cut.files), study.code, study.spec.run.device, _machine()]
    text = json.dumps(parts, sort_keys=True, default=str)
    return cache_folder() / "timed" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


@cache
def _machine() -> tuple[str, ...]:
    named = [platform.node(), platform.platform(), platform.processor(), str(os.cpu_count())]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        named += [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    for package in ("steep", "torch", "numpy"):
        with suppress(PackageNotFoundError):
            named.append(version(package))
    named += [os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "STEEP_KERNELS")]
    return tuple(named)


def registered(store: Store) -> StepTimes | None:
    """The pace that a study's first run wrote down; None where there is none."""
    kept = [d.payload["pace"] for d in store.decisions("time") if d.payload.get("pace")]
    if not kept or kept[0]["rows"] is None:
        return None
    rows = tuple(decode(Timed, row) for row in kept[0]["rows"])
    return StepTimes(rows, kept[0]["validation"])
