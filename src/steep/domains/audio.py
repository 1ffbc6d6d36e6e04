"""Audio files to log mel filterbanks: read, resampled, normalised, computed once and cached.

As far as the paper is known (Hestness et al. 2017, section 4.4; the shipped graphs of 2019): clips
of equal power, windows of 20 ms, 40 bands, a normaliser of mean and standard deviation. Unsure,
and chosen here: a window each 10 ms, kaldi's mel bands (kaldi-native-fbank), a floor 60 dB below
a clip's loudest band, and the normaliser's extent: every band over its own clip, so that no
statistic of one shard, of V or of the test part leaks into another.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.contracts.domain import DataError
from steep.domains.files import content

if TYPE_CHECKING:
    import kaldi_native_fbank

WINDOW, HOP = 0.020, 0.010
"""Seconds."""
FRAMES_PER_SECOND = 100
FLOOR = 6.0 * math.log(10.0)
"""60 dB, in the natural logarithm of an energy: what is fainter counts as silence."""
_VERSION = 1
"""Of the features below; a change of theirs is a change here, or old caches would be read."""


@dataclass(frozen=True)
class Analysis:
    """How features are computed."""

    sample_rate: int | None
    """Hz that every clip is resampled to. None: the lowest of all the clips."""
    bands: int


@dataclass(frozen=True)
class Features:
    """Features of all clips, one after the other."""

    rows_NxF: np.ndarray
    """float16, mapped from the cache: shared by all processes that read it."""
    frames: np.ndarray
    """int64 [clips]: rows of each clip."""
    seconds: np.ndarray
    """float64 [clips]: lengths of the audio."""


def features(paths: Sequence[Path], digests: Sequence[str], how: Analysis, cache: Path) -> Features:
    """Features of the audio files ``paths``, whose contents have the SHA-256 ``digests``.

    Read from ``cache`` where the same were computed before and their checksum still holds, else
    computed and written there. Raises DataError naming the file that cannot be used."""
    parts = [str(_VERSION), version("kaldi-native-fbank"), json.dumps(asdict(how)), *digests]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]
    data, notes = cache / f"speech-{key}.f16", cache / f"speech-{key}.json"
    found = _cached(data, notes, how.bands)
    if found is None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            _compute(paths, how, data, notes)
        except OSError as error:
            raise DataError(
                f"{cache}: features cannot be kept there: {error.strerror}; name another folder"
                " with domain.cache"
            ) from None
        found = _cached(data, notes, how.bands)
    if found is None:
        raise DataError(f"{data}: what was just written reads otherwise: is the disk sound?")
    return found


def _cached(data: Path, notes: Path, bands: int) -> Features | None:
    """None where there is nothing, or not what was written."""
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
        with data.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != known["sha256"]:
                return None
    except (OSError, ValueError, KeyError):
        return None
    frames = np.array(known["frames"], np.int64)
    rows_NxF = np.memmap(data, np.float16, "r", shape=(int(frames.sum()), bands))
    return Features(rows_NxF, frames, np.array(known["seconds"]))


def _compute(paths: Sequence[Path], how: Analysis, data: Path, notes: Path) -> None:
    """Written beside the target and renamed, the notes last: no reader sees half of it."""
    rate = how.sample_rate or min(_rate(path) for path in paths)
    frames, seconds, digest = [], [], hashlib.sha256()
    handle, temporary = tempfile.mkstemp(suffix=".f16", dir=data.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for path in paths:
                samples, own = read(path)
                rows_TxF = log_mel(resampled(samples, own, rate), rate, how.bands, path)
                frames.append(len(rows_TxF))
                seconds.append(len(samples) / own)
                digest.update(rows_TxF.tobytes())
                file.write(rows_TxF.tobytes())
        os.replace(temporary, data)
    finally:
        Path(temporary).unlink(missing_ok=True)
    text = json.dumps({"sha256": digest.hexdigest(), "frames": frames, "seconds": seconds})
    handle, temporary = tempfile.mkstemp(suffix=".json", dir=data.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, notes)


# ---------------------------------------------------------------- one clip


def read(path: Path) -> tuple[np.ndarray, int]:
    """Samples (float32, mean over channels) and sampling rate in Hz of a file that soundfile can
    read. Raises DataError for any other."""
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(content(path)), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise DataError(f"{path}: not audio that can be read: {_said(error)}") from None
    if not len(samples):
        raise DataError(f"{path}: no sound in it")
    return samples.mean(1), int(rate)


def _rate(path: Path) -> int:
    import soundfile

    try:
        return int(soundfile.info(io.BytesIO(content(path))).samplerate)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise DataError(f"{path}: not audio that can be read: {_said(error)}") from None


def _said(error: Exception) -> str:
    """The library's message, without the name it gives to bytes in memory."""
    return str(error).rpartition("object at")[2].partition(">: ")[2] or str(error)


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """By a polyphase filter: what lies above the new half rate is filtered out first."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    found: np.ndarray = resample_poly(samples, wanted // common, rate // common)
    return found.astype(np.float32)


def log_mel(samples: np.ndarray, rate: int, bands: int, path: Path) -> np.ndarray:
    """rows_TxF, float16: every band of zero mean and unit deviation over the clip."""
    power = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    if not np.isfinite(power) or power == 0:
        raise DataError(f"{path}: silent: every sample is {samples[0]}")
    bank = _bank(rate, bands)
    bank.accept_waveform(rate, (samples / power).astype(np.float32))
    bank.input_finished()
    if not bank.num_frames_ready:
        raise DataError(f"{path}: shorter than one window of {WINDOW} s")
    rows_TxF = np.stack([bank.get_frame(t) for t in range(bank.num_frames_ready)])
    rows_TxF = np.maximum(rows_TxF, rows_TxF.max() - FLOOR)
    deviation = rows_TxF.std(0)
    # A band that never leaves the floor has no deviation: it says nothing, and becomes zeros.
    scaled = (rows_TxF - rows_TxF.mean(0)) / np.where(deviation > 1e-3, deviation, np.inf)
    return scaled.astype(np.float16)


def _bank(rate: int, bands: int) -> kaldi_native_fbank.OnlineFbank:
    """Kaldi's defaults but for the window's length, and no dither: it would be random."""
    import kaldi_native_fbank as knf

    options: Any = knf.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.frame_length_ms = 1000 * WINDOW
    options.frame_opts.frame_shift_ms = 1000 * HOP
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = bands
    return knf.OnlineFbank(options)
