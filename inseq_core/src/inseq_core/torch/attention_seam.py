"""The attention seam: where weights meet values, whatever the modelling file looks like.

A torch function mode sees the functions that a model calls. ``scaled_dot_product_attention`` has queries,
keys, values and mask in its hands; in written-out attention the product whose first operand came out of a
softmax (through dropout, casts, views, slices) is the attention product. There weights can be read, for the
wanted rows only, and the output replaced. Attention inside an opaque kernel is not seen:
``TorchAdapter.visible_attention`` switches it off for a while, and ``attention_map`` counts the products.
Axes: B sequences, H heads, G heads that share values, L queries, K keys, R rows, d width of a query, v
width of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from inseq_core.errors import SelfCheckError
from inseq_core.torch.as_found import FunctionMode
from inseq_core.torch.scaled_call import ScaledCall, by_head, wide

AttentionHandler = Callable[["AttentionProduct"], "Tensor | None"]
"""Called with every product of a pass; what it returns, (B, H, L, v), takes the place of the output."""

SOFTMAX = frozenset({"softmax", "_softmax", "_safe_softmax"})
PRODUCT = frozenset({"matmul", "__matmul__", "bmm"})
STAYS_WEIGHTS = frozenset(
    {
        *("dropout", "dropout_", "to", "type", "type_as", "float", "half", "bfloat16", "double", "clone"),
        *("contiguous", "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "unsqueeze"),
        *("squeeze", "expand", "__getitem__", "narrow", "mul", "mul_", "__mul__", "masked_fill"),
        *("masked_fill_", "nan_to_num"),
    }
)
"""What may stand between the softmax and the product."""
LOOKED_AT = SOFTMAX | PRODUCT | STAYS_WEIGHTS | {"scaled_dot_product_attention"}
MARK = "_inseq_is_attention"
_LENT = ("handler", "batch", "length", "slots", "met", "is_paused", "is_lent")


@attrs.frozen(kw_only=True)
class Slot:
    """One attention product of every pass of a side.

    Attributes:
        kind: "encoder", "decoder" (self-attention of the decoder) or "cross"; "" where nobody said.
        layer: which of its kind, from 0.
        heads: H.
        block: index of the block that it is in, -1 for none.
        is_causal: no query looks at later keys.
    """

    kind: str = ""
    layer: int
    heads: int = 0
    block: int = -1
    is_causal: bool = False


@attrs.frozen(kw_only=True, eq=False)
class QueryRows:
    """Single queries of several sequences, sequence by sequence.

    Attributes:
        of_sequence: sequence and its queries (R_b,).
        order: (R,) where each row is among them; None where they are of one sequence.
    """

    of_sequence: tuple[tuple[int, Tensor], ...]
    order: Tensor | None

    @classmethod
    def of(cls, sequence: Tensor, position: Tensor) -> QueryRows:
        """Row r is the query at ``position[r]`` of ``sequence[r]``."""
        used = sequence.unique().tolist()
        rows = [(sequence == b).nonzero()[:, 0] for b in used]
        return cls(
            of_sequence=tuple((b, position[r]) for b, r in zip(used, rows, strict=True)),
            order=torch.cat(rows).argsort() if len(used) > 1 else None,
        )


@attrs.frozen(kw_only=True, eq=False)
class AttentionProduct:
    """One attention product of a forward pass, before its output goes on.

    Attributes:
        slot: which of the model's products it is.
        index: how many products came before it in the pass.
        shape: (B, H, L, K).
        shared_values: (B, H / G, K, v).
        raw_shape: of the output, as the model's own function gives it.
    """

    slot: Slot
    index: int
    shape: tuple[int, int, int, int]
    shared_values: Tensor
    raw_shape: tuple[int, ...]
    _weigh: Callable[[slice, Any, int | None], Tensor] = attrs.field(alias="weigh")
    _run: Callable[[], Tensor] = attrs.field(alias="run")
    _ran: list[Tensor] = attrs.field(factory=list, init=False)

    @property
    def kind(self) -> str:
        """ "encoder", "decoder" or "cross"."""
        return self.slot.kind

    @property
    def layer(self) -> int:
        """Which of its kind, from 0."""
        return self.slot.layer

    @property
    def value_width(self) -> int:
        """Width of a value."""
        return int(self.shared_values.shape[-1])

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(B, H, L, v)."""
        return (*self.shape[:3], self.value_width)

    @property
    def raw_output(self) -> Tensor:
        """What the model's own function gives, in its own layout; computed once."""
        if not self._ran:
            self._ran.append(self._run())
        return self._ran[0]

    @property
    def output(self) -> Tensor:
        """(B, H, L, v) what the model's own function gives."""
        return self.raw_output.reshape(self.output_shape)

    @property
    def values(self) -> Tensor:
        """(B, H, K, v); those that heads share are repeated."""
        return _repeated(self.shared_values, self.shape[1])

    def weights(
        self,
        sequences: slice = slice(None),
        queries: slice | Tensor = slice(None),
        first_keys: int | None = None,
    ) -> Tensor:
        """(B', H, L', K) weights of the chosen sequences and queries, on the model's graph.

        In float32 or better. Rows sum to one, or to less where a sink took a share.

        Args:
            first_keys: leave out the keys behind these; right where none of the queries looks at them.
        """
        return self._weigh(sequences, queries, first_keys)

    def row_weights(self, rows: QueryRows) -> Tensor:
        """(R, H, K) weights of single queries."""
        parts = [self.weights(slice(b, b + 1), queries)[0].transpose(0, 1) for b, queries in rows.of_sequence]
        return parts[0] if rows.order is None else torch.cat(parts)[rows.order]

    def applied(self, weights: Tensor) -> Tensor:
        """(B, H, L, v): the output for weights (B, H, L, K)."""
        values = self.values
        return weights.to(values.dtype) @ values


