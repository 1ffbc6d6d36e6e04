"""Filterbanks against their equations in float64, resampling, and a cache that checks itself."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tones
from steep.contracts.domain import DataError
from steep.domains import audio


def by_hand(samples: np.ndarray, rate: int, bands: int) -> np.ndarray:
    """Kaldi's log mel energies of whole windows, and the normaliser, in float64."""
    samples = samples / np.sqrt(np.mean(samples**2))
    window, hop = int(0.02 * rate), int(0.01 * rate)
    points = 2 ** int(np.ceil(np.log2(window)))
    frames = np.stack([samples[i : i + window] for i in range(0, len(samples) - window + 1, hop)])
    frames = frames - frames.mean(1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1))
    power = np.abs(np.fft.rfft((frames - 0.97 * before) * hann**0.85, points)) ** 2

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(20), mel(rate / 2), bands + 2)
    bins = mel(np.arange(points // 2) * rate / points)[None]
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    up, down = (bins - left) / (centre - left), (right - bins) / (right - centre)
    filters = np.clip(np.minimum(up, down), 0, None)
    energy = np.log(np.maximum(power[:, : points // 2] @ filters.T, np.finfo(np.float32).eps))
    energy = np.maximum(energy, energy.max() - 6 * np.log(10))
    return (energy - energy.mean(0)) / energy.std(0)


def test_filterbanks_are_the_equations() -> None:
    rng = np.random.default_rng(0)
    samples = np.cumsum(rng.normal(size=4000)) * np.linspace(0.1, 1, 4000) + rng.normal(size=4000)
    found = audio.log_mel(samples.astype(np.float32), 8000, 23, Path("clip"))
    assert found.dtype == np.float16
    expected = by_hand(samples, 8000, 23)
    assert found.shape == expected.shape == (49, 23)
    np.testing.assert_allclose(found, expected, atol=4e-3)  # float16 has 1e-3 near 1
    louder = audio.log_mel((100 * samples).astype(np.float32), 8000, 23, Path("clip"))
    np.testing.assert_allclose(louder, found, atol=4e-3)


def test_a_silent_band_is_zeros() -> None:
    clip = tones.sound("aaa", 8000) - np.random.default_rng(0).normal(0, 0.01, 2880)
    found = audio.log_mel(clip.astype(np.float32), 8000, 40, Path("clip"))
    assert (found[:, -5:] == 0).all(), "300 Hz reach no band near 4 kHz"
    assert found[:, 8].std() == pytest.approx(1, abs=0.01)


def test_resampling_keeps_a_tone_and_drops_what_cannot_be() -> None:
    time = np.arange(44100) / 44100
    low, high = np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 9000 * time)
    found = audio.resampled((low + high).astype(np.float32), 44100, 11025)
    assert len(found) == 11025
    assert found.dtype == np.float32
    expected = np.sin(2 * np.pi * 440 * np.arange(11025) / 11025)
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=0.01)
    assert audio.resampled(found, 11025, 11025) is found


def written(folder: Path, name: str, samples: np.ndarray, rate: int) -> Path:
    soundfile.write(folder / name, samples, rate)
    return folder / name


def test_mixed_rates_become_the_lowest(tmp_path: Path) -> None:
    high = tones.sound("abcd", 16000).astype(np.float32)
    low = audio.resampled(high, 16000, 8000)
    paths = [
        written(tmp_path, "high.wav", high, 16000),
        written(tmp_path, "low.wav", low, 8000),
        written(tmp_path, "stereo.flac", np.stack([low, low], 1), 8000),
    ]
    found = audio.features(paths, ["1", "2", "3"], audio.Analysis(None, 20), tmp_path / "cache")
    assert found.frames.tolist() == [47, 47, 47]
    assert found.seconds == pytest.approx([0.48] * 3)
    one, two, three = found.rows_NxF.reshape(3, 47, 20).astype(float)
    np.testing.assert_allclose(three, two, atol=0.02)
    np.testing.assert_allclose(one, two, atol=0.1)  # 16 bits, rounded before and after
    fixed = audio.features(paths, ["1", "2", "3"], audio.Analysis(16000, 20), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 4, "other settings, other features"
    assert not np.array_equal(fixed.rows_NxF, found.rows_NxF)


def test_the_cache_is_used_and_checked(tmp_path: Path) -> None:
    path = written(tmp_path, "a.wav", tones.sound("abcd"), tones.RATE)
    cache, how = tmp_path / "cache", audio.Analysis(None, 20)
    first = np.array(audio.features([path], ["x"], how, cache).rows_NxF)
    path.unlink()  # not needed again: the digest is what counts
    assert np.array_equal(audio.features([path], ["x"], how, cache).rows_NxF, first)
    (data,) = cache.glob("*.f16")
    damaged = bytearray(data.read_bytes())
    damaged[100] ^= 1
    data.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.wav: no such file"):
        audio.features([path], ["x"], how, cache)
    written(tmp_path, "a.wav", tones.sound("abcd"), tones.RATE)
    assert np.array_equal(audio.features([path], ["x"], how, cache).rows_NxF, first)
    (notes,) = cache.glob("*.json")
    for text in ("", "{}", json.dumps({"sha256": 3})):
        notes.write_text(text)
        assert np.array_equal(audio.features([path], ["x"], how, cache).rows_NxF, first)


def test_unusable_audio_is_named(tmp_path: Path) -> None:
    how = audio.Analysis(None, 20)

    def fails(path: Path, said: str, cache: Path = tmp_path / "cache") -> None:
        with pytest.raises(DataError, match=said):
            audio.features([path], ["x"], how, cache)

    fails(written(tmp_path, "silent.wav", np.zeros(4000), 8000), r"silent\.wav: silent: every")
    fails(
        written(tmp_path, "short.wav", np.ones(100), 8000), r"short\.wav: shorter than one window"
    )
    fails(written(tmp_path, "empty.wav", np.zeros(0), 8000), r"empty\.wav: no sound in it")
    whole = io.BytesIO()
    soundfile.write(whole, tones.sound("abc"), 8000, format="FLAC")
    (tmp_path / "cut.flac").write_bytes(whole.getvalue()[:30])
    fails(tmp_path / "cut.flac", r"cut\.flac: not audio that can be read")
    (tmp_path / "file").touch()
    good = written(tmp_path, "good.wav", tones.sound("abc"), 8000)
    fails(good, r"features cannot be kept there: .*domain\.cache", tmp_path / "file" / "cache")
