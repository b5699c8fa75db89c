"""Pieces of tokenizers of transformers, of every kind that they come in."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from inseq_core.text import pieces
from inseq_core.text.pieces import Marks


def marks_of(tokenizer: Any) -> Marks:
    """Which marks a tokenizer writes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kinds = set(_decoder_kinds(getattr(backend, "decoder", None)))
    if hasattr(tokenizer, "byte_decoder"):
        kinds.add("ByteLevel")
    if hasattr(tokenizer, "sp_model") or hasattr(tokenizer, "spm_source"):
        kinds.add("Metaspace")
    model = type(getattr(backend, "model", None)).__name__
    return pieces.marks_of(kinds, tokenizer.get_vocab(), model)


def _decoder_kinds(decoder: Any) -> frozenset[str]:
    if decoder is None:
        return frozenset()
    try:
        return pieces.decoder_kinds(json.loads(decoder.__getstate__()))
    except (AttributeError, TypeError, ValueError):
        return frozenset({type(decoder).__name__})


@attrs.define(eq=False)
class Pieces(pieces.Pieces):
    """Ids of one tokenizer as pieces, and back.

    Attributes:
        tokenizer: of transformers.
        marks: how it marks words.
    """

    tokenizer: Any
    marks: Marks = attrs.field(default=attrs.Factory(lambda self: marks_of(self.tokenizer), takes_self=True))

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        """Special tokens, those that were added as such, and language codes."""
        tokenizer = self.tokenizer
        added = {i for i, token in tokenizer.added_tokens_decoder.items() if getattr(token, "special", False)}
        codes = getattr(tokenizer, "lang_token_to_id", None) or {}
        special = {*tokenizer.all_special_ids, *added, *codes.values()}
        others = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id")
        if all(getattr(tokenizer, name, None) != tokenizer.unk_token_id for name in others):
            special.discard(tokenizer.unk_token_id)
        return frozenset(special)

    @functools.cached_property
    def verbatim_ids(self) -> frozenset[int]:
        """Special and added tokens."""
        return self.special_ids | frozenset(self.tokenizer.added_tokens_decoder)

    @functools.cached_property
    def _source_pieces(self) -> Mapping[int, str] | None:
        """Pieces of the encoder's own vocabulary, where a tokenizer has two."""
        if not getattr(self.tokenizer, "separate_vocabs", False):
            return None
        return {i: piece for piece, i in self.tokenizer.encoder.items()}

    def written(self, ids: Sequence[int], side: str = "target") -> list[str | bytes]:
        """Pieces as the vocabulary has them; a number in angle brackets for ids that it does not have."""
        ids = [int(i) for i in ids]
        own = self._source_pieces if side == "source" else None
        pieces = [own.get(i) for i in ids] if own is not None else self.tokenizer.convert_ids_to_tokens(ids)
        return [f"<{i}>" if piece is None else piece for i, piece in zip(ids, pieces, strict=True)]

    def lookup(self, piece: str, side: str = "target") -> int | None:
        """The id of a piece as the vocabulary has it; the unknown token's only for that token itself."""
        if side == "source" and self._source_pieces is not None:
            found = self.tokenizer.encoder.get(piece)
        else:
            found = self.tokenizer.convert_tokens_to_ids(piece)
        is_unknown = found is None or (
            found == self.tokenizer.unk_token_id and piece != self.tokenizer.unk_token
        )
        return None if is_unknown else int(found)
