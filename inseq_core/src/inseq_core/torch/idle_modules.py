"""Modules that need not run: what a block computes only to be thrown away.

Where attention products are given to a block, the projections of queries, keys and values (and the norm
before them, if nothing else reads it) change nothing. Which modules these are is found by following, through
one run, what every tensor was made of: a module is idle if its output is in no part of the block's. It is
believed only if the block gives the same without them.
Axes: none of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from inseq_core.torch.attention_seam import AttentionMode, AttentionProduct

MADE_OF = "_inseq_made_of"


@attrs.frozen(eq=False)
class IdleModule:
    """A module that is passed over: its input goes on, or zeros as wide as its output."""

    module: nn.Module
    width: int | None

    def forward(self, x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """In place of the module's own."""
        return x if self.width is None else x.new_zeros(()).expand(*x.shape[:-1], self.width)


class SourcesMode(AttentionMode):
    """Notes on every tensor which modules its value was made by; a replaced product is made by none."""

    follows = True

    def saw(self, name: str, args: tuple[Any, ...], kwargs: Any, result: Any) -> None:
        """What a function gives is made of whatever its arguments are made of."""
        sources = made_of((args, kwargs))
        if not sources:
            return
        changed = [args[0]] if args and isinstance(args[0], Tensor) and _is_in_place(name) else []
        for tensor in (*tree_iter(result), *changed):
            if isinstance(tensor, Tensor):
                setattr(tensor, MADE_OF, made_of(tensor) | sources)

    def saw_product(self, product: AttentionProduct, output: Tensor, made_from: Any) -> None:
        """A product that the block computes itself is made of its queries, keys and values."""
        setattr(output, MADE_OF, made_of(made_from))


def _is_in_place(name: str) -> bool:
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def made_of(values: Any) -> frozenset[nn.Module]:
    """Modules that any of the tensors in ``values`` was made by."""
    found: frozenset[nn.Module] = frozenset()
    for tensor in tree_iter(values):
        if isinstance(tensor, Tensor):
            found |= getattr(tensor, MADE_OF, frozenset())
    return found


@contextmanager
def following_sources(block: nn.Module) -> Iterator[dict[nn.Module, IdleModule]]:
    """Note what the block's innermost modules give; yields those that could be passed over, as they run."""
    ran: dict[nn.Module, IdleModule] = {}
    twice: set[nn.Module] = set()

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if module in ran or module in twice:
            ran.pop(module, None)
            twice.add(module)
        given = args[0] if len(args) == 1 and isinstance(args[0], Tensor) else None
        if isinstance(output, Tensor):
            setattr(output, MADE_OF, made_of((args, output)) | {module})
            if given is not None and given.shape[:-1] == output.shape[:-1] and module not in twice:
                width = None if given.shape == output.shape else int(output.shape[-1])
                ran[module] = IdleModule(module, width)

    with ExitStack() as stack:
        for module in block.modules():
            if not any(True for _ in module.children()):
                stack.callback(module.register_forward_hook(after).remove)
        yield ran


@contextmanager
def passing_over(idle: Sequence[IdleModule]) -> Iterator[None]:
    """The modules do not run inside the block; each gets its own forward back."""
    with ExitStack() as stack:
        for one in idle:
            stack.callback(_restore, one.module, one.module.__dict__.get("forward"))
            one.module.__dict__["forward"] = one.forward
        yield


def _restore(module: nn.Module, forward: Callable[..., Any] | None) -> None:
    if forward is None:
        module.__dict__.pop("forward", None)
    else:
        module.__dict__["forward"] = forward
