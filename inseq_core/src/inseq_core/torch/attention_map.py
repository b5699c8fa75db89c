"""Where a model's blocks and attention products are, found by running it on a few tokens.

No modelling file is known. In one pass of each side all modules say when they run: the *blocks* are the
members of the outermost list of modules that ran one after the other; the attention seam says in which block
each product was met. Source and target of the probe differ in length, so that keys as many as source tokens
tell cross from self-attention; a second pass over two copies tells which axes of a block's arguments count
sequences. The findings are proved before they are used: weights times values in place of the model's own
products must give the model's own output, no query may look at a later key, and there must be as many
products as layers.
Axes: B sequences, H heads, S source positions, L target positions, K keys, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.errors import CapabilityError, SelfCheckError
from inseq_core.torch.attention_seam import AttentionMode, AttentionProduct, Slot, attention_seam

if TYPE_CHECKING:
    from inseq_core.torch.adapter import TorchAdapter

SOURCE_LENGTH, TARGET_LENGTH = 6, 5
"""Tokens of the probe; different, so that kinds of attention can be told apart by their keys."""


@attrs.frozen(kw_only=True, eq=False)
class CallShape:
    """The arguments of a block, as a flat list of leaves.

    Attributes:
        hidden: which leaf holds the hidden states (B, L, D); -1 where none was found.
        batch_axes: for each leaf the axis that grows with the number of sequences, -1 for none.
        is_regular: every leaf grows along one axis at most, in proportion.
    """

    hidden: int
    batch_axes: tuple[int, ...]
    is_regular: bool

    @classmethod
    def of(cls, once: Sequence[Any], twice: Sequence[Any], batch: int, length: int) -> CallShape:
        """From the shapes of the leaves for a batch and for two copies of it."""
        axes, is_regular = [], len(once) == len(twice)
        for a, b in zip(once, twice, strict=False):
            grown = [] if a is None or b is None else [i for i, n in enumerate(a) if b[i] != n]
            is_regular = is_regular and len(grown) < 2 and all(b[i] == 2 * a[i] for i in grown)
            axes.append(grown[0] if grown else -1)
        hidden = (i for i, shape in enumerate(once) if shape is not None and shape[:-1] == (batch, length))
        return cls(hidden=next(hidden, -1), batch_axes=tuple(axes), is_regular=is_regular)


@attrs.frozen(kw_only=True, eq=False)
class SideMap:
    """One side (encoder or decoder) of a model.

    Attributes:
        blocks: the layers, in the order in which they run.
        calls: how each block is called.
        slots: its attention products, in the order of a pass.
        hosts: the innermost modules that compute them.
    """

    blocks: tuple[nn.Module, ...] = ()
    calls: tuple[CallShape, ...] = ()
    slots: tuple[Slot, ...] = ()
    hosts: tuple[nn.Module, ...] = ()


@attrs.frozen(kw_only=True, eq=False)
class AttentionMap:
    """What was found out about a model's attention.

    Attributes:
        source: its encoder; empty for decoder-only models.
        target: its decoder.
        is_proved: the products are all there and are what the output is made of.
    """

    source: SideMap = attrs.field(factory=SideMap)
    target: SideMap = attrs.field(factory=SideMap)
    is_proved: bool = False

    def side(self, name: str) -> SideMap:
        """The encoder ("source") or the decoder ("target")."""
        return self.source if name == "source" else self.target

    @property
    def attends_everywhere(self) -> bool:
        """Whether every block has attention, so that nothing else mixes positions."""
        return all(
            {slot.block for slot in side.slots} >= set(range(len(side.blocks)))
            for side in (self.source, self.target)
        )

    def of_kind(self, kind: str) -> tuple[Slot, ...]:
        """Products of one kind, layer by layer."""
        return tuple(slot for slot in (*self.source.slots, *self.target.slots) if slot.kind == kind)


def block_map(adapter: TorchAdapter, batch: TokenBatch) -> AttentionMap:
    """Where the blocks of the adapter's model are; its attention may be unproved. Made on the first call."""
    if adapter.traits.attention is None:
        with _probing(adapter):
            adapter.traits.attention = _survey(adapter, probe_of(batch))
    return adapter.traits.attention


def attention_map(adapter: TorchAdapter, batch: TokenBatch) -> AttentionMap:
    """Where the attention of the adapter's model is; made and proved on the first call.

    Raises:
        CapabilityError: the model has no attention, or none that can be seen.
        SelfCheckError: it has, but what was seen is not all of it, or not what makes the output.
    """
    found = block_map(adapter, batch)
    if not found.is_proved:
        _check_counts(adapter, found)
        with _probing(adapter):
            _check_neutral(adapter, probe_of(batch), found)
        found = adapter.traits.attention = attrs.evolve(found, is_proved=True)
    return found


