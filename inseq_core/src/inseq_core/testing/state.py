"""The state of a model and of the process that a plugin may not change: taken before and after, and compared."""

from __future__ import annotations

import random
import sys
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.testing.compare import snapshot

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


def model_state(adapter: ModelAdapter) -> dict[str, Any]:
    """What a model is made of: numbers, flags, modes, hooks, attributes; of torch, its global switches too."""
    torch = sys.modules.get("torch")
    model = getattr(adapter, "model", None)
    if torch is None or not isinstance(model, torch.nn.Module):
        held = {name: value for name, value in vars(adapter).items() if _is_array_record(value)}
        state: dict[str, Any] = snapshot(held)
        return state
    return {"model": _module_state(torch, model), "torch": _switches(torch)}


def _is_array_record(value: Any) -> bool:
    return isinstance(value, np.ndarray) or attrs.has(type(value))


def _module_state(torch: Any, model: Any) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        tensors[name] = {
            "values": tensor.detach().float().cpu().numpy().copy(),
            "requires_grad": tensor.requires_grad,
            "has_grad": tensor.grad is not None,
        }
    modules = {
        name or "(the model)": {
            "class": type(module).__qualname__,
            "training": module.training,
            "hooks": {kind: len(getattr(module, kind, ())) for kind in _HOOKS},
            "attributes": sorted(vars(module)),
        }
        for name, module in model.named_modules()
    }
    config: Any = getattr(model, "config", None)
    plain = config.to_dict() if hasattr(config, "to_dict") else {}
    return {
        "tensors": tensors,
        "modules": modules,
        "config": {str(key): repr(value) for key, value in plain.items()},
        "attention": str(getattr(config, "_attn_implementation", "")),
    }


def _switches(torch: Any) -> dict[str, Any]:
    cuda = torch.backends.cuda
    return {
        "grad_enabled": torch.is_grad_enabled(),
        "default_dtype": str(torch.get_default_dtype()),
        "flash_attention": cuda.flash_sdp_enabled(),
        "math_attention": cuda.math_sdp_enabled(),
        "efficient_attention": cuda.mem_efficient_sdp_enabled(),
        "function_modes": torch._C._len_torch_function_stack(),
    }


def random_state() -> dict[str, Any]:
    """The state of the process's global generators."""
    torch = sys.modules.get("torch")
    numbers: Any = np.random.get_state(legacy=True)  # noqa: NPY002 (looked at, not drawn from)
    return {
        "random": hash(random.getstate()),
        "numpy.random": [np.asarray(part) for part in numbers[1:]],
        "torch": None if torch is None else torch.get_rng_state().numpy().copy(),
    }


def stir_random_state(seed: int) -> None:
    """Put the global generators into another state; what a plugin draws may not depend on it."""
    torch = sys.modules.get("torch")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (set so that a plugin that draws from it is noticed)
    if torch is not None:
        torch.manual_seed(seed)
