"""The text side of an adapter, by its codec.

What a framework has to add is how its model is run.
Axes: S source positions, L target positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inseq_core.contracts.adapter import EncodedInput, ModelAdapter, TokenTexts
from inseq_core.data.batch import EncodedText, IntArray, as_ids
from inseq_core.data.token import Segment
from inseq_core.text import chat
from inseq_core.text.codec import TextCodec

ROOM_BEHIND_A_CUT = 32
"""Positions that a prompt which is cut leaves free for what the model writes."""


class CodecAdapter(ModelAdapter):
    """An adapter whose texts are a codec's business.

    Attributes:
        codec: text to ids and back.
    """

    codec: TextCodec

    def encode_input(self, text: str, *, truncate: bool = False) -> EncodedInput:
        """A source in the tokenizer's own frame; a prompt without the frame's end."""
        if self.is_encoder_decoder:
            ids = self.codec.source_ids(text, limit=self.profile.max_source, truncate=truncate)
            return EncodedInput(ids=ids, text=text)
        limit = self.profile.max_target
        room = ROOM_BEHIND_A_CUT if limit is not None and limit > 2 * ROOM_BEHIND_A_CUT else 1
        ids = self.codec.prompt_ids(text, limit=limit, truncate=truncate, room=room)
        return EncodedInput(ids=ids, text=text)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **template: Any) -> EncodedInput:
        """Chat messages through the tokenizer's template: see ``inseq_core.text.chat``."""
        side = "source" if self.is_encoder_decoder else "target"
        return chat.encode_chat(self.codec, messages, template, side)

    def encode_output(self, text: str, given: EncodedInput) -> IntArray:
        """Start, output and end of an encoder–decoder model; else the full text, the prompt's ids first."""
        if self.is_encoder_decoder:
            return as_ids(self.codec.output_ids(text))
        return as_ids(self.codec.continued(given.ids, given.text, text))

    def start_ids(self, given: EncodedInput, prefix: str | None = None) -> IntArray:
        """The decoder's start token and a forced prefix; else the prompt, and what ``prefix`` adds to it.

        For decoder-only models ``prefix`` is the full text again, or what follows the prompt.
        """
        if self.is_encoder_decoder:
            return as_ids(self.codec.begun_ids(prefix))
        if not prefix:
            return as_ids(given.ids)
        text = prefix if prefix.startswith(given.text) else given.text + prefix
        return as_ids(self.codec.continued(given.ids, given.text, text))

    def output_segments(self, text: EncodedText) -> tuple[Segment, ...]:
        """Reasoning and answer in what was generated."""
        return chat.output_segments(self.codec, text.target_ids.tolist(), text.prompt_length)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids."""
        return self.codec.decode(ids, skip_special_tokens)

    def token_texts(self, ids: Sequence[int], side: str = "target") -> TokenTexts:
        """How ids are shown: see ``inseq_core.text.pieces``."""
        return self.codec.token_texts(ids, side)

    def token_ids(self, tokens: Sequence[str], side: str = "target") -> list[int]:
        """Ids of pieces; the unknown token for those that the vocabulary does not have."""
        return self.codec.token_ids(tokens, side)

    def baseline_ids(self, baseline: str | int, side: str = "target") -> int:
        """The id of a special token by its short name, or of a token by its text."""
        return self.codec.baseline_id(baseline, side)

    def kept_in_baseline(self, ids: IntArray, side: str, include_eos: bool) -> np.ndarray:
        """Start tokens, language codes, and ends unless ``include_eos``."""
        return self.codec.kept(ids, side, include_eos)