@contextmanager
def _probing(adapter: TorchAdapter) -> Iterator[None]:
    """Passes that are not work for the caller: not counted, without graph."""
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        adapter.quiet(),
        adapter.visible_attention(),
        adapter.uncounted(),
    ):
        yield


def probe_of(batch: TokenBatch) -> TokenBatch:
    """A few tokens of the first text, source and target of different lengths; and fewer of it.

    Two lengths, because libraries leave out masks that would hide nothing.
    """
    target = np.resize(batch.texts[0].target_ids, TARGET_LENGTH)
    source = batch.texts[0].source_ids
    source = None if source is None else np.resize(source, SOURCE_LENGTH)
    whole = EncodedText(target_ids=target, source_ids=source, prompt_length=1)
    shorter = attrs.evolve(whole, target_ids=target[:-1], source_ids=None if source is None else source[:-1])
    return TokenBatch(texts=(whole, shorter), origin=(0, 0), pad_id=batch.pad_id)


def run_sides(adapter: TorchAdapter, batch: TokenBatch) -> Tensor:
    """(B, L, V) logits from one plain pass of each side, seen by those who watch."""
    memory = mask = None
    if batch.has_source:
        memory = adapter.encode_memory(batch)
        mask = adapter.as_array(batch.source_mask)
    ids = adapter.as_array(batch.target_ids)
    with adapter.watched("target", ids):
        output = adapter.run_decoder(
            ids, adapter.as_array(batch.target_mask), memory=memory, memory_mask=mask
        )
    logits: Tensor = output.logits
    return logits


@attrs.frozen(kw_only=True, eq=False)
class _Met:
    """A product that was met: the modules that ran, (B, H, L, K), and whether no query looked ahead."""

    running: tuple[str, ...]
    shape: tuple[int, int, int, int]
    is_causal: bool


@attrs.define(eq=False)
class _Trace:
    """One pass of one side: which modules ran, with what, and where products were met.

    Attributes:
        running: names of the modules that are running, outermost first.
        ran: names in the order in which they began.
        leaves: name -> shapes of the arguments' leaves, None for those that are no tensors.
        products: in the order in which they were met.
    """

    batch: int
    length: int
    running: list[str] = attrs.field(factory=list)
    ran: list[str] = attrs.field(factory=list)
    leaves: dict[str, list[tuple[int, ...] | None]] = attrs.field(factory=dict)
    products: list[_Met] = attrs.field(factory=list)


def _survey(adapter: TorchAdapter, probe: TokenBatch) -> AttentionMap:
    once, twice = _traces(adapter, probe), _traces(adapter, probe.take([0, 1, 0, 1]))
    maps = {side: _side_map(adapter.model, side, trace, twice[side]) for side, trace in once.items()}
    return AttentionMap(source=maps.get("source", SideMap()), target=maps["target"])


def _traces(adapter: TorchAdapter, batch: TokenBatch) -> dict[str, _Trace]:
    traces: dict[str, _Trace] = {}

    @contextmanager
    def watch(side: str, ids: Tensor) -> Iterator[None]:
        trace = traces[side] = _Trace(batch=ids.shape[0], length=ids.shape[1])

        def seen(product: AttentionProduct) -> None:
            ahead = float(product.weights().triu(1).abs().max())
            met = _Met(running=tuple(trace.running), shape=product.shape, is_causal=ahead == 0)
            trace.products.append(met)

        with (
            _running_modules(adapter.model, trace),
            attention_seam(seen, batch=ids.shape[0], length=ids.shape[1]),
        ):
            yield

    with adapter.watching(watch):
        run_sides(adapter, batch)
    return traces


