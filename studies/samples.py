"""What the best model of a speech or translation study writes, beside what was said.

    python studies/samples.py FOLDER [--count 12] > studies/results/NAME/samples.txt

The model with the lowest validation error is trained again from its trial; the same seed on the
same engine gives the same weights, which is checked against the study's record. Then it transcribes
(or translates) items of the validation set, evenly spaced.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from steep import Study
from steep.engine import checkpoint
from steep.records import Evaluation
from steep.shards import items_of
from steep.testing import MemoryHandle
from steep.trainers import engine


class Keeping(MemoryHandle):
    """Keeps a checkpoint from after every evaluation: the best weights are in one of them."""

    fresh = False

    def progress(self, evaluation: Evaluation) -> None:
        self.fresh = True
        print(f"step {evaluation.step}: {evaluation.validation_error}", file=sys.stderr, flush=True)

    def due(self) -> bool:
        due, self.fresh = self.fresh, False
        return due


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12)
    asked = parser.parse_args()
    study = Study.open(asked.folder)
    known = [m for m in study.measurements() if m.validation_error is not None]
    best = min(known, key=lambda m: m.validation_error or 0.0)
    shard, handle = items_of(asked.folder, best.trial), Keeping()
    again = engine.open_trainer(study.loaded, study.domain)(best.trial, shard, handle)
    if again.weights_hash != best.weights_hash:
        print("other weights than the study's: another engine, machine or torch", file=sys.stderr)
    family, options = engine._family(study.loaded, study.domain)
    model = family.build(best.trial.size, study.domain.shape, options)
    tensors, _ = checkpoint.unpack(handle.checkpoint)
    model.load_state_dict(
        {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
    )
    model.eval()
    some = shard.validation[np.linspace(0, len(shard.validation) - 1, asked.count).astype(int)]
    if hasattr(study.domain, "transcripts"):
        said = [study.domain._texts[item] for item in some]
        written = study.domain.transcripts(model, some)
    else:
        said = [study.domain._pairs[item].target for item in some]
        written = study.domain.translate(model, some)
    metrics = ", ".join(f"{name} {value:.3g}" for name, value in best.metrics)
    print(
        f"{study.spec.study}: size {best.trial.size}, {best.trial.samples:.3g} {study.domain.unit}"
    )
    print(f"validation: {metrics}\n")
    for true, read in zip(said, written, strict=True):
        print(f"said:    {true}\nwritten: {read}\n")


if __name__ == "__main__":
    main()
