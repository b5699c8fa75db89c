"""Attention branches: the way from an attention product to the residual stream, as a linear map.

What token j gives position i through attention is Σ_h α_ij^h v_j^h, sent through the output projection and
whatever else stands before the sum with the residual (Kobayashi et al. 2020, section 2). That way is followed
function by function while the model runs: projections, biases, scales, gates and norms are noted; norms and
gates are taken at the values they have, which makes them linear (Kobayashi et al. 2021, section 3). Where the
sum is normalised before it goes on (post-norm models), that norm belongs to the branch too.
Axes: B sequences, L queries, K keys, H heads, D hidden, C channels, Q chosen queries, v width of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from inseq_core.errors import CapabilityError
from inseq_core.torch.attention_map import SideMap, attention_map, probe_of, run_sides
from inseq_core.torch.attention_seam import AttentionMode, AttentionProduct
from inseq_core.torch.internals import run

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter
    from inseq_core.torch.context import TorchContext

Kept = TypeVar("Kept")

PORTION = 1 << 24
"""Numbers of one portion of contribution vectors (Q, K, D)."""

TAG, STREAM = "_inseq_branch", "_inseq_stream"
KEEPS = frozenset(
    {
        *("dropout", "dropout_", "to", "type", "type_as", "float", "half", "bfloat16", "double", "clone"),
        *("contiguous", "view", "reshape", "flatten", "unflatten", "transpose", "permute", "squeeze"),
        *("unsqueeze", "swapaxes"),
    }
)
ADDS = frozenset({"add", "__add__", "__radd__", "add_", "__iadd__"})
SCALES = frozenset({"mul", "__mul__", "__rmul__", "mul_", "__imul__", "multiply"})
DIVIDES = frozenset({"div", "__truediv__", "div_", "__itruediv__", "true_divide", "divide"})
MAPS = frozenset({"matmul", "__matmul__", "mm"})
REDUCES = frozenset({"pow", "__pow__", "square", "mean", "var", "std", "norm", "abs", "sum"})


class Step(Protocol):
    """One function on the way, linear once norms and gates are taken at their values."""

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """(Q, K, C) -> (Q, K, C'), without any offset."""
        ...

    def offset(self, channels: int) -> Tensor | float:
        """What it adds, at zero: broadcasts to (C',)."""
        ...


@attrs.frozen(eq=False)
class Projection:
    """x W + b, with ``weight`` (C, C') and ``bias`` (C',)."""

    weight: Tensor
    bias: Tensor | None = None

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """(Q, K, C')."""
        return x @ self.weight.to(x.dtype)

    def offset(self, channels: int) -> Tensor | float:
        """The bias."""
        return 0.0 if self.bias is None else self.bias


@attrs.frozen(eq=False)
class Shift:
    """x + b."""

    bias: Tensor | float

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """The same."""
        return x

    def offset(self, channels: int) -> Tensor | float:
        """The bias."""
        return self.bias


@attrs.frozen(eq=False)
class Gate:
    """x times a number, a number for each channel (C,), or one for each position (B, L, C or 1)."""

    factor: Tensor | float

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """(Q, K, C)."""
        if not isinstance(self.factor, Tensor) or self.factor.dim() < 2:
            return x * self.factor
        return x * self.factor[b, positions][:, None].to(x.dtype)

    def offset(self, channels: int) -> Tensor | float:
        """None."""
        return 0.0


@attrs.frozen(kw_only=True, eq=False)
class Norm:
    """(x − mean) · scale · weight + bias, with the ``scale`` (B, L, 1) that the real input had."""

    scale: Tensor
    weight: Tensor | None
    bias: Tensor | None
    is_centred: bool

    @classmethod
    def of(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Norm:
        """From a call of ``layer_norm`` or ``rms_norm``."""
        is_centred = name == "layer_norm"
        names = ("input", "normalized_shape", "weight", *(("bias",) if is_centred else ()), "eps")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        x = given["input"].detach().double()
        eps = given.get("eps")
        if eps is None:
            eps = 1e-5 if is_centred else torch.finfo(given["input"].dtype).eps
        x = x - x.mean(-1, keepdim=True) if is_centred else x
        scale = (x.square().mean(-1, keepdim=True) + eps).rsqrt().to(given["input"].dtype)
        return cls(scale=scale, weight=given.get("weight"), bias=given.get("bias"), is_centred=is_centred)

    def linear(self, x: Tensor, b: int, positions: Tensor) -> Tensor:
        """(Q, K, C)."""
        x = x - x.mean(-1, keepdim=True) if self.is_centred else x
        x = x * self.scale[b, positions][:, None].to(x.dtype)
        return x if self.weight is None else x * self.weight.to(x.dtype)

    def offset(self, channels: int) -> Tensor | float:
        """The bias."""
        return 0.0 if self.bias is None else self.bias


@attrs.define(eq=False)
class _Way:
    """A branch while it is followed.

    Attributes:
        steps: functions met so far.
        value: (B, L, D) the branch where it meets the stream.
        residual, total: the stream before and behind the sum; total is None where other branches were summed
            in between (parallel models).
        norm: of the total, where one was met.
        goes_on: the total itself is part of a later sum, so that its norm is inside the next branch.
        problem: a function that is no linear map.
    """

    product: AttentionProduct
    steps: list[Step] = attrs.field(factory=list)
    value: Tensor | None = None
    residual: Tensor | None = None
    total: Tensor | None = None
    norm: Norm | None = None
    goes_on: bool = False
    problem: str = ""


@attrs.frozen(kw_only=True, eq=False)
class AttentionBranch:
    """What one attention product does to the residual stream.

    Attributes:
        product: the attention.
        steps: the way from the product (heads side by side) to the stream.
        norm: of the sum, in post-norm models.
        residual: (B, L, D) the stream before the branch.
        value: (B, L, D) what the branch adds.
        total: (B, L, D) their sum.
    """

    product: AttentionProduct
    steps: tuple[Step, ...]
    norm: Norm | None
    residual: Tensor
    value: Tensor
    total: Tensor

    def stream(self, b: int, positions: Tensor) -> Tensor:
        """(Q, D) the stream behind the branch (and its norm), in float32 or better."""
        total = _wide(self.total[b, positions])
        if self.norm is None:
            return total
        return self.norm.linear(total[:, None], b, positions)[:, 0] + self.norm.offset(total.shape[-1])

    def residual_share(self, b: int, positions: Tensor) -> Tensor:
        """(Q, D) the residual's part of the stream."""
        residual = _wide(self.residual[b, positions])
        return residual if self.norm is None else self.norm.linear(residual[:, None], b, positions)[:, 0]

    def shares(self, b: int, positions: Tensor) -> Iterator[tuple[Tensor, slice, Tensor]]:
        """What every key gives the chosen queries, in portions.

        Yields:
            indices into ``positions`` (Q,), keys, and vectors (Q, K, D); self-attention looks no further than
            the last of the positions.
        """
        _, heads, _, n_keys = self.product.shape
        values = _wide(self.product.values[b])  # (H, K, v)
        first = self.steps[0] if self.steps and isinstance(self.steps[0], Projection) else None
        width = self.residual.shape[-1]
        if self.product.kind == "decoder" and len(positions):
            n_keys = min(n_keys, int(positions.max()) + 1)
        keys_at_once = max(PORTION // (heads * width), 1)
        for k in range(0, n_keys, keys_at_once):
            keys = slice(k, min(k + keys_at_once, n_keys))
            chosen = values[:, keys]
            if first is not None:
                weight = _wide(first.weight).reshape(heads, -1, first.weight.shape[-1])
                chosen = chosen @ weight  # (H, K, C)
            rows_at_once = max(PORTION // (chosen.shape[1] * width), 1)
            for index in torch.arange(len(positions), device=values.device).split(rows_at_once):
                at = positions[index]
                weights = self.product.weights(slice(b, b + 1), at)[0, :, :, keys].to(
                    chosen.dtype
                )  # (H, Q, K)
                yield index, keys, self._sent(chosen, weights, b, at, first is not None)

    def _sent(self, chosen: Tensor, weights: Tensor, b: int, at: Tensor, is_projected: bool) -> Tensor:
        """(Q, K, D) from values (H, K, C) and weights (H, Q, K)."""
        if is_projected:
            x = (weights.permute(2, 1, 0) @ chosen.transpose(0, 1)).transpose(0, 1)
        else:
            x = (weights[..., None] * chosen[:, None]).permute(1, 2, 0, 3).flatten(2)
        for step in self.steps[1 if is_projected else 0 :]:
            x = step.linear(x, b, at)
        return x if self.norm is None else self.norm.linear(x, b, at)

    def replayed(self, b: int, positions: Tensor) -> Tensor:
        """(Q, D) what the way makes of the product's own output: ``value``, if nothing was missed."""
        x = _wide(self.product.output[b, :, positions]).transpose(0, 1).flatten(1)[:, None]
        for step in self.steps:
            x = step.linear(x, b, positions)
            x = x + step.offset(x.shape[-1])
        return x[:, 0]


class BranchMode(AttentionMode):
    """Follows what becomes of every attention product until it meets the residual stream.

    Attributes:
        ways: of the products met in the block that runs.
        block_input: what that block was given.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(lambda product: None, **how)
        self.ways: list[_Way] = []
        self.block_input: Tensor | None = None

    def saw_product(self, product: AttentionProduct, output: Tensor) -> None:
        """A new branch begins."""
        way = _Way(product)
        self.ways.append(way)
        setattr(output, TAG, (way, "path"))

    def saw(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: Any, result: Any
    ) -> None:
        """Note what the function did to a branch."""
        if not isinstance(result, Tensor):
            return
        operands = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        for x in operands:
            self._follow_stream(name, args, kwargs, x, result)
        tags = [getattr(x, TAG, None) for x in operands]
        ways = [tag for tag in tags if tag is not None]
        if not ways or name == "__get__":
            return
        way, state = ways[0]
        if state == "path" or any(s == "path" for _, s in ways):
            way = next(w for w, s in ways if s == "path")
            self._follow(way, name, args, kwargs, operands, result)
        elif state == "sum":
            self._follow_sum(way, name, operands, result)
        else:
            setattr(result, TAG, (way, "statistic"))

    def _follow_stream(self, name: str, args: Any, kwargs: Any, x: Tensor, result: Tensor) -> None:
        way = getattr(x, STREAM, None)
        if way is None or x is result:
            return
        if name in KEEPS:
            setattr(result, STREAM, way)
        elif name in ADDS and sum(isinstance(a, Tensor) for a in args) == 2:
            way.goes_on = True
        elif name == "layer_norm" and way.norm is None:
            way.norm = self._norm(name, args, kwargs)

    def _norm(self, name: str, args: Any, kwargs: Any) -> Norm:
        norm = Norm.of(name, args, kwargs)
        return attrs.evolve(norm, scale=norm.scale.reshape(self.batch, self.length, 1))

    def _follow(
        self, way: _Way, name: str, args: Any, kwargs: Any, operands: list[Tensor], result: Tensor
    ) -> None:
        others = [x for x in operands if getattr(x, TAG, (None, ""))[1] != "path"]
        n_paths = len(operands) - len(others)
        state = "path"
        if name in KEEPS and not others:
            pass
        elif name in REDUCES or (name in SCALES and n_paths == 2):
            state = "statistic"
        elif name == "linear":
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            way.steps.append(Projection(args[1].T, bias))
        elif name == "addmm" and getattr(args[1], TAG, None):
            way.steps.append(Projection(args[2], args[0]))
        elif name in MAPS and len(others) == 1 and args[1] is others[0] and others[0].dim() == 2:
            way.steps.append(Projection(others[0]))
        elif name in ("layer_norm", "rms_norm"):
            way.steps.append(self._norm(name, args, kwargs))
        elif name in SCALES | DIVIDES and n_paths == 1 and getattr(args[0], TAG, None) or name in SCALES:
            factor = self._factor(others[0] if others else next(a for a in args if not isinstance(a, Tensor)))
            if factor is None:
                way.problem = way.problem or name
                return
            way.steps.append(Gate(1 / factor if name in DIVIDES else factor))
        elif name in ADDS and not kwargs and n_paths == 1:
            other = others[0] if others else next(a for a in args if not isinstance(a, Tensor))
            if not isinstance(other, Tensor) or other.dim() < 2:
                way.steps.append(Shift(other))
            else:
                self._meet(way, next(x for x in operands if x is not other), other, result)
                return
        else:
            way.problem = way.problem or name
            return
        setattr(result, TAG, (way, state))

    def _factor(self, other: Any) -> Tensor | float | None:
        """A factor as a number, (C,) or (B, L, C or 1); None where it is of another shape."""
        if not isinstance(other, Tensor) or other.numel() == 1:
            return other
        if other.numel() == other.shape[-1]:
            return other.reshape(-1)
        if other.numel() % (self.batch * self.length) == 0:
            return other.reshape(self.batch, self.length, -1)
        return None

    def _meet(self, way: _Way, value: Tensor, other: Tensor, result: Tensor) -> None:
        """The branch is added to something: the stream, or another branch that runs beside it."""
        way.value = value
        if way.product.kind == "cross" or self._is_block_input(other):
            way.residual, way.total = other, result
            setattr(result, STREAM, way)
        else:
            setattr(result, TAG, (way, "sum"))

    def _follow_sum(self, way: _Way, name: str, operands: list[Tensor], result: Tensor) -> None:
        if way.residual is not None:
            return
        if name in ADDS and len(operands) == 2:
            other = next((x for x in operands if getattr(x, TAG, (None, ""))[0] is not way), None)
            if other is not None and self._is_block_input(other):
                way.residual = other
                return
        if name in KEEPS or name in ADDS:
            setattr(result, TAG, (way, "sum"))

    def _is_block_input(self, x: Tensor) -> bool:
        given = self.block_input
        if given is None or x.numel() != given.numel():
            return False
        return x is given or x.data_ptr() == given.data_ptr() or torch.equal(x.reshape(given.shape), given)

    def finished(self) -> list[AttentionBranch]:
        """The branches of the block that has just run.

        Raises:
            CapabilityError: one of them could not be followed.
        """
        ways, self.ways = self.ways, []
        return [self._finished(way) for way in ways]

    def _finished(self, way: _Way) -> AttentionBranch:
        place = f"{way.product.kind} layer {way.product.layer}"
        if way.value is None or way.residual is None:
            why = f"its output goes through {way.problem!r}" if way.problem else "it meets no residual"
            raise CapabilityError(
                f"The attention of {place} cannot be followed to the residual stream: {why}. "
                "Use attention, attention_rollout or value_zeroing."
            )
        shape = (self.batch, self.length, -1)
        residual, value = way.residual.reshape(shape), way.value.reshape(shape)
        total = residual + value if way.total is None else way.total.reshape(shape)
        return AttentionBranch(
            product=way.product,
            steps=tuple(way.steps),
            norm=None if way.goes_on else way.norm,
            residual=residual,
            value=value,
            total=total,
        )


# -- a pass, branch by branch -------------------------------------------------------------------------------------------


def visit_branches(ctx: TorchContext, visit: Callable[[AttentionBranch], Kept | None]) -> list[Kept]:
    """What ``visit`` makes of every attention branch of one pass; None is not kept.

    Raises:
        CapabilityError: the model has no attention, or its way to the residual stream is no linear map.
    """
    adapter = ctx.adapter
    found = attention_map(adapter, ctx.batch)
    check_branches(ctx)
    kept: list[Kept] = []

    def keep(branch: AttentionBranch) -> None:
        made = visit(branch)
        if made is not None:
            kept.append(made)

    with torch.inference_mode(False), torch.no_grad(), adapter.quiet(), adapter.visible_attention():
        with _following(adapter, found.side, keep):
            run(ctx)
    return kept


@contextmanager
def _following(
    adapter: TorchAdapter, side_map: Callable[[str], SideMap], visit: Callable[[AttentionBranch], None]
) -> Iterator[None]:
    @contextmanager
    def watch(side: str, ids: Tensor) -> Iterator[None]:
        blocks = side_map(side)
        mode = BranchMode(batch=ids.shape[0], length=ids.shape[1], slots=blocks.slots)

        def before(leaf: int) -> Callable[..., None]:
            def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
                mode.block_input = tree_leaves((args, kwargs))[leaf] if leaf >= 0 else None
                mode.ways = []

            return hook

        def after(_module: nn.Module, _args: Any, _output: Any) -> None:
            mode.is_paused = True
            try:
                for branch in mode.finished():
                    visit(branch)
            finally:
                mode.is_paused = False

        with mode, ExitStack() as stack:
            for block, call in zip(blocks.blocks, blocks.calls, strict=True):
                hook = before(call.hidden)
                stack.callback(block.register_forward_pre_hook(hook, with_kwargs=True).remove)
                stack.callback(block.register_forward_hook(after).remove)
            yield

    with adapter.watching(watch):
        yield


def check_branches(ctx: TorchContext) -> None:
    """Prove that every way that was followed makes of the attention's output what the model adds to its stream.

    Raises:
        CapabilityError: it does not.
    """
    from inseq_core.torch.selfcheck import close

    adapter = ctx.adapter
    if adapter.traits.follows_branches:
        return
    found = attention_map(adapter, ctx.batch)
    seen: list[bool] = []

    def holds(branch: AttentionBranch) -> None:
        everywhere = torch.arange(branch.value.shape[1], device=branch.value.device)
        again = branch.replayed(0, everywhere)
        seen.append(close(again, _wide(branch.value[0]), adapter.dtype))

    counts = adapter.counts.copy()
    with torch.inference_mode(False), torch.no_grad(), adapter.quiet(), adapter.visible_attention():
        with _following(adapter, found.side, holds):
            run_sides(adapter, probe_of(ctx.batch))
    adapter.counts.clear()
    adapter.counts.update(counts)
    n_products = len(found.source.slots) + len(found.target.slots)
    if len(seen) != n_products or not all(seen):
        raise CapabilityError(
            f"{adapter.profile.name}: the way of attention to the residual stream was followed wrongly in "
            f"{n_products - sum(seen)} of {n_products} products ({adapter.profile.model_class}). "
            "Use attention, attention_rollout or value_zeroing."
        )
    adapter.traits.follows_branches = True


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
