"""steep's engine against the plain way (plain.py): `make bench-engine`.

    python benchmarks/engine.py                  everything; writes results/engine.{json,md}
    python benchmarks/engine.py --quick          fewer steps and repeats, writes nothing

Each measurement is a process of its own, since allocator settings cannot be taken back; the two
ways alternate and the ratio is the median of the repeats' ratios. Speeds are per second of the
process's own CPU time: on an idle machine that is wall time, on a shared one it is less disturbed.
They count symbols, images, word pieces of the target, or seconds of audio.
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
from pathlib import Path
from typing import Any

from engine_cases import CASES, LOSS_STEPS, Case, built, data, engine_steps, plain_steps

RESULTS = Path(__file__).with_name("results")


# ---------------------------------------------------------------- one process


def one(case: Case, way: str, steps: int, before: int) -> dict[str, Any]:
    """Speed, memory and losses of one way, measured in this process after ``before`` steps."""
    import torch

    torch.set_num_threads(1)
    step, engine = {"plain": plain_steps, "engine": engine_steps}[way](case)
    losses = [step()[0] for _ in range(before)]
    speeds = []
    for _ in range(steps):
        start = time.process_time()
        _, units = step()
        speeds.append(units / (time.process_time() - start))
    return {
        "samples_per_second": statistics.median(speeds),
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
    rows = case.batch * case.length
    shape = {
        "rhn": (case.batch, h, 2 * h),
        "lstm": (rows, h, case.vocabulary),
        "resnet": (rows * case.length, 9 * h, h),
        "transformer": (rows, h, case.vocabulary),
        "seq2seq": (rows, h, case.vocabulary),
        "deepspeech2": (rows // 4, 2 * h, 4 * h),  # of the second LSTM's input
        "attention": (rows // 2, 2 * h, 4 * h),
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
    given = data(case)
    family, options, _ = built(case, given.domain)
    flops = cost(family, case.width, given.domain.shape, options).flops / given.per_unit
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
        "date": time.strftime("%Y-%m-%d"),
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
    "| peak MB, plain -> engine | loss gap | date |\n|---|---|---|---|---|---|---|---|---|---|\n"
)


def row(found: dict[str, Any]) -> str:
    wanted = "" if found["wanted"] is None else f"{found['wanted']:g}x"
    shares = f"{found['plain_share_of_sgemm']:.0%} -> {found['engine_share_of_sgemm']:.0%}"
    memory = f"{found['plain_peak_memory'] / 1e6:.0f} -> {found['engine_peak_memory'] / 1e6:.0f}"
    agrees = "" if found["loss_agrees"] else " (!)"
    return (
        f"| {found['case']} | {found['engine']} | {found['plain_samples_per_second']:,.0f} "
        f"| {found['engine_samples_per_second']:,.0f} | **{found['ratio']:.1f}x** | {wanted} "
        f"| {shares} | {memory} | {found['loss_gap']:.1e}{agrees} | {found['date']} |\n"
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
    """Results as JSON and as a table; cases not measured now keep what they had, and its date."""
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
