"""steep's engine against the plain way (plain.py): `make bench-engine`.

    python benchmarks/engine.py                  everything; writes results/engine.{json,md}
    python benchmarks/engine.py --quick          fewer steps and repeats, writes nothing

Each measurement is a process of its own, since allocator settings cannot be taken back; the two
ways alternate and the ratio is the median of the repeats' ratios. Speeds are per second of the
process's own CPU time: on an idle machine that is wall time, on a shared one it is less disturbed.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RESULTS = Path(__file__).with_name("results")
LOSS_STEPS = 50


@dataclass(frozen=True)
class Case:
    """A family at one width, as a study would train it, and what the issue asks of it."""

    family: str
    width: int
    batch: int
    vocabulary: int
    length: int
    """Steps of time, or the side of an image."""
    optimizer: str
    rate: float
    clip: float
    kernels: bool = True
    wanted: float | None = None
    tolerance: float = 1e-3
    """Largest relative difference of the losses after LOSS_STEPS steps: rounding, grown."""

    @property
    def name(self) -> str:
        side = "" if self.vocabulary else f" ({self.length}x{self.length})"
        return f"{self.family} {self.width}{side}" + ("" if self.kernels else " without compiler")

    @property
    def shape(self) -> dict[str, int]:
        """The domain's shape, for the family's builder."""
        if self.vocabulary:
            return {"vocabulary": self.vocabulary}
        return {"channels": 1, "height": self.length, "width": self.length, "classes": 10}

    @property
    def units(self) -> int:
        """Symbols or images in one step."""
        return self.batch * (self.length if self.vocabulary else 1)


CASES = (
    Case("rhn", 32, 32, 98, 64, "adam", 0.003, 1.0, wanted=10),
    Case("rhn", 32, 32, 98, 64, "adam", 0.003, 1.0, kernels=False, wanted=2),
    Case("rhn", 64, 32, 98, 64, "adam", 0.003, 1.0),
    Case("rhn", 128, 32, 98, 64, "adam", 0.003, 1.0, wanted=2.5),
    Case("lstm", 32, 32, 10_000, 64, "sgd", 1.0, 1.0, wanted=2.5),
    Case("lstm", 64, 32, 10_000, 64, "sgd", 1.0, 1.0),
    Case("lstm", 128, 32, 10_000, 64, "sgd", 1.0, 1.0, wanted=1.8),
    Case("resnet", 4, 64, 0, 14, "momentum", 0.05, 0.0, tolerance=0.05),
    Case("resnet", 8, 64, 0, 14, "momentum", 0.05, 0.0, wanted=1.8, tolerance=0.05),
    Case("resnet", 16, 64, 0, 14, "momentum", 0.05, 0.0, wanted=1.8, tolerance=0.05),
    Case("resnet", 8, 64, 0, 28, "momentum", 0.05, 0.0, tolerance=0.05),
    Case("resnet", 16, 64, 0, 28, "momentum", 0.05, 0.0, tolerance=0.05),
)


def data(case: Case) -> tuple[Any, Any, list[int]]:
    """(inputs, targets, the order of items): random, but learnable enough for a falling loss."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if case.family == "resnet":
        count = case.batch * LOSS_STEPS
        targets = torch.randint(10, (count,), generator=generator)
        size = (count, 1, case.length, case.length)
        noise = torch.randint(256, size, generator=generator)
        inputs = ((noise + 20 * targets[:, None, None, None]) % 256).to(torch.uint8)
    else:
        count = case.batch * 8
        stream = torch.randint(case.vocabulary, (count, case.length + 1), generator=generator)
        stream = (stream.float() ** 2 / case.vocabulary).long()
        inputs, targets = stream[:, :-1].contiguous(), stream[:, 1:].contiguous()
    order = [int(i) for i in torch.randperm(len(inputs), generator=generator)]
    return inputs, targets, order


def built(case: Case) -> tuple[Any, Any]:
    """(the family, a model of it from seed 0)."""
    import torch

    from steep.config import member
    from steep.models import FAMILIES

    module = member(FAMILIES, case.family)
    torch.manual_seed(0)
    return module, module.FAMILY.build(case.width, case.shape, module.Options())


# ---------------------------------------------------------------- one process


