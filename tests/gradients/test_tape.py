"""What comes back along a tape against autograd, and what is left out on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.contexts import PAIR, changed_traits, context_of, tiny_context
from support.hf_adapters import forced, tiny_adapter
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from inseq_core.errors import ApproximationWarning
from inseq_core.torch.tape import Reach, Tape
from inseq_core.torch.tape.sending import Sending
from inseq_core.torch.tape.values import Recorded

C, B, L, D = 3, 2, 5, 4
ENDS = np.array([[1, 0], [2, 3], [4, 3]])
"""Last position that each cotangent sees of each sequence."""


def reach(ends: np.ndarray = ENDS) -> Reach:
    """Of cotangents that begin at these positions, one of each sequence."""
    step, sequence = np.indices(ends.shape)
    return Reach.of(step.ravel(), sequence.ravel(), ends.ravel(), (*ends.shape, L), torch.device("cpu"))


def drawn(*shape: int) -> Tensor:
    """Standard normal numbers in float64, so that agreement means equality."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def cotangents(width: int) -> Tensor:
    """(C, B, L, width): each one position of each sequence, zeros elsewhere."""
    values = torch.zeros(C, B, L, width, dtype=torch.float64)
    for (c, b), end in np.ndenumerate(ENDS):
        values[c, b, end] = drawn(C, B, width)[c, b]
    return values


class MatrixRows(TorchDispatchMode):
    """Counts the rows that enter two-dimensional matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
            self.rows.append(args[-2].shape[0])
        return func(*args, **(kwargs or {}))


@contextmanager
def counted_rows() -> Iterator[list[int]]:
    """The rows of every matrix product inside the block."""
    mode = MatrixRows()
    with mode:
        yield mode.rows


def sent_back(tape: Tape, output: Tensor, leaf: Tensor, sent: Tensor, ends: bool) -> Tensor:
    """(C, *leaf.shape) along a tape; as the rows that cotangents begin at, or as all rows."""
    rows = sent.reshape(-1, sent.shape[-1])
    if not ends:
        return tape.vjps(output, rows, None, len(sent), [leaf])[0]
    known = reach()
    return tape.vjps(output, known.top.pick(rows), known, len(sent), [leaf])[0]


def both_ways(function: Callable[[Tensor], Tensor], ends: bool) -> tuple[Tensor, Tensor]:
    """Products of cotangents with the function's Jacobian, along a tape and by plain autograd one by one."""
    leaf = drawn(B, L, D).requires_grad_()
    tape = Tape()
    tape.begin(leaf, "target")
    with tape:
        value = function(leaf)
    plain = drawn(B, L, D).requires_grad_()
    expected = function(plain)
    sent = cotangents(expected.shape[-1]) if ends else drawn(C, *expected.shape)
    each = [torch.autograd.grad(expected, plain, c, retain_graph=True)[0] for c in sent]
    torch.testing.assert_close(value.detach(), expected.detach(), rtol=0, atol=1e-12)
    return sent_back(tape, value, leaf, sent, ends), torch.stack(each)


def feed_forward(x: Tensor) -> Tensor:
    """GPT-2's: products of flattened rows, an activation written out, and a product."""
    inner = torch.addmm(drawn(7), x.view(-1, D), drawn(D, 7)).view(B, L, 7)
    inner = 0.5 * inner * (1.0 + torch.tanh(0.8 * (inner + 0.04 * torch.pow(inner, 3.0))))
    return torch.addmm(drawn(D), inner.view(-1, 7), drawn(7, D)).view(B, L, D)


def gated(x: Tensor) -> Tensor:
    """Llama's: the product of two branches."""
    return F.linear(F.silu(F.linear(x, drawn(7, D))) * F.linear(x, drawn(7, D) + 1), drawn(D, 7))


def changed_in_place(x: Tensor) -> Tensor:
    """An activation that is overwritten after it was computed is no function of its matrix alone."""
    inner = torch.tanh(F.linear(x, drawn(7, D)))
    other = inner * 2
    other += x.sum(-1, keepdim=True)
    return F.linear(other, drawn(D, 7))


def mixed_positions(x: Tensor) -> Tensor:
    """A product whose rows are other positions than the text's."""
    return F.linear(x.flip(1), drawn(D, D)).flip(1)


