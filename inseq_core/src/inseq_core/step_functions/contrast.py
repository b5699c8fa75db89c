"""Contrastive functions: what the model says, against what it says of another text.

p is the model's distribution at a step and y its target; p′ is its distribution at the step's counterpart in
the contrast, y′ the token there. As a step score, the contrast is scored on its own source and prefix. As the
attributed function, both tokens are scored on the text's own, so that only the token differs and equal tokens
give exactly 0 ("why she rather than he", Yin and Neubig 2022); ``contrast_force_inputs=True`` scores the
contrast on its own there too. It is then a constant: gradients and removals are of the text alone.
Axes: R rows, V vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from inseq_core.contracts.step_function import Prepared, StepCall, StepFunctionArgs
from inseq_core.errors import InvalidArgumentError, invalid
from inseq_core.step_functions.arrays import at_least_float32, log_softmax, nucleus_sizes, pick, ranks
from inseq_core.step_functions.contrast_rows import ContrastRows
from inseq_core.step_functions.contrast_texts import ContrastChoice, drafts
from inseq_core.step_functions.distribution import refuse_top_p
from inseq_core.step_functions.likelihood import check_logprob, logit, probability


def contrast_logits(
    args: StepFunctionArgs,
    contrast_sources: Any = None,
    contrast_targets: Any = None,
    contrast_targets_alignments: Any = None,
    contrast_aligner: Any = None,
    contrast_force_inputs: bool = False,
) -> Any:
    """Logit z′_y′ of each step's contrast token.

    Args:
        args: one row a step.
        contrast_sources: other sources; decoder-only models: other prompts, which the text's own output goes
            with unless contrast_targets are given too. A text or chat for each input.
        contrast_targets: other outputs; decoder-only models: full texts (the answer alone for a chat). One
            for each input. A list of ids instead of a text is a whole target, and used as it is.
        contrast_targets_alignments: pairs (target position, position in the contrast), a list of them for
            each text, or "auto". Steps that no pair names follow the nearest pair before them. Without it,
            texts lie side by side from the right.
        contrast_aligner: who finds "auto" alignments: "embeddings" (the model's own, the default where it has
            any), "identity" (equal tokens), the name of an encoder, an encoder (model, tokenizer), or a
            function from a list of n words to vectors (n, D).
        contrast_force_inputs: as attributed function: score the contrast on its own source and prefix.

    Returns:
        (R,) any real number.
    """
    arguments = _arguments(
        contrast_sources,
        contrast_targets,
        contrast_targets_alignments,
        contrast_aligner,
        contrast_force_inputs,
    )
    return _contrast_values(args, arguments)[0]


_SHARED = re.search(r"contrast_sources:(.|\n)*?(?=\s+Returns:)", contrast_logits.__doc__ or "")


def _documented(function: Callable[..., Any]) -> Callable[..., Any]:
    """With what ``contrast_logits`` says of the arguments that all share, where it is only referred to."""
    if _SHARED is not None:
        reference = r"contrast_sources, contrast_targets,[^:]*: see contrast_logits\."
        function.__doc__ = re.sub(reference, lambda _: _SHARED.group(), function.__doc__ or "")
    return function


@_documented
def contrast_prob(
    args: StepFunctionArgs,
    contrast_sources: Any = None,
    contrast_targets: Any = None,
    contrast_targets_alignments: Any = None,
    contrast_aligner: Any = None,
    contrast_force_inputs: bool = False,
    logprob: bool = False,
) -> Any:
    """Probability p′_y′ of each step's contrast token.

    Args:
        logprob: give ln p′_y′ instead, in nats.
        contrast_sources, contrast_targets, contrast_targets_alignments, contrast_aligner,
            contrast_force_inputs: see contrast_logits.

    Returns:
        (R,) in [0, 1], or <= 0 for ``logprob``.
    """
    arguments = _arguments(
        contrast_sources,
        contrast_targets,
        contrast_targets_alignments,
        contrast_aligner,
        contrast_force_inputs,
    )
    log_probability = _contrast_values(args, arguments)[1]
    return log_probability if logprob else array_namespace(log_probability).exp(log_probability)


@_documented
def contrast_logits_diff(
    args: StepFunctionArgs,
    contrast_sources: Any = None,
    contrast_targets: Any = None,
    contrast_targets_alignments: Any = None,
    contrast_aligner: Any = None,
    contrast_force_inputs: bool = False,
) -> Any:
    """Logit of each target token minus the logit of its contrast: z_y − z′_y′.

    Args:
        contrast_sources, contrast_targets, contrast_targets_alignments, contrast_aligner,
            contrast_force_inputs: see contrast_logits.

    Returns:
        (R,) any real number; positive where the target was preferred.

    Source:
        Yin and Neubig 2022, equation 3.
    """
    return logit(args) - contrast_logits(
        args,
        contrast_sources,
        contrast_targets,
        contrast_targets_alignments,
        contrast_aligner,
        contrast_force_inputs,
    )


@_documented
def contrast_prob_diff(
    args: StepFunctionArgs,
    contrast_sources: Any = None,
    contrast_targets: Any = None,
    contrast_targets_alignments: Any = None,
    contrast_aligner: Any = None,
    contrast_force_inputs: bool = False,
    logprob: bool = False,
) -> Any:
    """Probability of each target token minus the probability of its contrast: p_y − p′_y′.

    Args:
        logprob: the difference of logarithms instead, in nats.
        contrast_sources, contrast_targets, contrast_targets_alignments, contrast_aligner,
            contrast_force_inputs: see contrast_logits.

    Returns:
        (R,) in [-1, 1], or any real number for ``logprob``.

    Source:
        Eikema and Aziz 2022; Sarti et al. 2024 (PECoRe), section 3.2.
    """
    return probability(args, logprob) - contrast_prob(
        args,
        contrast_sources,
        contrast_targets,
        contrast_targets_alignments,
        contrast_aligner,
        contrast_force_inputs,
        logprob,
    )


@_documented
def pcxmi(
    args: StepFunctionArgs,
    contrast_sources: Any = None,
    contrast_targets: Any = None,
    contrast_targets_alignments: Any = None,
    contrast_aligner: Any = None,
    contrast_force_inputs: bool = False,
) -> Any:
    """Pointwise conditional cross-mutual information −log2(p_y / p′_y′), in bits.

    Args:
        contrast_sources, contrast_targets, contrast_targets_alignments, contrast_aligner,
            contrast_force_inputs: see contrast_logits.

    Returns:
        (R,) any real number; negative where the text's own input makes the token more likely.

    Source:
        Fernandes et al. 2023, equation 2, with the peer's sign.
    """
    return _log_ratio(
        args,
        contrast_sources,
        contrast_targets,
        contrast_targets_alignments,
        contrast_aligner,
        contrast_force_inputs,
    ) / math.log(2)


@_documented
def in_context_pvi(
    args: StepFunctionArgs,
    contrast_sources: Any = None,
    contrast_targets: Any = None,
    contrast_targets_alignments: Any = None,
    contrast_aligner: Any = None,
    contrast_force_inputs: bool = False,
) -> Any:
    """In-context pointwise V-usable information −ln p_y + ln p′_y′, in nats.

    Args:
        contrast_sources, contrast_targets, contrast_targets_alignments, contrast_aligner,
            contrast_force_inputs: see contrast_logits.

    Returns:
        (R,) any real number; negative where the text's own input makes the token more likely.

    Source:
        Lu et al. 2023, equation 1, with the peer's sign.
    """
    return _log_ratio(
        args,
        contrast_sources,
        contrast_targets,
        contrast_targets_alignments,
        contrast_aligner,
        contrast_force_inputs,
    )


@_documented
def kl_divergence(
    args: StepFunctionArgs,
    contrast_sources: Any = None,
    contrast_targets: Any = None,
    contrast_targets_alignments: Any = None,
    contrast_aligner: Any = None,
    contrast_force_inputs: bool = False,
    top_k: int = 0,
    top_p: float = 1.0,
    min_tokens_to_keep: int = 1,
) -> Any:
    """Kullback–Leibler divergence KL(p ‖ p′) = Σ p (ln p − ln p′) over the vocabulary, in nats.

    With ``top_k`` or ``top_p``, over the tokens that are likely under the mean of the two distributions, both
    of which are renormalised on them: a token that either one finds likely is kept. (The peer gives NaN
    there.)

    Args:
        top_k: keep the so many likeliest tokens; 0 keeps all.
        top_p: keep the smallest nucleus of this mass, in (0, 1].
        min_tokens_to_keep: keep at least so many.
        contrast_sources, contrast_targets, contrast_targets_alignments, contrast_aligner,
            contrast_force_inputs: see contrast_logits. As attributed function it needs
            contrast_force_inputs=True: on the same input a distribution has no divergence from itself.

    Returns:
        (R,) >= 0; 0 where the contrast changes nothing.
    """
    arguments = _arguments(
        contrast_sources,
        contrast_targets,
        contrast_targets_alignments,
        contrast_aligner,
        contrast_force_inputs,
    )
    log_p, log_q = log_softmax(args.logits), _contrast_distribution(args, arguments)
    xp = array_namespace(log_p)
    if top_k or top_p < 1:
        mean = (xp.exp(log_p) + xp.exp(log_q)) / 2
        size = _kept(mean, top_k, top_p, min_tokens_to_keep)
        is_kept = ranks(mean) < size[:, None]
        log_p, log_q = _renormalised(log_p, is_kept), _renormalised(log_q, is_kept)
    p = xp.exp(log_p)
    # what p forbids adds nothing; its logarithms are taken out before they could make NaN, also of the
    # derivative
    zero = xp.zeros_like(p)
    gap = xp.where(p > 0, log_p, zero) - xp.where(p > 0, log_q, zero)
    return xp.maximum(xp.sum(p * gap, axis=-1), zero[:, 0])


def _arguments(
    sources: Any, targets: Any, alignments: Any, aligner: Any, force_inputs: bool
) -> dict[str, Any]:
    return {
        "contrast_sources": sources,
        "contrast_targets": targets,
        "contrast_targets_alignments": alignments,
        "contrast_aligner": aligner,
        "contrast_force_inputs": force_inputs,
    }


def check(arguments: Mapping[str, Any], request: Any, is_attributed_fn: bool) -> None:
    """The contrasts are texts that the model can take, and are used.

    Raises:
        InvalidArgumentError: nothing to compare with, texts without tokens, inputs that would not be used.
        PositionError: alignments of tokens that there are not.
    """
    force_inputs = arguments.get("contrast_force_inputs", False)
    if not isinstance(force_inputs, bool):
        raise invalid("contrast_force_inputs", force_inputs, "True or False")
    check_logprob(arguments, request, is_attributed_fn)
    choice = ContrastChoice.of(arguments, len(request.input_texts))
    if is_attributed_fn and choice.sources is not None and not force_inputs:
        raise InvalidArgumentError(
            "contrast_sources would not be used: as attributed function a contrast is scored on the text's "
            "own input, so that only the token differs.\n"
            "  Give contrast_force_inputs=True to score it on its own, or use the function as a step score."
        )
    drafts(choice, request.adapter, request.input_texts, request.encode)


def check_kl_divergence(arguments: Mapping[str, Any], request: Any, is_attributed_fn: bool) -> None:
    """As ``check``; and numbers that can be kept.

    Raises:
        InvalidArgumentError: a divergence of a distribution from itself; wrong numbers.
    """
    check(arguments, request, is_attributed_fn)
    if is_attributed_fn and not arguments.get("contrast_force_inputs", False):
        raise InvalidArgumentError(
            "kl_divergence as attributed function compares the model with itself on the same input, which "
            "is always 0.\n"
            "  Give contrast_force_inputs=True to compare it with its answer to the contrast."
        )
    refuse_top_p(arguments.get("top_p", 1.0))
    for name, least in (("top_k", 0), ("min_tokens_to_keep", 1)):
        value = arguments.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise invalid(name, value, f"a number of tokens, at least {least}")


def prepare(call: StepCall, arguments: Mapping[str, Any], is_attributed_fn: bool) -> Prepared:
    """Align the contrasts, run them unless they are scored on the text's own input, and label the steps."""
    rows = ContrastRows.of(call, arguments)
    if is_attributed_fn:
        has_own_answer = bool(arguments.get("contrast_force_inputs", False))
    else:
        has_own_answer = not all(contrast.shares_prefix.all() for contrast in rows.contrasts)
    if has_own_answer:
        rows.ask()
    labels, texts, pairs = [], [], []
    for contrast, text, (start, end) in zip(rows.contrasts, call.texts, call.spans, strict=True):
        ids = text.target_ids[start:end].tolist()
        other = contrast.text.target_ids[contrast.positions].tolist()
        own_shown, other_shown = _shown(call, ids), _shown(call, other)
        labels.append(
            {start + k: f"{own_shown[k]} → {other_shown[k]}" for k in range(len(ids)) if ids[k] != other[k]}
        )
        texts.append(call.adapter.decode(contrast.text.target_ids.tolist()))
        pairs.append([[start + k, int(c)] for k, c in enumerate(contrast.positions)])
    return Prepared(labels=tuple(labels), notes={"contrasts": texts, "alignments": pairs})


