"""Blocks run again: what a layer would give if its attention had given something else.

Within a block only attention mixes positions. So a block can be fed any positions in any order, as long as
the attention products are given to it: M changed versions of single positions (one for each zeroed token,
say) are packed into sequences as long as the block's own, and run as copies of the batch. Masks, rotary
angles and biases then need no change, because all they do is shape the products that are replaced. A product
that is not replaced (cross-attention after a changed self-attention) is computed by the block itself: its
keys are of the other side, and every version stays in a sequence of its own text.
Axes: B sequences, L positions, D hidden, H heads, M versions, C copies of the batch, v width of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from inseq_core.errors import CapabilityError
from inseq_core.torch.attention_map import CallShape, SideMap, attention_map, probe_of, run_sides
from inseq_core.torch.attention_seam import AttentionMode, AttentionProduct, attention_seam
from inseq_core.torch.idle_modules import IdleModule, SourcesMode, following_sources, made_of, passing_over
from inseq_core.torch.internals import hidden_of, run

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter
    from inseq_core.torch.context import TorchContext

Kept = TypeVar("Kept")

TOKENS_AT_ONCE = 2048
"""Positions that are run in one call of a block: taller products are no faster."""


@attrs.frozen(kw_only=True, eq=False)
class BlockCall:
    """One block of a pass that has just run, with its attention.

    Attributes:
        kind: "encoder" or "decoder".
        layer: which of its kind, from 0.
        hidden: (B, L, D) what it was given.
        output: (B, L, D) what it gave.
        products: its attention products, in the order in which it computes them.
        copies: how many copies of the batch may be run at once; 1 where the arguments cannot be repeated.
    """

    kind: str
    layer: int
    hidden: Tensor
    output: Tensor
    products: tuple[AttentionProduct, ...]
    copies: int
    _module: nn.Module = attrs.field(alias="module")
    _leaves: Sequence[Any] = attrs.field(alias="leaves")
    _structure: Any = attrs.field(alias="structure")
    _shape: CallShape = attrs.field(alias="shape")
    _adapter: TorchAdapter = attrs.field(alias="adapter")
    _mode: AttentionMode = attrs.field(alias="mode")

    def portions(self, sequence: Tensor) -> Iterator[Tensor]:
        """Indices of the versions, in portions for ``rerun``.

        Args:
            sequence: (M,) sequence of each version.
        """
        rank = _rank(sequence)
        room = self.copies * self.hidden.shape[1]
        for start in range(0, int(rank.max()) + 1 if len(rank) else 0, room):
            yield ((rank >= start) & (rank < start + room)).nonzero()[:, 0]

    def rerun(self, sequence: Tensor, position: Tensor, outputs: Sequence[Tensor | None]) -> Tensor:
        """(M, D) what the block gives for versions of single positions.

        Args:
            sequence, position: (M,) whose hidden states go in; at most one portion.
            outputs: (M, H, v) for each of ``products``: what it gives each version; None for one that the
                block computes itself.
        """
        idle = self._idle(tuple(given is not None for given in outputs))
        return self._rerun(sequence, position, outputs, self._mode.lent, idle)

    def _rerun(
        self,
        sequence: Tensor,
        position: Tensor,
        outputs: Sequence[Tensor | None],
        seam: Callable[..., AbstractContextManager[AttentionMode]],
        idle: Sequence[IdleModule] = (),
        sources: set[nn.Module] | None = None,
    ) -> Tensor:
        b, length, width = self.hidden.shape
        rank = _rank(sequence)
        copy, place = rank // length, rank % length
        n = int(copy.max()) + 1
        hidden = self.hidden.expand(n, b, length, width).clone()
        hidden[copy, sequence, place] = self.hidden[sequence, position]
        replaced = [self._packed(given, n, copy, sequence, place) for given in outputs]
        with seam(lambda p: replaced[p.index], batch=n * b, length=length) as mode, passing_over(idle):
            output = hidden_of(self._call(hidden.reshape(n * b, length, width), n))
            met = mode.met
        if sources is not None:
            sources |= made_of(output)
        self._adapter.counts["block"] += 1
        if met != len(outputs):
            raise CapabilityError(
                f"{self._adapter.profile.name}: a block of {type(self._module).__name__} computed "
                f"{met} attention products when it was run again, {len(outputs)} before."
            )
        made: Tensor = output.reshape(n, b, length, width)[copy, sequence, place]
        return made

    def _idle(self, is_given: tuple[bool, ...]) -> Sequence[IdleModule]:
        """Modules that change nothing where these products are given; found and proved once a layer."""
        known = self._adapter.traits.idle_modules
        key = (self.kind, self.layer, is_given)
        if key not in known:
            with self._adapter.uncounted():
                known[key] = self._found_idle(is_given)
        found: Sequence[IdleModule] = known[key]
        return found

    def _found_idle(self, is_given: tuple[bool, ...]) -> tuple[IdleModule, ...]:
        from inseq_core.torch.selfcheck import close

        length = self.hidden.shape[1]
        position = torch.arange(length, device=self.hidden.device)
        sequence = torch.zeros_like(position)
        outputs = [
            p.output[sequence, :, position] if given else None
            for p, given in zip(self.products, is_given, strict=True)
        ]
        sources: set[nn.Module] = set()
        with following_sources(self._module) as ran:
            self._rerun(sequence, position, outputs, SourcesMode, (), sources)
        idle = tuple(one for module, one in ran.items() if module not in sources)
        try:
            without = self._rerun(sequence, position, outputs, self._mode.lent, idle)
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
            return ()
        return idle if close(without, self.output[0], self._adapter.dtype) else ()

    def _packed(
        self, given: Tensor | None, n: int, copy: Tensor, sequence: Tensor, place: Tensor
    ) -> Tensor | None:
        """(C·B, H, L, v) of (M, H, v)."""
        if given is None:
            return None
        b, length, _ = self.hidden.shape
        packed = given.new_zeros(n, b, length, *given.shape[1:])
        packed[copy, sequence, place] = given
        return packed.reshape(n * b, length, *given.shape[1:]).transpose(1, 2)

    def _call(self, hidden: Tensor, n: int) -> Any:
        axes = self._shape.batch_axes
        b = self.hidden.shape[0]
        leaves = [_repeated(x, axis, n, b) for x, axis in zip(self._leaves, axes, strict=True)]
        leaves[self._shape.hidden] = hidden
        args, kwargs = tree_unflatten(leaves, self._structure)
        return self._module(*args, **kwargs)


def visit_calls(
    ctx: TorchContext, visit: Callable[[BlockCall], Kept | None], *, kinds: Sequence[str] = ("decoder",)
) -> list[Kept]:
    """What ``visit`` makes of every block with attention of one pass, while that is at hand; None is not
    kept.

    Args:
        kinds: "encoder", "decoder": sides whose blocks are visited.

    Raises:
        CapabilityError: the model's blocks cannot be run again.
    """
    found = attention_map(ctx.adapter, ctx.batch)
    check_reruns(ctx)
    kept: list[Kept] = []

    def keep(call: BlockCall) -> None:
        made = visit(call)
        if made is not None:
            kept.append(made)

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        ctx.adapter.quiet(),
        ctx.adapter.visible_attention(),
        _calling(ctx.adapter, {k: found.side(_SIDE[k]) for k in kinds}, keep),
    ):
        run(ctx)
    return kept


_SIDE = {"encoder": "source", "decoder": "target"}


@contextmanager
def _calling(
    adapter: TorchAdapter, sides: dict[str, SideMap], visit: Callable[[BlockCall], None]
) -> Iterator[None]:
    """Every pass inside the block shows its blocks to ``visit`` as they end."""

    @contextmanager
    def watch(side: str, ids: Tensor) -> Iterator[None]:
        kind = next((k for k in sides if _SIDE[k] == side), None)
        if kind is None:
            yield
            return
        met: list[AttentionProduct] = []
        blocks = sides[kind]
        copies = max(TOKENS_AT_ONCE // ids.numel(), 1) if adapter.traits.repeats_blocks else 1
        with (
            attention_seam(met.append, batch=ids.shape[0], length=ids.shape[1], slots=blocks.slots) as mode,
            ExitStack() as stack,
        ):

            def hook(layer: int) -> Callable[..., None]:
                def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
                    if mode.is_paused or mode.is_lent:  # the block is being run again
                        return
                    shape = blocks.calls[layer]
                    leaves, structure = tree_flatten((args, kwargs))
                    call = BlockCall(
                        kind=kind,
                        layer=layer,
                        hidden=leaves[shape.hidden],
                        output=hidden_of(output),
                        products=tuple(p for p in met if p.slot.block == layer),
                        copies=copies,
                        module=module,
                        leaves=leaves,
                        structure=structure,
                        shape=shape,
                        adapter=adapter,
                        mode=mode,
                    )
                    met.clear()
                    mode.is_paused = True
                    try:
                        visit(call)
                    finally:
                        mode.is_paused = False

                return after

            for layer in sorted({slot.block for slot in blocks.slots} - {-1}):
                block = blocks.blocks[layer]
                stack.callback(block.register_forward_hook(hook(layer), with_kwargs=True).remove)
            yield

    with adapter.watching(watch):
        yield


def check_reruns(ctx: TorchContext) -> None:
    """Prove that blocks run again on their own input and attention give their own output; once a model.

    Raises:
        CapabilityError: they do not.
    """
    from inseq_core.torch.selfcheck import close

    adapter = ctx.adapter
    if adapter.traits.repeats_blocks is not None:
        return
    found = attention_map(adapter, ctx.batch)
    sides = {kind: found.side(side) for kind, side in _SIDE.items() if found.side(side).blocks}
    shapes = [side.calls[b] for side in sides.values() for b in {slot.block for slot in side.slots}]
    known = all(shape.hidden >= 0 for shape in shapes)
    regular = all(shape.is_regular for shape in shapes)
    name = adapter.profile.name

    def holds(call: BlockCall, times: int) -> bool:
        b, length, _ = call.hidden.shape
        order = torch.arange(b * length * times, device=call.hidden.device).flip(0) % (b * length)
        sequence, position = order // length, order % length
        outputs = [p.output[sequence, :, position] for p in call.products]
        again = call.rerun(sequence, position, outputs)
        return close(again, call.output[sequence, position], adapter.dtype)

    def tried(times: int) -> bool:
        results: list[bool] = []
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            adapter.quiet(),
            adapter.visible_attention(),
            _calling(adapter, sides, lambda call: results.append(holds(call, times))),
        ):
            run_sides(adapter, probe_of(ctx.batch))
        return bool(results) and all(results)

    with adapter.uncounted():
        adapter.traits.repeats_blocks = known and regular and _succeeds(lambda: tried(3))
        if not adapter.traits.repeats_blocks and not (known and tried(1)):
            adapter.traits.repeats_blocks = None
            raise CapabilityError(
                f"{name}: the layers of {adapter.profile.model_class} cannot be run by themselves, which "
                "this method needs.\n  Use another method."
            )


def _succeeds(attempt: Callable[[], bool]) -> bool:
    """Whether an attempt holds; a block that refuses repeated arguments is a finding, not an error."""
    try:
        return attempt()
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
        return False


def _rank(sequence: Tensor) -> Tensor:
    """(M,) how many earlier versions are of the same sequence."""
    rank = torch.zeros_like(sequence)
    for b in sequence.unique().tolist():
        of_b = sequence == b
        rank[of_b] = torch.arange(int(of_b.sum()), device=sequence.device)
    return rank


def _repeated(leaf: Any, axis: int, n: int, batch: int) -> Any:
    """A leaf for ``n`` copies of the batch, laid one after the other."""
    if n == 1 or axis < 0 or not isinstance(leaf, Tensor):
        return leaf
    if leaf.shape[axis] == 1:  # the same for all sequences, or the only one's: nothing is copied
        return leaf.expand(*(n * batch if i == axis else -1 for i in range(leaf.dim())))
    return leaf.repeat(*(n if i == axis else 1 for i in range(leaf.dim())))
