"""Images: IDX files (plain or .gz), an .npz with ``images`` and ``labels``, or class folders.

Unit: images. Decoded once to uint8 and kept in memory; batches are taken by index. Pixels enter a
model as ``x / 127.5 - 1``: a constant, so that no statistic of one shard, of V or of the test part
leaks into another, and every shard sees the same function of the pixels.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.contracts.domain import (
    TEST,
    VALIDATION,
    DataError,
    Items,
    Position,
    Scores,
    epochs,
)
from steep.domains.files import RATIO, UNPACKED, by_part, content, digest_of, is_data, unzipped
from steep.records import Sample
from steep.spec.sections import Count, Strict

if TYPE_CHECKING:
    import torch

EVALUATION_BATCH, ON_CPU, EVALUATION_PIXELS = 500, 128, 1 << 19
"""Images, images on a CPU, and pixels in a batch of an evaluation at most: more is no faster, and
takes memory. On a CPU what a layer leaves should still be in the cache for the next one."""


class Options(Strict):
    """Where the images are. Relative paths start from the spec's folder."""

    train: str
    """An IDX file of images, an .npz file, or a folder with one sub-folder a class."""
    validation: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    test: str | None = None
    """None: cut from ``train`` as ``split`` in the spec says."""
    train_labels: str | None = None
    """IDX only. None: found by the usual name, ...-labels-idx1-ubyte beside ...-images-..."""
    validation_labels: str | None = None
    """IDX only: the same of ``validation``."""
    test_labels: str | None = None
    """IDX only: the same of ``test``."""
    means: Count = 1
    """2: replace each 2x2 square by its mean, halving height and width."""
    side: Count | None = None
    """Folders only: resize every image to side x side. None: they must all be of one size."""
    grey: bool = False
    """Folders only: one channel instead of three."""


def open_domain(options: Options, base: Path) -> Images:
    """Read and check every file. Raises DataError naming the file that cannot be used."""
    parts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    files: dict[str, str] = {}
    left_aside: list[Path] = []
    labels_of = {VALIDATION: options.validation_labels, TEST: options.test_labels}
    for part, path in by_part(options.train, options.validation, options.test).items():
        if path:
            labels = labels_of.get(part, options.train_labels)
            images, classes, read, aside = _read(
                base / path, base / labels if labels else None, options
            )
            left_aside += aside
            parts[part] = _means(images, options.means, path), classes
            files |= {_name(file, base): digest for file, digest in read.items()}
    shapes = {images.shape[1:] for images, _ in parts.values()}
    if len(shapes) > 1:
        raise DataError(f"{options.train}: the parts hold images of different shapes: {shapes}")
    order = sorted(parts)
    return Images(
        np.concatenate([parts[part][0] for part in order]),
        np.concatenate([parts[part][1] for part in order]),
        np.concatenate([np.full(len(parts[part][1]), part, np.int8) for part in order]),
        files,
        left_aside,
    )


NEIGHBOURS_OF = 1000
"""Validation images whose nearest neighbours are looked for."""