def _shown(call: StepCall, ids: list[int]) -> list[str]:
    return list(call.adapter.token_texts(ids, "target").tokens) if call.show is None else call.show(ids)


def _contrast_values(args: StepFunctionArgs, arguments: Mapping[str, Any]) -> tuple[Any, Any]:
    """(R,) logit and (R,) ln probability of each row's contrast token."""
    rows = ContrastRows.of(args.call, arguments)
    force_inputs = arguments["contrast_force_inputs"]
    is_own = _on_own_input(args, rows, force_inputs)
    if not is_own.any():
        return rows.picked(args)
    ids = rows.target_ids(args)
    own = at_least_float32(pick(args.logits, ids)), pick(log_softmax(args.logits), ids)
    if is_own.all():
        return own
    chosen = args.adapter.as_array(is_own)
    logits, log_p = (
        array_namespace(a).where(chosen, a, b) for a, b in zip(own, rows.picked(args), strict=True)
    )
    return logits, log_p


def _contrast_distribution(args: StepFunctionArgs, arguments: Mapping[str, Any]) -> Any:
    """(R, V) ln p′."""
    rows = ContrastRows.of(args.call, arguments)
    is_own = _on_own_input(args, rows, arguments["contrast_force_inputs"])
    if is_own.all():
        return log_softmax(args.logits)
    log_q = rows.log_probabilities(args)
    if not is_own.any():
        return log_q
    chosen = args.adapter.as_array(is_own)[:, None]
    return array_namespace(log_q).where(chosen, log_softmax(args.logits), log_q)


