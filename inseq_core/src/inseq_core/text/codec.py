"""Text to ids and back, whatever the framework's tokenizer.

A tokenizer puts a *frame* around a text: special tokens before and after it. What generation continues must
not end in an end token, a language code after the end token is where the decoder starts, and what continues
given ids must be tokenised as a continuation, never together with the text of those ids. All three are
decided in ids.
Axes: S source positions, L target positions.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import TokenTexts
from inseq_core.data.batch import IntArray
from inseq_core.errors import (
    CapabilityError,
    ForcedTextError,
    InvalidArgumentError,
    TextTooLongError,
    invalid,
)
from inseq_core.text.pieces import Pieces

_ANCHORS = ("\n", "x", ".", ":", "q", "*", "7", "的")
"""Put before a continuation while it is tokenised, and cut off: so it does not look like a beginning."""


@attrs.frozen(kw_only=True)
class Frame:
    """Special tokens that a tokenizer puts around a text.

    Attributes:
        before, after: their ids.
    """

    before: tuple[int, ...] = attrs.field(default=(), converter=tuple[int, ...])
    after: tuple[int, ...] = attrs.field(default=(), converter=tuple[int, ...])


@attrs.define(kw_only=True, eq=False)
class TextCodec(abc.ABC):
    """One tokenizer, and how a model wants its texts.

    A framework's own codec derives from it, and says what its tokenizer does: ``tokenized``, ``decode``,
    ``special``; and where it has them, languages and chat templates.

    Attributes:
        model_name: for messages.
        vocabulary_size: rows of the decoder's embedding.
        source_vocabulary_size: rows of the encoder's, for models that have two vocabularies.
        start_id: what an empty prompt, or the decoder of an encoder–decoder model, begins with; None if there
            is none.
        forced_start_id: the first token that the model's own settings force on its output, if they do.
        is_encoder_decoder: whether prompts are sources.
        starts_with_last_label: the model's decoder starts with the last token that the tokenizer writes for
            an output (mBART: its language), instead of a start token of its own.
        pieces: ids as pieces.
    """

    model_name: str
    vocabulary_size: int
    start_id: int | None = None
    forced_start_id: int | None = None
    is_encoder_decoder: bool = False
    source_vocabulary_size: int | None = None
    starts_with_last_label: bool = False
    pieces: Pieces
    _frames: dict[Any, Frame] = attrs.field(factory=dict, init=False)

    @abc.abstractmethod
    def tokenized(self, text: str, side: str, *, framed: bool) -> list[int]:
        """Ids of a text.

        Args:
            side: "source" for sources and prompts, "target" for outputs of encoder–decoder models.
            framed: with the special tokens that the tokenizer puts around it.
        """

    @abc.abstractmethod
    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids."""

    @abc.abstractmethod
    def special(self, name: str) -> int | None:
        """The id of the special token called "bos", "eos", "unk", "pad", "mask", "cls" or "sep"."""

    def plain(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens, no space of it tidied up."""
        return self.decode(ids, True)

    @property
    def cuts_left(self) -> bool:
        """Whether what is too long loses its beginning, instead of its end."""
        return False

    def languages(self) -> tuple[str | None, ...]:
        """The languages that the tokenizer is set to, for those that are; frames depend on them."""
        return ()

    def has_no_target_language(self) -> bool:
        """Whether the tokenizer knows target languages, and was not told which."""
        return False

    def no_target_language(self) -> InvalidArgumentError:
        """What to say where an output's language has to be known."""
        return InvalidArgumentError(
            f"The tokenizer of {self.model_name} does not know which language the output is in."
        )

    def chat_template(self) -> Any:
        """The Jinja template that messages are written with (several by name, for some); None for none."""
        return None

    def render_chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
        """Messages written with the template: see ``inseq_core.text.chat``."""
        raise CapabilityError(f"The tokenizer of {self.model_name} has no chat template.")

    def token_starts(self, text: str, ids: Sequence[int]) -> list[int]:
        """(L,) where in ``text`` each token of it begins."""
        return [len(self.decode(ids[:k], skip_special_tokens=False)) for k in range(len(ids))]

    @property
    def eos_ids(self) -> frozenset[int]:
        """What ends a text: EOS, and the separator where that stands at the end of the frame."""
        eos, separator = self.special("eos"), self.special("sep")
        ends = {eos}
        if eos is None or separator in self.frame("source").after:
            ends.add(separator)
        return frozenset(i for i in ends if i is not None)

    @property
    def start_ids(self) -> frozenset[int]:
        """What begins a text: BOS or its like, and what an empty prompt begins with."""
        starts = {self.special("bos"), self.special("cls"), self.start_id}
        return frozenset(i for i in starts if i is not None)

    def frame(self, side: str) -> Frame:
        """The frame around sources (or prompts) and around outputs."""
        key = (side, *self.languages())
        if key not in self._frames:
            self._frames[key] = self._probed_frame(side)
        return self._frames[key]

    def _probed_frame(self, side: str) -> Frame:
        """What stands around a short text."""
        for text in _ANCHORS:
            bare, framed = self.bare(text, side), self._framed(text, side)
            for start in range(len(framed) - len(bare) + 1):
                if bare and framed[start : start + len(bare)] == bare:
                    return Frame(before=framed[:start], after=framed[start + len(bare) :])
        return Frame()

    def bare(self, text: str, side: str = "source") -> list[int]:
        """Ids of a text, without a frame."""
        return self._checked(self.tokenized(text, side, framed=False), text, side)

    def _framed(self, text: str, side: str) -> list[int]:
        return self._checked(self.tokenized(text, side, framed=True), text, side)

    def _size(self, side: str) -> int:
        """Ids that a side's embedding has rows for."""
        own = self.source_vocabulary_size if side == "source" else None
        return self.vocabulary_size if own is None else own

    def _checked(self, ids: list[int], text: str, side: str) -> list[int]:
        size = self._size(side)
        beyond = [i for i in ids if i >= size]
        if beyond:
            raise InvalidArgumentError(
                f"The tokenizer writes {text[:40]!r} with id {beyond[0]}, but {self.model_name} has "
                f"embeddings for {size} ids only.\n"
                "  Load the tokenizer that belongs to the model: tokenizer=…"
            )
        return ids

    def source_ids(self, text: str, *, limit: int | None = None, truncate: bool = False) -> list[int]:
        """(S,) encoder ids in the tokenizer's own frame.

        Raises:
            TextTooLongError: more than ``limit``, unless they are to be cut.
        """
        ids = self._framed(text, "source")
        if limit is None or len(ids) <= limit:
            return ids
        if not truncate:
            raise self._too_long(len(ids), limit, "source")
        frame = self.frame("source")
        room = max(limit - len(frame.before) - len(frame.after), 0)
        return [*frame.before, *self._cut(self.bare(text), room), *frame.after]

    def prompt_ids(
        self, text: str, *, limit: int | None = None, truncate: bool = False, room: int = 0
    ) -> list[int]:
        """(L,) ids that a decoder-only model continues: the frame's beginning, not its end.

        A prompt without any token becomes the start token, so that there is a position to predict from.

        Args:
            room: positions to leave free behind a prompt that is cut.

        Raises:
            TextTooLongError: more than ``limit``, unless they are to be cut.
        """
        before, bare = self.frame("source").before, self.bare(text)
        if limit is not None and len(before) + len(bare) > limit:
            if not truncate:
                raise self._too_long(len(before) + len(bare), limit, "prompt")
            bare = self._cut(bare, max(limit - len(before) - room, 1))
        ids = [*before, *bare]
        if ids:
            return ids
        if self.start_id is None:
            raise InvalidArgumentError(
                f"The prompt {text!r} has no tokens, and {self.model_name} has no start token.\n"
                "  Give it at least one word."
            )
        return [self.start_id]

    def _cut(self, ids: list[int], room: int) -> list[int]:
        if self.cuts_left:
            return ids[len(ids) - room :]
        return ids[:room]

    def _too_long(self, length: int, limit: int, what: str) -> TextTooLongError:
        return TextTooLongError(
            f"The {what} has {length} tokens: {self.model_name} has {limit} positions.\n"
            "  Shorten it, or let it be cut with truncation=True."
        )

    def continued(self, given_ids: Sequence[int], given_text: str, text: str) -> list[int]:
        """(L,) ids of ``text``, beginning with ``given_ids``.

        The whole text is tokenised; where that does not begin with the given ids (the prompt ends inside a
        merge, is a chat, ends in a space), what follows the prompt is tokenised as a continuation of it. The prompt
        may stand in it as it was given, or as its ids are decoded.

        Raises:
            ForcedTextError: ``text`` does not begin with ``given_text``.
        """
        given = [int(i) for i in given_ids]
        if not given_text or not text.startswith(given_text):
            # results hold outputs without special tokens, as the tokenizer normalises, and a chat's as a whole
            shown = self.plain(given)
            given_text = shown if shown.strip() and text.startswith(shown) else given_text
        if not text.startswith(given_text):
            own, other = _where_they_differ(text, given_text)
            raise ForcedTextError(
                f"The output does not begin with the input: it has {own} where the input has {other}.\n"
                "  The output of a decoder-only model is the full text: the input, then what follows it."
            )
        rest, begun = text[len(given_text) :], self.bare(given_text)
        for before in ((), self.frame("source").before):
            if [*before, *begun] == given:
                whole = [*before, *self.bare(text)]
                if whole[: len(given)] == given:
                    return whole
        return [*given, *self._continuation(given, rest, self.plain(self.bare(text)))] if rest else given

    def _continuation(self, given: list[int], rest: str, whole: str) -> list[int]:
        """Ids of ``rest`` that, after given ids, decode to the whole text, if any way of cutting does."""
        plain = self.bare(rest)
        candidates = [plain]
        for anchor in _ANCHORS:
            begun, both = self.bare(anchor), self.bare(anchor + rest)
            if begun and both[: len(begun)] == begun and len(both) > len(begun):
                candidates.append(both[len(begun) :])
        wanted = (whole, self.plain(given) + rest)
        return next((ids for ids in candidates if ids and self.plain([*given, *ids]) in wanted), plain)

    def decoder_start(self) -> int:
        """The id at position 0 of an encoder–decoder model's target.

        Its start token, or the language code that the tokenizer writes last (mBART).
        """
        if self.starts_with_last_label and not self.has_no_target_language():
            after = self.frame("target").after
            if len(after) > 1:
                return after[-1]
        if self.start_id is None:
            raise InvalidArgumentError(
                f"{self.model_name} does not say what its decoder starts with.\n"
                "  Set model.config.decoder_start_token_id."
            )
        return self.start_id

    def output_ids(self, text: str) -> list[int]:
        """(L,) ids of a forced output of an encoder–decoder model, from start to end token."""
        frame = self._output_frame()
        return [self.decoder_start(), *frame.before, *self.bare(text, "target"), *frame.after]

    def begun_ids(self, prefix: str | None) -> list[int]:
        """(L0,) ids that generation of an encoder–decoder model starts from: the start token, and a forced
        prefix.

        Without a prefix a language code is left to the model, which is made to write it first.
        """
        if not prefix:
            return [self.decoder_start()]
        return [self.decoder_start(), *self._output_frame().before, *self.bare(prefix, "target")]

    def _output_frame(self) -> Frame:
        """The frame around outputs as the decoder writes them: a language code first, the end last."""
        if self.has_no_target_language():
            return self._frame_without_language()
        frame = self.frame("target")
        if len(frame.after) < 2:
            return frame
        language = () if self.starts_with_last_label else frame.after[-1:]
        return Frame(before=(*language, *frame.before), after=frame.after[:1])

    def _frame_without_language(self) -> Frame:
        """Frame of outputs without a language of the tokenizer's: in the one that the model forces."""
        source = self.frame("source")
        if source.before and source.before[0] not in self.start_ids:  # the code stands first (M2M100, NLLB)
            if self.forced_start_id is None:
                raise self.no_target_language()
            return Frame(before=(self.forced_start_id,), after=source.after)
        if len(source.after) > 1:  # the code stands last, and is the decoder's start (mBART)
            return Frame(before=source.before, after=source.after[:1])
        return source

    def language_id(self) -> int | None:
        """The language code that outputs begin with, where the tokenizer was told one."""
        if not self.is_encoder_decoder or self.has_no_target_language():
            return None
        before = self._output_frame().before
        return before[0] if before and before[0] not in self.start_ids else None

    def token_texts(self, ids: Sequence[int], side: str) -> TokenTexts:
        """How ids are shown (``Pieces.texts``)."""
        return self.pieces.texts(ids, side)

    def token_ids(self, tokens: Sequence[str], side: str) -> list[int]:
        """Ids of pieces; the unknown token for those that the vocabulary does not have.

        Raises:
            InvalidArgumentError: a piece that is not there, where there is no unknown token either.
        """
        ids = []
        for token in tokens:
            found = self.pieces.id_of(token, side)
            if found is None:
                found = self.special("unk")
            if found is None:
                raise invalid("token", token, f"a piece of the vocabulary of {self.model_name}")
            ids.append(int(found))
        return ids

    def baseline_id(self, baseline: str | int, side: str) -> int:
        """The id that a baseline stands for: see ``ModelAdapter.baseline_ids``.

        Raises:
            InvalidArgumentError: a token that the tokenizer does not have, or more than one.
        """
        if isinstance(baseline, (int, np.integer)) and not isinstance(baseline, bool):
            if 0 <= baseline < self._size(side):
                return int(baseline)
            raise invalid("baseline", baseline, f"an id from 0 to {self._size(side) - 1}")
        if not isinstance(baseline, str):
            raise invalid("baseline", baseline, "'unk', 'pad', 'mask', 'eos', 'bos', an id, or a token")
        orders = {
            "unk": ("unk", "pad", "eos"),
            "pad": ("pad", "eos"),
            "mask": ("mask",),
            "eos": ("eos", "sep"),
        }
        orders["bos"] = ("bos", "cls")
        for name in orders.get(baseline, ()):
            found = self.special(name)
            if found is not None and found < self._size(side):
                return int(found)
        if baseline in orders:
            raise InvalidArgumentError(
                f"baseline = {baseline!r}: the tokenizer of {self.model_name} has no such token.\n"
                "  Use 'unk', or the text of a token."
            )
        found = self.pieces.id_of(baseline, side)
        if found is not None:
            return found
        ids = self.bare(baseline, side)
        if len(ids) == 1 and ids[0] != self.special("unk"):
            return ids[0]
        pieces = ", ".join(map(repr, self.token_texts(ids, side).tokens)) or "nothing"
        raise InvalidArgumentError(
            f"baseline = {baseline!r} is not one token of {self.model_name}: it is written {pieces}.\n"
            "  Use 'unk', 'pad', 'mask', 'eos', or a single token."
        )

    def kept(self, ids: IntArray, side: str, include_eos: bool) -> np.ndarray:
        """(len(ids),) True where no baseline goes: start tokens, language codes, ends.

        ``include_eos`` gives the ends a baseline too.
        """
        ids = np.asarray(ids, dtype=np.int64)
        frame = self.frame(side) if side == "source" or not self.has_no_target_language() else Frame()
        framing = {
            *frame.before,
            *frame.after,
            self.special("bos"),
            self.special("cls"),
        }
        if side == "target" and self.is_encoder_decoder:
            framing.add(self.forced_start_id)
        ends = self.eos_ids
        kept = np.isin(ids, [i for i in framing if i is not None and i not in ends])
        if not include_eos:
            kept |= np.isin(ids, list(ends))
        if len(ids):
            is_start = side == "target" and self.is_encoder_decoder
            kept[0] |= is_start or (
                (side != "source" or not self.is_encoder_decoder) and int(ids[0]) in self.start_ids
            )
        return kept


def _where_they_differ(text: str, other: str, around: int = 20) -> tuple[str, str]:
    """Both texts around the first letter in which they differ, as literals."""
    pairs = zip(text, other, strict=False)
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(text), len(other)))
    start, stop = max(same - around, 0), same + around
    shown = [f"{'…' * (start > 0)}{t[start:stop]}{'…' * (len(t) > stop)}" for t in (text, other)]
    return repr(shown[0]), repr(shown[1])
