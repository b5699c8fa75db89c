"""Texts to ids and back, for users and for step functions that look at texts.

Batches are right-padded arrays of the model's framework. Axes: B texts, L positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import EncodedInput, ModelAdapter
from inseq_core.data.batch import EncodedText, TokenBatch, as_ids
from inseq_core.data.plain import items_of
from inseq_core.data.texts import as_texts
from inseq_core.data.token import TokenWithId
from inseq_core.errors import InvalidArgumentError, invalid


@attrs.frozen(kw_only=True, eq=False)
class Encoding:
    """Texts in ids.

    Attributes:
        input_ids: (B, L) right-padded ids, an array of the framework.
        attention_mask: (B, L) 1 where a token is, 0 in the padding.
        input_tokens: the pieces of each text, without padding.
        baseline_ids: (B, L) ids of the "absent" input, where they were asked for.
        ids: the same ids as plain tuples, without padding.
        side: "source" or "target": what they are for.
    """

    input_ids: Any
    attention_mask: Any
    input_tokens: tuple[tuple[str, ...], ...]
    baseline_ids: Any = None
    ids: tuple[tuple[int, ...], ...] = ()
    side: str = "source"

    def __len__(self) -> int:
        return len(self.ids)


def encode(
    adapter: ModelAdapter,
    texts: Any,
    *,
    as_targets: bool = False,
    return_baseline: bool = False,
    include_eos_baseline: bool = False,
    add_special_tokens: bool = True,
) -> Encoding:
    """One or many texts in ids; see ``AttributionModel.encode``."""
    texts = as_texts("texts", texts)
    if as_targets and not adapter.is_encoder_decoder:
        raise invalid("as_targets", True, "False: a decoder-only model reads prompt and output in one way")
    side = "source" if adapter.is_encoder_decoder and not as_targets else "target"
    rows = [_ids_of(adapter, text, as_targets) for text in texts]
    if not add_special_tokens:
        rows = [without_special(adapter, ids, side) for ids in rows]
    batch = TokenBatch.of((EncodedText(target_ids=as_ids(ids)) for ids in rows), adapter.pad_id)
    baseline = None
    if return_baseline:
        filler = adapter.baseline_ids("unk", side)
        kept = [adapter.kept_in_baseline(as_ids(ids), side, include_eos_baseline) for ids in rows]
        baseline = adapter.as_array(
            TokenBatch.of(
                (EncodedText(target_ids=np.where(k, ids, filler)) for k, ids in zip(kept, rows, strict=True)),
                adapter.pad_id,
            ).target_ids
        )
    return Encoding(
        input_ids=adapter.as_array(batch.target_ids),
        attention_mask=adapter.as_array(batch.target_mask.astype(np.int64)),
        input_tokens=tuple(adapter.token_texts(ids, side).tokens for ids in rows),
        baseline_ids=baseline,
        ids=tuple(tuple(ids) for ids in rows),
        side=side,
    )


def _ids_of(adapter: ModelAdapter, text: str, as_targets: bool) -> list[int]:
    if as_targets:
        return [int(i) for i in adapter.encode_output(text, EncodedInput(ids=()))]
    return list(adapter.encode_input(text).ids)


def without_special(adapter: ModelAdapter, ids: Sequence[int], side: str) -> list[int]:
    """The ids that are no special tokens."""
    special = adapter.token_texts(ids, side).special
    return [i for i, is_special in zip(ids, special, strict=True) if not is_special]


def id_rows(adapter: ModelAdapter, ids: Any) -> tuple[list[list[int]], bool]:
    """Rows of ids, and whether one row was given alone.

    Raises:
        InvalidArgumentError: no ids.
    """
    if isinstance(ids, Encoding):
        return [list(row) for row in ids.ids], False
    if not isinstance(ids, (int, list, tuple, np.ndarray)):
        ids = adapter.to_numpy(ids)
    if isinstance(ids, np.ndarray):
        ids = ids.tolist()
    if isinstance(ids, int):
        ids = [ids]
    if not isinstance(ids, (list, tuple)) or isinstance(ids, str):
        raise invalid("ids", ids, "token ids, or rows of them")
    rows = [_row(adapter, row) for row in ids]
    if all(row is None for row in rows):
        return [_checked_ids(ids)], True
    if any(row is None for row in rows):
        raise invalid("ids", ids, "token ids, or rows of them, not both")
    return [_checked_ids(row) for row in rows if row is not None], False


def _checked_ids(ids: Sequence[Any]) -> list[int]:
    ids = [i.item() if hasattr(i, "item") else i for i in ids]
    for i in ids:
        if isinstance(i, bool) or not isinstance(i, int) or i < 0:
            raise invalid("ids", i, "token ids: whole numbers, at least 0")
    return ids


def _id_array(ids: Any) -> np.ndarray:
    """Ids in Python or numpy as one array.

    Raises:
        InvalidArgumentError: no whole numbers, or rows of different lengths.
    """
    try:
        array = np.asarray(ids)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iu" or not array.ndim:
        raise invalid("inputs", ids, "texts, an Encoding, or token ids in rows of the same length")
    return array


def _check_embedded(adapter: ModelAdapter, ids: Any, side: str) -> None:
    """The embedding has a row for each id: frameworks say so in words of their own, or stop for good on a GPU.

    Raises:
        InvalidArgumentError: one is beyond the vocabulary, or no whole number.
    """
    values = _id_array(adapter.to_numpy(ids))
    size = len(adapter.embedding_matrix(side))
    beyond = values[(values < 0) | (values >= size)]
    if beyond.size:
        raise invalid("inputs: an id", int(beyond.flat[0]), f"0 to {size - 1}, an id of the vocabulary")


def _row(adapter: ModelAdapter, row: Any) -> list[Any] | None:
    if isinstance(row, (int, np.integer)):
        return None
    if isinstance(row, (list, tuple)):
        return list(row)
    values = adapter.to_numpy(row)
    return None if values.ndim == 0 else list(values.tolist())


def tokens_of(
    adapter: ModelAdapter, ids: Sequence[int], side: str, skip_special: bool, decoded: bool
) -> list[str]:
    """The pieces of ids, as the tokenizer writes them or as the text they stand for."""
    shown = adapter.token_texts(ids, side)
    kept = [
        (i, t) for i, t, s in zip(ids, shown.tokens, shown.special, strict=True) if not (skip_special and s)
    ]
    return [adapter.decode([i], skip_special_tokens=False) if decoded else token for i, token in kept]


def clean_token(adapter: ModelAdapter, token: Any, side: str) -> Any:
    """A piece without the tokenizer's marks; pieces without a text stay as they are."""
    text = str(token)
    i = token.id if isinstance(token, TokenWithId) and token.id >= 0 else adapter.token_ids([text], side)[0]
    cleaned = adapter.decode([i], skip_special_tokens=False).strip() or text
    return attrs.evolve(token, token=cleaned) if isinstance(token, TokenWithId) else cleaned


