"""Counting on the meta device: without torch's compiler, and with the same result."""

import subprocess
import sys

COUNT = """
import sys, torch, steep.engine.meta
from steep.engine.count import cost
from steep.models import resnet, rhn
if {real}:
    import torch._dynamo
image = dict(channels=1, height=14, width=14, classes=10)
print(cost(resnet.FAMILY, 8, image, resnet.Options()))
print(cost(rhn.FAMILY, 8, dict(symbols=30, vocabulary=30), rhn.Options()))
print("torch._dynamo" in sys.modules, "_dynamo" in vars(torch), file=sys.stderr)
"""

ASK = """
import sys, torch
from steep.engine.meta import meta
with meta():
    torch.empty(3).normal_()
    assert not hasattr(sys.modules["torch._dynamo"], "__path__")
    print(torch._dynamo.config.__name__)
assert torch._dynamo is sys.modules["torch._dynamo"] and callable(torch._dynamo.optimize)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_counts_are_the_compilers_and_it_is_not_imported() -> None:
    without, with_it = run(COUNT.format(real=False)), run(COUNT.format(real=True))
    assert without.stderr.split() == ["False", "False"]
    assert with_it.stderr.split() == ["True", "True"]
    assert "Cost(" in without.stdout
    assert without.stdout == with_it.stdout


def test_more_than_the_mark_is_the_real_compilers() -> None:
    done = run(ASK)
    assert (done.returncode, done.stdout) == (0, "torch._dynamo.config\n"), done.stderr