def plain_steps(case: Case) -> tuple[Callable[[], float], str]:
    """A function that makes one step the plain way, and the name of that way."""
    import plain

    inputs, targets, order = data(case)
    if case.family == "resnet":
        model: Any = plain.PlainResNet(case.width, case.shape)
        inputs = inputs.float() / 127.5 - 1
    else:
        kind = {"rhn": plain.PlainRHN, "lstm": plain.PlainLSTM}[case.family]
        model = kind(case.width, case.vocabulary)
    model.load(built(case)[1])
    optimizer = plain.optimizer(case.optimizer, model, case.rate)

    def batches() -> Iterator[Any]:
        while True:
            yield from plain.loader(inputs, targets, order, case.batch)

    endless = batches()
    return lambda: plain.step(model, optimizer, next(endless), case.clip), "plain"


def engine_steps(case: Case) -> tuple[Callable[[], float], str]:
    """The same step with the engine's own loop, domain loss and optimizer."""
    import numpy as np

    from steep.engine import allocator, loop
    from steep.engine.optimizers import OPTIMIZERS

    allocator.keep_buffers()
    inputs, targets, order = data(case)
    _, model = built(case)
    values = {"learning_rate": case.rate, "momentum": 0.9}
    engine = getattr(model, "engine", "torch")
    run = loop.Run(model, OPTIMIZERS[case.optimizer](model.parameters(), values), engine)
    rows = np.array(order)
    if case.family == "resnet":
        from steep.domains.images import Images

        domain: Any = Images(inputs.numpy(), targets.numpy(), np.zeros(len(inputs), np.int8), {})
    else:
        from steep.domains.stream import Stream

        domain = Stream.__new__(Stream)  # its loss needs no data

    def batches() -> Iterator[Any]:
        import torch

        while True:
            for part in torch.from_numpy(rows).split(case.batch):
                yield part if case.family == "resnet" else (inputs[part], targets[part], True)

    endless = batches()
    setup: Any = SimpleNamespace(domain=domain, computing=nullcontext)  # in float32

    def step() -> float:
        batch = next(endless)
        run.optimizer.zero_grad()
        loss = loop.gradient(setup, run, batch)
        return loop._step(domain, run, batch, loss, case.clip) / loss.count

    return step, engine


def one(case: Case, way: str, steps: int, before: int) -> dict[str, Any]:
    """Speed, memory and losses of one way, measured in this process after ``before`` steps."""
    import torch

    torch.set_num_threads(1)
    step, engine = {"plain": plain_steps, "engine": engine_steps}[way](case)
    losses = [step() for _ in range(before)]
    seconds = []
    for _ in range(steps):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return {
        "samples_per_second": case.units / statistics.median(seconds),
        "peak_memory": peak_memory(),
        "loss": losses[-1],
        "engine": engine,
    }


def peak_memory() -> int:
    """Bytes. Not from getrusage where that can be helped: its maximum survives exec, so that a
    process starts with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(lines[0].split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sgemm_rate(case: Case) -> float:
    """FLOP/s of torch.mm at the shape of the family's heaviest product."""
    import torch

    torch.set_num_threads(1)
    h = case.width
    shape = {
        "rhn": (case.batch, h, 2 * h),
        "lstm": (case.batch * case.length, h, case.vocabulary),
        "resnet": (case.batch * case.length**2, 9 * h, h),
    }[case.family]
    a, b = torch.randn(shape[0], shape[1]), torch.randn(shape[1], shape[2])
    out = torch.empty(shape[0], shape[2])
    best = float("inf")
    for _ in range(7):
        times = max(1, int(2e8 / (2 * shape[0] * shape[1] * shape[2])))
        start = time.process_time()
        for _ in range(times):
            torch.mm(a, b, out=out)
        best = min(best, (time.process_time() - start) / times)
    return 2 * shape[0] * shape[1] * shape[2] / best


# ---------------------------------------------------------------- all of them


