"""Callbacks of Hugging Face and Lightning, with the real packages on tiny models made here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep.contracts.trainer import Interrupted
from steep.testing import MemoryHandle

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("default")


class Asked(MemoryHandle):
    """Asks to stop once two evaluations were told."""

    def stop_requested(self) -> bool:
        return self.stop_after is not None and len(self.evaluations) >= self.stop_after


def rows(count: int) -> list[dict[str, Any]]:
    """Numbers whose sign is their class."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    return [{"x": row, "labels": int(row[0] > 0)} for row in x]


# ---------------------------------------------------------------- Hugging Face


def hugging_face(handle: MemoryHandle) -> dict[str, Any]:
    transformers = pytest.importorskip("transformers")
    from steep.integrations.transformers import SteepCallback, subset

    class Config(transformers.PretrainedConfig):
        model_type = "tiny"

    class Tiny(transformers.PreTrainedModel):
        config_class = Config

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.layer = torch.nn.Linear(4, 2)
            self.post_init()

        def _init_weights(self, module: Any) -> None:
            torch.nn.init.zeros_(module.weight)

        def forward(self, x: Any, labels: Any) -> Any:
            logits = self.layer(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    def accuracy(found: Any) -> dict[str, float]:
        return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}

    callback = SteepCallback(handle)
    arguments = transformers.TrainingArguments(
        callback.folder, eval_strategy="steps", eval_steps=5, save_steps=5, max_steps=20,
        learning_rate=0.1, report_to=[], use_cpu=True, disable_tqdm=True, save_total_limit=2,
    )  # fmt: skip
    trainer = transformers.Trainer(
        Tiny(Config()), arguments, train_dataset=subset(rows(200), np.arange(100)),
        eval_dataset=rows(50), compute_metrics=accuracy, callbacks=[callback],
    )  # fmt: skip
    assert len(trainer.train_dataset) == 100
    result: dict[str, Any] = callback.train(trainer)
    return result


def test_hugging_face_reports_its_evaluations(tmp_path: Path) -> None:
    handle = Asked(home=tmp_path)
    found = hugging_face(handle)
    assert [point.step for point in handle.evaluations] == [5, 10, 15, 20]
    best = min(point.validation_error for point in handle.evaluations)
    assert found["eval_accuracy"] == pytest.approx(1 - best)
    assert best < 0.3


def test_hugging_face_stops_saves_and_goes_on(tmp_path: Path) -> None:
    whole = Asked(home=tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    hugging_face(whole)
    first = Asked(home=tmp_path, stop_after=2)
    with pytest.raises(Interrupted):
        hugging_face(first)
    assert first.evaluations[-1].step < 20
    second = Asked(home=tmp_path)
    hugging_face(second)
    told = {p.step: p.validation_error for p in [*first.evaluations, *second.evaluations]}
    assert second.evaluations[0].step > first.evaluations[-1].step
    assert told == pytest.approx({p.step: p.validation_error for p in whole.evaluations})


# ---------------------------------------------------------------- Lightning


def lightning(handle: MemoryHandle) -> dict[str, Any]:
    pl = pytest.importorskip("lightning.pytorch")
    from steep.integrations.lightning import SteepCallback

    class Tiny(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch: Any, number: int) -> Any:
            return torch.nn.functional.cross_entropy(self.layer(batch["x"]), batch["labels"])

        def validation_step(self, batch: Any, number: int) -> None:
            right = self.layer(batch["x"]).argmax(-1) == batch["labels"]
            self.log("val_accuracy", right.float().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.5)

    callback = SteepCallback(handle)
    trainer = pl.Trainer(
        max_epochs=4, callbacks=[callback], default_root_dir=callback.folder, accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    loaders = [torch.utils.data.DataLoader(rows(n), batch_size=20) for n in (100, 50)]
    result: dict[str, Any] = callback.fit(trainer, Tiny(), *loaders)
    return result


def test_lightning_reports_its_evaluations(tmp_path: Path) -> None:
    handle = Asked(home=tmp_path)
    found = lightning(handle)
    assert [point.step for point in handle.evaluations] == [5, 10, 15, 20]
    best = min(point.validation_error for point in handle.evaluations)
    assert found["val_accuracy"] == pytest.approx(1 - best)
    assert not math.isnan(best)


def test_lightning_stops_saves_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = Asked(home=tmp_path / "whole")
    lightning(whole)
    first = Asked(home=tmp_path, stop_after=2)
    with pytest.raises(Interrupted):
        lightning(first)
    assert len(first.evaluations) < 4
    second = Asked(home=tmp_path)
    lightning(second)
    assert second.evaluations[0].step > first.evaluations[-1].step
    told = {p.step: p.validation_error for p in [*first.evaluations, *second.evaluations]}
    assert told == pytest.approx({p.step: p.validation_error for p in whole.evaluations})