class Images:
    """The opened domain: uint8 images [N, C, H, W], their labels and parts."""

    unit = "images"
    kind = "classifier"

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        part: np.ndarray,
        files: Mapping[str, str],
        left_aside: Sequence[Path] = (),
    ) -> None:
        """``left_aside``: files beside the images that are none."""
        self.left_aside = tuple(left_aside)
        self.names, self._labels = np.unique(labels, return_inverse=True)
        self._images, self._part, self._files = images, part, files
        _, channels, height, width = images.shape
        classes = len(self.names)
        self.shape = {
            "channels": channels,
            "height": height,
            "width": width,
            "classes": classes,
        }
        self.metrics = ("cross_entropy", "error") + (("top5_error",) if classes > 5 else ())
        self._device = "cpu"
        self._resident: tuple[torch.Tensor, torch.Tensor] | None = None

    def items(self) -> Items:
        digest = np.array(
            [digest_of(image.tobytes()) for image in self._images],
            np.uint64,
        )
        # Equal images are one group, so that no split puts them on both of its sides.
        group = np.unique(digest, return_inverse=True)[1].astype(np.int64)
        return Items(
            np.ones(len(digest)),
            digest,
            group,
            self._part,
            self._labels.astype(np.int64),
            self._files,
        )

    def best_guess(self, items: np.ndarray, validation: np.ndarray) -> Mapping[str, float]:
        classes = len(self.names)
        count = np.bincount(self._labels[items], minlength=classes)
        probability = (count + 1) / (count.sum() + classes)
        answer = np.argsort(-count, kind="stable")
        labels = self._labels[validation]
        guess = {
            "cross_entropy": float(-np.log(probability[labels]).mean()),
            "error": float((labels != answer[0]).mean()),
            "top5_error": float((~np.isin(labels, answer[:5])).mean()),
        }
        return {name: guess[name] for name in self.metrics}

    def baseline(self, items: np.ndarray, validation: np.ndarray) -> tuple[str, str, float]:
        """(what, metric, value) of what needs no training: the label of the nearest training image
        in pixels, for at most ``NEIGHBOURS_OF`` validation images."""
        queries = validation[:NEIGHBOURS_OF]
        known, wanted = (self._images[i].reshape(len(i), -1).astype(np.float32)
                         for i in (items, queries))  # fmt: skip
        squares = (known**2).sum(axis=1)
        wrong = 0
        for start in range(0, len(queries), 100):
            part = wanted[start : start + 100]
            nearest = (squares - 2 * part @ known.T).argmin(axis=1)
            of_part = self._labels[queries[start : start + 100]]
            wrong += int((self._labels[items][nearest] != of_part).sum())
        return "the nearest neighbour in pixels", "error", wrong / len(queries)

    def steps_per_epoch(self, items: np.ndarray, hyperparameters: Mapping[str, Any]) -> int:
        return -(-len(items) // int(hyperparameters["batch_size"]))

    def batches(
        self, items: np.ndarray, hyperparameters: Mapping[str, Any], seed: int, position: Position
    ) -> Iterator[tuple[Any, Position]]:
        """Batches of (item numbers on the device): a permutation an epoch, cut evenly.

        Cut evenly so that no epoch ends in a batch of one, which batch norm cannot use."""
        import torch

        steps = self.steps_per_epoch(items, hyperparameters)
        for generator, epoch, taken in epochs(seed, position):
            order = torch.from_numpy(items[generator.permutation(len(items))]).to(self._device)
            for index, batch in enumerate(torch.tensor_split(order, steps)):
                if index >= taken:
                    after = (epoch, index + 1) if index + 1 < steps else (epoch + 1, 0)
                    yield batch, after

    def loss(self, model: Any, batch: torch.Tensor, state: Any) -> tuple[torch.Tensor, float, None]:
        import torch.nn.functional as F

        x_BxCxHxW, y_B = self._take(batch)
        return F.cross_entropy(model(x_BxCxHxW), y_B, reduction="sum"), float(len(y_B)), None

    def evaluate(self, model: Any, items: np.ndarray) -> Scores:
        import torch
        import torch.nn.functional as F

        sums: dict[str, list[torch.Tensor]] = {name: [] for name in self.metrics}
        pixels = self.shape["height"] * self.shape["width"]
        most = ON_CPU if self._device == "cpu" else EVALUATION_BATCH
        size = min(most, max(1, EVALUATION_PIXELS // pixels))
        for batch in torch.from_numpy(items).to(self._device).split(size):
            x_BxCxHxW, y_B = self._take(batch)
            logits_BxK = model(x_BxCxHxW).float()
            sums["cross_entropy"].append(F.cross_entropy(logits_BxK, y_B, reduction="none"))
            sums["error"].append(logits_BxK.argmax(1) != y_B)
            if "top5_error" in sums:
                hit_Bx5 = logits_BxK.topk(5, dim=1).indices == y_B[:, None]
                sums["top5_error"].append(~hit_Bx5.any(1))
        return Scores(
            np.ones(len(items)),
            {name: torch.cat(parts).double().cpu().numpy() for name, parts in sums.items()},
        )

    def samples(self, model: Any, items: np.ndarray) -> list[Sample]:
        """The class of each image and the model's."""
        import torch

        x_BxCxHxW, _ = self._take(torch.from_numpy(items).to(self._device))
        best_B = model(x_BxCxHxW).argmax(1).tolist()
        names = [str(name) for name in self.names]
        return [
            Sample(f"image {item}", names[self._labels[item]], names[best])
            for item, best in zip(items, best_B, strict=True)
        ]

    def to(self, device: str) -> None:
        self._device, self._resident = device, None

    def _take(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels in [-1, 1] and labels of the items in ``batch``."""
        import torch

        if self._resident is None:
            self._resident = (
                torch.from_numpy(self._images).to(self._device),
                torch.from_numpy(self._labels.astype(np.int64)).to(self._device),
            )
        images, labels = self._resident
        return images[batch].float().div_(127.5).sub_(1.0), labels[batch]


# ---------------------------------------------------------------- reading files


def _name(file: Path, base: Path) -> str:
    """A path as the fingerprint names it: relative to the spec where it can be."""
    return str(file.relative_to(base)) if file.is_relative_to(base) else str(file)


def _read(
    path: Path, labels: Path | None, options: Options
) -> tuple[np.ndarray, np.ndarray, dict[Path, str], list[Path]]:
    """(uint8 images [N, C, H, W], labels [N], SHA-256 of each file read, files left aside)."""
    aside: list[Path] = []
    if path.is_dir():
        images, classes, files, aside = _read_folders(path, options)
    elif path.suffix == ".npz":
        images, classes, files = _read_npz(path)
    else:
        images, classes, files = _read_idx_pair(path, labels)
    if len(images) == 0:
        raise DataError(f"{path}: holds no image")
    if len(images) != len(classes):
        raise DataError(f"{path}: {len(images)} images but {len(classes)} labels")
    return images, classes, files, aside


def _read_idx_pair(
    path: Path, labels: Path | None
) -> tuple[np.ndarray, np.ndarray, dict[Path, str]]:
    if labels is None:
        usual = path.name.replace("images", "labels").replace("idx3", "idx1")
        candidates = [path.with_name(usual), path.with_name(usual + ".gz")]
        if usual.endswith(".gz"):
            candidates.append(path.with_name(usual[:-3]))
        found = [file for file in candidates if file != path and file.exists()]
        if path.exists() and not found:
            raise DataError(f"{path}: its labels are not beside it as {usual}; name them")
        labels = found[0] if found else path
    raw = {path: content(path), labels: content(labels)}
    images, classes = _idx(path, raw[path], 3), _idx(labels, raw[labels], 1)
    files = {file: hashlib.sha256(data).hexdigest() for file, data in raw.items()}
    return images[:, None], classes.astype(np.int64), files


def _idx(path: Path, data: bytes, dimensions: int) -> np.ndarray:
    """An IDX array of bytes: 0 0 8 dimensions, big-endian 32-bit sizes, then the values."""
    data = unzipped(path, data)
    if not data:
        raise DataError(f"{path}: empty")
    if data[:3] != b"\x00\x00\x08" or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path}: not an IDX file of bytes")
    if data[3] != dimensions:
        raise DataError(f"{path}: an IDX file of {data[3]} dimensions, not {dimensions}")
    sizes = np.frombuffer(data, ">u4", dimensions, 4).astype(int)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if len(values) != sizes.prod():
        raise DataError(f"{path}: truncated: {len(values)} of {sizes.prod()} values")
    return values.reshape(sizes)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray, dict[Path, str]]:
    """``images`` [N, H, W] or [N, H, W, C] uint8, ``labels`` [N]. Pickled arrays are refused."""
    data = content(path)
    digest = hashlib.sha256(data).hexdigest()
    try:
        # From memory: numpy leaves a damaged file open.
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            unpacked = sum(part.file_size for part in arrays.zip.infolist())
            if unpacked > max(UNPACKED, RATIO * len(data)):
                raise DataError(f"{path}: unpacks to more than {RATIO} times its size")
            images, labels = arrays["images"], arrays["labels"]
    except KeyError as error:
        raise DataError(f"{path}: needs arrays 'images' and 'labels': {error}") from None
    except DataError:
        raise
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: truncated or not an npz file: {error}") from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(f"{path}: 'images' must be uint8 [N, H, W] or [N, H, W, C]")
    images = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    return np.ascontiguousarray(images), labels.reshape(-1), {path: digest}


def _read_folders(
    path: Path, options: Options
) -> tuple[np.ndarray, np.ndarray, dict[Path, str], list[Path]]:
    """One sub-folder a class, in the order of their names; needs pillow. A file of no image format,
    by its name and its content, is left aside."""
    from PIL import Image, UnidentifiedImageError

    files = sorted(file for file in path.glob("*/*") if file.is_file() and is_data(file, path))
    aside = [file for file in path.glob("*") if file.is_file() and is_data(file, path)]
    openable = {end for end, name in Image.registered_extensions().items() if name in Image.OPEN}
    images: list[np.ndarray] = []
    labels: list[str] = []
    digest = hashlib.sha256()
    for file in files:
        data = content(file)
        try:
            with Image.open(io.BytesIO(data)) as opened:
                image = opened.convert("L" if options.grey else "RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            if isinstance(error, UnidentifiedImageError) and file.suffix.lower() not in openable:
                aside.append(file)
                continue
            raise DataError(f"{file}: not an image that can be read: {error}") from None
        except (OSError, SyntaxError, ValueError, MemoryError) as error:
            raise DataError(f"{file}: not an image that can be read: {error}") from None
        digest.update(os.fsencode(f"{file.relative_to(path)}\n") + hashlib.sha256(data).digest())
        if options.side:
            image = image.resize((options.side, options.side), Image.Resampling.BOX)
        pixels = np.asarray(image, np.uint8)
        pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
        if images and pixels.shape != images[0].shape:
            raise DataError(f"{file}: not of the same size as {files[0]}; set domain.side")
        images.append(pixels)
        labels.append(file.parent.name)
    if not images:
        raise DataError(f"{path}: holds no image (one sub-folder a class is expected)")
    return np.stack(images), np.array(labels), {path: digest.hexdigest()}, aside


def _means(images: np.ndarray, factor: int, path: str) -> np.ndarray:
    """Each factor x factor square by its mean, rounded to a byte (half to even)."""
    if factor == 1:
        return images
    count, channels, height, width = images.shape
    if height % factor or width % factor:
        raise DataError(f"{path}: {height}x{width} images do not divide into means of {factor}")
    squares = images.reshape(count, channels, height // factor, factor, width // factor, factor)
    # In slices: a float copy of a whole data set of photographs would not fit.
    return np.concatenate(
        [
            np.rint(part.mean((3, 5))).astype(np.uint8)
            for part in np.array_split(squares, 1 + count // 4096)
        ]
    )
