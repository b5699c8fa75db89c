"""Norms of what attention really carries (Kobayashi et al. 2020, 2021).

A weight says how much is taken of a value, not how long the vector is that comes of it. The norm of the
transformed vector, ‖Σ_h α_ij^h v_j^h W_O^h‖, measures both.
Axes: R rows, S source positions, L target positions, K keys, N layers, D hidden.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from inseq_core.data.result import MethodOutput
from inseq_core.torch import TorchContext
from inseq_core.torch.attention_branch import AttentionBranch, wide

VARIANTS = ("attn", "attnres", "attnresln")


@attrs.frozen(kw_only=True)
class AttentionNorms:
    """Norm of the vector that each token sends to the position that the step is predicted from.

    Args:
        variant: "attn": the attention branch alone (Kobayashi et al. 2020, eq. 5: ‖Σ_h α f(x)‖); "attnres":
            with the residual added to the position's own vector (Kobayashi et al. 2021, eq. 7); "attnresln":
            also through the layer norm behind the sum, taken at the variance that it has (eq. 9), which only
            post-norm models have. In cross-attention the residual is no source token's and is left out.
    """

    variant: str = attrs.field(default="attn", validator=attrs.validators.in_(VARIANTS))

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, N) and (R, L, N)."""
        sides: dict[str, list[Tensor]] = {"decoder": [], "cross": []}

        def visit(branch: AttentionBranch) -> None:
            kind = branch.product.kind
            if kind in sides:
                plain = branch if self.variant == "attnresln" else attrs.evolve(branch, norm=None)
                sides[kind].append(self._norms(ctx, plain))

        ctx.branches(visit)
        source, target = (torch.stack(x, dim=-1) if x else None for x in (sides["cross"], sides["decoder"]))
        return ctx.output(source, target)

    def _norms(self, ctx: TorchContext, branch: AttentionBranch) -> Tensor:
        """(R, K)."""
        rows, queries = ctx.rows, ctx.row_queries
        norms = torch.zeros(
            len(rows), branch.product.shape[3], dtype=wide(branch.residual).dtype, device=rows.device
        )
        for b in rows.unique().tolist():
            of_b = (rows == b).nonzero()[:, 0]
            positions = queries[of_b]
            own = None
            if self.variant != "attn" and branch.product.kind == "decoder":
                own = branch.residual_share(b, positions)
            for index, keys, vectors in branch.shares(b, positions):
                if own is not None:
                    add_own(vectors, own[index], positions[index], keys)
                norms[of_b[index], keys] = vectors.norm(dim=-1).to(norms)
        return norms


def add_own(vectors: Tensor, own: Tensor, positions: Tensor, keys: slice) -> None:
    """Add to the vectors (Q, K, D) of each query its own (Q, D), at the key that is the query itself."""
    inside = ((positions >= keys.start) & (positions < keys.stop)).nonzero()[:, 0]
    vectors[inside, positions[inside] - keys.start] += own[inside]
