"""Attention rollout and attention flow (Abnar and Zuidema 2020).

Both look at the attention of all layers as a graph from input tokens to the position that a step is predicted
from, with half of each node's weight on the residual. Rollout multiplies along the paths and sums; flow asks
how much could run through the graph at most, taking weights as capacities.
Axes: R rows, S source positions, L target positions, N layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from inseq_attention.choice import Choice, as_list, check_layers_and_heads, is_choice
from inseq_attention.flow import LayerGraph
from inseq_attention.mixing import (
    Mixture,
    cross_with_residual,
    head_mean,
    refuse_other_mixers,
    with_residual,
)
from inseq_core.data.result import MethodOutput
from inseq_core.errors import InvalidArgumentError
from inseq_core.torch import TorchContext
from inseq_core.torch.attention_seam import AttentionProduct

if TYPE_CHECKING:
    from inseq_core.run.request import AttributeRequest


def _is_share(instance: Any, attribute: attrs.Attribute[float], value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        from inseq_core.errors import invalid

        raise invalid(attribute.name, value, "a share of at least 0 and below 1")


@attrs.frozen(kw_only=True)
class AttentionRollout:
    """Attention multiplied along the layers, with the residual connection (Abnar and Zuidema 2020, eq. 1).

    Each layer's matrix is (1 − residual) · mean over heads + residual · identity, with rows that sum to one.
    In encoder–decoder models source and target prefix share the row: see ``mixing``.

    Args:
        residual: the identity's share of every layer, in [0, 1).
        heads: which heads are averaged: an index, a span (start, end), a list, or None for all.
    """

    residual: float = attrs.field(default=0.5, validator=_is_share)
    heads: Choice = attrs.field(default=None, converter=as_list, validator=is_choice)

    def check(self, request: AttributeRequest) -> None:
        """Refuse heads that the model does not have."""
        check_layers_and_heads(request, heads=self.heads)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S) and (R, L).

        Raises:
            CapabilityError: some layers have no attention.
        """
        refuse_other_mixers(ctx)
        mixture = Mixture()

        def visit(product: AttentionProduct) -> None:
            weights = head_mean(product, self.heads)
            if product.kind == "cross":
                mixture.mix_cross(*cross_with_residual(weights, self.residual))
            else:
                mixture.mix_self(product.kind, with_residual(weights, self.residual))

        ctx.attentions(visit)
        return mixture.output(ctx)


@attrs.frozen(kw_only=True)
class AttentionFlow:
    """The largest flow from each token to the step through the attention graph (Abnar and Zuidema 2020, 2.2).

    Capacities are the same matrices that rollout multiplies. One maximum-flow problem for each token and step
    on a graph of N·L² edges: for short texts.

    Args:
        residual: the identity's share of every layer, in [0, 1).
        heads: which heads are averaged: an index, a span (start, end), a list, or None for all.
        max_tokens: refuse texts of more tokens (source and target together) than this.
    """

    residual: float = attrs.field(default=0.5, validator=_is_share)
    heads: Choice = attrs.field(default=None, converter=as_list, validator=is_choice)
    max_tokens: int = attrs.field(default=96, validator=attrs.validators.ge(1))

    def check(self, request: AttributeRequest) -> None:
        """Refuse heads that the model does not have."""
        check_layers_and_heads(request, heads=self.heads)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S) and (R, L).

        Raises:
            InvalidArgumentError: a text of more than ``max_tokens`` tokens.
            CapabilityError: some layers have no attention.
        """
        self._check_length(ctx)
        refuse_other_mixers(ctx)
        graphs = [LayerGraph() for _ in range(len(ctx.batch))]

        def visit(product: AttentionProduct) -> None:
            weights = head_mean(product, self.heads)
            if product.kind == "cross":
                matrix, residual = (
                    x.double().cpu().numpy() for x in cross_with_residual(weights, self.residual)
                )
                for b, graph in enumerate(graphs):
                    graph.add_cross(matrix[b], residual[b, :, 0])
            else:
                matrix = with_residual(weights, self.residual).double().cpu().numpy()
                for b, graph in enumerate(graphs):
                    graph.add_self(product.kind, matrix[b])

        ctx.attentions(visit)
        source = None if ctx.source_shape is None else np.zeros(ctx.source_shape)
        target = None if ctx.target_shape is None else np.zeros(ctx.target_shape)
        lengths = ctx.batch.source_lengths
        for row, (b, position) in enumerate(zip(ctx.grid.sequence, ctx.grid.position, strict=True)):
            if source is not None:
                for s in range(int(lengths[b])):
                    source[row, s] = graphs[b].flow("encoder", s, int(position) - 1)
            if target is not None:
                for k in range(int(position)):
                    target[row, k] = graphs[b].flow("decoder", k, int(position) - 1)
        as_tensor = (None if x is None else torch.as_tensor(x) for x in (source, target))
        return ctx.output(*as_tensor)

    def _check_length(self, ctx: TorchContext) -> None:
        for b, (s, t) in enumerate(zip(ctx.batch.source_lengths, ctx.batch.target_lengths, strict=True)):
            if s + t > self.max_tokens:
                raise InvalidArgumentError(
                    f"Text {ctx.batch.origin[b]} has {s + t} tokens; attention_flow solves a maximum-flow "
                    f"problem for each token and step and is set to take {self.max_tokens} at most.\n"
                    "  Use attention_rollout, or raise max_tokens and wait."
                )
