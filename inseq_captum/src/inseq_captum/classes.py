"""The attribution classes of ``captum.attr``: which there are, and what they leave behind.

A class is known by the arguments that it takes, so that those of later versions of Captum are here as well.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import captum.attr
import numpy as np
import torch
from captum.attr import Attribution, LayerAttribution
from torch import nn

from inseq_core.torch import seams

FORWARD = frozenset({"forward_func", "model", "attribution_method"})
"""What the constructor of a class that can be run on embeddings takes first."""

SHUFFLES: tuple[type, ...] = tuple(
    getattr(captum.attr, name)
    for name in ("FeaturePermutation", "LayerFeaturePermutation")
    if hasattr(captum.attr, name)
)
"""Classes that mix the texts of a batch, which a step run alone has none of."""

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def algorithms() -> dict[str, type[Attribution]]:
    """The attribution classes that captum exports and that can be run on embeddings, by name."""
    found = {name: getattr(captum.attr, name) for name in captum.attr.__all__}
    return {name: cls for name, cls in found.items() if inspect.isclass(cls) and _runs(cls)}


def _runs(cls: type) -> bool:
    if not issubclass(cls, Attribution) or not callable(getattr(cls, "attribute", None)):
        return False
    return not FORWARD.isdisjoint(constructor_takes(cls)[:1])


def constructor_takes(cls: type) -> tuple[str, ...]:
    """Names of the constructor's parameters, without self."""
    return tuple(inspect.signature(cls).parameters)


def works_at_a_layer(cls: type) -> bool:
    """Whether it needs a module of the model."""
    return "layer" in constructor_takes(cls)


def scores_a_layer(cls: type) -> bool:
    """Whether its scores have the shape of a module's output, not of the inputs."""
    return issubclass(cls, LayerAttribution)


def takes(cls: type, inside: type | None) -> Mapping[str, inspect.Parameter]:
    """Parameters of ``attribute``, with those of the class inside, where there is one."""
    own = dict(inspect.signature(cls.attribute).parameters)  # type: ignore[attr-defined]
    return own if inside is None else {**takes(inside, None), **own}


def in_short(error: Exception) -> str:
    """What an error says in one line, without the numbers of tensors."""
    text = re.sub(r"tensor\(.*\)", "a tensor", " ".join(str(error).split()))
    return text if len(text) <= 300 else text[:299] + "…"


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Hooks and attributes that a class leaves on modules are gone after the block; its remarks about hooks are not
    shown.
    """
    before = [
        (m, set(vars(m)), m.__dict__.get("_is_full_backward_hook"), {h: dict(getattr(m, h)) for h in HOOKS})
        for m in model.modules()
    ]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Setting (forward, )?backward hooks")
            yield
    finally:
        for module, names, is_full, hooks in before:
            for name in set(vars(module)) - names:
                delattr(module, name)
            module._is_full_backward_hook = is_full
            for kind, handles in hooks.items():
                getattr(module, kind).clear()
                getattr(module, kind).update(handles)


@contextmanager
def seeded(entropy: Any, device: torch.device) -> Iterator[None]:
    """The global generators of torch and numpy, from which Captum draws, seeded inside the block and as they were
    after it.
    """
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    numpy_state = np.random.get_state()  # noqa: NPY002  (the generator that Captum draws from)
    with seams.seeded(seed, device):
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
