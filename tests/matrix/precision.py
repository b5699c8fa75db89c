"""Every method in float32, bfloat16 and float16, against itself in float64 on the same weights.

Weights are rounded to the narrow type before they are widened again, so that what is seen is the arithmetic's
rounding and not another model. Axes: R rows.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import torch
from matrix import removal_cells
from support.contexts import PAIR, context_of, spans_of
from support.hf_adapters import forced
from support.plain_removal import featured
from support.tiny_models import tiny_model

from inseq_attention.alti import Alti
from inseq_attention.norms import AttentionNorms
from inseq_attention.rollout import AttentionFlow, AttentionRollout
from inseq_attention.value_zeroing import ValueZeroing
from inseq_attention.weights import Attention, GradXAttention
from inseq_captum.gradients import InputXGradient, Saliency
from inseq_captum.integrated import IntegratedGradients
from inseq_captum.layers import LayerGradientXActivation, LayerIntegratedGradients
from inseq_captum.noise import SmoothGrad, SquareGrad
from inseq_captum.passthrough import CaptumAlgorithm
from inseq_captum.shap import GradientShap
from inseq_core.contracts.removal import RemovalWay
from inseq_core.torch import TorchContext
from inseq_example_method.expected_gradients import ExpectedGradients
from inseq_hf.adapter import HuggingFaceAdapter
from inseq_hf.loading import load
from inseq_path_gradients.discretized import DiscretizedIntegratedGradients
from inseq_path_gradients.sequential import SequentialIntegratedGradients
from inseq_perturbation.context_cite import ContextCite
from inseq_perturbation.kernel_shap import KernelShap
from inseq_perturbation.lime import Lime
from inseq_perturbation.occlusion import LeaveOneOut, Occlusion
from inseq_perturbation.reagent import Reagent
from inseq_perturbation.shapley import Shapley
from inseq_propagation.deeplift import DeepLift, LayerDeepLift

ARCHITECTURES = ("gpt2", "llama", "gemma3", "t5", "marian")
"""Learned positions, rotary, norms in float32, relative biases, post-norm."""

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BOUNDS = {"float32": 1e-4, "bfloat16": 0.5, "float16": 0.05}
"""Of the largest score: some hundred times the spacing of each type's numbers."""

METHODS: dict[str, Any] = {
    "saliency": Saliency(),
    "input_x_gradient": InputXGradient(),
    "integrated_gradients": IntegratedGradients(n_steps=8),
    "gradient_shap": GradientShap(n_samples=2),
    "expected_gradients": ExpectedGradients(n_samples=2),
    "smoothgrad": SmoothGrad(n_samples=2),
    "squaregrad": SquareGrad(n_samples=2),
    "sequential_integrated_gradients": SequentialIntegratedGradients(n_steps=2),
    "discretized_integrated_gradients": DiscretizedIntegratedGradients(
        n_steps=2, n_neighbors=8, use_cache=False
    ),
    "captum": CaptumAlgorithm(algorithm="Saliency"),
    "deeplift": DeepLift(),
    "layer_gradient_x_activation": LayerGradientXActivation(),
    "layer_integrated_gradients": LayerIntegratedGradients(n_steps=8),
    "layer_deeplift": LayerDeepLift(),
    "attention": Attention(),
    "grad_x_attention": GradXAttention(),
    "attention_rollout": AttentionRollout(),
    "attention_flow": AttentionFlow(),
    "attention_norms": AttentionNorms(),
    "alti": Alti(),
    "value_zeroing": ValueZeroing(),
    "occlusion": Occlusion(),
    "leave_one_out": LeaveOneOut(),
    "shapley": Shapley(n_samples=4, tolerance=0),
    "kernel_shap": KernelShap(n_samples=128),
    "lime": Lime(),
    "context_cite": ContextCite(n_bootstrap=0, scale="logit"),
    "reagent": Reagent(max_probe_steps=4, num_probes=2),
}
REMOVING = {cell.method for cell in removal_cells.CELLS}


@functools.cache
def adapter(name: str, dtype: torch.dtype, is_wide: bool) -> HuggingFaceAdapter:
    """The tiny model in a type, or in float64 with the weights that it has in that type."""
    model, tokenizer = tiny_model(name, dtype=dtype)
    return load(copy.deepcopy(model).double() if is_wide else model, tokenizer=tokenizer)


def context(name: str, dtype: torch.dtype, is_wide: bool, pairs: Any) -> TorchContext:
    made = adapter(name, dtype, is_wide)
    texts = [forced(made, *pair) for pair in pairs]
    spans = [(start, min(end, start + 3)) for start, end in spans_of(texts)]
    texts = [t.truncated(end) for t, (_, end) in zip(texts, spans, strict=True)]
    return context_of(made, texts, spans=spans)


def distance(method: str, name: str, dtype: torch.dtype) -> float:
    """Largest difference from float64, relative to the largest score there."""
    found = []
    for is_wide in (True, False):
        if method in REMOVING:
            ctx = featured(context(name, dtype, is_wide, PAIR[:1]), RemovalWay())
        else:
            ctx = context(name, dtype, is_wide, PAIR)
        output = METHODS[method].attribute(ctx)
        sides = [x for x in (output.source, output.target) if x is not None]
        found.append([np.asarray(x.double() if isinstance(x, torch.Tensor) else x).ravel() for x in sides])
    wide, narrow = (np.concatenate(sides) for sides in found)
    return float(np.abs(wide - narrow).max() / np.abs(wide).max()) if np.isfinite(narrow).all() else np.inf
