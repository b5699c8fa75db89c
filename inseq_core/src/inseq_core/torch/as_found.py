"""A model and torch as they were found, also where an interrupt came while something was being put back.

Every change is undone by the ``with`` block that made it. A KeyboardInterrupt may come between a change and its
block, in the middle of the undoing, or where torch has its own function modes off the stack for a moment; and a method of
somebody else's may leave a hook behind and end well. What is then left is put back here, from notes taken before anything
was changed.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inseq_core.errors import ModelChangedWarning

_HOOKS = {
    "_forward_hooks": ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    "_forward_pre_hooks": ("_forward_pre_hooks_with_kwargs",),
}
"""Where a module keeps its hooks, and what it knows of them beside."""

_CUDA = torch.backends.cuda
_KERNELS = (
    (_CUDA.flash_sdp_enabled, _CUDA.enable_flash_sdp),
    (_CUDA.mem_efficient_sdp_enabled, _CUDA.enable_mem_efficient_sdp),
    (_CUDA.math_sdp_enabled, _CUDA.enable_math_sdp),
    (_CUDA.cudnn_sdp_enabled, _CUDA.enable_cudnn_sdp),
)
"""Which kernels of attention the process may use, and how to say so."""


@contextmanager
def as_found(
    modules: Iterable[nn.Module], parameters: Iterable[nn.Parameter], lasting: tuple[str, ...] = ()
) -> Iterator[None]:
    """Whatever leaves the block finds a model's parts, and torch's modes, as they were before it.

    Args:
        lasting: beginnings of the names of Python modules whose hooks may come inside the block and stay: libraries put some
            on a model when they first need them, and remember that they did.

    Warns:
        ModelChangedWarning: something was left, and nothing failed that would explain it.
    """
    notes = Notes.of(modules, parameters, lasting)
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            _finish_blocks(error)
            torch.set_rng_state(notes.random_state)
        notes.put_back()
        raise
    left = notes.put_back()
    if left:
        warnings.warn(
            f"Something in this call changed the model or torch and left it so: {', '.join(left)}. It has been put back.\n"
            "  Look at the method and the step functions that are not inseq's own.",
            ModelChangedWarning,
            stacklevel=2,
        )


@attrs.frozen(kw_only=True, eq=False)
class Notes:
    """A model's parts and torch's settings at one time.

    Attributes:
        modules: each with its own ``forward``, if it has one, and the keys of its hooks.
        asking: parameters, and whether they ask for gradients.
        modes: torch's function modes, outermost first.
        settings: (has gradients, default type of numbers, kernels of attention).
        random_state: of torch's generator on the CPU.
        lasting: see ``as_found``.
    """

    modules: list[tuple[nn.Module, Any, list[frozenset[int]]]]
    asking: list[tuple[nn.Parameter, bool]]
    modes: list[Any]
    settings: tuple[Any, ...]
    random_state: Tensor
    lasting: tuple[str, ...]

    @classmethod
    def of(
        cls, modules: Iterable[nn.Module], parameters: Iterable[nn.Parameter], lasting: tuple[str, ...]
    ) -> Notes:
        """How they are now."""
        return cls(
            modules=[
                (m, vars(m).get("forward"), [frozenset(vars(m)[name]) for name in _HOOKS]) for m in modules
            ],
            asking=[(p, p.requires_grad) for p in parameters],
            modes=torch.overrides._get_current_function_mode_stack(),
            settings=_settings(),
            random_state=torch.get_rng_state(),
            lasting=lasting,
        )

    def put_back(self) -> list[str]:
        """Make everything but the random state as it was; what was not, in words."""
        left = []
        if _put_modes_back(self.modes):
            left.append("a torch function mode")
        if _settings() != self.settings:
            left.append("a setting of torch")
            _set(self.settings)
        for module, forward, hooks in self.modules:
            left += self._forward_back(module, forward)
            for (name, beside), before in zip(_HOOKS.items(), hooks, strict=True):
                left += self._hooks_off(module, (name, *beside), before)
        for parameter, asks in self.asking:
            if parameter.requires_grad is not asks:
                left.append("requires_grad of a parameter")
                parameter.requires_grad_(asks)
        return list(dict.fromkeys(left))

    def _forward_back(self, module: nn.Module, forward: Any) -> list[str]:
        now = vars(module).get("forward")
        if now is forward or self._lasts(now):
            return []
        vars(module).pop("forward") if forward is None else vars(module).update(forward=forward)
        return [f"another forward of {type(module).__name__}"]

    def _hooks_off(self, module: nn.Module, places: tuple[str, ...], known: frozenset[int]) -> list[str]:
        hooks = vars(module)[places[0]]
        if hooks.keys() == known:
            return []
        found = [key for key in hooks.keys() - known if not self._lasts(hooks[key])]
        for key in found:
            for place in places:
                vars(module)[place].pop(key, None)
        return [f"a hook on {type(module).__name__}"] if found else []

    def _lasts(self, function: Any) -> bool:
        return str(getattr(function, "__module__", "")).startswith(self.lasting) if self.lasting else False


def _settings() -> tuple[Any, ...]:
    return torch.is_grad_enabled(), torch.get_default_dtype(), tuple(is_on() for is_on, _ in _KERNELS)


def _set(settings: tuple[Any, ...]) -> None:
    has_gradients, dtype, kernels = settings
    torch.set_grad_enabled(has_gradients)
    torch.set_default_dtype(dtype)
    for (_, enable), on in zip(_KERNELS, kernels, strict=True):
        enable(on)


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


def _put_modes_back(before: list[Any]) -> bool:
    """Torch's function modes as they were; whether they were not."""
    now = torch.overrides._get_current_function_mode_stack()
    same = next(
        (i for i, (a, b) in enumerate(zip(now, before, strict=False)) if a is not b),
        min(len(now), len(before)),
    )
    for _ in now[same:]:
        torch.overrides._pop_mode()
    for mode in before[same:]:
        torch.overrides._push_mode(mode)
    return len(now) > same or len(before) > same
