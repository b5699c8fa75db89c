"""What is known of a torch model once it was tried: the self-check's findings, and what methods found later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from inseq_core.torch.selfcheck import MAX_TARGET

if TYPE_CHECKING:
    from inseq_core.torch.attention_map import AttentionMap


@attrs.define(eq=False)
class ProvedLengths:
    """How far something was proved on a model.

    Attributes:
        causal_to: target positions of the longest text whose prefixes were found to be served by its own pass.
        changes_at: target positions of the shortest text whose prefixes were not; None where there was none.
        padded_to: tokens of the longest text beside which a shorter one was found to keep its logits.
        padded_by: tokens of padding that did not matter.
    """

    causal_to: int = MAX_TARGET
    changes_at: int | None = None
    padded_to: int = 0
    padded_by: int = 0


@attrs.define(eq=False)
class Traits:
    """What the self-check found out about a model; the engine follows it.

    Attributes:
        checked: the self-check has run.
        splits_at_head: the head seam gives the model's own logits.
        is_causal: logits of a prefix do not depend on what follows it.
        pads_safely: right padding changes nothing.
        batches_texts: texts of one length in a batch keep the logits that each has alone (int8 activations share a scale).
        lengths: how long the texts were for which that was proved (``torch.lengths``).
        batches_cotangents: batched vector-Jacobian products work (False after the first operation without a rule).
        layers: about how many dense layers it has the parameters of; 0 until counted.
        uses_tape: gradients along a tape are autograd's (``torch.tape``).
        proved_tape: that was tried on this model.
        shares_prefix: a cached prefix gives the uncached scores; None until tried.
        proved_prefix: target positions of the longest text for which it was proved.
        masks_hide: a token that attention must not look at changes nothing elsewhere; None until tried.
        masks_first: logits are numbers behind a first token that attention must not look at; None until tried.
        attention: where the model's attention products are; None until a method asked for them.
        repeats_blocks: a block can be run on several copies of the batch; None until tried.
        follows_branches: the way of attention to the residual stream is known and proved.
        idle_modules: what need not run where a layer's attention is given to it; by layer, as found.
        notes: what was found, in words, for the result's info.
    """

    checked: bool = False
    splits_at_head: bool = True
    is_causal: bool = True
    pads_safely: bool = True
    batches_texts: bool = True
    lengths: ProvedLengths = attrs.field(factory=ProvedLengths)
    batches_cotangents: bool = True
    layers: float = 0.0
    uses_tape: bool = True
    proved_tape: bool = False
    shares_prefix: bool | None = None
    proved_prefix: int = 0
    masks_hide: bool | None = None
    masks_first: bool | None = None
    attention: AttentionMap | None = None
    repeats_blocks: bool | None = None
    follows_branches: bool = False
    idle_modules: dict[Any, Any] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)

    def note(self, text: str) -> None:
        """Keep ``text`` once."""
        if text not in self.notes:
            self.notes.append(text)
