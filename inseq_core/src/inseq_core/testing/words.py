"""How the toy models read and write: words separated by spaces, four special tokens, greedy generation.

The text side of every toy adapter. A toy adds numbers to it: ``next_logits`` for generation, and the passes
of its framework. Two switches let the conformance kit look at what the engine does: ``rows_at_once`` cuts the
rows of a call into contexts of that many, ``passes_left`` makes the model fail in the middle of a later pass.
Axes: L target positions, R rows, V vocabulary.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import EncodedInput, ModelAdapter, ModelProfile, TokenTexts
from inseq_core.data.batch import EncodedText, IntArray, TokenBatch, as_ids
from inseq_core.data.steps import StepGrid
from inseq_core.data.token import Segment
from inseq_core.errors import ForcedTextError, invalid, unknown_argument
from inseq_core.hooks.specs import MethodSpec

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
_NOUNS = ("dog", "cat", "man", "woman", "she", "he", "it")
_VERBS = ("sees", "likes", "hears", "is", "was")
WORDS = ("the", "a", *_NOUNS, *_VERBS, "because", "red", "blue", "small", ".")


class ToyFailure(RuntimeError):
    """The failure that a toy was asked for."""


class WordReader(ModelAdapter):
    """The text side of a toy model.

    Args:
        words: vocabulary beside the special tokens.
        is_encoder_decoder: reads a source, and begins its target with ``<s>``.
        adds_bos: decoder-only prompts begin with ``<s>``.
        max_target: positions it claims to have, to try out what is too long.
        dtype: what its profile says about its numbers.

    Attributes:
        rows_at_once: rows of one context; None leaves the plan to the framework.
        passes_left: forward passes before the model fails with ``ToyFailure``; None: it never does.
    """

    pad_id = PAD
    special_tokens = SPECIAL
    rows_at_once: int | None = None
    passes_left: int | None = None

    def read_words(
        self,
        words: Iterable[str] = WORDS,
        *,
        is_encoder_decoder: bool = False,
        adds_bos: bool = True,
        max_target: int | None = None,
        dtype: str = "float64",
    ) -> None:
        """Set the vocabulary and the profile; called by the toy's constructor."""
        self.vocabulary = (*SPECIAL, *words)
        self.ids = {word: i for i, word in enumerate(self.vocabulary)}
        self.is_encoder_decoder = is_encoder_decoder
        self.adds_bos = adds_bos
        self.profile = ModelProfile(
            name="toy-translator" if is_encoder_decoder else "toy-lm",
            model_class=type(self).__name__,
            framework="toy",
            tokenizer_name="words",
            tokenizer_class="str.split",
            dtype=dtype,
            device="cpu",
            vocabulary_size=len(self.vocabulary),
            max_target=max_target,
        )

    @abc.abstractmethod
    def next_logits(self, text: EncodedText) -> np.ndarray:
        """(V,) logits of the token that comes after ``text.target_ids``."""

    def spend_pass(self) -> None:
        """Count a forward pass; called in its middle.

        Raises:
            ToyFailure: this was one too many.
        """
        if self.passes_left is not None:
            self.passes_left -= 1
            if self.passes_left < 0:
                raise ToyFailure("the toy model failed in the middle of a forward pass, as it was asked to")

    def plan(self, batch: TokenBatch, grid: StepGrid, method: MethodSpec) -> list[IntArray]:
        """``rows_at_once`` rows a context, unless the method wants all steps of a text."""
        if self.rows_at_once is None or method.all_steps:
            return super().plan(batch, grid, method)
        rows = np.arange(len(grid), dtype=np.int64)
        return [rows[i : i + self.rows_at_once] for i in range(0, len(rows), self.rows_at_once)]

    def _ids_of(self, text: str) -> list[int]:
        return [self.ids.get(word, UNK) for word in text.split()]

    def encode_input(self, text: str, *, truncate: bool = False) -> EncodedInput:
        """Words as ids, ``</s>`` after a source, ``<s>`` before a prompt."""
        ids = self._ids_of(text)
        if self.is_encoder_decoder:
            ids.append(EOS)
        elif self.adds_bos or not ids:
            ids.insert(0, BOS)
        if truncate and self.profile.max_target is not None:
            ids = ids[: self.profile.max_target]
        return EncodedInput(ids=ids, text=text)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **template: Any) -> EncodedInput:
        """``<s> role : content`` for each message, each a turn."""
        if template:
            raise unknown_argument(
                next(iter(template)), "the chat template of the toy model", {"the template": []}
            )
        ids: list[int] = []
        segments = []
        for message in messages:
            start = len(ids)
            ids += [BOS, *self._ids_of(f"{message['role']} : {message['content']}")]
            side = "source" if self.is_encoder_decoder else "target"
            segments.append(Segment(label=message["role"], start=start, end=len(ids), kind="turn", side=side))
        text = self.decode(ids, skip_special_tokens=False)
        return EncodedInput(ids=ids, text=text, segments=tuple(segments))

    def encode_output(self, text: str, given: EncodedInput) -> IntArray:
        """Decoder-only: the full text; encoder–decoder: ``<s>``, the words, ``</s>``."""
        if self.is_encoder_decoder:
            return as_ids([BOS, *self._ids_of(text), EOS])
        if not text.startswith(given.text):
            raise ForcedTextError(
                f"{text!r} does not begin with the input {given.text!r}.\n  Pass the full text."
            )
        return as_ids([*given.ids, *self._ids_of(text[len(given.text) :])])

    def start_ids(self, given: EncodedInput, prefix: str | None = None) -> IntArray:
        """The prompt, or ``<s>`` and the words of ``prefix``."""
        forced = self._ids_of(prefix or "")
        return as_ids([BOS, *forced] if self.is_encoder_decoder else [*given.ids, *forced])

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Words joined by spaces."""
        first = len(SPECIAL) if skip_special_tokens else 0
        return " ".join(self.vocabulary[i] for i in ids if i >= first)

    def token_texts(self, ids: Sequence[int], side: str = "target") -> TokenTexts:
        """Every word begins a word."""
        return TokenTexts(
            tokens=tuple(self.vocabulary[i] for i in ids),
            word_starts=(True,) * len(ids),
            special=tuple(i < len(SPECIAL) for i in ids),
        )

    def token_ids(self, tokens: Sequence[str], side: str = "target") -> list[int]:
        """Ids of words; ``<unk>`` for unknown ones."""
        return [self.ids.get(token, UNK) for token in tokens]

    def baseline_ids(self, baseline: str | int, side: str = "target") -> int:
        """A special token by its short name, or a word."""
        if isinstance(baseline, int):
            return baseline
        short = {"pad": PAD, "bos": BOS, "eos": EOS, "unk": UNK, "mask": UNK}
        if baseline not in short and baseline not in self.ids:
            raise invalid("baseline", baseline, f"one of {', '.join(short)}, or a word of the vocabulary")
        return short[baseline] if baseline in short else self.ids[baseline]

    def kept_in_baseline(self, ids: IntArray, side: str, include_eos: bool) -> np.ndarray:
        """``<s>`` always, ``</s>`` unless ``include_eos``."""
        return (ids == BOS) | ((ids == EOS) & (not include_eos))

    def generate(self, texts: Sequence[EncodedText], generation_args: Mapping[str, Any]) -> list[IntArray]:
        """The most likely token, up to ``max_new_tokens`` (8) or ``</s>``."""
        for name in generation_args:
            if name != "max_new_tokens":
                raise unknown_argument(name, "generate()", {"the toy model": ["max_new_tokens"]})
        finished = []
        for text in texts:
            ids = list(text.target_ids)
            for _ in range(generation_args.get("max_new_tokens", 8)):
                so_far = attrs.evolve(text, target_ids=ids, target_kept=None, target_blank=None)
                ids.append(int(self.next_logits(so_far).argmax()))
                if ids[-1] == EOS:
                    break
            finished.append(as_ids(ids))
        return finished
