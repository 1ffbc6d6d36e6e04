"""Fashion-MNIST and Asterisk's prompts, from packages made by hand."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from making import make_deb, members_of, silent

from steep.contracts.domain import TEST, TRAIN, VALIDATION
from steep.contracts.source import SourceError
from steep.data.sources import asterisk, fashion_mnist
from steep.domains.images import Options, open_domain


def idx(array: np.ndarray) -> bytes:
    header = np.array([0x800 + array.ndim, *array.shape], ">u4").tobytes()
    return gzip.compress(header + array.tobytes())


def test_fashion_mnist_is_what_the_images_domain_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 30), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        if part == "t10k":
            images[3] = 7
        else:
            images[5] = 7  # one image is in both
        root = "usr/share/datasets/fashion-mnist"
        files[f"{root}/{part}-images-idx3-ubyte.gz"] = idx(images)
        files[f"{root}/{part}-labels-idx1-ubyte.gz"] = idx((np.arange(count) % 3).astype(np.uint8))
    name = fashion_mnist.PACKAGE.name
    archives = {name: make_deb(tmp_path / f"{name}_1_all.deb", files)}
    counts = fashion_mnist.prepare(members_of(archives), tmp_path, silent)
    assert counts == {
        "training images": 30, "test images": 10, "test images that are in training": 1,
    }  # fmt: skip
    options = Options(train=fashion_mnist.SOURCE.files, test="t10k-images-idx3-ubyte.gz")
    domain = open_domain(options, tmp_path)
    part = domain.items().part
    assert domain.shape == {"channels": 1, "height": 28, "width": 28, "classes": 3}
    assert (part == TEST).sum() == 10
    assert not ((part == VALIDATION) | (part == TRAIN)).any()


def test_a_package_without_images(tmp_path: Path) -> None:
    name = fashion_mnist.PACKAGE.name
    archives = {name: make_deb(tmp_path / f"{name}_1_all.deb", {"usr/share/other": b""})}
    with pytest.raises(SourceError, match="holds no images"):
        fashion_mnist.prepare(members_of(archives), tmp_path, silent)


PROMPTS = """\
; Core Asterisk Sounds in English

activated: Activated.
beep: [this is a simple beep tone]
digits/1: one
letters/at: at [@]
vm-options: Press 1 to go on, 2 to stop... or 9
spy-h323: H.323
spy-iax2: IAX (note: does not say "2")
vm-Cust1: folder 5
one-again: One!
not-recorded: Nobody said this.
"""


def test_prompts() -> None:
    assert dict(asterisk.transcripts(PROMPTS)) == {
        "activated": "Activated.",
        "digits/1": "one",
        "letters/at": "at",
        "vm-options": "Press one to go on, two to stop or nine",
        "spy-iax2": "IAX",
        "vm-Cust1": "folder five",
        "one-again": "One!",
        "not-recorded": "Nobody said this.",
    }


def test_the_prompts_folder(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    root = "usr/share/asterisk/sounds/en_US_f_Allison"
    sounds = {}
    for place, name in enumerate(("activated", "beep", "digits/1", "one-again", "vm-options")):
        buffer = io.BytesIO()
        samples = np.sin(2 * np.pi * 100 * (place + 2) * np.arange(1600) / 8000) * 0.5
        soundfile.write(buffer, samples, 8000, format="RAW", subtype="GSM610")
        assert len(buffer.getvalue()) == 330  # ten frames of 33 bytes: it is GSM 06.10
        sounds[f"{root}/{name}.gsm"] = buffer.getvalue()
    listed = {"usr/share/doc/x/core-sounds-en.txt.gz": gzip.compress(PROMPTS.encode())}
    archives = {
        asterisk.TEXTS.name: make_deb(tmp_path / "texts_1_all.deb", listed),
        asterisk.SOUNDS.name: make_deb(tmp_path / "sounds_1_all.deb", sounds),
    }
    counts = asterisk.prepare(members_of(archives), tmp_path, silent)
    assert counts == {"clips": 4, "hours": 0.0, "groups": 3, "prompts": 5}
    rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [(row["audio"], row["text"], row["group"]) for row in rows] == [
        ("clips/activated.wav", "Activated.", "activated"),
        ("clips/digits_1.wav", "one", "digits/1"),
        ("clips/vm-options.wav", "Press one to go on, two to stop or nine", "vm-options"),
        ("clips/one-again.wav", "One!", "digits/1"),
    ]
    for row, hertz in zip(rows, (200, 400, 600, 500), strict=True):
        samples, rate = soundfile.read(tmp_path / row["audio"])
        assert (rate, row["seconds"]) == (8000, 0.2)
        assert np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples) == hertz
