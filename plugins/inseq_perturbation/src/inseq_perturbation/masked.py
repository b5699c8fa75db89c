"""Replacements from a masked language model: what stands at a position, as seen from both sides.

The text is written in the masked model's own pieces, one for each of ours, and each position is masked in
turn. Its vocabulary may be another one, as long as enough pieces are in both.
Axes: L positions, K draws, V vocabulary, M vocabulary of the masked model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from inseq_core.contracts.context import AttributionContext
from inseq_core.data.batch import IntArray
from inseq_core.errors import InvalidArgumentError, MissingPackageError, invalid

POSITIONS_AT_ONCE = 32


def masked_pool(ctx: AttributionContext, side: str, n: int, masked_model: Any) -> IntArray:
    """(L, K) ids to put in the place of each token, drawn from a masked model's distribution at that position.

    Only pieces that both vocabularies have are drawn, no special tokens, and never the token itself. The model
    is run without dropout; its own mode is restored.

    Raises:
        InvalidArgumentError: not a masked model and its tokenizer, a vocabulary of other pieces, a text that it
            has not enough positions for.
    """
    import torch

    model, tokenizer = _loaded(ctx, masked_model)
    text = ctx.batch.texts[0]
    ids = text.source_ids if side == "source" and text.source_ids is not None else text.target_ids
    theirs, ours = _common(ctx, side, tokenizer)
    back = dict(zip(ours.tolist(), theirs.tolist(), strict=True))
    inner = [back.get(i, tokenizer.unk_token_id) for i in ids.tolist()]
    written = (
        tokenizer.build_inputs_with_special_tokens(inner)
        if hasattr(tokenizer, "build_inputs_with_special_tokens")
        else inner
    )
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and len(written) > limit:
        raise InvalidArgumentError(
            f"masked_model has {limit} positions, the {side} needs {len(written)}.\n"
            "  Use replacements='model' or 'vocabulary', or a shorter text."
        )
    first = next(i for i in range(len(written) - len(inner) + 1) if written[i : i + len(inner)] == inner)
    generator = np.random.default_rng([*ctx.text_key(), 3 if side == "source" else 4])
    uniform = generator.random((len(ids), n))
    pool = np.empty((len(ids), n), dtype=np.int64)
    device, mode = next(model.parameters()).device, model.training
    model.eval()
    try:
        for start in range(0, len(ids), POSITIONS_AT_ONCE):
            some = range(start, min(start + POSITIONS_AT_ONCE, len(ids)))
            rows = torch.tensor([written] * len(some), device=device)
            at = torch.arange(len(some), device=device)
            masked = torch.tensor([first + p for p in some], device=device)
            rows[at, masked] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(input_ids=rows).logits[at, masked].double().cpu().numpy()[:, theirs]
            for position, own in zip(some, logits, strict=True):
                power = np.where(ours == ids[position], 0.0, np.exp(own - own.max()))
                cumulative = np.cumsum(power) / max(power.sum(), np.finfo(np.float64).tiny)
                place = np.searchsorted(cumulative, uniform[position])
                pool[position] = ours[np.minimum(place, len(ours) - 1)]
    finally:
        model.train(mode)
    return pool


def _loaded(ctx: AttributionContext, masked_model: Any) -> tuple[Any, Any]:
    """Model and tokenizer, as given or from a folder; loaded once a call."""
    if isinstance(masked_model, (str, os.PathLike)):
        key = ("masked model", str(masked_model))
        if key not in ctx.request.cache:
            try:
                from transformers import AutoModelForMaskedLM, AutoTokenizer
            except ImportError as error:
                raise MissingPackageError(
                    "A masked model in a folder needs transformers: pip install inseq-hf"
                ) from error
            try:
                found = AutoModelForMaskedLM.from_pretrained(masked_model, local_files_only=True)
                tokenizer = AutoTokenizer.from_pretrained(masked_model, local_files_only=True)
            except (OSError, ValueError) as error:
                raise invalid(
                    "masked_model", masked_model, "the folder of a masked language model of transformers"
                ) from error
            ctx.request.cache[key] = (found.eval(), tokenizer)
        masked_model = ctx.request.cache[key]
    if not isinstance(masked_model, (tuple, list)) or len(masked_model) != 2:
        raise invalid("masked_model", masked_model, "(model, tokenizer), or the folder of one")
    model, tokenizer = masked_model
    if getattr(tokenizer, "mask_token_id", None) is None or not callable(model):
        raise invalid(
            "masked_model", type(tokenizer).__name__, "a tokenizer that has a mask token, with its model"
        )
    return model, tokenizer


def _common(ctx: AttributionContext, side: str, tokenizer: Any) -> tuple[IntArray, IntArray]:
    """Ids of the pieces that both vocabularies have: the masked model's, and ours."""
    shown = ctx.adapter.token_texts(list(range(ctx.adapter.profile.vocabulary_size)), side)
    is_special = np.array(shown.special, dtype=np.bool_)
    own = {piece: i for i, piece in reversed(list(enumerate(plain(shown.tokens)))) if not is_special[i]}
    special = set(tokenizer.all_special_ids)
    vocabulary = {i: piece for piece, i in tokenizer.get_vocab().items() if i not in special}
    pairs = [
        (i, own[p]) for i, p in zip(vocabulary, plain(list(vocabulary.values())), strict=True) if p in own
    ]
    if len(pairs) < 2:
        raise invalid(
            "masked_model",
            type(tokenizer).__name__,
            f"a vocabulary that shares pieces with that of {ctx.adapter.profile.name}",
        )
    theirs, ours = np.array(sorted(pairs), dtype=np.int64).T
    return theirs, ours


def plain(pieces: Sequence[str]) -> list[str]:
    """Pieces with a space where a word begins, whichever way their tokenizer marks that."""
    if any(piece.startswith("##") for piece in pieces):
        return [piece[2:] if piece.startswith("##") else f" {piece}" for piece in pieces]
    return [f" {piece[1:]}" if piece[:1] in ("Ġ", "▁") else piece for piece in pieces]
