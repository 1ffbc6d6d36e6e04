"""Counts of a training step against what is known: closed forms, published graphs, real memory.

The published values are those of Catamount (github.com/baidu-research/catamount at 4591f797,
Apache-2.0), which counts the training graphs of Hestness et al.'s group symbol by symbol. They
include one or two scalar variables of TensorFlow's (global step, learning rate).
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from steep.base.registry import FAMILIES  # noqa: E402
from steep.contracts.family import Family  # noqa: E402
from steep.cost.first_order import first_order  # noqa: E402
from steep.engine import count, steps  # noqa: E402
from steep.engine.tally import Tally  # noqa: E402

SHAPES: dict[str, dict[str, int]] = {
    "stream": {"vocabulary": 500},
    "classifier": {"channels": 1, "height": 14, "width": 14, "classes": 10},
    "pairs": {"vocabulary": 500},
    "speech": {
        "bands": 40,
        "vocabulary": 31,
        "frames": 200,
        "characters": 30,
        "frames_per_second": 100,
    },
}
NAMES = [name for name in FAMILIES if name != "none"]


def family(name: str, **options: Any) -> tuple[Family, Any]:
    module = importlib.import_module(FAMILIES[name])
    return module.FAMILY, module.Options(**options)


def on_meta(name: str, size: int, shape: dict[str, int], **options: Any) -> nn.Module:
    found, given = family(name, **options)
    with torch.device("meta"):
        return found.build(size, shape, given)


# ---------------------------------------------------------------- what the counter counts


def test_one_product() -> None:
    with torch.device("meta"), Tally() as tally:
        torch.ones(3, 5) @ torch.ones(5, 7)
    assert tally.products == 2 * 3 * 5 * 7
    ones = 4 * (15 + 35)
    assert tally.bytes == ones + ones + 4 * 21  # written, read, and the product


def test_views_cost_nothing_and_what_is_dropped_dies() -> None:
    with torch.device("meta"), Tally() as tally:
        x = torch.zeros(1000)
        before = tally.bytes
        x.view(10, 100).t()[3:]
        assert tally.bytes == before
        y = x + 1
        del x
        z = y * 2
        del y
    assert tally.live == 4000
    assert tally.peak == 8000
    assert len(z) == 1000


def test_memory_held_before_counts_once() -> None:
    with torch.device("meta"), Tally() as tally:
        weight = torch.zeros(10, 10)
        tally.hold([weight, weight.t(), weight[0]])
        assert tally.live == 400


def test_a_table_is_read_where_it_is_looked_up() -> None:
    with torch.device("meta"):
        table = torch.zeros(10_000, 8)
        rows = torch.zeros(5, dtype=torch.long)
        with Tally() as tally:
            F.embedding(rows, table)
    assert tally.bytes == 2 * 4 * 5 * 8


@pytest.mark.parametrize("name", NAMES)
def test_products_are_what_torchs_own_counter_says(name: str) -> None:
    """Where it is right: on the meta device it sees the products inside recurrent layers."""
    found, _ = family(name)
    shape = SHAPES[found.kind]
    lengths = {"stream": (70,), "classifier": (), "pairs": (19,), "speech": (40, 7)}[found.kind]
    model = on_meta(name, 24, shape)
    counted = steps.tally(model, found.kind, shape, 3, lengths)[0]
    with torch.device("meta"), FlopCounterMode(display=False) as torchs:
        steps._loss(steps._FORWARD[found.kind](model, shape, 3, lengths)).backward()
    assert counted == torchs.get_total_flops() > 0


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize(("width", "vocabulary", "time"), [(64, 500, 32), (48, 2000, 64)])
def test_two_layers_of_lstm(width: int, vocabulary: int, time: int) -> None:
    """Forward q (16 h^2 l + 2 h V) a sequence, backward twice that, but for the first step of
    time, whose state needs no gradient."""
    found, options = family("lstm")
    values = dict(found.recipe) | {"sequence_length": time}
    step = steps.step_cost(found, width, {"vocabulary": vocabulary}, options, values)
    assert step.parameters == 16 * width**2 + 2 * width * vocabulary + 8 * width + vocabulary
    forward = 2 * 16 * width**2 + 2 * width * vocabulary
    assert step.flops == pytest.approx(3 * forward, rel=0.02)
    assert step.units == time
    assert step.batch == 16 * time


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_costs_what_the_study_records(name: str) -> None:
    found, options = family(name)
    shape = SHAPES[found.kind]
    step = steps.step_cost(found, 32, shape, options, found.recipe)
    recorded = count.cost(found, 32, shape, options)
    assert step.flops == pytest.approx(recorded.flops, rel=0.02)
    assert step.parameters == recorded.parameters
    assert step.parameters_without_embeddings == recorded.parameters_without_embeddings


def test_the_update_and_its_states() -> None:
    """Adam reads weight, gradient and two states and writes all but the gradient: 28 bytes."""
    found, options = family("resnet")
    bare = {"batch_size": 8, "optimizer": "sgd", "clip": 0.0}
    shape = SHAPES["classifier"]
    sgd = steps.step_cost(found, 8, shape, options, bare)
    adam = steps.step_cost(found, 8, shape, options, bare | {"optimizer": "adam"})
    full = steps.step_cost(found, 8, shape, options, bare | {"clip": 1.0, "averaging": 8.0})
    assert adam.step_bytes - sgd.step_bytes == (28 - 12) * sgd.parameters
    assert full.step_bytes - sgd.step_bytes == (12 + 12) * sgd.parameters
    assert (sgd.weights, adam.weights, full.weights) == tuple(
        n * sgd.parameters for n in (8, 16, 12)
    )


# ---------------------------------------------------------------- continued from short lengths


@pytest.mark.parametrize(
    ("name", "lengths"),
    [("lstm", (48,)), ("rhn", (40,)), ("deepspeech2", (80, 9)), ("attention", (80, 9))],
)
def test_long_sequences_continue_short_ones(name: str, lengths: tuple[int, ...]) -> None:
    found, _ = family(name)
    shape = SHAPES[found.kind]
    model = on_meta(name, 24, shape)
    direct = steps.tally(model, found.kind, shape, 5, lengths)
    continued = steps._at_length(model, found.kind, shape, 5, lengths)
    assert continued[:3] == pytest.approx(direct[:3], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "width", "lengths", "within"),
    [
        ("lstm", 24, (80,), 0.02),
        ("lstm", 512, (80,), 0.15),  # as much of it weights as activations
        ("rhn", 64, (60,), 0.02),
        ("deepspeech2", 64, (200, 30), 0.02),
        ("attention", 64, (200, 30), 0.02),
        ("seq2seq", 64, (19,), 0.15),
        ("transformer", 64, (64,), 0.15),
        ("resnet", 16, (), 0.05),
    ],
)
def test_the_peak_of_a_real_batch(
    name: str, width: int, lengths: tuple[int, ...], within: float
) -> None:
    """It is continued from many samples at short lengths; the real thing is what counts."""
    found, options = family(name)
    shape = SHAPES[found.kind]
    if found.kind == "speech":
        shape = shape | {"frames": lengths[0], "characters": lengths[1]}
    values = {"batch_size": 16, "sequence_length": (*lengths, 1)[0]}
    step = steps.step_cost(found, width, shape, options, values)
    direct = steps.tally(on_meta(name, width, shape), found.kind, shape, 16, lengths)[3]
    assert step.footprint(step.batch) == pytest.approx(direct, rel=within)


# ---------------------------------------------------------------- published graphs


@pytest.mark.parametrize(
    ("name", "size", "vocabulary", "samples", "time", "parameters", "scalars", "flops", "moved"),
    [
        ("lstm", 2004, 10_004, 64, 80, 104_378_326, 2, 2_597_058_084_257, 143_652_774_404),
        ("rhn", 2004, 98, 128, 150, 88_785_316, 2, 10_228_050_930_711, 445_302_356_084),
        ("seq2seq", 1024, 36_548, 128, 19, 146_890_753, 1, 1_053_984_410_589, 36_901_043_741),
    ],
)
def test_catamounts_recurrent_graphs(
    name: str,
    size: int,
    vocabulary: int,
    samples: int,
    time: int,
    parameters: int,
    scalars: int,
    flops: int,
    moved: int,
) -> None:
    found, options = family(name)
    values = {"batch_size": samples, "sequence_length": time, "optimizer": "sgd", "clip": 1.0}
    step = steps.step_cost(found, size, {"vocabulary": vocabulary}, options, values)
    assert step.parameters + scalars == parameters
    ours = (step.flops + step.pointwise) * samples * time
    if name == "rhn":
        # Ours takes the input's product once a symbol of the vocabulary, theirs once a character:
        # 4 h^2 of the 44 h^2 a character, forward and backward.
        ours += 3 * 4 * size**2 * samples * time
    assert ours == pytest.approx(flops, rel=0.005)
    if name != "rhn":  # the same, but for what one framework copies and the other views
        assert step.bytes * samples * time + step.step_bytes == pytest.approx(moved, rel=0.15)


@pytest.mark.parametrize("name", ["words", "characters", "translation"])
def test_the_counts_beside_the_follow_ups_constants(name: str) -> None:
    """What ``steep cost --paper`` prints as 'counted by steep' is counted here again."""
    known = yaml.safe_load((files("steep") / "data" / "follow_up.yaml").read_text())
    domain = known["domains"][name]
    counted = domain["counted"]
    found, options = family(counted["family"])
    values = {
        "batch_size": domain["table_3"]["subbatch"],
        "sequence_length": domain["unrolled"],
        "optimizer": "sgd",
        "clip": 1.0,
    }
    shape = {"vocabulary": counted["vocabulary"]}
    step = steps.step_cost(found, counted["size"], shape, options, values)
    assert step.parameters == pytest.approx(counted["parameters"], rel=0.005)
    constants = first_order([step])
    for key in ("gamma", "lambda_", "mu", "delta"):
        said = counted[key.rstrip("_")]
        assert getattr(constants, key).value == pytest.approx(said, rel=0.01)


class Block(nn.Module):
    """He et al. 2016's two blocks, as ResNets for 224 x 224 pixels have them."""

    def __init__(self, inner: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outer = 4 * width if bottleneck else width
        plan = [(inner, width, 3, stride), (width, width, 3, 1)]
        if bottleneck:
            plan = [(inner, width, 1, 1), (width, width, 3, stride), (width, outer, 1, 1)]
        parts: list[nn.Module] = []
        for a, b, kernel, step in plan:
            parts += [nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(b)]
            parts.append(nn.ReLU())
        self.body = nn.Sequential(*parts[:-1])
        self.shortcut = nn.Sequential()
        if stride > 1 or inner != outer:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def resnet(blocks: tuple[int, ...], bottleneck: bool) -> nn.Module:
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    inner = 64
    for stage, number in enumerate(blocks):
        for block in range(number):
            width = 64 * 2**stage
            stride = 2 if stage and not block else 1
            layers.append(Block(inner, width, stride, bottleneck))
            inner = 4 * width if bottleneck else width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, 1000)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("blocks", "bottleneck", "parameters", "flops"),
    [
        ((2, 2, 2, 2), False, 11_689_514, 349_684_163_360),
        ((3, 4, 6, 3), False, 21_797_674, 705_506_994_208),
        ((3, 4, 6, 3), True, 25_557_034, 790_954_958_112),
        ((3, 4, 23, 3), True, 44_549_162, 1_506_507_229_472),
        ((3, 8, 36, 3), True, 60_192_810, 2_222_688_328_992),
    ],
)
def test_catamounts_resnets(
    blocks: tuple[int, ...], bottleneck: bool, parameters: int, flops: int
) -> None:
    """Our family is the one for small images; the counter must know the large ones, too.

    Theirs takes the gradient of the images, too, which nothing needs: one more product in the
    first layer, 2 % of ResNet-18."""
    with torch.device("meta"):
        model = resnet(blocks, bottleneck)
    assert count.parameters(model) + 2 == parameters
    shape = {"channels": 3, "height": 224, "width": 224}
    products, pointwise = steps.tally(model, "classifier", shape, 32, ())[:2]
    of_images = 2 * 112 * 112 * 64 * (3 * 7 * 7) * 32
    assert products + pointwise + of_images == pytest.approx(flops, rel=0.005)


