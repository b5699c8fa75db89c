"""What inseq-perturbation provides."""

from __future__ import annotations

from collections.abc import Iterator

import inseq_core as ic

AS_THEY_ARE = False
"""Scores are changes of the attributed function, in its own unit: no method here is normalised by default."""


@ic.hookimpl
def inseq_attribution_methods() -> Iterator[ic.MethodSpec]:
    """Removal methods, on anything that gives scores."""
    yield ic.MethodSpec(
        name="occlusion",
        factory="inseq_perturbation.occlusion:Occlusion",
        summary="What a step's score loses when a token, or a window of tokens, is removed.",
        paper="https://arxiv.org/abs/1311.2901",
        formula="f_t(x) - f_t(x without i), the mean over the windows with i",
        normalize=AS_THEY_ARE,
        passes="features / strides + 1 versions of the text, for all steps together",
        per_text=True,
        when="The first choice: cheap, and it means what it says. It misses what two tokens say twice: each"
        " alone can go.",
    )
    yield ic.MethodSpec(
        name="leave_one_out",
        factory="inseq_perturbation.occlusion:LeaveOneOut",
        summary="What a step's score loses when one feature (a word, a sentence, a turn) is removed.",
        paper="https://arxiv.org/abs/1612.08220",
        formula="f_t(x) - f_t(x without i)",
        normalize=AS_THEY_ARE,
        passes="features + 1 versions of the text, for all steps together",
        per_text=True,
        when="With features='sentence', 'turn' or a function: which part of a context is needed.",
    )
    yield ic.MethodSpec(
        name="lime",
        factory="inseq_perturbation.lime:Lime",
        summary="Coefficients of a linear model of the score, fitted to versions with some features removed.",
        paper="https://arxiv.org/abs/1602.04938",
        formula="argmin_c Σ_k exp(-d(z_k)² / σ²) (f_t(z_k) - b - z_k · c)² + alpha |c|²",
        normalize=AS_THEY_ARE,
        additive=True,
        deterministic=False,
        passes="n_samples versions of the text, for all steps together",
        per_text=True,
        when="A bounded price whatever the length. Look at the step score r2: where it is low, the model is"
        " not linear.",
    )
    yield ic.MethodSpec(
        name="kernel_shap",
        factory="inseq_perturbation.kernel_shap:KernelShap",
        summary="Shapley values by a weighted regression on coalitions of features.",
        paper="https://arxiv.org/abs/1705.07874",
        formula="argmin_φ Σ_z π(|z|) (f_t(z) - f_t(∅) - z · φ)², Σ φ = f_t(x) - f_t(∅)",
        normalize=AS_THEY_ARE,
        complete=True,
        additive=True,
        deterministic=False,
        passes="n_samples versions of the text, for all steps together",
        per_text=True,
        when="Scores that add up at a bounded price; exact where n_samples covers every coalition.",
    )
    yield ic.MethodSpec(
        name="shapley",
        factory="inseq_perturbation.shapley:Shapley",
        summary="Shapley values: exact up to 12 features, else sampled with a standard error for each score.",
        paper="https://doi.org/10.1515/9781400881970-018",
        formula="Σ_S |S|! (F - |S| - 1)! / F! (f_t(S + i) - f_t(S))",
        normalize=AS_THEY_ARE,
        complete=True,
        additive=True,
        deterministic=False,
        passes="2^features versions up to 12 features, else up to 2 · n_samples · (features - 1) + 2, for all"
        " steps together",
        per_text=True,
        when="The reference: fair to tokens that say the same. Costly; use words or sentences as features.",
    )
    yield ic.MethodSpec(
        name="context_cite",
        factory="inseq_perturbation.context_cite:ContextCite",
        summary="A sparse linear model of the score over parts of the context, with intervals.",
        paper="https://arxiv.org/abs/2409.00729",
        formula="lasso of ln(p_t(z) / (1 - p_t(z))) on z, z random subsets of the parts",
        normalize=AS_THEY_ARE,
        additive=True,
        deterministic=False,
        passes="n_samples versions of the text, for all steps together",
        trial={"n_samples": 16, "n_bootstrap": 4},
        per_text=True,
        when="Which few of many sentences or documents a statement rests on: features='sentence' or spans.",
    )
    yield ic.MethodSpec(
        name="reagent",
        factory="inseq_perturbation.reagent:Reagent",
        summary="Importance that grows where replacing tokens makes the target less likely.",
        paper="https://arxiv.org/abs/2402.00794",
        formula="l_i ← l_i ± logit((f_t(x) - f_t(x̃) + 1) / 2), + where i was replaced in x̃; softmax(l)",
        normalize=AS_THEY_ARE,
        signed=False,
        deterministic=False,
        passes="up to num_probes · max_probe_steps versions of the text, for all steps together",
        trial={"max_probe_steps": 8, "num_probes": 4},
        per_text=True,
        when="Replacements that look like text, instead of unknown tokens. The attributed function has to be "
        "a"
        " probability.",
    )
