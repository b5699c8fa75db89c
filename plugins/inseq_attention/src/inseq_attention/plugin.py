"""What inseq-attention registers: methods that look at attention and at what it carries."""

from __future__ import annotations

from collections.abc import Iterator

import inseq_core as ic

LOOK = frozenset({ic.Need.ATTENTIONS})
RERUN = frozenset({ic.Need.ATTENTIONS, ic.Need.INTERVENTIONS})
DIFFERENTIATE = frozenset({ic.Need.ATTENTIONS, ic.Need.GRADIENTS})


@ic.hookimpl
def inseq_attribution_methods() -> Iterator[ic.MethodSpec]:
    """Attention methods, on whatever implementation of attention a model was loaded with."""
    yield ic.MethodSpec(
        name="attention",
        factory="inseq_attention.weights:Attention",
        summary="Attention weights of any layers and heads, for the query that each step is predicted from.",
        paper="https://arxiv.org/abs/1409.0473",
        formula="softmax_j(q_i · k_j / √d), i = the position before the step",
        needs=LOOK,
        sums_steps=False,
        uses_function=False,
        trailing_axes=("layer", "head"),
        default_aggregation=("mean", "mean"),
        signed=False,
        additive=True,
        passes="1",
        when="To see what the model looks at. Weights are not importances: much of them often rests on first "
        "tokens and punctuation, and the vectors they multiply differ in length (attention_norms).",
    )
    yield ic.MethodSpec(
        name="attention_rollout",
        factory="inseq_attention.rollout:AttentionRollout",
        summary="Attention multiplied along the layers, with the residual connections.",
        paper="https://arxiv.org/abs/2005.00928",
        formula="Π_l (½ mean_h A_l + ½ I)",
        needs=LOOK,
        sums_steps=False,
        uses_function=False,
        signed=False,
        additive=True,
        passes="1",
        when="To follow attention back to the input tokens, which deep layers have mixed. alti does the same "
        "with what attention carries.",
    )
    yield ic.MethodSpec(
        name="attention_flow",
        factory="inseq_attention.rollout:AttentionFlow",
        summary="The largest flow from each token to the step through the graph of all attention layers.",
        paper="https://arxiv.org/abs/2005.00928",
        formula="maxflow(token → step), capacities ½ mean_h A_l + ½ I",
        needs=LOOK,
        sums_steps=False,
        uses_function=False,
        signed=False,
        additive=False,
        passes="1, and a maximum-flow problem for each token and step",
        when="On short texts, where rollout's products have become nearly uniform.",
    )
    yield ic.MethodSpec(
        name="grad_x_attention",
        factory="inseq_attention.weights:GradXAttention",
        summary="Attention weights times the derivative of the attributed function with respect to them.",
        paper="https://arxiv.org/abs/2204.11073",
        formula="a_j · ∂f_t / ∂a_j",
        needs=DIFFERENTIATE,
        sums_steps=False,
        trailing_axes=("layer", "head"),
        default_aggregation=("mean", "mean"),
        signed=True,
        additive=True,
        passes="1 forward and 1 batched backward for each chunk of steps",
        when="To see which attention matters for this score, and in which direction.",
    )
    yield ic.MethodSpec(
        name="attention_norms",
        factory="inseq_attention.norms:AttentionNorms",
        summary="Norm of the vector that each token sends through attention, after the output projection.",
        paper="https://aclanthology.org/2020.emnlp-main.574/",
        formula="‖Σ_h α_j^h v_j^h W_O^h‖",
        needs=LOOK,
        sums_steps=False,
        uses_function=False,
        trailing_axes=("layer",),
        default_aggregation=("mean",),
        signed=False,
        additive=False,
        passes="1",
        when="In place of raw weights: tokens that get much weight and carry little (first tokens, "
        "punctuation) no longer stand out.",
    )
    yield ic.MethodSpec(
        name="value_zeroing",
        factory="inseq_attention.value_zeroing:ValueZeroing",
        summary="How far each layer's state moves when one token's value vector is zeroed.",
        paper="https://aclanthology.org/2023.eacl-main.245/",
        formula="1 − cos(x̃_i^{l, ¬j}, x̃_i^l), normalised over j",
        needs=RERUN,
        sums_steps=False,
        uses_function=False,
        trailing_axes=("layer",),
        default_aggregation=("mean",),
        signed=False,
        additive=False,
        passes="1, and each layer once for every (step, earlier token) pair",
        all_steps=True,
        when="To see how tokens are mixed in each layer, feed-forward part included.",
    )
    yield ic.MethodSpec(
        name="alti",
        factory="inseq_attention.alti:Alti",
        summary="Shares of each input token in the last state, from what attention carries through layers.",
        paper="https://arxiv.org/abs/2203.04212; ALTI+: https://arxiv.org/abs/2205.11631",
        formula="Π_l C_l, C_ij ∝ max(0, ‖y_i‖₁ − ‖y_i − T_i(x_j)‖₁)",
        needs=LOOK,
        sums_steps=False,
        uses_function=False,
        signed=False,
        additive=True,
        passes="1, and the vectors of each layer's (position, token) pairs",
        when="To say how much of a state comes from each token; in translation, how much from the source and "
        "how much from the target prefix (ALTI+).",
    )