class AttentionMode(FunctionMode):
    """Finds attention products among the functions that a model calls, and hands them to ``handler``.

    Attributes:
        met: products so far.
        is_paused: nothing is looked at.
        is_lent: another pass runs inside the one that it watches.
        follows: ``saw`` is called.
    """

    follows = False

    def __init__(
        self, handler: AttentionHandler, *, batch: int, length: int, slots: Sequence[Slot] | None = None
    ) -> None:
        super().__init__()
        self.handler = handler
        self.batch = batch
        self.length = length
        self.slots = slots
        self.met = 0
        self.is_paused = False
        self.is_lent = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.is_paused or not (self.follows or name in LOOKED_AT):
            return func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            product = self._scaled_product(args, kwargs)
        elif name in PRODUCT and len(args) > 1 and getattr(args[0], MARK, False):
            product = self._written_product(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
            _mark(name, args, kwargs, result)
            if self.follows:
                self.saw(name, args, kwargs, result)
            return result
        self.met += 1
        replacement = self.handler(product)
        if replacement is None:
            output = product.raw_output
        else:
            output = replacement.to(product.shared_values.dtype).reshape(product.raw_shape)
        self.saw_product(product, output, () if replacement is not None else (args, kwargs))
        return output

    @contextmanager
    def lent(self, handler: AttentionHandler, *, batch: int, length: int) -> Iterator[AttentionMode]:
        """The same mode for another pass inside the one it watches; then it goes on as before."""
        own = {name: getattr(self, name) for name in _LENT}
        self.handler, self.batch, self.length, self.slots = handler, batch, length, None
        self.met, self.is_paused, self.is_lent = 0, False, True
        try:
            yield self
        finally:
            for name, value in own.items():
                setattr(self, name, value)

    def check_complete(self) -> None:
        """Refuse a pass that is over and had other products than it should.

        Raises:
            SelfCheckError: fewer.
        """
        if self.slots is not None and self.met != len(self.slots):
            raise SelfCheckError(
                f"The model computed {self.met} attention products in this pass, {len(self.slots)} in its check.\n"
                "  Please report the model class."
            )

    def saw(self, name: str, args: tuple[Any, ...], kwargs: Any, result: Any) -> None:
        """Called after every other function, in modes that follow what becomes of a product."""

    def saw_product(self, product: AttentionProduct, output: Tensor, made_from: Any) -> None:
        """Called with the output that goes on, and the arguments that it was made from unless it was replaced."""

    def _slot(self) -> Slot:
        if self.slots is None:
            return Slot(layer=self.met)
        if self.met >= len(self.slots):
            raise SelfCheckError(
                f"The model computed more attention products than in its check ({len(self.slots)}), "
                "so none of them can be told apart. Please report the model class."
            )
        return self.slots[self.met]

    def _product(
        self, shape: tuple[int, ...], values: Tensor, raw: tuple[int, ...], **how: Any
    ) -> AttentionProduct:
        b, h, q, k = (int(n) for n in shape)
        return AttentionProduct(
            slot=self._slot(),
            index=self.met,
            shape=(b, h, q, k),
            shared_values=values,
            raw_shape=raw,
            **how,
        )

    def _scaled_product(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AttentionProduct:
        call = ScaledCall.of(self.batch, self.length, *args, **kwargs)
        return self._product(
            call.shape,
            call.values,
            call.raw_shape,
            weigh=call.weights,
            run=lambda: F.scaled_dot_product_attention(*args, **kwargs),
        )

    def _written_product(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AttentionProduct:
        weights, values = args[0], args[1]
        raw = (*weights.shape[:-1], values.shape[-1])
        w = by_head(weights, self.batch)

        def weigh(sequences: slice, queries: slice | Tensor, first_keys: int | None) -> Tensor:
            return wide(w[sequences][:, :, queries][..., :first_keys])

        return self._product(
            tuple(w.shape), by_head(values, self.batch), raw, weigh=weigh, run=lambda: func(*args, **kwargs)
        )


@contextmanager
def attention_seam(
    handler: AttentionHandler, *, batch: int, length: int, slots: Sequence[Slot] | None = None
) -> Iterator[AttentionMode]:
    """Show every attention product of one forward pass to ``handler``.

    Args:
        handler: called in the order of the pass; may return the output that goes on.
        batch, length: sequences and queries of the pass.
        slots: what each product is, in the order of the pass.

    Raises:
        SelfCheckError: the pass had more or fewer products than ``slots``.
    """
    with AttentionMode(handler, batch=batch, length=length, slots=slots) as mode:
        yield mode
    mode.check_complete()


def _mark(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Note on a tensor that it holds attention weights: a softmax over its last axis, or what is left."""
    if not isinstance(result, Tensor) or result.dim() < 3:
        return
    if name in SOFTMAX:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        is_weights = axis in (-1, result.dim() - 1)
    else:
        is_weights = name in STAYS_WEIGHTS and bool(args) and getattr(args[0], MARK, False)
    if is_weights:
        setattr(result, MARK, True)


def _repeated(shared: Tensor, heads: int) -> Tensor:
    """(B, H / G, K, v) -> (B, H, K, v)."""
    b, groups, k, v = shared.shape
    if groups == heads:
        return shared
    return shared[:, :, None].expand(b, groups, heads // groups, k, v).reshape(b, heads, k, v)
