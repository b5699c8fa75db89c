"""Following an attention product to the residual stream, function by function, while the model runs.

The mode that finds attention products also sees what becomes of their outputs. A tensor that is a linear
image of one is on its *path*; what is computed from a path in another way (the mean square in a norm) is a
*statistic*, taken at its value when it multiplies the path again. The branch ends where the path is added to
the block's input, to anything that the attention itself was computed from (models whose residual is the normed
input, or one of several streams), or, in cross-attention, to anything as large as itself. Where something else
is added first, the model runs attention and feed-forward side by side, and the block's input is looked for in
the *sum*.
Axes: B sequences, L positions, C channels, D hidden.
"""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from inseq_core.errors import CapabilityError
from inseq_core.torch.attention_branch import AttentionBranch, Gate, Norm, Projection, Shift, Step
from inseq_core.torch.attention_seam import AttentionMode, AttentionProduct

TAG, STREAM, ORIGIN = "_inseq_branch", "_inseq_stream", "_inseq_origin"
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


@attrs.frozen(kw_only=True, eq=False)
class _Origin:
    """What a tensor was computed from since its block began.

    Attributes:
        block: which block that was.
        number: of the tensor; casts and views keep it.
        made_from: numbers of the tensors that it was computed from, its own among them.
    """

    block: int
    number: int
    made_from: frozenset[int]


@attrs.define(eq=False)
class _Way:
    """A branch while it is followed.

    Attributes:
        reads: numbers of the block's tensors that the attention was computed from.
        steps: functions met so far.
        value: (B, L, D) the branch where it meets the stream.
        residual, total: the stream before and behind the sum; total is None where other branches were summed
            in between (parallel models).
        norm: of the total, where one was met.
        goes_on: the total itself is part of a later sum, so that its norm is inside the next branch.
        problem: a function that is no linear map.
    """

    product: AttentionProduct
    reads: frozenset[int] = frozenset()
    steps: list[Step] = attrs.field(factory=list)
    value: Tensor | None = None
    residual: Tensor | None = None
    total: Tensor | None = None
    norm: Norm | None = None
    goes_on: bool = False
    problem: str = ""


class BranchMode(AttentionMode):
    """Follows what becomes of every attention product until it meets the residual stream.

    Attributes:
        ways: of the products met in the block that runs.
        block_input: what that block was given.
    """

    follows = True

    def __init__(self, **how: Any) -> None:
        super().__init__(lambda product: None, **how)
        self.ways: list[_Way] = []
        self.block_input: Tensor | None = None
        self._block = self._numbered = 0

    def begin(self, block_input: Tensor | None) -> None:
        """A block begins."""
        self.block_input = block_input
        self.ways = []
        self._block += 1

    def saw_product(self, product: AttentionProduct, output: Tensor, made_from: Any) -> None:
        """A new branch begins."""
        origins = [self._origin(x) for x in tree_leaves(made_from)]
        way = _Way(product, frozenset[int]().union(*(o.made_from for o in origins if o is not None)))
        self.ways.append(way)
        setattr(output, TAG, (way, "path"))

    def saw(self, name: str, args: tuple[Any, ...], kwargs: Any, result: Any) -> None:
        """Note what the function did to a branch."""
        if not isinstance(result, Tensor):
            return
        operands = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        self._note_origin(name, operands, result)
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

    def _origin(self, x: Any) -> _Origin | None:
        found: _Origin | None = getattr(x, ORIGIN, None)
        return found if found is not None and found.block == self._block else None

    def _note_origin(self, name: str, operands: list[Tensor], result: Tensor) -> None:
        """Number a result, as long as attention may still be computed from it; a view is the tensor itself."""
        if name in KEEPS:
            if operands and (origin := self._origin(operands[0])) is not None:
                setattr(result, ORIGIN, origin)
        elif not self.ways:
            known = [origin for x in operands if (origin := self._origin(x)) is not None]
            self._numbered += 1
            own = frozenset({self._numbered}).union(*(origin.made_from for origin in known))
            setattr(result, ORIGIN, _Origin(block=self._block, number=self._numbered, made_from=own))

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
        elif name in SCALES or (name in DIVIDES and getattr(args[0], TAG, None) is not None):
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
        origin = self._origin(other)
        is_read = origin is not None and origin.number in way.reads
        if way.product.kind == "cross" or is_read or self._is_block_input(other):
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
