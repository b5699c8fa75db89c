"""Monte-Carlo dropout: how a probability holds when parts of the model are dropped (Gal and Ghahramani 2016).

Each text is run alone, all samples of it as one batch, with draws seeded by the call's seed and the text's
own ids: the same numbers alone and in a batch, and for versions of a text (with features removed) the same
draws.
Axes: R rows, B texts of the batch, M samples, V vocabulary.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from array_api_compat import array_namespace

from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import CapabilityError, invalid
from inseq_core.step_functions.arrays import log_softmax, pick
from inseq_core.step_functions.likelihood import check_logprob


def mc_dropout_prob_avg(args: StepFunctionArgs, n_mcd_steps: int = 5, logprob: bool = False) -> Any:
    """Mean probability of each target token over samples of the model with dropout.

    The model's mode is as it was afterwards. (The peer gives the z-score of the probability without dropout,
    and leaves the model in training mode.) The draws have no derivative, so gradient methods cannot explain
    it.

    Args:
        args: one row a step; runs its texts again.
        n_mcd_steps: samples, >= 1.
        logprob: the logarithm of the mean probability, in nats.

    Returns:
        (R,) in [0, 1], or <= 0 for ``logprob``.

    Source:
        Gal and Ghahramani 2016, equation 6.
    """
    grid = args.grid
    parts, order = [], []
    for sequence in np.unique(grid.sequence).tolist():
        rows = grid.rows_of(sequence)
        parts.append(_mean_log_probability(args, sequence, rows, n_mcd_steps))
        order.append(rows)
    xp = array_namespace(parts[0])
    back = args.adapter.as_array(np.argsort(np.concatenate(order), kind="stable"))
    values = xp.take(xp.concat(parts), back, axis=0)
    return values if logprob else xp.exp(values)


def _mean_log_probability(args: StepFunctionArgs, sequence: int, rows: np.ndarray, n: int) -> Any:
    """(rows,) ln of the mean probability over ``n`` samples of one text."""
    adapter, call = args.adapter, args.call
    text, origin = args.batch.texts[sequence], args.batch.origin[sequence]
    key = text
    if origin < len(call.texts):
        key = call.texts[origin]
        # What is drawn depends on the length of the text, which must not depend on how rows are grouped.
        text = _filled(text if args.is_attributed_fn else key, key, call.spans[origin][1] - 1)
    grid = _with_end(args.grid.take(rows), len(text.target_ids)).repeated(n, 1)
    batch = TokenBatch.of([text] * n, args.batch.pad_id, origin=[origin] * n)
    with adapter.dropout(_seed(call.seed, key)):
        output = adapter.forward_rows(batch, grid)
    log_p = pick(log_softmax(output.logits[:, 0, :]), adapter.as_array(grid.target_ids))  # (M · rows,)
    xp = array_namespace(log_p)
    log_p = xp.reshape(log_p, (n, len(rows) + 1))[:, :-1]
    peak = xp.max(log_p, axis=0)
    return peak + xp.log(xp.mean(xp.exp(log_p - peak[None, :]), axis=0))


def _filled(text: EncodedText, key: EncodedText, length: int) -> EncodedText:
    """A text, or a version of it, with target positions up to ``length``; what is added comes behind every
    row.
    """
    text = text.truncated(length)
    missing = length - len(text.target_ids)
    if missing <= 0:
        return text
    ids = np.append(text.target_ids, key.target_ids[length - missing : length])
    kept, blank = text.target_kept, text.target_blank
    return attrs.evolve(
        text,
        target_ids=ids,
        target_kept=None if kept is None else np.append(kept, np.ones(missing, dtype=np.bool_)),
        target_blank=None if blank is None else np.append(blank, np.zeros(missing, dtype=np.bool_)),
    )


def _with_end(grid: StepGrid, length: int) -> StepGrid:
    """The rows of one text, and one at its end: whatever the rows, the pass is over the whole text, so that
    its draws are the same.
    """
    return StepGrid(
        sequence=np.zeros(len(grid) + 1),
        position=np.append(grid.position, length),
        target_ids=np.append(grid.target_ids, 0),
        step=np.append(grid.step, int(grid.step.max(initial=0)) + 1),
    )


def _seed(seed: int, text: EncodedText) -> int:
    """One number from the call's seed and the text's ids."""
    return int(np.random.SeedSequence([seed, zlib.crc32(text.target_ids.tobytes())]).generate_state(1)[0])


def check(arguments: Mapping[str, Any], request: Any, is_attributed_fn: bool) -> None:
    """There is something to drop, and samples are asked for.

    Raises:
        InvalidArgumentError: no samples. CapabilityError: nothing in the model drops anything.
    """
    check_logprob(arguments, request, is_attributed_fn)
    n = arguments.get("n_mcd_steps", 5)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise invalid("n_mcd_steps", n, "a number of samples, at least 1")
    if not request.adapter.dropout_places():
        raise CapabilityError(
            f"{request.profile.name} has no dropout, so that all samples would be equal.\n"
            "  Use 'probability', or load the model with dropout: model_kwargs={'attention_dropout': 0.1}."
        )
