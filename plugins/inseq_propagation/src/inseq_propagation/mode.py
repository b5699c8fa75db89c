"""The mode that applies a rule set: functions are seen as they are called, tensors are followed as they go.

A ``TorchFunctionMode`` sees the functions that a model calls, whatever its modelling file looks like. Nothing
is patched, and nothing is left behind. A tensor that varies with the input, and whose leading axis still
holds the input in its first half and the reference in its second, is *paired*; rules apply to paired tensors.
Where the structure is lost (tokens sorted to the experts of a mixture) there is nothing to compare, and the
plain derivative remains: ``Coverage`` counts it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map

from inseq_propagation.functions import RULES, Reading
from inseq_propagation.rules import RuleSet, halves

PAIRED = "_inseq_paired"
VARIES = "_inseq_varies"
NARROW = (torch.float16, torch.bfloat16)

RESHAPES = frozenset({
    Tensor.view, Tensor.reshape, torch.reshape, Tensor.flatten, torch.flatten, Tensor.unflatten,
    torch.unflatten, Tensor.view_as, Tensor.reshape_as, Tensor.squeeze, torch.squeeze,
})  # fmt: skip
"""Functions that may fold other axes into the leading one or out of it; its halves stay halves."""

MOVES = frozenset({
    Tensor.transpose, torch.transpose, Tensor.swapaxes, torch.swapaxes, Tensor.swapdims, torch.swapdims,
    Tensor.transpose_,
})  # fmt: skip
"""Functions that exchange two axes, given as their second and third argument."""

PERMUTES = frozenset({Tensor.permute, torch.permute, torch.movedim, Tensor.movedim})

SELECTS = frozenset(
    {Tensor.__getitem__, torch.index_select, Tensor.index_select, torch.select, Tensor.select}
)

ALONG = frozenset({
    torch.cat, torch.concat, torch.stack, torch.split, Tensor.split, torch.chunk, Tensor.chunk, torch.flip,
    Tensor.flip, torch.roll, Tensor.roll, torch.sort, Tensor.sort, torch.cumsum, Tensor.cumsum,
    Tensor.narrow, torch.narrow, torch.repeat_interleave, Tensor.repeat_interleave, torch.unbind,
    Tensor.unbind, torch.gather, Tensor.gather, Tensor.unsqueeze, torch.unsqueeze,
})  # fmt: skip
"""Functions along an axis: they keep the halves unless it is the leading one."""

AXIS_LAST = frozenset({
    torch.split, Tensor.split, torch.chunk, Tensor.chunk, torch.roll, Tensor.roll, torch.repeat_interleave,
    Tensor.repeat_interleave,
})  # fmt: skip
"""Those of them whose axis is the third argument; it is the second of the others."""

REPEATS = frozenset({Tensor.repeat, torch.tile, Tensor.tile})

RESTORES = frozenset({Tensor.index_add_, Tensor.index_add, torch.index_add})
"""Functions that put entries back to where they came from: the leading axis is that of the whole batch
again.
"""


def varies(x: Any) -> bool:
    """Whether a tensor depends on the input at all."""
    return isinstance(x, Tensor) and getattr(x, VARIES, False)


def is_paired(x: Any) -> bool:
    """Whether a tensor varies, and holds input and reference in the halves of its leading axis."""
    return isinstance(x, Tensor) and getattr(x, PAIRED, False)


@attrs.define
class Coverage:
    """What the rules met: functions by name with a rule applied, and those where only the derivative was
    left.
    """

    ruled: dict[str, int] = attrs.field(factory=dict)
    plain: dict[str, int] = attrs.field(factory=dict)


class RuleMode(TorchFunctionMode):
    """Records forward passes under a rule set.

    Attributes:
        rules: the rule set.
        coverage: what was met.
    """

    def __init__(self, rules: RuleSet) -> None:
        super().__init__()
        self.rules = rules
        self.coverage = Coverage()

    def mark(self, tensor: Tensor) -> Tensor:
        """Say that a tensor varies with the input, and is paired."""
        setattr(tensor, VARIES, True)
        setattr(tensor, PAIRED, True)
        return tensor

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``func`` under its rule, if it has one, and follow what varies."""
        kwargs = dict(kwargs or {})
        varying = [x for x in tree_iter((args, kwargs)) if varies(x)]
        if not varying or func is torch.autograd.grad:
            return func(*args, **kwargs)
        if torch.is_grad_enabled() and any(_is_custom(x) for x in varying):
            args, kwargs = tree_map(self._through_custom, (args, kwargs))
            varying = [x for x in tree_iter((args, kwargs)) if varies(x)]
        paired = all(is_paired(x) for x in varying)
        rule = RULES.get(func) if torch.is_grad_enabled() else None
        if rule is not None and paired:
            result = self._ruled(rule, func, args, kwargs)
            if result is not None:
                self._count(self.coverage.ruled, func)
                return _tagged(result, True)
        elif rule is not None:
            self._count(self.coverage.plain, func)
        result = func(*args, **kwargs)
        keeps = func in RESTORES or (paired and keeps_pairs(func, args, kwargs, varying, result))
        return _tagged(result, keeps)

    def _ruled(
        self, rule: Reading, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor | None:
        """A function under its rule, in float32 or better: quotients of differences have no digits to lose."""
        tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor) and x.is_floating_point()]
        if not any(x.dtype in NARROW for x in tensors if varies(x)):
            return rule(self.rules, func, args, kwargs, varies)
        narrow = kwargs.get("dtype") or functools.reduce(
            torch.promote_types, [x.dtype for x in tensors if x.dim() or varies(x)]
        )
        wide_args, wide_kwargs = tree_map(_widened, (args, kwargs))
        result = rule(self.rules, func, wide_args, wide_kwargs, varies)
        return None if result is None else result.to(narrow)

    def _through_custom(self, x: Any) -> Any:
        """The result of a custom ``autograd.Function`` of one tensor (BLOOM's GELU) under the elementwise
        rule.

        Such functions call no torch function that a mode could see; what they saved for their backward pass
        is their input, if calling them on it again gives their result.
        """
        if not (isinstance(x, Tensor) and is_paired(x) and _is_custom(x)):
            return x
        node: Any = x.grad_fn
        saved = [
            t for t in node.saved_tensors if isinstance(t, Tensor) and t.shape == x.shape and t.requires_grad
        ]
        function = getattr(type(node), "_forward_cls", None)
        if len(saved) != 1 or function is None or not torch.equal(function.apply(saved[0].detach()), x):
            self._count(self.coverage.plain, type(node))
            return x
        self._count(self.coverage.ruled, function)
        return _tagged(self.rules.elementwise(function.apply, saved[0]), True)

    def _count(self, table: dict[str, int], func: Any) -> None:
        name = getattr(func, "__name__", str(func))
        table[name] = table.get(name, 0) + 1


