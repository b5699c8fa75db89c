"""Value zeroing: how far a position moves when one token's value is zeroed (Mohebbi et al. 2023).

In one layer at a time, the value of token j is set to zero in every chosen head; how far that takes position
i's state behind the layer from where it was is j's share in it. Only attention mixes positions, so the layer
is run again on single positions with their changed attention: one clean pass, and for each layer as many
positions as there are (row, visible token) pairs.
Axes: B sequences, S source positions, L target positions, R rows, K keys, N layers, H heads, D hidden,
M (row, key) pairs, v width of a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch import Tensor

from inseq_attention.choice import UnitChoice, as_list, check_units, indices, is_unit_choice
from inseq_core.data.result import MethodOutput
from inseq_core.errors import InvalidArgumentError
from inseq_core.torch import TorchContext
from inseq_core.torch.attention_seam import QueryRows
from inseq_core.torch.blocks import BlockCall

if TYPE_CHECKING:
    from inseq_core.run.request import AttributeRequest

UNITS: Any = {"default": None, "converter": as_list, "validator": is_unit_choice}


@attrs.frozen(kw_only=True)
class ValueZeroing:
    """Distance of each position's state from itself with one token's value zeroed, layer by layer.

    Scores of a layer are normalised to sum to one over the tokens (Mohebbi et al. 2023, eqs. 5–6). States are
    those that a layer gives to the next, before any norm behind the last layer. In encoder–decoder models
    source scores come from zeroing in cross-attention, target scores from zeroing in self-attention.

    Args:
        similarity_metric: "cosine" (1 − cosine of the two states) or "euclidean" (their distance).
        encoder_zeroed_units_indices: heads whose values are zeroed in the encoder: an index, a span
            (start, end), a list, None for all, or a dict of these by layer (layers that are not named keep
            theirs).
        decoder_zeroed_units_indices: the same for self-attention of the decoder.
        cross_zeroed_units_indices: the same for cross-attention.
        output_encoder_self_scores: encoder–decoder: also give ``sequence_scores["encoder_self_scores"]``, one
            (S, S, N) array a text: zeroed token, position, layer.
        output_decoder_self_scores: encoder–decoder, without ``attribute_target``: also give
            ``sequence_scores["decoder_self_scores"]``, one (L, T, N) array a text, NaN where a token is not
            before its step.
    """

    similarity_metric: str = attrs.field(
        default="cosine", validator=attrs.validators.in_(("cosine", "euclidean"))
    )
    encoder_zeroed_units_indices: UnitChoice = attrs.field(**UNITS)
    decoder_zeroed_units_indices: UnitChoice = attrs.field(**UNITS)
    cross_zeroed_units_indices: UnitChoice = attrs.field(**UNITS)
    output_encoder_self_scores: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    output_decoder_self_scores: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))

    def check(self, request: AttributeRequest) -> None:
        """Refuse layers and heads that the model does not have."""
        for kind in ("encoder", "decoder", "cross"):
            if kind != "decoder" and self._units(kind) is not None and not request.is_encoder_decoder:
                raise InvalidArgumentError(
                    f"{kind}_zeroed_units_indices = {self._units(kind)!r} is for encoder–decoder models; "
                    f"{request.profile.name} is decoder-only.\n  Use decoder_zeroed_units_indices."
                )
            check_units(request, f"{kind}_zeroed_units_indices", self._units(kind), kind)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, N) and (R, L, N)."""
        scores: dict[str, list[Tensor]] = {"encoder": [], "decoder": [], "cross": []}
        everywhere = _every_source_position(ctx)
        wanted = {
            "encoder": self.output_encoder_self_scores,
            "decoder": ctx.attributes_target or self.output_decoder_self_scores,
            "cross": ctx.attributes_source,
        }

        def visit(call: BlockCall) -> None:
            for at, product in enumerate(call.products):
                if wanted[product.kind]:
                    rows = everywhere if product.kind == "encoder" else (ctx.rows, ctx.row_queries)
                    heads = self._heads(product.kind, product.layer, product.shape[1])
                    scores[product.kind].append(zeroed_scores(call, at, *rows, heads, self.similarity_metric))

        has_source = ctx.batch.has_source
        kinds = ("encoder", "decoder") if has_source and self.output_encoder_self_scores else ("decoder",)
        ctx.blocks(visit, kinds)
        by_layer = {kind: torch.stack(x, dim=-1) for kind, x in scores.items() if x}
        output = ctx.output(by_layer.get("cross"), by_layer.get("decoder"))
        return attrs.evolve(output, sequence_scores=self._sequence_scores(ctx, by_layer, everywhere[0]))

    def _units(self, kind: str) -> UnitChoice:
        units: UnitChoice = getattr(self, f"{kind}_zeroed_units_indices")
        return units

    def _heads(self, kind: str, layer: int, size: int) -> list[int]:
        """Heads that are zeroed in a layer."""
        units, name = self._units(kind), f"{kind}_zeroed_units_indices"
        if isinstance(units, Mapping):
            if layer not in units:
                return []
            units = units[layer]
        return indices(name, as_list(units), size, "attention heads in each layer")

    def _sequence_scores(
        self, ctx: TorchContext, by_layer: dict[str, Tensor], encoder_rows: Tensor
    ) -> dict[str, list[np.ndarray]]:
        """What belongs to a whole text: scores inside the encoder, and of a target that is not attributed."""
        made: dict[str, list[np.ndarray]] = {}
        if "encoder" in by_layer:
            arrays = []
            for b, length in enumerate(ctx.batch.source_lengths.tolist()):
                of_b = by_layer["encoder"][encoder_rows == b][:length, :length]
                arrays.append(of_b.transpose(0, 1).float().cpu().numpy())
            made["encoder_self_scores"] = arrays
        if "decoder" in by_layer and not ctx.attributes_target:
            numbers = by_layer["decoder"].float().cpu().numpy()
            numbers = np.where(ctx.visible("target")[:, :, None], numbers, np.nan)
            arrays = []
            for b, text in enumerate(ctx.request.full_texts or ctx.batch.texts):
                seen = numbers[ctx.grid.rows_of(b)].transpose(1, 0, 2)[: len(text.target_ids)]
                missing = len(text.target_ids) - len(seen)  # the batch ends with the last step's prefix
                arrays.append(np.pad(seen, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan))
            made["decoder_self_scores"] = arrays
        return made


