"""The attribution of several texts from one call, and how several calls become one output."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import attrs

from inseq_core.data.attribution import FeatureAttributionSequenceOutput, FeatureAttributionStepOutput
from inseq_core.data.info import AttributionInfo, as_info
from inseq_core.data.plain import same_plain
from inseq_core.data.shortcuts import OutputShortcuts
from inseq_core.errors import MergeError

MATCHING_FIELDS = (
    "model_name",
    "model_class",
    "tokenizer_name",
    "tokenizer_class",
    "attribution_method",
    "baseline",
    "attribution_args",
    "attributed_fn",
    "attributed_fn_args",
    "attribute_target",
    "constrained_decoding",
    "include_eos_baseline",
    "step_scores",
    "step_scores_args",
    "seed",
)
"""Fields of the info that outputs must share to be one output; step scores in any order."""

MATCHING_NOTES = ("removal", "features", "steps", "weight_by")
"""Notes of the info that they must share as well: what was removed, and which steps a column stands for."""


def _sequences(
    values: Iterable[FeatureAttributionSequenceOutput],
) -> tuple[FeatureAttributionSequenceOutput, ...]:
    return tuple(values)


def _optional_steps(
    values: Iterable[FeatureAttributionStepOutput] | None,
) -> tuple[FeatureAttributionStepOutput, ...] | None:
    return None if values is None else tuple(values)


@attrs.frozen(kw_only=False, eq=False)
class FeatureAttributionOutput(OutputShortcuts):
    """What ``model.attribute()`` returns.

    Attributes:
        sequence_attributions: one a text.
        step_attributions: one a step of the batch, where ``output_step_attributions=True`` asked for them.
        info: how it was made.
    """

    sequence_attributions: tuple[FeatureAttributionSequenceOutput, ...] = attrs.field(converter=_sequences)
    step_attributions: tuple[FeatureAttributionStepOutput, ...] | None = attrs.field(
        default=None, converter=_optional_steps
    )
    info: AttributionInfo = attrs.field(
        factory=AttributionInfo,
        converter=as_info,
    )

    def __len__(self) -> int:
        return len(self.sequence_attributions)

    def __iter__(self) -> Iterator[FeatureAttributionSequenceOutput]:
        return iter(self.sequence_attributions)

    @overload
    def __getitem__(self, index: int) -> FeatureAttributionSequenceOutput: ...

    @overload
    def __getitem__(self, index: slice) -> FeatureAttributionOutput: ...

    def __getitem__(self, index: int | slice) -> FeatureAttributionSequenceOutput | FeatureAttributionOutput:
        """One text's attribution; a slice is an output of those texts."""
        if not isinstance(index, slice):
            try:
                return self.sequence_attributions[index]
            except IndexError:
                raise IndexError(f"There is no text {index}: the output holds {len(self)}.") from None
            except TypeError:
                raise TypeError(
                    f"{index!r}: expected the number of a text, or a slice. Tokens are picked from one text: "
                    f"out[0][{index!r}]."
                ) from None
        return self.subset(range(*index.indices(len(self))))

    def with_sequences(
        self, sequences: Sequence[FeatureAttributionSequenceOutput]
    ) -> FeatureAttributionOutput:
        """The same texts with other attributions; step attributions, where there are any, follow them."""
        if self.step_attributions is None:
            return attrs.evolve(self, sequence_attributions=sequences)
        batches = [sequences[start:end] for start, end in _batches(self)]
        return attrs.evolve(self, sequence_attributions=sequences, step_attributions=_steps(batches))

    def subset(self, texts: Iterable[int]) -> FeatureAttributionOutput:
        """An output of the chosen texts only, with their step attributions, where there are any."""
        chosen = list(texts)
        steps = None
        if self.step_attributions is not None:
            number = [b for b, (start, end) in enumerate(_batches(self)) for _ in range(start, end)]
            together = itertools.groupby(chosen, key=lambda i: number[i])
            steps = _steps([[self.sequence_attributions[i] for i in batch] for _, batch in together])
        return FeatureAttributionOutput(
            [self.sequence_attributions[i] for i in chosen],
            steps,
            info=self.info.evolve(
                input_texts=_taken(self.info.input_texts, chosen, len(self)),
                generated_texts=_taken(self.info.generated_texts, chosen, len(self)),
            ),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureAttributionOutput):
            return NotImplemented
        return (
            self.sequence_attributions == other.sequence_attributions
            and self.step_attributions == other.step_attributions
            and self.info == other.info
        )

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: object) -> FeatureAttributionOutput:
        if not isinstance(other, FeatureAttributionOutput):
            return NotImplemented
        return merge_attributions([self, other])

    def __radd__(self, other: object) -> FeatureAttributionOutput:
        """``sum(outputs)`` begins with 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented


def _batches(output: FeatureAttributionOutput) -> list[tuple[int, int]]:
    """Texts that were attributed together, as [start, end): step k of a batch holds those that have one.

    All texts are one batch where the step attributions do not tell.
    """
    texts, steps = output.sequence_attributions, output.step_attributions or ()
    batches: list[tuple[int, int]] = []
    start = k = 0
    while k < len(steps) and start < len(texts):
        end = start + len(steps[k].target)
        batches.append((start, end))
        k += max((text.n_steps for text in texts[start:end]), default=0)
        if start == end or end > len(texts):
            break
        start = end
    return batches if k == len(steps) and start == len(texts) else [(0, len(texts))]


def _steps(
    batches: Iterable[Sequence[FeatureAttributionSequenceOutput]],
) -> list[FeatureAttributionStepOutput]:
    return [step for batch in batches for step in FeatureAttributionStepOutput.batched(batch)]


def _taken(values: tuple[Any, ...], chosen: list[int], count: int) -> tuple[Any, ...]:
    return tuple(values[i] for i in chosen) if len(values) == count else values


def merge_attributions(attributions: Iterable[FeatureAttributionOutput]) -> FeatureAttributionOutput:
    """One output of all texts of several outputs made in the same way.

    Args:
        attributions: at least one output. All must agree on model, tokenizer, method, attributed function,
            step scores, their arguments, baseline, seed, ``attribute_target`` and constrained decoding
            (``MATCHING_FIELDS``), on what was removed and how steps were joined (``MATCHING_NOTES``), and on
            the trailing axes of their scores, unless memory was why one of them lost some.

    Raises:
        MergeError: nothing to merge, or the first field that differs, with both values.
    """
    if not isinstance(attributions, Iterable):
        raise MergeError(f"{attributions!r} is no list: expected FeatureAttributionOutput objects.")
    outputs = list(attributions)
    for position, output in enumerate(outputs):
        if not isinstance(output, FeatureAttributionOutput):
            raise MergeError(
                f"Item {position} is a {type(output).__name__}: expected FeatureAttributionOutput objects."
            )
    if not outputs:
        raise MergeError("Nothing to merge: expected at least one FeatureAttributionOutput.")
    first = outputs[0]
    for position, output in enumerate(outputs[1:], start=1):
        for name, one, other in (*_compared(first, output), *_compared_axes(first, output)):
            _check_same(name, one, other, position)
    return _joined(outputs)


def parts_together(outputs: Sequence[FeatureAttributionOutput]) -> FeatureAttributionOutput:
    """The output that was taken apart into these; its texts may have scores of different axes.

    Raises:
        MergeError: they are no parts of one output.
    """
    for position, output in enumerate(outputs[1:], start=1):
        for name, one, other in _compared(outputs[0], output):
            _check_same(name, one, other, position)
    return _joined(outputs)


def _joined(outputs: Sequence[FeatureAttributionOutput]) -> FeatureAttributionOutput:
    first = outputs[0]
    if len(outputs) == 1:
        return first
    steps = [o.step_attributions for o in outputs]
    return FeatureAttributionOutput(
        [sequence for output in outputs for sequence in output],
        None if any(s is None for s in steps) else [step for group in steps if group for step in group],
        _merged_info([o.info for o in outputs]),
    )


def _compared(
    first: FeatureAttributionOutput, other: FeatureAttributionOutput
) -> Iterator[tuple[str, Any, Any]]:
    """What two outputs must share: its name, and the value of each."""
    a, b = first.info, other.info
    for name in MATCHING_FIELDS:
        same_names = name == "step_scores" and sorted(a.step_scores) == sorted(b.step_scores)
        yield name, a[name], a[name] if same_names else b[name]
    for name in MATCHING_NOTES:
        yield name, a.notes.get(name), b.notes.get(name)


def _compared_axes(
    first: FeatureAttributionOutput, other: FeatureAttributionOutput
) -> Iterator[tuple[str, Any, Any]]:
    """The trailing axes of their scores, where memory did not decide on them."""
    if len(first) and len(other) and not (first.info.reductions or other.info.reductions):
        yield "axes", first[0].axes, other[0].axes


def _check_same(name: str, one: Any, other: Any, position: int) -> None:
    if same_plain(one, other):
        return
    one, other = _differing(one, other)
    raise MergeError(
        f"Cannot merge: {name} differs, {_shown(one)} in output 0 and {_shown(other)} in output {position}.\n"
        "  Merge outputs of the same model, method and arguments, or keep them in a list."
    )


def _differing(one: Any, other: Any) -> tuple[Any, Any]:
    """Two dicts without what they share; other values as they are."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one, other
    shared = {key for key in one.keys() & other.keys() if same_plain(one[key], other[key])}
    return (
        {key: value for key, value in one.items() if key not in shared},
        {key: value for key, value in other.items() if key not in shared},
    )


def _merged_info(infos: list[AttributionInfo]) -> AttributionInfo:
    times = [i.exec_time for i in infos if i.exec_time is not None]
    ends = [i.attr_pos_end for i in infos]
    passes = [i.passes for i in infos]
    return infos[0].evolve(
        input_texts=tuple(text for i in infos for text in i.input_texts),
        generated_texts=tuple(text for i in infos for text in i.generated_texts),
        exec_time=sum(times) if times else None,
        attr_pos_end=max(ends) if all(isinstance(e, int) for e in ends) else infos[0].attr_pos_end,
        passes=sum(passes) if all(isinstance(p, (int, float)) for p in passes) else infos[0].passes,
        reductions=_distinct(value for i in infos for value in i.reductions),
        warnings=_distinct(value for i in infos for value in i.warnings),
    )


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return tuple(kept)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
