"""The model adapter: the framework side.

Text in, token ids and numbers out. An adapter that offers only ``SCORES`` (a remote server, a GGUF file, an
n-gram model in numpy) implements the abstract methods below and serves every removal method, aggregator, view
and command. Arrays that it hands out (``forward_rows``, ``as_array``) are its framework's own.
Axes: B sequences, S source positions, L target positions, R rows, D hidden, V vocabulary.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import EncodedText, IntArray, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.data.token import Segment

if TYPE_CHECKING:
    from inseq_core.contracts.context import AttributionContext, ContextRequest
    from inseq_core.hooks.specs import Capability, MethodSpec


@attrs.frozen(kw_only=True)
class ModelProfile:
    """Plain facts about a loaded model, kept in every result's info.

    Attributes:
        max_source, max_target: positions the model can take; None where it has no limit.
        vocabulary_size: V.
    """

    name: str
    model_class: str
    framework: str
    tokenizer_name: str = ""
    tokenizer_class: str = ""
    dtype: str = ""
    device: str = ""
    vocabulary_size: int = 0
    max_source: int | None = None
    max_target: int | None = None
    versions: Mapping[str, str] = attrs.field(factory=dict, eq=False)


@attrs.frozen(kw_only=True, eq=False)
class EncodedInput:
    """One input text or chat in ids, before generation.

    Attributes:
        ids: prompt ids (decoder-only) or encoder ids (encoder–decoder).
        text: what it was made from (a chat: the rendered template).
        segments: turns, roles, special spans, in positions of ``ids``.
    """

    ids: tuple[int, ...] = attrs.field(converter=tuple[int, ...])
    text: str = ""
    segments: tuple[Segment, ...] = ()


@attrs.frozen(kw_only=True, eq=False)
class TokenTexts:
    """How ids are shown.

    Attributes:
        tokens: one string an id, as the tokenizer writes the piece, made readable where it is bytes.
        word_starts: True where a piece begins a word.
        special: True for special tokens (start, end, padding, chat markers).
    """

    tokens: tuple[str, ...]
    word_starts: tuple[bool, ...]
    special: tuple[bool, ...]


class ModelAdapter(abc.ABC):
    """A loaded model, behind one interface for every framework."""

    capabilities: frozenset[Capability]
    is_encoder_decoder: bool
    profile: ModelProfile
    pad_id: int
    removals: frozenset[str] = frozenset({"token", "delete", "sample"})
    """Ways to remove a feature; those that change ids only are served for every adapter."""
    special_tokens: tuple[str, ...] = ()
    """Start, end, padding and the like, as ``token_texts`` writes them."""
    counts: Mapping[str, int] = MappingProxyType({})
    """Running totals of the work done ("forward", "backward" …); the difference over a call goes into its
    info.
    """

    @abc.abstractmethod
    def encode_input(self, text: str, *, truncate: bool = False) -> EncodedInput:
        """An input text in ids, with the special tokens that the model expects around an input."""

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **template: Any) -> EncodedInput:
        """Chat messages through the tokenizer's template, with turns as segments."""
        from inseq_core.errors import CapabilityError

        raise CapabilityError(f"{self.profile.name} has no chat template: pass the text itself.")

    @abc.abstractmethod
    def encode_output(self, text: str, given: EncodedInput) -> IntArray:
        """(L,) target ids of a forced output.

        Decoder-only: ``text`` is the full text, beginning with the input's; the result begins with
        ``given.ids``. Encoder–decoder: start token(s), the text's ids, EOS.

        Raises:
            ForcedTextError: a decoder-only text that does not continue its input.
        """

    @abc.abstractmethod
    def start_ids(self, given: EncodedInput, prefix: str | None = None) -> IntArray:
        """(L0,) target ids that generation starts from: the prompt, or the decoder start token and a forced
        prefix.
        """

    def output_segments(self, text: EncodedText) -> tuple[Segment, ...]:
        """Labelled spans of what was generated or forced: reasoning between markers, the answer after it."""
        return ()

    @abc.abstractmethod
    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of target ids."""

    @abc.abstractmethod
    def token_texts(self, ids: Sequence[int], side: str = "target") -> TokenTexts:
        """How ids are shown, and where words begin."""

    def token_ids(self, tokens: Sequence[str], side: str = "target") -> list[int]:
        """Ids of pieces written as ``token_texts`` writes them."""
        return [self.baseline_ids(token, side) for token in tokens]

    @abc.abstractmethod
    def baseline_ids(self, baseline: str | int, side: str = "target") -> int:
        """The id that ``"unk"``, ``"pad"``, ``"mask"``, ``"eos"`` or a token's text stands for.

        ``"unk"`` falls back to pad, then to EOS, where the tokenizer has none.
        """

    @abc.abstractmethod
    def kept_in_baseline(self, ids: IntArray, side: str, include_eos: bool) -> np.ndarray:
        """(len(ids),) True at positions that no baseline replaces and no feature covers: BOS, decoder start,
        EOS.
        """

    @abc.abstractmethod
    def generate(self, texts: Sequence[EncodedText], generation_args: Mapping[str, Any]) -> list[IntArray]:
        """Target ids of each text, generation included (``target_ids[:prompt_length]`` is where it
        starts).
        """

    @abc.abstractmethod
    def forward_rows(self, batch: TokenBatch, grid: StepGrid) -> ForwardOutput:
        """Logits (R, 1, V) of every row from one pass over the batch, or as few as memory allows."""

    def forward_versions(self, batch: TokenBatch, grid: StepGrid) -> Iterator[tuple[IntArray, ForwardOutput]]:
        """Logits of the rows of many versions of one text, some rows at a time, so that they are never held
        all at once.

        Args:
            batch: the versions; the first is the unchanged text, which may have no rows.
            grid: the rows wanted.

        Yields:
            rows of ``grid``, and what the model said at them.
        """
        from inseq_core.contracts.memory import in_parts, local_grid, rows_of, sequence_parts

        def forward(sequences: IntArray) -> tuple[IntArray, ForwardOutput]:
            rows = rows_of(grid, sequences)
            return rows, self.forward_rows(batch.take(sequences), local_grid(grid, rows, sequences))

        yield from in_parts(self, sequence_parts(batch, grid, self.profile.vocabulary_size), forward)

    @abc.abstractmethod
    def as_array(self, values: np.ndarray) -> Any:
        """A numpy array as the framework's own array, on the model's device."""

    @abc.abstractmethod
    def to_numpy(self, values: Any) -> np.ndarray:
        """The framework's array as float32 / float64 / int64 numpy, off the device."""

    def embed(self, ids: Any, side: str = "target") -> Any:
        """Embeddings of framework ids, for adapters that have them."""
        from inseq_core.errors import CapabilityError

        raise CapabilityError(f"{self.profile.framework} models give no embeddings ({self.profile.name}).")

    def embedding_matrix(self, side: str = "target") -> Any:
        """(V, D) embeddings of the whole vocabulary, for adapters that have them."""
        from inseq_core.errors import CapabilityError

        raise CapabilityError(f"{self.profile.framework} models give no embeddings ({self.profile.name}).")

    def word_encoder(self, encoder: Any) -> Callable[[Sequence[str]], np.ndarray]:
        """What gives the words of a text their vectors: list of n words -> (n, D), each word in its context.

        Args:
            encoder: the name of an encoder of this framework, or one itself.
        """
        from inseq_core.errors import CapabilityError

        raise CapabilityError(
            f"{self.profile.framework} models have no encoders by name.\n"
            "  Give a function that takes a list of n words and returns vectors (n, D)."
        )

    def to_device(self, device: str) -> None:
        """Move the model, and say so in ``profile``."""
        from inseq_core.errors import CapabilityError

        raise CapabilityError(
            f"{self.profile.framework} models cannot be moved to {device!r} ({self.profile.name})."
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the self-check found about the model, in words, for the info of results."""
        return ()

    def context(self, request: ContextRequest) -> AttributionContext:
        """What a method sees. Adapters with more than scores return a richer context."""
        from inseq_core.contracts.context import AttributionContext

        return AttributionContext(self, request)

    def plan(self, batch: TokenBatch, grid: StepGrid, method: MethodSpec) -> list[IntArray]:
        """Rows to attribute together, one array a context. The default is everything at once."""
        return [np.arange(len(grid), dtype=np.int64)]

    def self_check(self, batch: TokenBatch) -> None:
        """Prove what the engine relies on: on a few tokens, once a loaded model; and again on texts that are longer than those
        before them, where it may depend on the length.

        Called with every batch of a call before any of them is worked on.

        Raises:
            SelfCheckError: no way of running this model would be right.
        """

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether ``error`` means that less work at once could succeed."""
        return isinstance(error, MemoryError)

    def free_memory(self) -> None:
        """Give back what the framework caches, after an out-of-memory error."""

    def attributing(self) -> AbstractContextManager[None]:
        """A ``with`` block around all the work of a call: what the framework needs set up for it, whatever the
        caller's code around it set.
        """
        return nullcontext()

    def quiet(self) -> AbstractContextManager[None]:
        """A ``with`` block in which the model is in its mode for prediction; its own mode is restored after
        it.
        """
        return nullcontext()

    def dropout(self, seed: int | None = None) -> AbstractContextManager[int]:
        """A ``with`` block in which dropout is active; the model's mode is restored after it.

        Gives the number of places in the model at which something is dropped, 0 for a model without dropout.

        Args:
            seed: of the draws; the framework's global generator is left as it was. None draws from that.
        """
        from inseq_core.errors import CapabilityError

        raise CapabilityError(
            f"{self.profile.framework} models cannot switch dropout on ({self.profile.name})."
        )

    def dropout_places(self) -> int:
        """The number of places at which ``dropout`` would drop something, without switching it on if that can be helped: it is
        asked while another call may be at work with the model.
        """
        with self.dropout() as places:
            return places

    def close(self) -> None:
        """Let go of what the adapter holds."""


def whole_chat(adapter: ModelAdapter, given: EncodedInput, text: str) -> str:
    """A chat with its answer, of which ``text`` is all or the last part: nobody should have to write a template out.

    Args:
        text: the answer; or the whole chat, as its template writes it or as results hold it, decoded.
    """
    if text.startswith(given.text):
        return text
    shown = adapter.decode(given.ids, True)
    return given.text + (text[len(shown) :] if shown.strip() and text.startswith(shown) else text)
