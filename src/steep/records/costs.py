"""What training takes: one step of a model, a machine, and what a target error costs there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepCost:
    """One training step of one model, counted. Everything is affine in the units of m in a batch:
    a part that comes with every unit, and a part that comes once a step."""

    size: int
    """On the family's dial."""
    parameters: int
    parameters_without_embeddings: int
    units: float
    """Units of m in one sample: symbols in a sequence, hours in a clip, 1 for an image."""
    batch: float
    """Units of m in the study's batch."""
    flops: float
    """Per unit: matrix products and convolutions, forward and backward."""
    pointwise: float
    """Per unit: FLOPs of everything else."""
    bytes: float
    """Per unit: read and written by every operation, nothing fused; 32-bit numbers."""
    step_bytes: float
    """Per step, whatever the batch: weights (of a recurrent layer, at every step of time), their
    gradients and their update."""
    activations: float
    """Bytes of memory per unit in the batch."""
    memory: float
    """Bytes of memory whatever the batch: intercept of the measured peaks."""
    weights: float
    """Bytes below which no batch comes: weights, gradients and states of the optimizer."""

    def footprint(self, units: float) -> float:
        """Bytes that a step on ``units`` of m has alive at the most."""
        return max(self.weights, self.memory + self.activations * units)
