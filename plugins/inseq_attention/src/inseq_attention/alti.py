"""ALTI: aggregation of layer-wise token-to-token interactions (Ferrando et al. 2022a), and ALTI+ (2022b).

What position i is after a layer is a sum of vectors T_i(x_j), one for each token that its attention (and its
residual) took something from. How much of it is x_j's is how much nearer T_i(x_j) brings to it, in the L1
norm; the shares of a layer sum to one, and the layers' matrices are multiplied as in rollout.
Axes: B sequences, S source positions, L target positions, K keys, Q queries, R rows, D hidden.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from inseq_attention.mixing import Mixture, refuse_other_mixers
from inseq_attention.norms import add_own
from inseq_core.data.result import MethodOutput
from inseq_core.torch import TorchContext
from inseq_core.torch.attention_branch import AttentionBranch


@attrs.frozen(kw_only=True)
class Alti:
    """Shares of each input token in the position that the step is predicted from, through all layers.

    Share of token j in a layer: max(0, ‖y_i‖₁ − ‖y_i − T_i(x_j)‖₁), normalised over j (Ferrando et al. 2022a,
    eqs. 9–10); y_i is the residual stream behind the attention (and its layer norm, in post-norm models).
    Encoder–decoder models: the shares of a cross-attention layer run over the source and the residual, whose
    share goes on through the target prefix (Ferrando et al. 2022b, eqs. 8–10). Where no token brings anything
    nearer, the residual has it all.
    """

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S) and (R, L); each row sums to one over both.

        Raises:
            CapabilityError: some layers have no attention, or one whose way to the stream is no linear map.
        """
        refuse_other_mixers(ctx)
        mixture = Mixture()

        def visit(branch: AttentionBranch) -> None:
            shares, residual = layer_shares(branch)
            if branch.product.kind == "cross":
                mixture.mix_cross(shares, residual)
            else:
                mixture.mix_self(branch.product.kind, shares)

        ctx.branches(visit)
        return mixture.output(ctx)


def layer_shares(branch: AttentionBranch) -> tuple[Tensor, Tensor]:
    """Shares (B, L, K) of every key in every query, and of the residual (B, L, 1) in cross-attention.

    In self-attention the residual is the position's own, on the diagonal.
    """
    batch, _, length, n_keys = branch.product.shape
    is_cross = branch.product.kind == "cross"
    positions = torch.arange(length, device=branch.residual.device)
    shares, residuals = [], []
    for b in range(batch):
        stream = branch.stream(b, positions)  # (L, D)
        own = branch.residual_share(b, positions)
        share = stream.new_zeros(length, n_keys)
        for index, keys, vectors in branch.shares(b, positions):
            if not is_cross:
                add_own(vectors, own[index], positions[index], keys)
            share[index, keys] = nearness(stream[index], vectors)
        residual = nearness(stream, own[:, None]) if is_cross else share.new_zeros(length, 1)
        total = share.sum(-1, keepdim=True) + residual
        is_empty = total == 0
        shares.append(torch.where(is_empty, 0.0 if is_cross else torch.eye(length).to(share), share / total))
        residuals.append(torch.where(is_empty, 1.0, residual / total))
    return torch.stack(shares), torch.stack(residuals)


def nearness(stream: Tensor, vectors: Tensor) -> Tensor:
    """(Q, K): max(0, ‖y‖₁ − ‖y − v‖₁) for y (Q, D) and v (Q, K, D)."""
    length = stream.abs().sum(-1, keepdim=True)
    return (length - (stream[:, None] - vectors).abs().sum(-1)).clamp_min(0)