def is_rows(tokens: Any) -> bool:
    """Whether ``tokens`` is a list of lists of tokens.

    Raises:
        InvalidArgumentError: a string.
    """
    if isinstance(tokens, str) or not isinstance(tokens, Sequence):
        raise InvalidArgumentError(
            f"tokens = {tokens!r}: expected a list of tokens, or a list of such lists."
        )
    return bool(tokens) and not isinstance(tokens[0], (str, TokenWithId))


class TextTools:
    """What a model can do with texts and tokens."""

    adapter: ModelAdapter

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether the model reads a source and writes a target."""
        return self.adapter.is_encoder_decoder

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Start, end, padding and other tokens that are no text."""
        return self.adapter.special_tokens

    @property
    def vocabulary_embeddings(self) -> Any:
        """(V, D) embeddings of the vocabulary (of the decoder, where there are two)."""
        return self.adapter.embedding_matrix("target")

    def encode(
        self,
        texts: str | Sequence[str],
        as_targets: bool = False,
        return_baseline: bool = False,
        include_eos_baseline: bool = False,
        add_special_tokens: bool = True,
    ) -> Encoding:
        """Texts in ids, right-padded.

        Args:
            texts: one or many.
            as_targets: encoder–decoder models: as outputs, with the decoder's start token.
            return_baseline: also the ids of the "absent" input: unknown tokens, with start and end kept.
            include_eos_baseline: the end token is replaced there too.
            add_special_tokens: with the special tokens that the model expects.
        """
        return encode(
            self.adapter,
            texts,
            as_targets=as_targets,
            return_baseline=return_baseline,
            include_eos_baseline=include_eos_baseline,
            add_special_tokens=add_special_tokens,
        )

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> Any:
        """The text of ids; a list of texts for rows of ids."""
        rows, alone = id_rows(self.adapter, ids)
        texts = [self.adapter.decode(row, skip_special_tokens) for row in rows]
        return texts[0] if alone else texts

    def embed(self, inputs: Any, as_targets: bool = False, add_special_tokens: bool = True) -> Any:
        """(B, L, D) embeddings of texts, of an ``Encoding`` or of framework ids."""
        texts = (inputs,) if isinstance(inputs, str) else items_of(inputs)
        if texts is not None and all(isinstance(text, str) for text in texts):
            inputs = self.encode(inputs, as_targets=as_targets, add_special_tokens=add_special_tokens)
        side = self._side(as_targets)
        if isinstance(inputs, Encoding):
            return self.adapter.embed(inputs.input_ids, side=side)
        ids = inputs
        if ids is None or isinstance(ids, (int, np.integer, list, tuple, np.ndarray)):
            ids = self.adapter.as_array(_id_array(ids))
        _check_embedded(self.adapter, ids, side)
        return self.adapter.embed(ids, side=side)

    def convert_ids_to_tokens(
        self, ids: Any, skip_special_tokens: bool = True, decode_tokens: bool = False, as_targets: bool = True
    ) -> Any:
        """The pieces of ids; a list of lists for rows of ids.

        Args:
            skip_special_tokens: leave special tokens out.
            decode_tokens: the text that each piece stands for, instead of the piece as the tokenizer writes
                it.
            as_targets: encoder–decoder models with two vocabularies: ids of the target.
        """
        rows, alone = id_rows(self.adapter, ids)
        side = "target" if as_targets else self._side(False)
        tokens = [tokens_of(self.adapter, row, side, skip_special_tokens, decode_tokens) for row in rows]
        return tokens[0] if alone else tokens

    def convert_tokens_to_ids(self, tokens: Any, as_targets: bool = True) -> Any:
        """Ids of pieces; a list of lists for rows of pieces."""
        side = "target" if as_targets else self._side(False)
        if isinstance(tokens, str):
            return self.adapter.token_ids([tokens], side)[0]
        if is_rows(tokens):
            return [self.adapter.token_ids([str(t) for t in row], side) for row in tokens]
        return self.adapter.token_ids([str(t) for t in tokens], side)

    def convert_tokens_to_string(
        self, tokens: Any, skip_special_tokens: bool = True, as_targets: bool = False
    ) -> Any:
        """The text of pieces; a list of texts for rows of pieces."""
        if is_rows(tokens):
            return [self.convert_tokens_to_string(row, skip_special_tokens, as_targets) for row in tokens]
        ids = self.adapter.token_ids([str(t) for t in tokens], self._side(as_targets))
        return self.adapter.decode(ids, skip_special_tokens)

    def clean_tokens(self, tokens: Any, skip_special_tokens: bool = False, as_targets: bool = False) -> Any:
        """Pieces without the tokenizer's marks; rows of them for rows. Tokens with ids keep their ids."""
        if is_rows(tokens):
            return [self.clean_tokens(row, skip_special_tokens, as_targets) for row in tokens]
        side = self._side(as_targets)
        kept = [t for t in tokens if not (skip_special_tokens and str(t) in self.special_tokens)]
        return [clean_token(self.adapter, token, side) for token in kept]

    def get_token_with_ids(self, batch: Encoding) -> list[list[TokenWithId]]:
        """The tokens of each text of an ``Encoding`` with their ids."""
        if not isinstance(batch, Encoding):
            raise invalid("batch", batch, "what model.encode(texts) gives")
        return [
            [TokenWithId(token, i) for token, i in zip(tokens, ids, strict=True)]
            for tokens, ids in zip(batch.input_tokens, batch.ids, strict=True)
        ]

    def _side(self, as_targets: bool) -> str:
        return "target" if as_targets or not self.is_encoder_decoder else "source"