@contextmanager
def _running_modules(model: nn.Module, trace: _Trace) -> Iterator[None]:
    """Note the modules that run, as a stack and as a list, and the shapes of what they are given."""

    def enter(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            trace.running.append(name)
            trace.ran.append(name)
            leaves, _ = tree_flatten((args, kwargs))
            trace.leaves[name] = [tuple(x.shape) if isinstance(x, Tensor) else None for x in leaves]

        return hook

    def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
        trace.running.pop()

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(enter(name), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield


def _side_map(model: nn.Module, side: str, trace: _Trace, twice: _Trace) -> SideMap:
    names = _block_names(model, trace.ran)
    modules = dict(model.named_modules())
    slots: list[Slot] = []
    for met in trace.products:
        kind = "encoder" if side == "source" else "cross" if met.shape[3] == SOURCE_LENGTH else "decoder"
        slot = Slot(
            kind=kind,
            layer=sum(s.kind == kind for s in slots),
            heads=met.shape[1],
            block=next((i for i, name in enumerate(names) if name in met.running), -1),
            is_causal=met.is_causal and kind == "decoder",
        )
        slots.append(slot)
    calls = (CallShape.of(trace.leaves[n], twice.leaves.get(n, ()), trace.batch, trace.length) for n in names)
    hosts = dict.fromkeys(met.running[-1] for met in trace.products if met.running)
    hosts = {n: None for n in hosts if not any(n.startswith(f"{outer}.") for outer in hosts)}
    return SideMap(
        blocks=tuple(modules[n] for n in names),
        calls=tuple(calls),
        slots=tuple(slots),
        hosts=tuple(modules[n] for n in hosts),
    )


def _block_names(model: nn.Module, ran: list[str]) -> list[str]:
    """Members of the outermost list of modules that ran, in their order; of several, the longest."""
    lists = [
        name for name, module in model.named_modules() if isinstance(module, (nn.ModuleList, nn.Sequential))
    ]
    best: list[str] = []
    for name in lists:
        if any(name.startswith(f"{outer}.") for outer in lists if outer != name):
            continue
        members = [r for r in ran if r.startswith(f"{name}.") and "." not in r[len(name) + 1 :]]
        if len(members) > len(best):
            best = members
    return best


def _check_counts(adapter: TorchAdapter, found: AttentionMap) -> None:
    name, declared = adapter.profile.name, adapter.attention_layers()
    kind_of_model = adapter.profile.model_class
    expected = declared if declared is not None else _one_a_block(found)
    if not found.source.slots and not found.target.slots:
        if declared is not None and not any(declared.values()):
            raise CapabilityError(
                f"{name} ({kind_of_model}) has no attention, so there are no attention weights.\n"
                "  Use a gradient or a removal method."
            )
        raise CapabilityError(
            f"{name}: no attention product was met in a pass. Either {kind_of_model} has no attention, or "
            "it computes it inside a kernel that cannot be looked into.\n"
            '  Load it with attention written out (attn_implementation="eager"), or use another method.'
        )
    for kind, layers in expected.items():
        seen = len(found.of_kind(kind))
        if seen != layers:
            raise SelfCheckError(
                f"{name}: {seen} {kind} attention products were met in a pass, but {kind_of_model} has "
                f"{layers} such layers.\n"
                '  Load it with attention written out (attn_implementation="eager"), or report the class.'
            )


def _one_a_block(found: AttentionMap) -> Mapping[str, int]:
    expected = {"decoder": len(found.target.blocks)}
    if found.source.blocks:
        expected |= {"encoder": len(found.source.blocks), "cross": len(found.target.blocks)}
    return expected


def _check_neutral(adapter: TorchAdapter, probe: TokenBatch, found: AttentionMap) -> None:
    """Weights times values must be what the model computes, and must be what its output hangs on."""
    from inseq_core.torch.selfcheck import close

    def refused(finding: str) -> SelfCheckError:
        return SelfCheckError(
            f"{adapter.profile.name}: {finding}, so the attention that was seen is not what the model uses.\n"
            f"  Please report the model class ({adapter.profile.model_class})."
        )

    for slot in found.of_kind("decoder"):
        if adapter.traits.is_causal and not slot.is_causal:
            raise refused(
                f"attention of decoder layer {slot.layer} looks at later tokens, its output does not"
            )
    plain = run_sides(adapter, probe)[0]
    with watching_attention(adapter, found, lambda product: product.applied(product.weights())):
        patched = run_sides(adapter, probe)[0]
    if not close(patched.to(plain.dtype), plain, adapter.dtype):
        raise refused("attention weights times values in place of the model's own products change its output")
    with watching_attention(adapter, found, lambda product: torch.zeros_like(product.output)):
        silent = run_sides(adapter, probe)[0]
    if torch.equal(silent, plain):
        raise refused("attention products replaced by zero change nothing")


@contextmanager
def watching_attention(
    adapter: TorchAdapter, found: AttentionMap, handler: Callable[[AttentionProduct], Tensor | None]
) -> Iterator[None]:
    """Every pass inside the block shows its attention products to ``handler``.

    Functions are looked at while the modules run in which products were met: seeing every function of a model
    takes time.
    """

    @contextmanager
    def watch(side: str, ids: Tensor) -> Iterator[None]:
        slots, hosts = found.side(side).slots, found.side(side).hosts
        mode = AttentionMode(handler, batch=ids.shape[0], length=ids.shape[1], slots=slots)
        inside = 0

        def enter(_module: nn.Module, _args: Any) -> None:
            nonlocal inside
            mode.__enter__()
            inside += 1

        def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
            nonlocal inside
            inside -= 1
            mode.__exit__(None, None, None)

        def leave_all() -> None:
            while inside:  # torch calls no hook behind a KeyboardInterrupt
                leave(found.side(side).hosts[0], (), None)

        with ExitStack() as stack:
            stack.callback(leave_all)
            for host in hosts:
                stack.callback(host.register_forward_pre_hook(enter).remove)
                stack.callback(host.register_forward_hook(leave, always_call=True).remove)
            yield
        mode.check_complete()

    with adapter.visible_attention(), adapter.watching(watch):
        yield