def normalised(x: Tensor) -> Tensor:
    """Layer normalisation, which autograd's batching takes one cotangent at a time."""
    return F.layer_norm(x, (D,), drawn(D), drawn(D), 1e-5)


def residual(x: Tensor) -> Tensor:
    """What was added before is added to, and normalised on the way, as in every block."""
    x = x + F.linear(x, drawn(D, D))
    x = F.linear(F.layer_norm(x, (D,), drawn(D)), drawn(D, D) + 1) + x
    return x + feed_forward(F.layer_norm(x, (D,)))


def attend(x: Tensor) -> Tensor:
    """Causal attention of two heads over one fused product, as GPT-2 has it."""
    q, k, v = (
        part.view(B, L, 2, D).transpose(1, 2)
        for part in F.linear(x, drawn(6 * D, D), drawn(6 * D)).split(2 * D, -1)
    )
    found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(found.transpose(1, 2).reshape(B, L, 2 * D), drawn(D, 2 * D))


def two_blocks(x: Tensor) -> Tensor:
    """Attention twice: the rows of a cotangent become those that it sees, then stay."""
    for _ in range(2):
        x = x + attend(F.layer_norm(x, (D,)))
        x = x + feed_forward(x)
    return x


def rotated(x: Tensor) -> Tensor:
    """Attention with rotary positions."""
    angle = drawn(L, D)

    def turned(part: Tensor) -> Tensor:
        part = part.view(B, L, 2, D).transpose(1, 2)
        half = torch.cat((-part[..., D // 2 :], part[..., : D // 2]), dim=-1)
        return part * angle.cos() + half * angle.sin()

    q, k = turned(F.linear(x, drawn(2 * D, D))), turned(F.linear(x, drawn(2 * D, D) + 1))
    v = F.linear(x, drawn(2 * D, D) + 2).view(B, L, 2, D).transpose(1, 2)
    found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return found.transpose(1, 2).reshape(B, L, 2 * D)


def repeated_keys(x: Tensor) -> Tensor:
    """Keys and values of two heads, repeated for four queries as models write it out."""

    def shared(matrix: Tensor) -> Tensor:
        part = F.linear(x, matrix).view(B, L, 2, D).transpose(1, 2)
        return part[:, :, None].expand(B, 2, 2, L, D).reshape(B, 4, L, D)

    q = F.linear(x, drawn(4 * D, D)).view(B, L, 4, D).transpose(1, 2)
    k, v = shared(drawn(2 * D, D)), shared(drawn(2 * D, D) + 1)
    found = F.scaled_dot_product_attention(q * 0.3, k, v, is_causal=True)
    return found.transpose(1, 2).reshape(B, L, 4 * D)


def interleaved(x: Tensor) -> Tensor:
    """Neighbours turned instead of halves: not what rotary positions are to a tape."""
    y = F.linear(x, drawn(2 * D, D)).view(B, L, 2, D).transpose(1, 2)
    half = torch.cat((y[..., D // 2 :], y[..., : D // 2]), dim=-1)
    swapped = torch.cat((-y[..., : D // 2], y[..., D // 2 :]), dim=-1)
    y = y * drawn(L, D).cos() + half * drawn(L, D).sin() + swapped * drawn(L, D)
    return y.transpose(1, 2).reshape(B, L, 2 * D)


def root_mean_square(x: Tensor) -> Tensor:
    """Llama's norm of a product, Gemma's of squares of what was doubled before, and one of rows that are parts."""
    x = F.linear(x, drawn(D, D))
    x = drawn(D) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3))
    x = F.linear(x, drawn(D, D)) + F.linear(x, drawn(D, D) + 1)
    x = (x * 2) * torch.rsqrt((x * 2).pow(2).mean(-1, keepdim=True) + 1e-3) * (1 + drawn(D))
    halves = F.linear(x, drawn(2 * D, D)).view(B, L, 2, D)
    return (halves * torch.rsqrt(halves.pow(2).sum(-1, keepdim=True) + 1)).flatten(2)


def other_rows(x: Tensor) -> Tensor:
    """A scale that is a function of another tensor's rows, and one across positions."""
    y = F.linear(x, drawn(D, D))
    y = y * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3)
    return y * torch.rsqrt(y.pow(2).mean(1, keepdim=True) + 1e-3).mean(-1, keepdim=True)


def written_out(x: Tensor) -> Tensor:
    """Attention as products and a softmax: nothing that has a node."""
    q, k = F.linear(x, drawn(D, D)), F.linear(x, drawn(D, D) + 1)
    scores = (q @ k.transpose(-1, -2)).masked_fill(~torch.ones(L, L, dtype=torch.bool).tril(), float("-inf"))
    return x + scores.softmax(-1) @ F.linear(x, drawn(D, D) + 2)


def added_in_place(x: Tensor) -> Tensor:
    """``+=`` on the result of a product, as Falcon has it."""
    y = F.linear(x, drawn(D, D))
    y += x
    y *= 2
    return F.linear(y, drawn(D, D))


FUNCTIONS = (
    feed_forward, gated, changed_in_place, normalised, residual, attend, two_blocks, rotated, repeated_keys,
    interleaved, root_mean_square, other_rows, written_out, added_in_place,
)  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("ends", [True, False])
def test_what_comes_back_along_a_tape_is_autograds(function: Callable[[Tensor], Tensor], ends: bool) -> None:
    """The graph is cut, rows are left out: the numbers are the same."""
    found, expected = both_ways(function, ends)

    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)


def test_rows_that_are_no_positions_any_more_are_all_sent() -> None:
    """A tensor whose rows were turned around has zeros elsewhere than was said; that is looked up, not believed."""
    found, expected = both_ways(mixed_positions, ends=True)

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_products_have_only_the_rows_that_steps_see() -> None:
    """6 rows above the attention; below it 2 + 3 + 5 positions of the one sequence and 1 + 4 + 4 of the other, not 3 · 2 · 5. A
    row of zeros comes with each.
    """
    leaf, tape = drawn(B, L, D).requires_grad_(), Tape()
    tape.begin(leaf, "target")
    with tape:
        value = gated(attend(gated(leaf)))
    with counted_rows() as rows:
        sent_back(tape, value, leaf, cotangents(D), ends=True)

    above, below = 6 + 1, 19 + 1
    assert rows == [above] * 4 + [below] * 4


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "marian", "opt"])
def test_nothing_of_common_models_is_left_to_autograd(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known to the tape is right as well, but slower: how these models are written out is known."""
    adapter = tiny_adapter(name)
    ctx = context_of(adapter, [forced(adapter, *pair) for pair in PAIR])
    ctx.step_gradients()  # the model is proved
    sent: list[Recorded] = []
    monkeypatch.setattr(Recorded, "send_whole", lambda operand, *_: sent.append(operand))

    ctx.step_gradients()

    assert sent == []


def test_a_pass_is_sent_back_through_as_often_as_one_likes() -> None:
    """Nothing is used up or overwritten by a batch of cotangents."""
    leaf, tape = drawn(B, L, D).requires_grad_(), Tape()
    tape.begin(leaf, "target")
    with tape:
        value = two_blocks(leaf)
    sent = cotangents(D)
    first = sent_back(tape, value, leaf, sent, ends=True).clone()

    assert torch.equal(sent_back(tape, value, leaf, sent, ends=True), first)


def test_above_the_last_attention_a_step_is_one_row() -> None:
    """The cotangent of a step begins at one position; only attention takes it to others. Products of GPT-2: the body and the
    head forward, the head back, three matrices above the last attention, all others below it.
    """
    ctx = tiny_context("gpt2", (("The developer argued", " with the designer"),))
    ctx.step_gradients()  # the model is proved
    with counted_rows() as rows:
        ctx.step_gradients()

    layers, matrices, steps = 2, 4, ctx.n_rows
    seen = int(ctx.grid.position.sum())
    forward = layers * matrices * ctx.batch.target_ids.shape[1] + steps
    below, above = (layers - 1) * matrices + 1, matrices - 1
    assert sum(rows) == forward + steps + above * (steps + 1) + below * (seen + 1)  # a row of zeros each


MASKS: dict[str, Callable[[], Tensor | None]] = {
    "none": lambda: None,
    "bool": lambda: torch.ones(L, L, dtype=torch.bool).tril(),
    "float": lambda: drawn(B, 1, L, L).masked_fill(~torch.ones(L, L, dtype=torch.bool).tril(), float("-inf")),
    "a query that sees nothing": lambda: torch.ones(L, L, dtype=torch.bool).tril(-1),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize("ends", [True, False])
def test_attention_on_a_tape_has_autograds_derivatives(mask: str, heads: int, ends: bool) -> None:
    """Causal and not, with keys shared by queries, and what is masked out altogether."""

    def masked(x: Tensor) -> Tensor:
        q = F.linear(x, drawn(4 * D, D)).view(B, L, 4, D).transpose(1, 2)
        k = F.linear(x, drawn(heads * D, D)).view(B, L, heads, D).transpose(1, 2)
        v = F.linear(x, drawn(heads * D, D) + 1).view(B, L, heads, D).transpose(1, 2)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=MASKS[mask](), enable_gqa=heads < 4)
        return found.transpose(1, 2).reshape(B, L, 4 * D)

    found, expected = both_ways(masked, ends)

    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)


def test_reach_names_the_rows_of_every_cotangent() -> None:
    """Places count cotangents, then sequences, then positions."""
    known = Reach.of(*(np.array(x) for x in ([0, 1], [0, 0], [0, 2])), (2, 1, 3), torch.device("cpu"))

    assert known.seen is not None and known.is_one_each
    assert known.top.places.tolist() == [0, 5]
    assert known.seen.places.tolist() == [0, 3, 4, 5]
    assert known.seen.position.tolist() == [0, 0, 1, 2, 0]
    assert known.seen.back.tolist() == [0, 4, 4, 1, 2, 3]


def test_several_rows_of_a_sequence_may_begin_one_cotangent() -> None:
    """The sum over a span of steps is one cotangent."""
    known = Reach.of(*(np.array(x) for x in ([0, 0], [0, 0], [0, 2])), (1, 2, 3), torch.device("cpu"))

    assert not known.is_one_each
    assert known.longest == 3
    assert known.seen is not None and known.seen.places.tolist() == [0, 1, 2]


def test_a_node_with_a_wrong_derivative_is_found_before_the_first_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake planted in the products: the model is attributed by autograd alone, and a warning says so."""
    right = Sending.add_product
    monkeypatch.setattr(
        Sending, "add_product", lambda to, value, sent, matrix: right(to, value, sent, 2 * matrix)
    )
    ctx = tiny_context("llama")
    with changed_traits(ctx.adapter, uses_tape=False):
        expected = ctx.step_gradients()

    with changed_traits(ctx.adapter, checked=True, proved_tape=False, uses_tape=True):
        with pytest.warns(ApproximationWarning, match="autograd"):
            found = ctx.step_gradients()

    assert found.target is not None and expected.target is not None
    torch.testing.assert_close(found.target, expected.target, rtol=0, atol=1e-12)


def test_a_model_that_cannot_be_put_on_a_tape_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, once, before the first gradient."""

    def fail(*_: object) -> None:
        raise RuntimeError("no batching rule")

    ctx = tiny_context("gpt2")
    expected = ctx.step_gradients()
    monkeypatch.setattr(Sending, "down", fail)
    with changed_traits(ctx.adapter, checked=True, proved_tape=False, uses_tape=True):
        with pytest.warns(ApproximationWarning, match=r"by autograd alone: no batching rule"):
            found = ctx.step_gradients()

    assert found.target is not None and expected.target is not None
    torch.testing.assert_close(found.target, expected.target, rtol=0, atol=1e-12)


def test_what_a_tape_cannot_do_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that comes up after the proof costs a second pass, not the result."""
    ctx = tiny_context("gpt2")
    expected = ctx.step_gradients()

    def fail(*_: object) -> None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")

    with changed_traits(ctx.adapter, uses_tape=True, proved_tape=True):
        monkeypatch.setattr(Sending, "down", fail)
        found = ctx.step_gradients()
        assert not ctx.adapter.traits.uses_tape

    assert found.target is not None and expected.target is not None
    torch.testing.assert_close(found.target, expected.target, rtol=0, atol=1e-12)
