"""Tokenizers of transformers, as the core's codec wants them.

What is particular to them: a second mode for outputs, languages that have to be named, templates for chats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from inseq_core.errors import InvalidArgumentError
from inseq_core.text import codec
from inseq_core.text.chat import spread
from inseq_hf.pieces import Pieces


@attrs.define(kw_only=True, eq=False)
class TextCodec(codec.TextCodec):
    """A tokenizer of transformers, and how a model wants its texts.

    Attributes:
        tokenizer: of transformers.
    """

    tokenizer: Any
    pieces: Pieces = attrs.field(default=attrs.Factory(lambda self: Pieces(self.tokenizer), takes_self=True))

    def special(self, name: str) -> int | None:
        """The id of a special token by its short name."""
        found: int | None = getattr(self.tokenizer, f"{name}_token_id", None)
        return found

    @property
    def cuts_left(self) -> bool:
        """As the tokenizer is set."""
        return getattr(self.tokenizer, "truncation_side", "right") == "left"

    def tokenized(self, text: str, side: str, *, framed: bool) -> list[int]:
        """Ids of a text, in the tokenizer's mode for sources or for outputs."""
        options = {"add_special_tokens": framed, "return_attention_mask": False, "verbose": False}
        has_one_mode = not self.is_encoder_decoder or (not framed and self.has_no_target_language())
        if side == "source" or has_one_mode:
            return list(self.tokenizer(text, **options)["input_ids"])
        with self._target_mode_left():
            return list(self.tokenizer(text_target=text, **options)["input_ids"])

    @contextmanager
    def _target_mode_left(self) -> Iterator[None]:
        """A tokenizer that fails in its target mode is switched back."""
        try:
            yield
        except (KeyError, TypeError, AttributeError) as error:
            if hasattr(self.tokenizer, "_switch_to_input_mode"):
                self.tokenizer._switch_to_input_mode()
            raise self.no_target_language() from error

    def languages(self) -> tuple[str | None, ...]:
        """The languages of source and target."""
        return tuple(getattr(self.tokenizer, name, None) for name in ("src_lang", "tgt_lang"))

    def has_no_target_language(self) -> bool:
        """Whether the tokenizer knows target languages, and was not told which."""
        return getattr(self.tokenizer, "tgt_lang", "") is None

    def no_target_language(self) -> InvalidArgumentError:
        """What to say where an output's language has to be known."""
        return InvalidArgumentError(
            f"The tokenizer of {self.model_name} does not know which language the output is in (tgt_lang is "
            f"{getattr(self.tokenizer, 'tgt_lang', None)!r}).\n"
            "  Load it with tokenizer_kwargs={'src_lang': …, 'tgt_lang': …}."
        )

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids."""
        return str(self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens))

    def plain(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens, no space of it tidied up."""
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def chat_template(self) -> Any:
        """The tokenizer's own template, or templates by name."""
        return getattr(self.tokenizer, "chat_template", None)

    def render_chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
        """Messages written with the template."""
        return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False, **options))

    def token_starts(self, text: str, ids: Sequence[int]) -> list[int]:
        """(L,) where in ``text`` each token of it begins; from the tokenizer itself where it knows."""
        if not self.tokenizer.is_fast:
            return super().token_starts(text, ids)
        options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
        return spread(self.tokenizer(text, **options)["offset_mapping"])