# ---------------------------------------------------------------- real memory

MEASURE = """
import gc, json, sys, warnings
import torch
from steep.engine import steps
sys.path.insert(0, sys.argv[2])
from test_steps import SHAPES, family
warnings.simplefilter("ignore")
torch.set_num_threads(1)
name, size, samples, fused, lengths, given = json.loads(sys.argv[1])
found, options = family(name, **given)
shape = SHAPES[found.kind]
model = found.build(size, shape, options)

def step(samples):
    model.zero_grad(set_to_none=True)
    steps._loss(steps._FORWARD[found.kind](model, shape, samples, tuple(lengths))).backward()

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024

with torch.backends.mkldnn.flags(enabled=fused):
    step(2)
    model.zero_grad(set_to_none=True)
    gc.collect()
    before = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    step(samples)
    after = status("VmHWM")
print(after - before + 4 * sum(p.numel() for p in model.parameters()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
@pytest.mark.parametrize(
    ("name", "size", "samples", "fused", "lengths", "given"),
    [
        # The fused LSTM of oneDNN keeps other things than the equations: it is switched off.
        ("lstm", 128, 64, False, (64,), {}),
        ("rhn", 128, 128, True, (64,), {"engine": "plain"}),
        ("transformer", 128, 64, True, (64,), {}),
        ("seq2seq", 256, 64, False, (19,), {"engine": "plain"}),
        ("resnet", 32, 512, True, (), {"engine": "torch"}),
        ("deepspeech2", 128, 64, False, (200, 30), {}),
        ("attention", 128, 64, False, (200, 30), {"engine": "plain"}),
    ],
)
def test_measured_peak_memory(
    name: str,
    size: int,
    samples: int,
    fused: bool,
    lengths: tuple[int, ...],
    given: dict[str, Any],
) -> None:
    """A process that gives every freed page back at once, so that its size is what is alive."""
    asked = json.dumps([name, size, samples, fused, lengths, given])
    at_once = {"MALLOC_MMAP_THRESHOLD_": "8192", "MALLOC_MMAP_MAX_": "60000"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, asked, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | at_once,
    )
    found, _ = family(name)
    shape = SHAPES[found.kind]
    model = on_meta(name, size, shape, **given)
    counted = steps.tally(model, found.kind, shape, samples, lengths)[3]
    assert counted == pytest.approx(float(done.stdout), rel=0.15)
