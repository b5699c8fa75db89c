"""The seams of a torch model: places where the engine looks in or reaches in, without per-model code.

Everything here is a ``with`` block that leaves the model as it found it, also after an exception.

- *output seam*: the output of a module is captured or replaced. On the token-embedding module it is the
  embedding seam: the model is fed ids, so scaling, positions and per-layer embeddings stay its own business;
- *head seam*: the output head sees the hidden states of the wanted rows only, detached from the body;
- *quiet*: parameters without gradients, modules in eval mode.

Axes: B sequences, L positions, R rows, D hidden.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from threading import get_ident
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from inseq_core.errors import SelfCheckError


@attrs.define(eq=False)
class OutputTap:
    """What passed an output seam: the module's last output, and how often the module was called."""

    output: Tensor | None = None
    calls: int = 0


@contextmanager
def output_seam(module: nn.Module, replacement: Tensor | None = None) -> Iterator[OutputTap]:
    """Capture the output (B, L, D) of a module, or put ``replacement`` in its place.

    On a token-embedding module this is the embedding seam. Where a module returns a tuple or a record, its
    first tensor is meant. Models may add to it in place, so they get a copy of the replacement, and a copy of
    what they gave is kept.

    Raises:
        SelfCheckError: the replacement has another shape than what the model asked for.
    """
    tap, mine = OutputTap(), get_ident()

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        if get_ident() != mine:  # somebody else runs the model meanwhile
            return None
        tap.calls += 1
        first = first_tensor(output)
        if replacement is None:
            tap.output = None if first is None else first.detach().clone()
            return None
        if not isinstance(first, Tensor):
            raise SelfCheckError(f"{type(module).__name__} gave a {type(output).__name__} without a tensor.")
        tap.output = _shaped_like(first, replacement, module).to(first.dtype)
        return _with_first(output, tap.output.clone())

    # a replacement comes first, so that whoever captures sees it
    handle = module.register_forward_hook(hook, prepend=replacement is not None)
    try:
        yield tap
    finally:
        handle.remove()


def first_tensor(output: Any) -> Tensor | None:
    """A module's output, or the first entry of a tuple or record of them; None where that is no tensor."""
    if isinstance(output, Mapping):
        output = next(iter(output.values()), None)
    elif isinstance(output, (tuple, list)):
        output = output[0] if len(output) else None
    return output if isinstance(output, Tensor) else None


def _with_first(output: Any, value: Tensor) -> Any:
    """``output`` with ``value`` as its first tensor, in the same kind of container."""
    if isinstance(output, Tensor):
        return value
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        changed[next(iter(output))] = value
        return changed
    return (value, *output[1:])


def _shaped_like(first: Tensor, replacement: Tensor, module: nn.Module) -> Tensor:
    """The replacement (B, L, D) in the shape that the module gives.

    Some modules flatten texts and positions to (B·L, D); some give (1, L, D) or (L, D) for any batch, which
    the model then broadcasts.
    """
    if first.shape == replacement.shape:
        return replacement
    texts, length, width = replacement.shape
    if first.shape == (texts * length, width):
        return replacement.reshape(first.shape)
    if first.shape in ((1, length, width), (length, width)):
        return replacement
    raise SelfCheckError(
        f"{type(module).__name__} gave {tuple(first.shape)}, its replacement has {tuple(replacement.shape)}."
    )


@attrs.define(eq=False)
class HeadTap:
    """What passed the head seam: the hidden states (B, L, D) as the body made them, those (R, D) of the rows, and their
    detached copy.
    """

    every: Tensor | None = None
    hidden: Tensor | None = None
    detached: Tensor | None = None
    calls: int = 0


@contextmanager
def head_seam(module: nn.Module, sequence: Tensor, position: Tensor, graph: bool) -> Iterator[HeadTap]:
    """Let the output head see only the rows ``hidden[sequence, position]``: it is given (R, 1, D) instead of
    (B, L, D).

    Args:
        graph: detach the rows and record the head's graph from the detached copy on.
    """
    tap, mine = HeadTap(), get_ident()

    def pre_hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if get_ident() != mine:
            return None
        tap.calls += 1
        hidden = args[0]
        if hidden.dim() != 3:
            raise SelfCheckError(f"The output head was given {tuple(hidden.shape)}, expected (B, L, D).")
        rows = hidden[sequence, position]  # (R, D)
        tap.every, tap.hidden = hidden, rows
        tap.detached = rows.detach().requires_grad_(graph)
        return (tap.detached[:, None, :], *args[1:])

    handle = module.register_forward_pre_hook(pre_hook)
    try:
        yield tap
    finally:
        handle.remove()


def parameters_of(modules: Iterable[nn.Module]) -> tuple[nn.Parameter, ...]:
    """The parameters that the modules themselves hold, each once; of all modules of a model those of the model."""
    held = (p for module in modules for p in module._parameters.values() if p is not None)
    return tuple(dict.fromkeys(held))


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """No parameter asks for gradients inside the block; each gets its own flag back."""
    changed = [p for p in parameters if p.requires_grad]
    for p in changed:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in changed:
            p.requires_grad_(True)


@contextmanager
def evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Every module in eval mode inside the block; each gets its own mode back, whatever was done inside."""
    modes = [(m, m.training) for m in modules]
    for m, is_training in modes:
        if is_training:
            m.training = False
    try:
        yield
    finally:
        for m, is_training in modes:
            if m.training is not is_training:
                m.training = is_training


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Scaled dot-product attention by plain matrix products.

    Its backward then has batching rules for ``is_grads_batched`` and second derivatives, which the fused
    kernels lack; for batched cotangents on a CPU it is also as fast as they are.
    """
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def dropping(model: nn.Module) -> Iterator[int]:
    """Whatever drops something in training does so inside the block; everything else is in eval mode.

    Models drop by modules and by functions that ask their module's mode, so modules are set to training,
    except those whose mode means something else (normalisation by running statistics). Yields the number of
    places that drop.
    """
    modes = [(m, m.training) for m in model.modules()]
    try:
        for m, _ in modes:
            m.training = not isinstance(m, nn.modules.batchnorm._NormBase)
        yield dropout_places(m for m, _ in modes)
    finally:
        for m, mode in modes:
            m.training = mode


def dropout_places(modules: Iterable[nn.Module]) -> int:
    """Modules that drop something in training."""
    return sum(_drops(m) for m in modules)


def _drops(module: nn.Module) -> bool:
    """Whether a module is a dropout, or holds the rate of one that it applies as a function
    ("attention_dropout").
    """
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return any(
        "drop" in name and isinstance(value, float) and value > 0 for name, value in vars(module).items()
    )


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """The global generators seeded inside the block, and as they were after it; nothing for None."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def is_compiled(modules: Iterable[nn.Module]) -> bool:
    """Whether a module of a model runs as compiled code, which does not see hooks that are added later."""
    return any(
        getattr(m, "_compiled_call_impl", None) is not None
        or hasattr(vars(m).get("forward"), "_torchdynamo_orig_callable")
        for m in modules
    )


@contextmanager
def uncompiled() -> Iterator[None]:
    """What was compiled runs as it was written, where torch can be asked for that."""
    stance = getattr(torch.compiler, "set_stance", None)
    with nullcontext() if stance is None else stance("force_eager"):
        yield


def device_of(model: nn.Module) -> torch.device:
    """Where the model takes its inputs: the device of its first parameter."""
    return next(model.parameters()).device