def _on_own_input(args: StepFunctionArgs, rows: ContrastRows, force_inputs: bool) -> np.ndarray:
    """(R,) True where the model's answer to the text itself is also its answer to the contrast."""
    if args.is_attributed_fn:
        return np.full(len(args.grid), not force_inputs)
    return rows.shares_prefix(args)


def _log_ratio(args: StepFunctionArgs, *contrast: Any) -> Any:
    """(R,) ln p′_y′ − ln p_y."""
    log_probability = _contrast_values(args, _arguments(*contrast))[1]
    return log_probability - probability(args, logprob=True)


def _kept(mean: Any, top_k: int, top_p: float, least: int) -> Any:
    """(R,) number of tokens that are kept of each row."""
    xp = array_namespace(mean)
    vocabulary = mean.shape[-1]
    size = nucleus_sizes(mean, top_p) if top_p < 1 else xp.full_like(mean[:, 0], float(vocabulary))
    if top_k:
        size = xp.minimum(size, xp.full_like(size, float(top_k)))
    return xp.maximum(size, xp.full_like(size, float(min(least, vocabulary))))


def _renormalised(log_p: Any, is_kept: Any) -> Any:
    """(R, V) logarithms of the distribution on the tokens that are kept; -inf elsewhere."""
    xp = array_namespace(log_p)
    kept = xp.where(is_kept, log_p, xp.full_like(log_p, -math.inf))
    return log_softmax(kept)
