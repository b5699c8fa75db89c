"""Rollout and flow against the paper's recursion on transformers' own attention."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from support.attention import FASTEST, FEW, attention_context, own_attentions, query_of, sequence_of
from support.attention_truth import flow_graph, rolled_out

from inseq_attention.rollout import AttentionFlow, AttentionRollout
from inseq_core.errors import InvalidArgumentError


@pytest.mark.parametrize("name", FEW)
def test_rollout_equals_the_recursion_on_one_graph(name: str) -> None:
    """Source and target prefix as the nodes of one graph, text by text; ours streams a padded batch."""
    written_out = attention_context(name)
    output = AttentionRollout().attribute(attention_context(name, "sdpa"))

    for sequence in range(2):
        expected = rolled_out(own_attentions(written_out, sequence))
        n_source = expected.shape[1] - expected.shape[0]
        for row in written_out.grid.rows_of(sequence):
            wanted = expected[query_of(written_out, row)]
            target = output.target[row].numpy()
            np.testing.assert_allclose(target[: len(expected)], wanted[n_source:], atol=1e-6)
            if output.source is not None:
                np.testing.assert_allclose(output.source[row, :n_source], wanted[:n_source], atol=1e-6)


@pytest.mark.parametrize(("name", "implementation"), FASTEST)
def test_rollout_rows_sum_to_one_and_see_no_later_token(name: str, implementation: str) -> None:
    """What a position is made of adds up to it, sinks or not; padding and later tokens have no part."""
    ctx = attention_context(name, implementation)
    output = AttentionRollout().attribute(ctx)
    sides = [("target", output.target), ("source", output.source)]
    total = sum(scores.sum(1) for _, scores in sides if scores is not None)

    np.testing.assert_allclose(total, 1, atol=1e-6)
    for side, scores in sides:
        if scores is not None:
            assert float(scores.min()) >= 0
            assert not scores[~torch.as_tensor(ctx.visible(side))].any()


def test_the_residual_and_the_heads_are_parameters() -> None:
    """Without a residual and with one head, one layer's rollout is that head's attention."""
    ctx = attention_context("gpt2")
    own = own_attentions(ctx, 0)["decoder"]
    expected = own[1][0, 2] @ own[0][0, 2]
    found = AttentionRollout(residual=0, heads=2).attribute(ctx).target
    row = int(ctx.grid.rows_of(0)[-1])

    n = expected.shape[-1]
    torch.testing.assert_close(found[row, :n], expected[query_of(ctx, row)].detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("residual", [-0.1, 1, 1.5, "half", True])
def test_a_residual_is_a_share(residual: object) -> None:
    """A residual of one would leave no attention."""
    with pytest.raises(InvalidArgumentError, match="at least 0 and below 1"):
        AttentionRollout(residual=residual)


def test_strips_of_a_causal_product_change_nothing() -> None:
    """Long texts are multiplied strip by strip, leaving out what is zero."""
    from inseq_attention import mixing

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 1100, 1100, generator=generator, dtype=torch.float64).tril() for _ in range(2))
    torch.testing.assert_close(mixing.causal_product(a, b), a @ b)


# -- flow --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_flow_equals_the_maximum_flow_of_another_solver(name: str) -> None:
    """Capacities in whole units of 2^-28 lose nothing that is shown."""
    ctx = attention_context(name)
    output = AttentionFlow().attribute(ctx)

    for row in (0, ctx.n_rows - 1):
        graph = flow_graph(own_attentions(ctx, sequence_of(ctx, row)))
        sink = ("d2", query_of(ctx, row))
        for position in (0, query_of(ctx, row)):
            expected = nx.maximum_flow_value(graph, ("d0", position), sink)
            assert float(output.target[row, position]) == pytest.approx(expected, abs=1e-6)
        if output.source is not None:
            expected = nx.maximum_flow_value(graph, ("e0", 1), sink)
            assert float(output.source[row, 1]) == pytest.approx(expected, abs=1e-6)


def test_flow_says_how_long_a_text_it_takes() -> None:
    """One problem for each token and step: a long text would not come back."""
    with pytest.raises(InvalidArgumentError, match=r"Text 0 has \d+ tokens.*\n.*attention_rollout"):
        AttentionFlow(max_tokens=4).attribute(attention_context("gpt2"))
