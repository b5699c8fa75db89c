"""What a text is compared with: another source, another target, or both, in ids.

A contrast is drafted from what the user gave, before the model works, and finished when the text's own output
is known: where only a source (or prompt) was given, the output goes with it in ids, never tokenised again.
Axes: B texts, T steps of one text.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.aggregate.record import warn_of_meaning
from inseq_core.contracts.adapter import EncodedInput, ModelAdapter, whole_chat
from inseq_core.contracts.step_function import StepCall
from inseq_core.data.batch import EncodedText, IntArray, as_ids
from inseq_core.data.plain import items_of
from inseq_core.data.texts import InputText, as_inputs, as_texts
from inseq_core.errors import InvalidArgumentError, TextTooLongError, invalid
from inseq_core.step_functions.aligners import align, check_aligner, loaded_aligner
from inseq_core.step_functions.alignment import (
    AUTO,
    Alignment,
    along_pairs,
    as_alignments,
    check_range,
    from_the_right,
)

Encode = Callable[[InputText], EncodedInput]
Target = str | tuple[int, ...]
"""Another output: its text, or the ids of the whole target, which are used as they are."""


@attrs.frozen(kw_only=True, eq=False)
class ContrastChoice:
    """What the user gave, one entry a text.

    Attributes:
        sources: other sources (encoder–decoder) or prompts (decoder-only); None for the texts' own.
        targets: other outputs; decoder-only: full texts; ids of either; None for the texts' own.
        alignments: how the targets belong together.
        aligner: who finds that out, where it is to be found out.
    """

    sources: tuple[InputText, ...] | None
    targets: tuple[Target, ...] | None
    alignments: tuple[Alignment, ...]
    aligner: Any = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any], n_texts: int) -> ContrastChoice:
        """From the arguments of a contrastive function.

        Raises:
            InvalidArgumentError: nothing to compare with, another number of texts, or values of another kind.
        """
        sources, targets = arguments.get("contrast_sources"), arguments.get("contrast_targets")
        if sources is None and targets is None:
            raise InvalidArgumentError(
                "There is nothing to compare with: give contrast_targets (other outputs), contrast_sources "
                "(other inputs), or both."
            )
        alignments, aligner = arguments.get("contrast_targets_alignments"), arguments.get("contrast_aligner")
        if targets is None and alignments is not None:
            raise invalid("contrast_targets_alignments", alignments, "None, without contrast_targets")
        choice = cls(
            sources=None if sources is None else as_inputs("contrast_sources", sources),
            targets=None if targets is None else _as_targets("contrast_targets", targets),
            alignments=as_alignments(alignments, n_texts),
            aligner=aligner,
        )
        for name, given in (("contrast_sources", choice.sources), ("contrast_targets", choice.targets)):
            if given is not None and len(given) != n_texts:
                raise InvalidArgumentError(
                    f"{name} has {len(given)} texts for {n_texts} input_texts: expected one for each."
                )
        check_aligner(aligner)
        if aligner is not None and AUTO not in choice.alignments:
            raise invalid("contrast_aligner", aligner, "None, unless contrast_targets_alignments = 'auto'")
        return choice

    @property
    def key(self) -> Hashable:
        """Equal for equal choices."""
        return (
            "contrast",
            repr(self.sources),
            self.targets,
            self.alignments,
            repr(self.aligner),
            id(self.aligner),
        )


@attrs.frozen(kw_only=True, eq=False)
class Draft:
    """A contrast as far as it is known before the model works.

    Attributes:
        given: its source, or its prompt.
        target_ids: its target; None where the text's own output goes with ``given``.
        is_exact: the target was given in ids, and is not to get or to lose an end token.
    """

    given: EncodedInput
    target_ids: IntArray | None = None
    is_exact: bool = False


@attrs.frozen(kw_only=True, eq=False)
class Contrast:
    """What one text is compared with.

    Attributes:
        text: in ids.
        positions: (T,) where in it the token stands that each step is compared with.
        shares_prefix: (T,) True where the step and its counterpart are predicted from the same source and
            prefix.
    """

    text: EncodedText
    positions: IntArray
    shares_prefix: np.ndarray


def drafts(
    choice: ContrastChoice, adapter: ModelAdapter, inputs: Sequence[InputText], encode: Encode
) -> tuple[Draft, ...]:
    """Every contrast in ids.

    Raises:
        InvalidArgumentError: a contrast without tokens. TextTooLongError: one with too many.
        PositionError: an alignment that names tokens which a contrast does not have.
        ForcedTextError: decoder-only: a contrast target that does not begin with its contrast source.
    """
    made = []
    for i, own_input in enumerate(inputs):
        name = f"text {i}" if len(inputs) > 1 else "the text"
        source = own_input if choice.sources is None else choice.sources[i]
        given = encode(source)
        target_ids = None
        if choice.targets is not None:
            has_own_prompt = choice.sources is not None
            target = choice.targets[i]
            if isinstance(target, str):
                target_ids = _target_ids(adapter, target, given, source, has_own_prompt, encode)
                _check_tokens(adapter, target_ids, given, target, name)
            else:
                target_ids = _checked_ids(adapter, target, name)
            pairs = choice.alignments[i]
            if isinstance(pairs, tuple):
                check_range(pairs, name, len(target_ids))
        _check_length(adapter, given, target_ids, name)
        is_exact = choice.targets is not None and not isinstance(choice.targets[i], str)
        made.append(Draft(given=given, target_ids=target_ids, is_exact=is_exact))
    return tuple(made)


def _as_targets(name: str, value: Any) -> tuple[Target, ...]:
    """One or many outputs, each a text or the ids of a whole target.

    Raises:
        InvalidArgumentError: something else, or none.
    """
    items = items_of(value)
    if items is None or all(isinstance(item, str) for item in items):
        return as_texts(name, value)
    return tuple(
        item if isinstance(item, str) else _as_id_row(f"{name}[{i}]", item) for i, item in enumerate(items)
    )


def _as_id_row(name: str, value: Any) -> tuple[int, ...]:
    row = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(row, (list, tuple)) or not all(type(i) is int for i in row) or len(row) < 2:
        raise invalid(
            name, value, "a text, or at least two ids: those of the whole target, its start included"
        )
    return tuple(row)


def _checked_ids(adapter: ModelAdapter, ids: Sequence[int], name: str) -> IntArray:
    size = adapter.profile.vocabulary_size
    for i in ids:
        if i < 0 or (size and i >= size):
            raise invalid(
                f"contrast_targets: an id of {name}", i, f"0 to {size - 1}, an id of the vocabulary"
            )
    return as_ids(ids)


def _target_ids(
    adapter: ModelAdapter,
    text: str,
    given: EncodedInput,
    source: InputText,
    has_own_prompt: bool,
    encode: Encode,
) -> IntArray:
    if adapter.is_encoder_decoder:
        return adapter.encode_output(text, given)
    if not text:
        return as_ids(())
    if not isinstance(source, str):
        return adapter.encode_output(whole_chat(adapter, given, text), given)
    if text.startswith(given.text) or has_own_prompt:
        return adapter.encode_output(text, given)
    return as_ids(encode(text).ids)  # another prompt, too


def _check_tokens(adapter: ModelAdapter, ids: IntArray, given: EncodedInput, text: str, name: str) -> None:
    if adapter.is_encoder_decoder:
        is_empty = all(adapter.token_texts(ids.tolist(), "target").special)
    else:
        is_empty = len(ids) < 2 or (len(ids) == len(given.ids) and ids.tolist() == list(given.ids))
    if is_empty:
        raise InvalidArgumentError(
            f"contrast_targets: the contrast of {name} has no token to compare with: {text!r}.\n"
            + (
                "  Give another output, of one word at least."
                if adapter.is_encoder_decoder
                else "  Give the full text: the input, then another output."
            )
        )


def _check_length(adapter: ModelAdapter, given: EncodedInput, target_ids: IntArray | None, name: str) -> None:
    profile = adapter.profile
    for side, ids, limit in (
        ("source", given.ids if adapter.is_encoder_decoder else None, profile.max_source),
        (
            "target",
            given.ids if target_ids is None and not adapter.is_encoder_decoder else target_ids,
            profile.max_target,
        ),
    ):
        if ids is not None and limit is not None and len(ids) > limit:
            raise TextTooLongError(
                f"The contrast of {name} has {len(ids)} {side} tokens: {profile.name} has {limit} positions."
            )


def contrasts(choice: ContrastChoice, call: StepCall) -> tuple[Contrast, ...]:
    """Every contrast of a call, and which of its tokens each step is compared with.

    Raises:
        PositionError: steps that have nothing to be compared with, alignments out of range.
        TextTooLongError: an output that does not fit behind another prompt.
    """
    encode = call.encode or (lambda text: call.adapter.encode_input(str(text)))
    aligner = loaded_aligner(call.adapter, choice.aligner)
    made = []
    for i, draft in enumerate(drafts(choice, call.adapter, call.inputs, encode)):
        name = f"text {i}" if len(call.inputs) > 1 else "the text"
        made.append(_finished(draft, choice.alignments[i], aligner, call, i, name))
    return tuple(made)


def _finished(
    draft: Draft, alignment: Alignment, aligner: Any, call: StepCall, index: int, name: str
) -> Contrast:
    adapter, text, span = call.adapter, call.texts[index], call.spans[index]
    own = text.target_ids
    source_ids = as_ids(draft.given.ids) if adapter.is_encoder_decoder else None
    if draft.target_ids is not None:
        ids = draft.target_ids if draft.is_exact else _ended_alike(adapter, draft.target_ids, own)
    elif adapter.is_encoder_decoder:
        ids = own
    else:
        ids = as_ids([*draft.given.ids, *own[text.prompt_length :]])
    _check_length(adapter, draft.given, ids, name)
    if alignment == AUTO:
        pairs = align(adapter, own.tolist(), ids.tolist(), aligner)
        positions = along_pairs([(s, c) for s, c in pairs if s == 0 or c > 0], span, len(ids))
    elif isinstance(alignment, tuple):
        check_range(alignment, name, len(ids), len(own))
        positions = along_pairs(alignment, span, len(ids))
    else:
        positions = from_the_right(span, len(own), len(ids), name)
        _warn_of_prompt(_shared_length(own[: text.prompt_length], ids), span, positions, name)
    same_source = source_ids is None or source_ids.tolist() == list(
        text.source_ids if text.source_ids is not None else ()
    )
    shared = _shared_length(own, ids) if same_source else -1
    return Contrast(
        text=EncodedText(target_ids=ids, source_ids=source_ids, prompt_length=1),
        positions=positions,
        shares_prefix=(positions == np.arange(*span)) & (positions <= shared),
    )


def _warn_of_prompt(shared: int, span: tuple[int, int], positions: IntArray, name: str) -> None:
    """Say that steps behind the prompt are compared with tokens of the prompt.

    Args:
        shared: tokens that prompt and contrast begin with in common.
    """
    lost = int(((positions < shared) & (np.arange(*span) >= shared)).sum())
    if lost:
        warn_of_meaning(
            f"Side by side from the right, {lost} of {len(positions)} steps of {name} are compared with tokens of the "
            "prompt, because the contrast is shorter.\n  contrast_targets_alignments='auto' finds out which tokens "
            "belong together; attr_pos_start leaves steps out."
        )


def _ended_alike(adapter: ModelAdapter, ids: IntArray, own: IntArray) -> IntArray:
    """The contrast with an end token where the text has one, and without where it has none.

    A text that was cut short would otherwise stand one token beside its contrast.
    """
    has_end = adapter.token_texts(own.tolist()[-1:], "target").special[0]
    special = adapter.token_texts(ids.tolist(), "target").special
    if has_end and ids[-1] != own[-1] and not special[-1]:
        return as_ids([*ids, own[-1]])
    last = len(ids)
    while not has_end and last > 1 and special[last - 1]:
        last -= 1
    return ids[:last]


def _shared_length(a: IntArray, b: IntArray) -> int:
    """Tokens that two texts begin with in common."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length
