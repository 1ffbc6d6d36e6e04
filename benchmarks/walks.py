"""A new user's path on real data: init, plan, run, Ctrl-C, run again; then every question.

    python benchmarks/walks.py --data DIR --budget 12m --workers 1 [NAME ...]

DIR gets the data (``steep data get``, 150 MB, once) and a folder for each walk: spec, study, and
all that was printed. Columns: predicted, and taken. Each of the nine walks takes
about its budget and three minutes. The load of the machine stands in the last column: with other
work beside it compare the training, not the clock.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STEEP = [sys.executable, "-m", "steep"]
FETCHED = {
    "clothes": ("fashion-mnist", ["clothes"], []),
    "digits": (None, ["digits"], []),
    "translation": ("german-english", ["german-english/pairs.tsv"], []),
    "dictionary": ("gcide", ["gcide/text"], ["--domain", "words"]),
    "speeches": ("state-of-the-union", ["state-of-the-union/text"], ["--domain", "characters"]),
    "game": ("amazon-queen", ["amazon-queen/manifest.jsonl"], []),
    "prompts": ("asterisk", ["asterisk/manifest.jsonl"], []),
    "help": ("gcide", ["gcide/text"], ["--domain", "characters"]),
    "oratory": ("state-of-the-union", ["state-of-the-union/text"], ["--domain", "words"]),
}
"""Of each walk: the set that ``steep data`` fetches, what init is given, and its options."""


def steep(folder: Path, *arguments: str) -> str:
    """What a command prints; all of it is kept in ``printed.txt``."""
    run = subprocess.run([*STEEP, *arguments], cwd=folder, capture_output=True, text=True)
    with (folder / "printed.txt").open("a") as file:
        file.write(
            f"$ steep {' '.join(arguments)}\n{run.stderr}{run.stdout}exit code {run.returncode}\n\n"
        )
    return run.stdout


def interrupted(folder: Path, after: float, *arguments: str) -> None:
    """The same, with Ctrl-C after some seconds unless it has ended before."""
    with (folder / "printed.txt").open("a") as file:
        file.write(f"$ steep {' '.join(arguments)}  # Ctrl-C after {after:.0f} s\n")
        file.flush()
        run = subprocess.Popen([*STEEP, *arguments], cwd=folder, stdout=file, stderr=file)
        try:
            run.wait(after)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGINT)
            run.wait()
        file.write(f"exit code {run.returncode}\n\n")


def fetch(name: str, data: Path) -> None:
    source = FETCHED[name][0]
    if source and not (data / source / "SOURCE.json").exists():
        subprocess.run([*STEEP, "data", "get", source, "--to", str(data / source)], check=True)
    if name == "clothes" and not (data / "clothes").exists():
        idx = data / "fashion-mnist"
        pixels = gzip.decompress((idx / "train-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((idx / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
        images = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28)[:9000]
        as_pngs(data / "clothes", images, np.frombuffer(labels, np.uint8)[:9000])
    if name == "digits" and not (data / "digits").exists():
        from sklearn.datasets import load_digits

        digits = load_digits()
        as_pngs(data / "digits", (digits.images * 15).astype(np.uint8), digits.target)


def as_pngs(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """``images`` (n, height, width) as files, in a folder for each of the ``labels`` (n,)."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number}.png")


def walk(name: str, data: Path, budget: str, workers: int, interrupt: float) -> dict[str, Any]:
    """One path from files to an answer; what was predicted and what it took, in seconds."""
    fetch(name, data)
    folder = data / "walks" / name
    folder.mkdir(parents=True)
    _, files, options = FETCHED[name]
    given = [str((data / file).resolve()) for file in files]
    start = time.monotonic()
    proposed = steep(
        folder, "init", *given, *options, "--budget", budget, "--workers", str(workers), "--json"
    )
    steep(folder, "plan", "study.yaml")
    plan = json.loads(steep(folder, "plan", "study.yaml", "--json"))["prediction"]
    before = time.monotonic()
    interrupted(folder, interrupt, "run", "study.yaml", "--out", "study")
    steep(folder, "run", "study.yaml", "--out", "study", "--json")
    ran = time.monotonic() - before
    status = json.loads(steep(folder, "status", "study", "--json"))
    for command in ("status", "forecast", "fit", "diagnose", "cost"):
        steep(folder, command, "study")
    ended = [trial for trial in status["trials"] if trial["status"] not in ("planned", "running")]
    found = json.loads((folder / "study" / "results" / "fits.json").read_text())
    return {
        "name": name,
        "init": json.loads(proposed),
        "plan": plan,
        "trials": len(ended),
        "training": sum(trial["seconds"] or 0 for trial in ended),
        "ran": ran,
        "prepared": before - start,
        "complete": status["complete"],
        "held_out": found["confrontations"],
        "load": os.getloadavg()[2],
    }


def line(made: dict[str, Any]) -> str:
    """A row: trials, training in seconds and the first held-out shard, predicted and measured."""
    told, took = made["plan"]["training"], made["training"]
    inside = told["lower"] <= took <= told["upper"]
    met = "no forecast"
    if made["held_out"]:
        first = made["held_out"][0]
        at, error = (
            first.get("told") or first["forecast"],
            first.get("told_error") or first["error"],
        )
        measured = "not trained" if error is None else f"{error:.4g}"
        met = f"{at['error']:.4g} [{at['lower']:.4g}, {at['upper']:.4g}] {measured}"
    return (
        f"{made['name']:12} {made['plan']['trials']:5} {made['trials']:5}"
        f" {told['value']:7.0f} [{told['lower']:5.0f}, {told['upper']:5.0f}] {took:6.0f}"
        f" {told['value'] / took:6.2f} {'in' if inside else 'out':3} {made['ran']:6.0f}"
        f" {made['load']:5.1f}  {met}{'' if made['complete'] else '; search unfinished'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FETCHED))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", default="12m")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--interrupt", type=float, default=200, help="seconds until Ctrl-C")
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    print("                trials       training, s                          ran")
    print("walk          told  took    told [   90 %     ]   took  ratio     clock  load  held out")
    for name in options.names or FETCHED:
        made = walk(name, options.data, options.budget, options.workers, options.interrupt)
        (options.data / "walks" / name / "walk.json").write_text(json.dumps(made, indent=1))
        print(line(made), flush=True)


if __name__ == "__main__":
    main()
