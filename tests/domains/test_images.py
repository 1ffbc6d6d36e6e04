"""Images: three ways to hold them, what is read, and files that cannot be used."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steep import testing
from steep.contracts.domain import POOL, TEST, TRAIN, VALIDATION, DataError
from steep.domains import images
from steep.models import resnet

RECIPE = {**resnet.FAMILY.recipe, "batch_size": 5}


def idx(values: np.ndarray) -> bytes:
    head = struct.pack(">HBB", 0, 8, values.ndim)
    return head + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(folder: Path, name: str, count: int, side: int = 6, zipped: bool = False) -> str:
    generator = np.random.default_rng(count)
    pixels = generator.integers(0, 256, (count, side, side), np.uint8)
    labels = (np.arange(count) % 3).astype(np.uint8)
    suffix, pack = (".gz", gzip.compress) if zipped else ("", bytes)
    path = folder / f"{name}-images-idx3-ubyte{suffix}"
    path.write_bytes(pack(idx(pixels)))
    (folder / f"{name}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels)))
    return path.name


def opened(folder: Path, **options) -> images.Images:
    return images.open_domain(images.Options(**options), folder)


def test_contract(tmp_path: Path) -> None:
    train, test = write_idx(tmp_path, "train", 30), write_idx(tmp_path, "t10k", 10, zipped=True)
    domain = opened(tmp_path, train=train, test=test)
    testing.check_member(images, "open_domain")
    testing.check_domain(domain, resnet.FAMILY, resnet.Options(stages=2), 2, RECIPE)


def test_parts_and_fingerprints(tmp_path: Path) -> None:
    names = [write_idx(tmp_path, name, n) for name, n in (("a", 9), ("b", 6), ("c", 3))]
    items = opened(tmp_path, train=names[0], validation=names[1], test=names[2]).items()
    assert items.part.tolist() == [TRAIN] * 9 + [VALIDATION] * 6 + [TEST] * 3
    assert items.label.tolist() == [0, 1, 2] * 6
    assert len(items.files) == 6
    pool = opened(tmp_path, train=names[0], test=names[2]).items()
    assert set(pool.part) == {POOL, TEST}


def test_the_three_containers_agree(tmp_path: Path) -> None:
    name = write_idx(tmp_path, "train", 12)
    pixels = np.frombuffer((tmp_path / name).read_bytes()[16:], np.uint8).reshape(12, 6, 6)
    labels = np.arange(12) % 3
    np.savez_compressed(tmp_path / "all.npz", images=pixels, labels=labels)
    for number, image in enumerate(pixels):
        folder = tmp_path / "folders" / f"class{labels[number]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02}.png")
    from_idx = opened(tmp_path, train=name).items()
    from_npz = opened(tmp_path, train="all.npz").items()
    folders = opened(tmp_path, train="folders", grey=True)
    assert (from_idx.digest == from_npz.digest).all()
    assert set(from_idx.digest) == set(folders.items().digest)
    assert folders.names.tolist() == ["class0", "class1", "class2"]
    resized = opened(tmp_path, train="folders", side=3)
    assert resized.shape == {"channels": 3, "height": 3, "width": 3, "classes": 3}


def test_means(tmp_path: Path) -> None:
    pixels = np.array([[[0, 1], [2, 4]], [[255, 255], [255, 255]]], np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=[0, 1])
    domain = opened(tmp_path, train="a.npz", means=2)
    assert domain._images.tolist() == [[[[2]]], [[[255]]]]  # 1.75 and 255
    with pytest.raises(DataError, match="do not divide into means of 3"):
        opened(tmp_path, train="a.npz", means=3)


def test_equal_images_are_one_group(tmp_path: Path) -> None:
    pixels = np.zeros((3, 2, 2), np.uint8)
    pixels[1] = 9
    np.savez(tmp_path / "a.npz", images=pixels, labels=[0, 1, 0])
    items = opened(tmp_path, train="a.npz").items()
    assert items.group[0] == items.group[2] != items.group[1]


def test_best_guess(tmp_path: Path) -> None:
    labels = np.array([0] * 6 + [1] * 2 + [0, 1, 1, 1])
    np.savez(tmp_path / "a.npz", images=np.zeros((12, 2, 2), np.uint8), labels=labels)
    guess = opened(tmp_path, train="a.npz").best_guess(np.arange(8), np.arange(8, 12))
    assert guess["error"] == 0.75
    assert guess["cross_entropy"] == pytest.approx(-(np.log(0.7) + 3 * np.log(0.3)) / 4)


def test_no_batch_leaves_its_shard_and_an_epoch_takes_all_of_it(tmp_path: Path) -> None:
    domain = opened(tmp_path, train=write_idx(tmp_path, "train", 30))
    shard = np.array([3, 4, 8, 9, 11, 20, 21, 22, 23, 24, 29])
    steps = domain.steps_per_epoch(shard, RECIPE)
    batches = domain.batches(shard, RECIPE, 0, (0, 0))
    for _ in range(3):
        epoch = [next(batches)[0] for _ in range(steps)]
        assert sorted(int(item) for batch in epoch for item in batch) == shard.tolist()
        assert max(map(len, epoch)) - min(map(len, epoch)) <= 1


def bad_files(folder: Path) -> dict[str, str]:
    """File to be named -> the spec's ``train`` that leads to it."""
    whole = (folder / write_idx(folder, "train", 9)).read_bytes()
    for name, data in {
        "cut-images-idx3-ubyte": whole[:-5],
        "empty-images-idx3-ubyte": b"",
        "text-images-idx3-ubyte": b"no such format",
        "zipped-images-idx3-ubyte.gz": gzip.compress(whole)[:-20],
        "flat-images-idx3-ubyte": idx(np.zeros(4, np.uint8)),
    }.items():
        (folder / name).write_bytes(data)
        labels = name.replace("images-idx3", "labels-idx1").removesuffix(".gz")
        (folder / labels).write_bytes(idx(np.zeros(9, np.uint8)))
    (folder / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(folder / "unnamed.npz", pixels=np.zeros((2, 2, 2), np.uint8))
    np.savez(folder / "short.npz", images=np.zeros((2, 2, 2), np.uint8), labels=[0])
    np.savez(folder / "none.npz", images=np.zeros((0, 2, 2), np.uint8), labels=[])
    np.savez(folder / "pickled.npz", images=np.array([{}]), labels=[0])
    (folder / "hollow").mkdir()
    (folder / "broken" / "class").mkdir(parents=True)
    (folder / "broken" / "class" / "0.png").write_bytes(b"\x89PNG and no more")
    names = [path.name for path in folder.iterdir() if "labels" not in path.name]
    wrong = {name: name for name in names if not name.startswith("train")} | {"gone": "gone"}
    wrong.pop("broken")
    return wrong | {"0.png": "broken"}


def test_files_that_are_no_images_are_left_aside(tmp_path: Path) -> None:
    """Hidden ones, those of systems, and a README; a damaged .png stays an error. The fingerprint
    is that of the images: a file that is not read changes no data."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(4):
            pixels = np.full((4, 4, 3), 50 * k + len(name), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{k}.png")
    before = opened(tmp_path, train="photos")
    for name in ("cat/.DS_Store", "dog/Thumbs.db", "cat/.lock", "desktop.ini"):
        (tmp_path / "photos" / name).write_bytes(b"\0\1")
    for name in ("dog/README", "cat/labels.csv", "LICENSE"):
        (tmp_path / "photos" / name).write_text("words")
    after = opened(tmp_path, train="photos")
    assert [file.name for file in after.left_aside] == ["LICENSE", "labels.csv", "README"]
    assert after.items().files == before.items().files
    assert (after.items().digest == before.items().digest).all()
    (tmp_path / "photos" / "cat" / "bad.png").write_text("words")
    with pytest.raises(DataError, match=r"bad\.png"):
        opened(tmp_path, train="photos")


def test_unusable_files_are_named(tmp_path: Path) -> None:
    wrong = bad_files(tmp_path)
    assert len(wrong) == 13
    for file, train in wrong.items():
        with pytest.raises(DataError) as caught:
            opened(tmp_path, train=train)
        assert file in str(caught.value)


def test_opens_without_torch(tmp_path: Path) -> None:
    import subprocess

    name = write_idx(tmp_path, "train", 9)
    code = (
        "import sys; from pathlib import Path; from steep.domains import images;"
        f"images.open_domain(images.Options(train={name!r}), Path({str(tmp_path)!r})).items();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
