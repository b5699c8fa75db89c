"""Nodes of a recorded pass against autograd's own, and what they leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.contexts import changed_traits, tiny_context
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from inseq_core.errors import ApproximationWarning
from inseq_core.torch import products
from inseq_core.torch.reach import Lengths, Reach
from inseq_core.torch.recording import Recording

C, B, L, D = 3, 2, 5, 4
LENGTHS = Lengths(np.array([[2, 1], [3, 4], [5, 4]]), L)
"""Cotangent 2 of sequence 0 sees all five positions, cotangent 0 of sequence 1 one of them."""


def drawn(*shape: int) -> Tensor:
    """Standard normal numbers in float64, so that agreement means equality."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def cotangents(width: int) -> Tensor:
    """(C, B, L, width), zero behind what each sees."""
    values = drawn(C, B, L, width)
    for c in range(C):
        for b in range(B):
            values[c, b, LENGTHS.values[c, b] :] = 0
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


def both_ways(
    function: Callable[[Tensor], Tensor], x: Tensor, sent: Tensor, lengths: Lengths | None = LENGTHS
) -> tuple[Tensor, Tensor]:
    """Products of the cotangents with the function's Jacobian, by a recorded pass and by plain autograd one by one."""
    leaf = x.clone().requires_grad_()
    recording = Recording()
    with recording:
        value = function(leaf)
    with recording.route.sending(len(sent), None if lengths is None else lengths.reach):
        (found,) = torch.autograd.grad(value, leaf, sent, is_grads_batched=True)
    plain = x.clone().requires_grad_()
    value = function(plain)
    each = [torch.autograd.grad(value, plain, c, retain_graph=True)[0] for c in sent]
    return found, torch.stack(each)


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


@pytest.mark.parametrize("function", [feed_forward, gated, changed_in_place, mixed_positions, normalised])
@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_a_recorded_function_has_autograds_derivatives(
    function: Callable[[Tensor], Tensor], lengths: Lengths | None
) -> None:
    """Rows may be left out, several functions be one node: the numbers are the same."""
    found, expected = both_ways(function, drawn(B, L, D), cotangents(D), lengths)

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_cotangents_that_reach_further_than_was_said_are_multiplied_whole() -> None:
    """What a node is told is looked up, not believed: a wrong length costs time, never a number."""
    found, expected = both_ways(feed_forward, drawn(B, L, D), drawn(C, B, L, D))

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_feed_forward_block_is_one_node() -> None:
    """Rows are picked once before it and put back once behind it, not for each of its matrices."""
    leaf = drawn(B, L, D).requires_grad_()
    with Recording():
        node = gated(leaf).grad_fn

    assert node is not None
    assert [parent.variable is leaf for parent, _ in node.next_functions if parent is not None] == [True]


def test_products_have_only_the_rows_that_steps_see() -> None:
    """2 + 3 + 5 positions of the one sequence and 1 + 4 + 4 of the other, not 3 · 2 · 5."""
    leaf = drawn(B, L, D).requires_grad_()
    recording = Recording()
    with recording:
        value = gated(leaf)
    with counted_rows() as rows, recording.route.sending(C, LENGTHS.reach):
        torch.autograd.grad(value, leaf, cotangents(D), is_grads_batched=True)

    assert rows == [19, 19, 19]


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
    assert sum(rows) == forward + steps + above * steps + below * seen


MASKS: dict[str, Callable[[], Tensor | None]] = {
    "none": lambda: None,
    "bool": lambda: torch.ones(L, L, dtype=torch.bool).tril(),
    "float": lambda: drawn(B, 1, L, L).masked_fill(~torch.ones(L, L, dtype=torch.bool).tril(), float("-inf")),
    "a query that sees nothing": lambda: torch.ones(L, L, dtype=torch.bool).tril(-1),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("heads", [4, 2])
def test_recorded_attention_has_autograds_derivatives(mask: str, heads: int) -> None:
    """Causal and not, with keys shared by queries, and what is masked out altogether."""

    def attend(x: Tensor) -> Tensor:
        q = F.linear(x, drawn(4 * D, D)).view(B, L, 4, D).transpose(1, 2)
        k = F.linear(x, drawn(heads * D, D)).view(B, L, heads, D).transpose(1, 2)
        v = F.linear(x, drawn(heads * D, D) + 1).view(B, L, heads, D).transpose(1, 2)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=MASKS[mask](), enable_gqa=heads < 4)
        return found.transpose(1, 2).reshape(B, L, 4 * D)

    found, expected = both_ways(attend, drawn(B, L, D), cotangents(4 * D))

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_causal_attention_by_flag_is_the_same_as_by_mask() -> None:
    """Models say it in either way."""

    def attend(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None] * 2, is_causal=True)[:, 0]

    found, expected = both_ways(attend, drawn(B, L, D), cotangents(D))

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_reach_names_the_rows_of_every_cotangent() -> None:
    """Places count cotangents, then sequences, then positions."""
    reach = Reach.of(np.array([[1], [3]]), 3)

    assert reach.seen is not None
    assert reach.seen.order[: reach.seen.count].tolist() == [0, 3, 4, 5]
    assert reach.ends.order[: reach.ends.count].tolist() == [0, 5]
    assert reach.seen.position.tolist() == [0, 0, 1, 2]


def test_a_node_with_a_wrong_derivative_is_found_before_the_first_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake planted in the products: the model is attributed by autograd's own nodes, and a warning says so."""
    right = products._back
    monkeypatch.setattr(products, "_back", lambda rows, *rest: 2 * right(rows, *rest))
    ctx = tiny_context("llama")
    with changed_traits(ctx.adapter, records_passes=False):
        expected = ctx.step_gradients()

    with changed_traits(ctx.adapter, checked=True, proved_recording=False, records_passes=True):
        with pytest.warns(ApproximationWarning, match="autograd"):
            found = ctx.step_gradients()

    assert found.target is not None and expected.target is not None
    torch.testing.assert_close(found.target, expected.target, rtol=0, atol=1e-12)
