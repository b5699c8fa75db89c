"""A model and torch as they were found, also where an interrupt came while something was being put back.

Every change is undone by the ``with`` block that made it. A KeyboardInterrupt may come between a change and its
block, in the middle of the undoing, or where torch has its own function modes off the stack for a moment. What
is then left is put back here, from notes taken before anything was changed.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_HOOKS = {
    "_forward_hooks": ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    "_forward_pre_hooks": ("_forward_pre_hooks_with_kwargs",),
}
"""Where a module keeps its hooks, and what it knows of them beside."""


@contextmanager
def as_found(modules: Iterable[nn.Module], parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Whatever leaves the block by an exception finds a model's parts, and torch's modes, as they were before it."""
    known = [(m, vars(m).get("forward"), [frozenset(vars(m)[name]) for name in _HOOKS]) for m in modules]
    asking = [(p, p.requires_grad) for p in parameters]
    modes, has_gradients = torch.overrides._get_current_function_mode_stack(), torch.is_grad_enabled()
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            _finish_blocks(error)
        _put_modes_back(modes)
        torch.set_grad_enabled(has_gradients)
        for module, forward, hooks in known:
            if vars(module).get("forward") is not forward:
                vars(module).pop("forward") if forward is None else vars(module).update(forward=forward)
            for (name, beside), before in zip(_HOOKS.items(), hooks, strict=True):
                _forget(module, (name, *beside), before)
        for parameter, asks in asking:
            if parameter.requires_grad is not asks:
                parameter.requires_grad_(asks)
        raise


class FunctionMode(TorchFunctionMode):
    """A mode that is left only where torch asks it first: behind an interrupt it may be gone already."""

    def __exit__(self, *error: Any) -> None:
        if torch.overrides._get_current_function_mode() is self:
            super().__exit__(*error)


def _finish_blocks(error: BaseException) -> None:
    """End the ``with`` blocks that an interrupt kept from ending; they would end when its traceback is thrown away,
    behind what is put back here.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__context__


def _put_modes_back(before: list[Any]) -> None:
    now = torch.overrides._get_current_function_mode_stack()
    same = next(
        (i for i, (a, b) in enumerate(zip(now, before, strict=False)) if a is not b),
        min(len(now), len(before)),
    )
    for _ in now[same:]:
        torch.overrides._pop_mode()
    for mode in before[same:]:
        torch.overrides._push_mode(mode)


def _forget(module: nn.Module, places: tuple[str, ...], known: frozenset[int]) -> None:
    for key in set(getattr(module, places[0])) - known:
        for place in places:
            getattr(module, place).pop(key, None)
