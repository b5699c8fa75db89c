"""Noise tunnels: a gradient method averaged over noisy inputs.

Any method that runs on a torch context can be inside. The arithmetic is that of Captum's NoiseTunnel
("smoothgrad": the mean, "smoothgrad_sq": the mean of squares); noise is drawn from each text's own generator.
Axes: R rows, L positions (of either side), D hidden.
"""

from __future__ import annotations

from typing import Any

import attrs

from inseq_captum.validators import arguments_by_name, at_least_one, not_negative
from inseq_core.data.result import MethodOutput
from inseq_core.errors import CapabilityError
from inseq_core.hooks import methods
from inseq_core.torch import InputTensors, TorchContext


@attrs.frozen(kw_only=True)
class SmoothGrad:
    """Mean of a gradient method's scores over noisy copies of the input (Smilkov et al. 2017, equation 1).

    Args:
        base: the gradient method inside ("saliency", "input_x_gradient", "integrated_gradients", …).
        n_samples: noisy copies, >= 1.
        stdevs: standard deviation of the noise, in units of the standard deviation of the vocabulary's
            embeddings, >= 0.
        base_args: parameters of the method inside.
    """

    base: str = "saliency"
    n_samples: int = attrs.field(default=5, validator=at_least_one)
    stdevs: float = attrs.field(default=0.15, validator=not_negative)
    base_args: dict[str, Any] = attrs.field(factory=dict, validator=arguments_by_name)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        return self._average(ctx, squared=False)

    def _average(self, ctx: TorchContext, squared: bool) -> MethodOutput:
        method = methods().get(self.base).load()(**self.base_args)
        scale = ctx.embedding_spread() * self.stdevs
        total = ctx.zeros()
        for noise in ctx.draw(self.n_samples):
            scores = as_rows(ctx, method.attribute(ctx.at(ctx.inputs + noise * scale)))
            total = total + (scores * scores if squared else scores)
        return ctx.output(total / self.n_samples, notes={"base": self.base})


@attrs.frozen(kw_only=True)
class SquareGrad(SmoothGrad):
    """Mean of a gradient method's squared scores over noisy copies of the input (Hooker et al. 2019, section
    3).

    Args:
        base: the gradient method inside.
        n_samples: noisy copies, >= 1.
        stdevs: standard deviation of the noise, in units of the standard deviation of the vocabulary's
            embeddings, >= 0.
        base_args: parameters of the method inside.
    """

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D), never below 0."""
        return self._average(ctx, squared=True)


def as_rows(ctx: TorchContext, output: MethodOutput) -> InputTensors:
    """A method's output as tensors with one entry a row.

    Raises:
        CapabilityError: the method inside gives no scores for each hidden dimension.
    """
    for values in (output.source, output.target):
        if values is not None and values.ndim != 3:
            raise CapabilityError(
                "Noise tunnels average methods that score every hidden dimension, such as saliency."
            )
    return InputTensors(source=output.source, target=output.target, rows=ctx.rows, by_row=True)
