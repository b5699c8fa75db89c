"""Saliency and input × gradient: Captum's classes on the step axis.

Axes: B sequences, T steps, R rows, S source positions, L target positions, D hidden.
"""

from __future__ import annotations

import attrs
from captum.attr import InputXGradient as CaptumInputXGradient
from captum.attr import Saliency as CaptumSaliency

from inseq_captum.step_axis import gradient_function, rows, score_function, stepwise
from inseq_core.data.result import MethodOutput
from inseq_core.torch import TorchContext


@attrs.frozen(kw_only=True)
class Saliency:
    """Gradient of the attributed function with respect to each token's embedding (Simonyan et al. 2014,
    section 3).

    Args:
        abs: absolute values, as in the paper; False keeps the sign.
    """

    abs: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        method = CaptumSaliency(score_function(ctx))
        method.gradient_func = gradient_function(ctx)
        inputs = tuple(x.requires_grad_() for x in stepwise(ctx.inputs))
        return ctx.output(rows(ctx, method.attribute(inputs, abs=self.abs)))


@attrs.frozen(kw_only=True)
class InputXGradient:
    """Embedding times gradient (Shrikumar et al. 2016): the first-order change if the embedding went to
    zero.
    """

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        method = CaptumInputXGradient(score_function(ctx))
        method.gradient_func = gradient_function(ctx)
        inputs = tuple(x.requires_grad_() for x in stepwise(ctx.inputs))
        return ctx.output(rows(ctx, tuple(a.detach() for a in method.attribute(inputs))))
