"""A whole small study, workers and all, against a sequential loop of the plain way.

    python benchmarks/engine_study.py            writes results/engine_study.json

First `steep run` does the study on two workers: 24 trials of bundled images. Then one process of
the plain way (plain.py) does the same trials one after the other: the same items, steps, batch
size, evaluations and learning rates, with a DataLoader and torch's own optimizers. Wall time of
both, from starting Python to the last result.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
DATA = HERE.parents[1] / "src" / "steep" / "data" / "fashion_mnist_14x14"
SPEC: dict[str, Any] = {
    "study": "bench",
    "domain": {
        "name": "images",
        "train": str(DATA / "train-images-idx3-ubyte.gz"),
        "validation": str(DATA / "validation-images-idx3-ubyte.gz"),
        "test": str(DATA / "test-images-idx3-ubyte.gz"),
    },
    "family": {"name": "resnet", "sizes": [4, 8, 16]},
    "shards": {"smallest": 125, "largest": 1000},
    "search": {"planner": "grid", "seeds": 2, "extend": 0},
    "training": {"learning_rate": 0.05},
    "stop": {"evaluations": 6, "patience": 2},
}


def plain_way(folder: Path) -> None:
    """Every trial of the finished study again, in this process, as one would write it."""
    import numpy as np
    import plain
    import torch
    from torch.utils.data import TensorDataset

    from steep import Study
    from steep.domains import images
    from steep.shards import items_of

    torch.set_num_threads(1)
    study = Study.open(folder)
    options = images.Options.model_validate(study.spec.domain.options)
    domain = images.open_domain(options, study.loaded.base)
    x_all = torch.from_numpy(domain._images).float() / 127.5 - 1
    y_all = torch.from_numpy(domain._labels.astype(np.int64))
    for done in study.measurements():
        shard = items_of(folder, done.trial)
        parts = [torch.from_numpy(rows) for rows in (shard.train, shard.validation, shard.test)]
        (x, y), validation, test = [(x_all[rows], y_all[rows]) for rows in parts]
        torch.manual_seed(done.trial.seed)
        model = plain.PlainResNet(done.trial.size, domain.shape)
        optimizer = plain.optimizer("momentum", model, 0.05)
        wanted = [point.step for point in done.curve]
        step, best, weights = 0, float("inf"), None
        while step < done.steps:
            order = torch.randperm(len(x)).tolist()
            for batch in plain.loader(TensorDataset(x, y), batches(order)):
                plain.step(model, optimizer, batch, 0.0)
                step += 1
                if step in wanted:
                    error = evaluate(model, *validation)
                    if error < best:
                        best, weights = error, copy.deepcopy(model.state_dict())
                if step == done.steps:
                    break
        if weights is not None:
            model.load_state_dict(weights)
        evaluate(model, x[:1000], y[:1000])
        evaluate(model, *test)


def batches(order: list[int], size: int = 64) -> list[list[int]]:
    return [order[first : first + size] for first in range(0, len(order), size)]


def evaluate(model: Any, x: Any, y: Any) -> float:
    import plain
    import torch
    import torch.nn.functional as F
    from torch.utils.data import TensorDataset

    model.eval()
    total = 0.0
    with torch.no_grad():
        for inputs, targets in plain.loader(TensorDataset(x, y), batches(list(range(len(x))))):
            total += F.cross_entropy(model(inputs), targets, reduction="sum").item()
    model.train()
    return total / len(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plain", type=Path, metavar="FOLDER")
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    if given.plain:
        plain_way(given.plain)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pairs = []

    def cpu() -> float:
        """CPU seconds of the processes that have ended: the ratio that a busy machine spares."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as place:
            spec, folder = Path(place) / "bench.yaml", Path(place) / "study"
            spec.write_text(json.dumps(SPEC))
            run = [sys.executable, "-m", "steep", "run", str(spec), "--out", str(folder)]
            start, used = time.perf_counter(), cpu()
            subprocess.run(
                [*run, "--workers", "2"], check=True, env=environment, stdout=subprocess.DEVNULL
            )
            engine, engine_cpu = time.perf_counter() - start, cpu() - used
            start, used = time.perf_counter(), cpu()
            again = [sys.executable, str(HERE), "--plain", str(folder)]
            subprocess.run(again, check=True, env=environment)
            plain, plain_cpu = time.perf_counter() - start, cpu() - used
            from steep import Study

            trials = len(Study.open(folder).measurements())
        pairs.append(
            {
                "trials": trials,
                "engine_seconds": engine,
                "engine_cpu_seconds": engine_cpu,
                "plain_seconds": plain,
                "plain_cpu_seconds": plain_cpu,
            }
        )
        print(
            f"{trials} trials: engine {engine:.0f} s ({engine_cpu:.0f} of CPU), "
            f"plain {plain:.0f} s ({plain_cpu:.0f}): {plain / engine:.1f}x"
        )
    from engine import RESULTS, machine

    found = {"machine": machine(), "spec": {**SPEC, "domain": "bundled images"}, "runs": pairs}
    (RESULTS / "engine_study.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
