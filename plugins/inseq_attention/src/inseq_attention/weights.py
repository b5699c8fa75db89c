"""Attention weights themselves, and weights times their gradients.

Axes: R rows, S source positions, L target positions, K keys (of either side), N chosen layers, H chosen
    heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from inseq_attention.choice import Choice, as_list, check_layers_and_heads, indices, is_choice
from inseq_core.data.result import MethodOutput
from inseq_core.errors import CapabilityError
from inseq_core.torch import TorchContext
from inseq_core.torch.internals import LayerWeights

if TYPE_CHECKING:
    from inseq_core.run.request import AttributeRequest


@attrs.frozen(kw_only=True)
class Attention:
    """Attention weights of the query that each step is predicted from.

    Source scores of encoder–decoder models are cross-attention, target scores self-attention of the decoder.

    Args:
        layers: which layers: an index, a span (start, end), a list, or None for all.
        heads: which heads of each layer, likewise.
    """

    layers: Choice = attrs.field(default=None, converter=as_list, validator=is_choice)
    heads: Choice = attrs.field(default=None, converter=as_list, validator=is_choice)

    def check(self, request: AttributeRequest) -> None:
        """Refuse layers and heads that the model does not have."""
        check_layers_and_heads(request, self.layers, self.heads)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, N, H) and (R, L, N, H)."""
        layers = [(layer, layer.weights) for layer in ctx.attentions()]
        return by_layer_and_head(ctx, layers, self.layers, self.heads)


@attrs.frozen(kw_only=True)
class GradXAttention:
    """Each attention weight times the derivative of the step's score with respect to it.

    The first-order change of the score if the weight went to zero, for the query that the step is predicted
    from (Barkan et al. 2021, eq. 3 without its ReLU: the sign is kept). What earlier positions attend to is
    not counted: that is what attention_rollout follows.

    Args:
        layers: which layers: an index, a span (start, end), a list, or None for all.
        heads: which heads of each layer, likewise.
    """

    layers: Choice = attrs.field(default=None, converter=as_list, validator=is_choice)
    heads: Choice = attrs.field(default=None, converter=as_list, validator=is_choice)

    def check(self, request: AttributeRequest) -> None:
        """Refuse layers and heads that the model does not have."""
        check_layers_and_heads(request, self.layers, self.heads)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, N, H) and (R, L, N, H)."""
        layers = [
            (layer, layer.weights * layer.gradients)
            for layer in ctx.attention_gradients()
            if layer.gradients is not None
        ]
        return by_layer_and_head(ctx, layers, self.layers, self.heads)


def by_layer_and_head(
    ctx: TorchContext, layers: list[tuple[LayerWeights, Tensor]], which: Choice, heads: Choice
) -> MethodOutput:
    """Scores (R, H, K) of each layer as source (R, S, N, H) and target (R, L, N, H).

    Raises:
        InvalidArgumentError: a layer or a head that the model does not have.
        CapabilityError: layers of different numbers of heads.
    """
    sides = {}
    for side, kind, is_wanted in (
        ("source", "cross", ctx.attributes_source),
        ("target", "decoder", ctx.attributes_target),
    ):
        if not is_wanted:
            continue
        of_kind = [scores for layer, scores in layers if layer.kind == kind]
        chosen = [of_kind[i] for i in indices("layers", which, len(of_kind), f"{kind} layers with attention")]
        counts = {scores.shape[1] for scores in chosen}
        if len(counts) > 1:
            raise CapabilityError(
                f"layers = {which!r}: these layers have different numbers of heads ({sorted(counts)}), so "
                "their scores have no common shape. Choose layers that have the same number."
            )
        of_head = indices("heads", heads, counts.pop(), "attention heads in each layer")
        sides[side] = torch.stack([scores[:, of_head] for scores in chosen], dim=-1).permute(0, 2, 3, 1)
    return ctx.output(sides.get("source"), sides.get("target"))
