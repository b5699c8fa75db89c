"""Toy models in numpy that can be solved by hand.

``BagModel`` is a language model whose logits are a sum of one vector for each token before the step, weighted
by how far back it stands. So the truth is known: removing a token (by ``<unk>``, whose vector is zero) takes
away exactly its vector, and generation and likelihood have closed forms. It reads words separated by spaces,
and offers scores and generation only: what the pipeline, removal methods, aggregators, views and commands
need. Axes: B sequences, S source positions, L target positions, R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.contracts.adapter import EncodedInput, ModelAdapter, ModelProfile, TokenTexts
from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import EncodedText, IntArray, TokenBatch, as_ids
from inseq_core.data.steps import StepGrid
from inseq_core.data.token import Segment
from inseq_core.errors import ForcedTextError, invalid, unknown_argument
from inseq_core.hooks.specs import AdapterSpec, Capability

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
_NOUNS = ("dog", "cat", "man", "woman", "she", "he", "it")
_VERBS = ("sees", "likes", "hears", "is", "was")
WORDS = ("the", "a", *_NOUNS, *_VERBS, "because", "red", "blue", "small", ".")


@attrs.frozen(kw_only=True, eq=False)
class BagWeights:
    """The numbers of a ``BagModel``.

    Attributes:
        bias: (V,) logits without any token.
        target, source: (V, V) row v is what a token v adds to the logits; the row of ``<unk>`` is zero.
        decay: what a target token adds is multiplied by decay ** (distance - 1); source tokens have no
            distance.
    """

    bias: np.ndarray
    target: np.ndarray
    source: np.ndarray
    decay: float = 0.8

    @classmethod
    def random(cls, size: int, seed: int = 0, scale: float = 1.0, decay: float = 0.8) -> BagWeights:
        """Normal draws; start, padding and ``<unk>`` are never likely."""
        generator = np.random.default_rng(seed)
        bias, target, source = (
            generator.normal(size=s) * scale for s in ((size,), (size, size), (size, size))
        )
        bias[[PAD, BOS, UNK]] = -30.0
        for matrix in (target, source):
            matrix[[PAD, UNK]] = 0.0
            matrix[:, [PAD, BOS, UNK]] = 0.0
        return cls(bias=bias, target=target, source=source, decay=decay)


class BagModel(ModelAdapter):
    """Logits that are a weighted sum over the tokens seen.

    Args:
        words: vocabulary beside the special tokens.
        weights: its numbers; drawn from ``seed`` by default.
        is_encoder_decoder: reads a source, and begins its target with ``<s>``.
        adds_bos: decoder-only prompts begin with ``<s>``.
        max_target: positions it claims to have, to try out what is too long.

    Attributes:
        passes: forward passes so far, with the number of sequences of each.
    """

    capabilities = frozenset({Capability.SCORES, Capability.GENERATE})
    removals = frozenset({"token", "delete", "sample", "mask"})
    pad_id = PAD
    special_tokens = SPECIAL

    def __init__(
        self,
        words: Iterable[str] = WORDS,
        *,
        weights: BagWeights | None = None,
        is_encoder_decoder: bool = False,
        adds_bos: bool = True,
        max_target: int | None = None,
        seed: int = 0,
    ) -> None:
        self.vocabulary = (*SPECIAL, *words)
        self.ids = {word: i for i, word in enumerate(self.vocabulary)}
        self.weights = weights or BagWeights.random(len(self.vocabulary), seed)
        self.is_encoder_decoder = is_encoder_decoder
        self.adds_bos = adds_bos
        self.passes: list[int] = []
        self.profile = ModelProfile(
            name="toy-translator" if is_encoder_decoder else "toy-lm",
            model_class=type(self).__name__,
            framework="toy",
            tokenizer_name="words",
            tokenizer_class="str.split",
            dtype="float64",
            device="cpu",
            vocabulary_size=len(self.vocabulary),
            max_target=max_target,
        )

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

    def logits(self, text: EncodedText, position: int) -> np.ndarray:
        """(V,) logits of the token at target ``position``: the definition of the model, one row at a time."""
        ids = text.target_ids[:position]
        kept = np.ones(position) if text.target_kept is None else text.target_kept[:position].astype(float)
        distance = np.arange(position, 0, -1)
        logits = self.weights.bias + (kept * self.weights.decay ** (distance - 1)) @ self.weights.target[ids]
        if text.source_ids is not None:
            seen = (
                np.ones(len(text.source_ids)) if text.source_kept is None else text.source_kept.astype(float)
            )
            logits = logits + seen @ self.weights.source[text.source_ids]
        return logits

    def generate(self, texts: Sequence[EncodedText], generation_args: Mapping[str, Any]) -> list[IntArray]:
        """The most likely token, up to ``max_new_tokens`` (8) or ``</s>``."""
        for name in generation_args:
            if name != "max_new_tokens":
                raise unknown_argument(name, "generate()", {"the toy model": ["max_new_tokens"]})
        finished = []
        for text in texts:
            ids = list(text.target_ids)
            for _ in range(generation_args.get("max_new_tokens", 8)):
                ids.append(
                    int(self.logits(attrs.evolve(text, target_ids=ids, target_kept=None), len(ids)).argmax())
                )
                if ids[-1] == EOS:
                    break
            finished.append(as_ids(ids))
        return finished

    def forward_rows(self, batch: TokenBatch, grid: StepGrid) -> ForwardOutput:
        """(R, 1, V) logits; counted in ``passes``."""
        self.passes.append(len(batch))
        rows = [
            self.logits(batch.texts[b], s)
            for b, s in zip(grid.sequence.tolist(), grid.position.tolist(), strict=True)
        ]
        return ForwardOutput(logits=np.stack(rows)[:, None, :])

    def as_array(self, values: np.ndarray) -> np.ndarray:
        """Numpy is its framework."""
        return np.asarray(values)

    def to_numpy(self, values: Any) -> np.ndarray:
        """Numpy is its framework."""
        return np.asarray(values)


ADAPTER = AdapterSpec(
    name="toy", factory="inseq_core.testing.toys:load", summary="Toy models in numpy, solved by hand."
)
"""For ``register_adapter`` in tests and examples; no plugin provides it."""


def load(
    model: BagModel | str,
    *,
    device: str | None = None,
    tokenizer: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> BagModel:
    """A toy model as it is, or ``"toy-lm"`` or ``"toy-translator"`` made anew."""
    if isinstance(model, BagModel):
        return model
    if model not in ("toy-lm", "toy-translator"):
        raise invalid("model", model, "'toy-lm', 'toy-translator', or a BagModel")
    return BagModel(is_encoder_decoder=model == "toy-translator", seed=seed, **dict(model_kwargs or {}))