def zeroed_scores(
    call: BlockCall, at: int, sequence: Tensor, position: Tensor, heads: list[int], metric: str
) -> Tensor:
    """(R, K) scores of the keys of one attention product for the rows, summing to one.

    Args:
        call: the block.
        at: which of its products.
        sequence, position: (R,) the rows.
        heads: those whose values are zeroed.
        metric: "cosine" or "euclidean".
    """
    product = call.products[at]
    values = product.values.transpose(1, 2).contiguous()  # (B, K, H, v): a pair's vectors lie side by side
    weights = product.row_weights(QueryRows.of(sequence, position)).to(values.dtype)  # (R, H, K)
    is_zeroed = torch.zeros(weights.shape[1], 1, dtype=values.dtype, device=values.device)
    is_zeroed[heads] = 1.0
    weights = (weights * is_zeroed).transpose(1, 2).contiguous()  # (R, K, H)
    # A token that gets no weight in any zeroed head cannot move anything: masks need no further thought.
    row, key = (weights != 0).any(-1).nonzero(as_tuple=True)
    clean = [p.output.transpose(1, 2)[sequence, position] for p in call.products[: at + 1]]  # (R, H, v)
    states = call.output[sequence, position]
    distances = torch.zeros(weights.shape[:2], dtype=torch.float64, device=values.device)
    for portion in call.portions(sequence[row]):
        r, k = row[portion], key[portion]
        b, i = sequence[r], position[r]
        outputs: list[Tensor | None] = [output[r] for output in clean]
        outputs[at] = clean[at][r] - weights[r, k][..., None] * values[b, k]
        outputs += [None] * (len(call.products) - at - 1)
        distances[r, k] = distance(states[r], call.rerun(b, i, outputs), metric).double()
    total = distances.sum(-1, keepdim=True)
    return torch.where(total > 0, distances / total, 0.0).float()


def distance(a: Tensor, b: Tensor, metric: str) -> Tensor:
    """(M,) distance of states (M, D), in float32 or better.

    1 − cosine is computed as ½‖a/‖a‖ − b/‖b‖‖², which does not cancel where the two are nearly the same.
    """
    a, b = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (a, b))
    if metric == "euclidean":
        return (a - b).norm(dim=-1)
    unit_a, unit_b = (torch.nn.functional.normalize(x, dim=-1) for x in (a, b))
    return 0.5 * (unit_a - unit_b).square().sum(-1)


def _every_source_position(ctx: TorchContext) -> tuple[Tensor, Tensor]:
    """(R',) sequence and position of every source token."""
    if not ctx.batch.has_source:
        nothing = torch.zeros(0, dtype=torch.long, device=ctx.adapter.device)
        return nothing, nothing
    mask = np.arange(ctx.batch.source_ids.shape[1])[None] < ctx.batch.source_lengths[:, None]
    sequence, position = np.nonzero(mask)
    return ctx.adapter.as_array(sequence), ctx.adapter.as_array(position)