def measured(case: Case, way: str, steps: int, before: int) -> dict[str, Any]:
    """``one`` in a fresh process."""
    import os

    numbers = [str(CASES.index(case)), way, str(steps), str(before)]
    command = [sys.executable, __file__, "--one", *numbers]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["STEEP_KERNELS"] = "1" if case.kernels else "0"
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compare(case: Case, repeats: int, steps: int) -> dict[str, Any]:
    """Alternating repeats of both ways, and what follows from them."""
    from steep.engine.count import cost

    # The first repeat also compares the losses after LOSS_STEPS; the others just warm up.
    pairs = [
        {way: measured(case, way, steps, before) for way in ("plain", "engine")}
        for before in [LOSS_STEPS] + [5] * (repeats - 1)
    ]
    ratios = [
        pair["engine"]["samples_per_second"] / pair["plain"]["samples_per_second"] for pair in pairs
    ]
    speed = {
        way: statistics.median(pair[way]["samples_per_second"] for pair in pairs)
        for way in ("plain", "engine")
    }
    plain, engine = pairs[0]["plain"], pairs[0]["engine"]
    module, _ = built(case)
    flops = cost(module.FAMILY, case.width, case.shape, module.Options()).flops
    rate = sgemm_rate(case)
    gap = abs(engine["loss"] - plain["loss"]) / abs(plain["loss"])
    return {
        "case": case.name,
        "engine": engine["engine"],
        "plain_samples_per_second": speed["plain"],
        "engine_samples_per_second": speed["engine"],
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "wanted": case.wanted,
        "plain_share_of_sgemm": speed["plain"] * flops / rate,
        "engine_share_of_sgemm": speed["engine"] * flops / rate,
        "plain_peak_memory": plain["peak_memory"],
        "engine_peak_memory": engine["peak_memory"],
        "loss_gap": gap,
        "loss_agrees": gap <= case.tolerance,
        "tolerance": case.tolerance,
    }


def machine() -> dict[str, Any]:
    import os

    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_at_start": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
    }


HEAD = (
    "| case | engine | plain /s | engine /s | ratio | wanted | share of sgemm, plain -> engine "
    "| peak MB, plain -> engine | loss gap |\n|---|---|---|---|---|---|---|---|---|\n"
)


def row(found: dict[str, Any]) -> str:
    wanted = "" if found["wanted"] is None else f"{found['wanted']:g}x"
    shares = f"{found['plain_share_of_sgemm']:.0%} -> {found['engine_share_of_sgemm']:.0%}"
    memory = f"{found['plain_peak_memory'] / 1e6:.0f} -> {found['engine_peak_memory'] / 1e6:.0f}"
    agrees = "" if found["loss_agrees"] else " (!)"
    return (
        f"| {found['case']} | {found['engine']} | {found['plain_samples_per_second']:,.0f} "
        f"| {found['engine_samples_per_second']:,.0f} | **{found['ratio']:.1f}x** | {wanted} "
        f"| {shares} | {memory} | {found['loss_gap']:.1e}{agrees} |\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="steps timed in each repeat")
    parser.add_argument("--only", help="cases whose name starts so")
    parser.add_argument("--one", nargs=4, metavar=("CASE", "WAY", "STEPS", "BEFORE"))
    given = parser.parse_args()
    if given.one:
        number, way, steps, before = given.one
        print(json.dumps(one(CASES[int(number)], way, int(steps), int(before))))
        return
    repeats, steps = (1, 10) if given.quick else (given.repeats, given.steps)
    found = []
    about = machine() | {"repeats": repeats, "steps": steps}
    print(HEAD, end="")
    for case in CASES:
        if not given.only or case.name.startswith(given.only):
            found.append(compare(case, repeats, steps))
            print(row(found[-1]), end="", flush=True)
    if not given.quick:
        write(about, found)


def write(about: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """Results as JSON and as a table; cases not measured now keep what they had."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "engine.json"
    old = json.loads(path.read_text())["cases"] if path.exists() else []
    cases = {case["case"]: case for case in [*old, *found]}
    ordered = [cases[case.name] for case in CASES if case.name in cases]
    path.write_text(json.dumps({"machine": about, "cases": ordered}, indent=1) + "\n")
    described = ", ".join(f"{key} {value}" for key, value in about.items())
    table = HEAD + "".join(map(row, ordered))
    (RESULTS / "engine.md").write_text(f"{described}\n\n{table}")


if __name__ == "__main__":
    main()
