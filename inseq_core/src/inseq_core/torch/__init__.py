"""What torch-based adapters and methods share: the engine at three seams of a model."""

from __future__ import annotations

from inseq_core.torch.adapter import RowPass, TorchAdapter
from inseq_core.torch.context import TorchContext
from inseq_core.torch.gradients import StepGradients, step_gradients
from inseq_core.torch.inputs import InputTensors
from inseq_core.torch.traits import Traits

__all__ = [
    "InputTensors",
    "RowPass",
    "StepGradients",
    "TorchAdapter",
    "TorchContext",
    "Traits",
    "step_gradients",
]
