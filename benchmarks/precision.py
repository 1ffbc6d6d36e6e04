"""Does training in bfloat16 cost accuracy? Errors beside float32's, seed by seed.

    OMP_NUM_THREADS=1 python benchmarks/precision.py [--seeds 8] [--write]

Each seed is trained twice by the same engine, to its own end, once with gradients in float32 and
once in bfloat16; both start from the same weights and see the same batches. What is told is the
mean of the paired differences of the best validation errors, with its standard error, beside how
much seeds differ from one another. ``--write`` writes results/precision.md.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import steep
from steep.contracts.trainer import ShardItems
from steep.present.numbers import number
from steep.records import Trial, settings
from steep.shards import cut
from steep.spec.load import from_values, open_domain
from steep.testing import MemoryHandle
from steep.trainers import engine

HERE = Path(__file__).resolve()
DATA = Path(steep.__file__).parent / "data"
IMAGES = DATA / "fashion_mnist_14x14"
STOP = {"evaluations": 8, "patience": 2, "ratio": 1.4}
CASES: dict[str, dict[str, Any]] = {
    "ResNet, width 8, 1,000 images": {
        "domain": {
            "name": "images",
            "train": str(IMAGES / "train-images-idx3-ubyte.gz"),
            "validation": str(IMAGES / "validation-images-idx3-ubyte.gz"),
            "test": str(IMAGES / "test-images-idx3-ubyte.gz"),
        },
        "family": {"name": "resnet", "sizes": [8], "engine": "torch"},
        "shards": {"smallest": 500, "largest": 1000},
        "training": {"learning_rate": 0.05},
    },
    "transformer, width 32, 32,000 characters": {
        "domain": {"name": "characters", "train": str(DATA / "state_of_the_union")},
        "split": {"validation": 0.03, "test": 0.03},
        "family": {"name": "transformer", "sizes": [32], "layers": 2},
        "shards": {"smallest": 16000, "largest": 32000},
        "training": {"learning_rate": 0.005},
    },
}


def errors(case: dict[str, Any], seeds: int) -> Iterator[tuple[float, float]]:
    """Best validation errors of each seed, in (float32, bfloat16)."""
    trainers = []
    for precision in ("float32", "bfloat16"):
        own = {"name": "engine", "precision": precision, "train_items": 100}
        loaded = from_values({"study": "precision", "stop": STOP, "trainer": own} | case)
        domain = open_domain(loaded)
        trainers.append(engine.open_trainer(loaded, domain))
    found = cut(loaded, domain.items(), domain.unit)
    shard = found.shards[-1]
    items = ShardItems(found.orders[0][: shard.items], found.validation, found.test[:100])
    size = case["family"]["sizes"][0]
    for seed in range(seeds):
        trial = Trial(0, shard.items, shard.samples, size, settings({}), seed)
        one, other = (train(trial, items, MemoryHandle()) for train in trainers)
        assert one.validation_error is not None
        assert other.validation_error is not None
        yield one.validation_error, other.validation_error


def row(name: str, pairs: list[tuple[float, float]]) -> str:
    wide, narrow = zip(*pairs, strict=True)
    differences = [b / a - 1 for a, b in pairs]
    error = statistics.stdev(differences) / len(pairs) ** 0.5
    spread = statistics.stdev(wide) / statistics.mean(wide)
    told = [number(statistics.mean(wide)), number(statistics.mean(narrow))]
    told += [f"{number(100 * x)} %" for x in (statistics.mean(differences), error, spread)]
    return f"| {name} | {len(pairs)} | " + " | ".join(told) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    lines = [
        "# Gradients in bfloat16",
        "",
        "Made by `python benchmarks/precision.py --write`, on a CPU. Lowest validation loss, nats:",
        "the mean of seeds; the paired difference over float32's, with its standard error; and the",
        "standard deviation of float32's over seeds.",
        "",
        "| | seeds | float32 | bfloat16 | difference | its standard error | spread of seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name, case in CASES.items():
        lines.append(row(name, list(errors(case, given.seeds))))
        print(lines[-1], flush=True)
    if given.write:
        (HERE.parent / "results" / "precision.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
