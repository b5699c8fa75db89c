"""What a loaded model can do: tried out where its weights are not plain numbers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from inseq_core.hooks.specs import Capability
from inseq_core.torch import seams

if TYPE_CHECKING:
    from inseq_hf.adapter import HuggingFaceAdapter


def capabilities_of(adapter: HuggingFaceAdapter) -> frozenset[Capability]:
    """Everything but attention where there is none, and gradients where quantised weights pass none."""
    found = set(Capability)
    layers = adapter.attention_layers()
    if layers is not None and not any(layers.values()):
        found.discard(Capability.ATTENTIONS)
    if has_packed_weights(adapter.model) and not passes_gradients(adapter):
        found.discard(Capability.GRADIENTS)
        adapter.traits.note(
            "the quantised weights let no gradients through; gradient methods are not offered"
        )
    return frozenset(found)


def has_packed_weights(model: Any) -> bool:
    """Whether some weights are no plain floating-point numbers: quantised by transformers, or by torch itself."""
    return getattr(model, "is_quantized", False) or any(
        hasattr(module, "_packed_params")
        or any(not p.is_floating_point() for p in module.parameters(recurse=False))
        for module in model.modules()
    )


def keep_gradients(model: Any) -> None:
    """Keep 4-bit layers differentiable.

    On CPUs with bfloat16 instructions bitsandbytes repacks 4-bit weights in the first forward pass without
    gradients, and every later gradient through them is silently zero; this asks its layers not to.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def passes_gradients(adapter: HuggingFaceAdapter) -> bool:
    """Whether a gradient from the output reaches the token embeddings, also after a pass without one."""
    ids = torch.tensor([[0, 1, 0]], device=adapter.device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    with adapter.quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns of kernels that have no derivative
        with torch.no_grad():
            memory = adapter.run_encoder(ids, mask) if adapter.is_encoder_decoder else None
            adapter.run_decoder(ids, mask, memory=memory, memory_mask=None if memory is None else mask)
        embedded = adapter.embed(ids).detach().clone().requires_grad_(True)
        try:
            with torch.enable_grad(), seams.output_seam(adapter.embedding_module("target"), embedded):
                output = adapter.run_decoder(
                    ids, mask, memory=memory, memory_mask=None if memory is None else mask
                )
                (gradient,) = torch.autograd.grad(output.logits[0, -1].float().logsumexp(-1), embedded)
        except (RuntimeError, NotImplementedError):
            return False
    return bool(torch.isfinite(gradient).all() and (gradient != 0).any())
