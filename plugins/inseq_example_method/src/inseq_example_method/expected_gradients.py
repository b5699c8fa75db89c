"""Expected gradients: a path method whose baseline is a distribution."""

from __future__ import annotations

import attrs

from inseq_core.data.result import MethodOutput
from inseq_core.torch import TorchContext


@attrs.frozen(kw_only=True)
class ExpectedGradients:
    """Expected gradients (Erion et al. 2021, equation 3).

    Args:
        n_samples: references, each with a random point on the way from it to the input, >= 1.
    """

    n_samples: int = attrs.field(
        default=20, validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)]
    )

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D)."""
        total = ctx.zeros()
        for alpha, reference in ctx.draw_references(self.n_samples):
            shift = ctx.inputs - reference
            total = total + ctx.step_gradients(reference + shift * alpha) * shift
        return ctx.output(total / self.n_samples)