def _widened(x: Any) -> Any:
    """A tensor of a narrow type in float32, followed as before."""
    if not isinstance(x, Tensor) or x.dtype not in NARROW:
        return x
    wide = x.float()
    for tag in (VARIES, PAIRED):
        setattr(wide, tag, getattr(x, tag, False))
    return wide


def _is_custom(x: Tensor) -> bool:
    """Whether a tensor comes straight out of a custom ``autograd.Function``."""
    return isinstance(x.grad_fn, torch.autograd.function.BackwardCFunction)


def _tagged(result: Any, paired: bool) -> Any:
    """What a function of varying tensors gave, followed; no gradient runs through comparisons and indices."""

    def tag(x: Any) -> Any:
        if isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex()):
            setattr(x, VARIES, True)
            setattr(x, PAIRED, paired)
        return x

    return tree_map(tag, result)


def keeps_pairs(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], varying: list[Tensor], result: Any
) -> bool:
    """Whether the halves of the leading axis are still input and reference after ``func``; False where in
    doubt.
    """
    first = varying[0]
    if func in SELECTS:
        return _selects_pairs(func, args, kwargs)
    if func in MOVES:
        axes = [
            kwargs.get("dim0", args[1] if len(args) > 1 else 0),
            kwargs.get("dim1", args[2] if len(args) > 2 else 0),
        ]
        return not _leading(first, axes)
    if func in PERMUTES:
        order = (
            args[1]
            if len(args) == 2 and isinstance(args[1], (tuple, list))
            else (args[1:] or kwargs.get("dims", (1,)))
        )
        return bool(order[0] in (0, -first.dim()))
    if func in ALONG:
        position = 2 if func in AXIS_LAST else 1
        axis = kwargs.get("dim", args[position] if len(args) > position else 0)
        rank = first.dim() + (func in (torch.stack, Tensor.unsqueeze, torch.unsqueeze))
        several = axis if isinstance(axis, (tuple, list)) else [axis]
        return all(isinstance(a, int) and a % rank != 0 for a in several)
    if func in REPEATS:
        times = args[1] if isinstance(args[1], (tuple, list)) else args[1:]
        return bool(len(times) == first.dim() and times[0] == 1)
    leading = {x.shape[0] for x in varying if x.dim()}
    folds = func in RESHAPES
    return all(_same_leading(r, leading, folds) for r in tree_iter(result) if isinstance(r, Tensor))


def _same_leading(result: Tensor, leading: set[int], folds: bool) -> bool:
    if result.dim() == 0 or result.shape[0] % 2:
        return False
    size = result.shape[0]
    return size in leading or (folds and any(size % n == 0 or n % size == 0 for n in leading))


def _leading(tensor: Tensor, axes: list[int]) -> bool:
    return len(set(axes)) > 1 and any(a % tensor.dim() == 0 for a in axes)


def _selects_pairs(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an indexing leaves the leading axis alone, or takes the same entries of both halves."""
    source = args[0]
    index: Any
    if func is Tensor.__getitem__:
        index = args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
        if isinstance(index, slice):
            return index.indices(source.shape[0]) == (0, source.shape[0], 1)
        if index is Ellipsis:
            return True
    else:
        if kwargs.get("dim", args[1] if len(args) > 1 else 0) % source.dim() != 0:
            return True
        index = kwargs.get("index", args[2] if len(args) > 2 else None)
    if not isinstance(index, Tensor) or index.dtype == torch.bool or index.dim() == 0 or index.shape[0] % 2:
        return False
    now, then = halves(index)
    return bool(torch.equal(now + source.shape[0] // 2, then))
