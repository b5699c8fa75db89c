"""Provenance: everything needed to say where a result came from, and to make it again.

Plain data only, so that it goes into a file as it is. Readable by attribute and, like a dict, by key.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from inseq_core.data.plain import as_plain, as_plain_dict, as_plain_tuple, same_plain
from inseq_core.data.read_only import read_only

PlainDict = dict[str, Any]


def _value(value: Any) -> Any:
    return read_only(as_plain(value))


def _facts(values: Mapping[str, Any] | None) -> PlainDict:
    facts: PlainDict = read_only(as_plain_dict(values))
    return facts


def _values(values: Any) -> tuple[Any, ...]:
    return tuple(map(read_only, as_plain_tuple(values)))


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


@attrs.frozen(kw_only=True, eq=False)
class AttributionInfo(Mapping[str, Any]):
    """How a result was made.

    Attributes:
        attribution_method: id of the method; None where there was none (step scores only).
        attribution_args: the method's parameters, defaults included.
        attributed_fn, attributed_fn_args: what was explained.
        step_scores, step_scores_args: what was measured beside it.
        attr_pos_start, attr_pos_end: attributed positions as asked for (None: the default).
        attribute_target, output_step_attributions, include_eos_baseline, generate_from_target_prefix,
        skip_special_tokens, clean_special_chars: the flags of the call.
        constrained_decoding: the generated texts were given, not generated.
        generation_args: how the texts were generated.
        input_texts, generated_texts: one each a sequence; inputs may be chat messages.
        baseline: what "absent" meant; None where the method has no baseline.
        model_name, model_class, tokenizer_name, tokenizer_class, framework: the model.
        exec_time: seconds.
        versions: distribution -> version (inseq-core, python, numpy, torch …).
        method_plugin, method_distribution, method_version: who provided the method.
        seed, dtype, device: of the run.
        passes: forward and backward passes used.
        reductions: trailing axes reduced while the result was made, and why.
        notes: plain facts from the method.
        warnings: what the user was warned about.
        created: UTC time, ISO 8601.
        source_format: the file format it was read from, where that is not our own.
        extras: whatever else is known, readable by key.
    """

    attribution_method: str | None = None
    attribution_args: PlainDict = attrs.field(factory=dict, converter=_facts)
    attributed_fn: str | None = None
    attributed_fn_args: PlainDict = attrs.field(factory=dict, converter=_facts)
    step_scores: tuple[str, ...] = attrs.field(default=(), converter=_values)
    step_scores_args: PlainDict = attrs.field(factory=dict, converter=_facts)
    attr_pos_start: Any = attrs.field(default=None, converter=_value)
    attr_pos_end: Any = attrs.field(default=None, converter=_value)
    attribute_target: bool = False
    output_step_attributions: bool = False
    include_eos_baseline: bool = False
    generate_from_target_prefix: bool = False
    skip_special_tokens: bool = False
    clean_special_chars: bool = False
    constrained_decoding: bool = False
    generation_args: PlainDict = attrs.field(factory=dict, converter=_facts)
    input_texts: tuple[Any, ...] = attrs.field(default=(), converter=_values)
    generated_texts: tuple[Any, ...] = attrs.field(default=(), converter=_values)
    baseline: Any = attrs.field(default=None, converter=_value)
    model_name: str | None = None
    model_class: str | None = None
    tokenizer_name: str | None = None
    tokenizer_class: str | None = None
    framework: str | None = None
    exec_time: float | None = None
    versions: PlainDict = attrs.field(factory=dict, converter=_facts)
    method_plugin: str | None = None
    method_distribution: str | None = None
    method_version: str | None = None
    seed: Any = attrs.field(default=None, converter=_value)
    dtype: str | None = None
    device: str | None = None
    passes: Any = attrs.field(default=None, converter=_value)
    reductions: tuple[Any, ...] = attrs.field(default=(), converter=_values)
    notes: PlainDict = attrs.field(factory=dict, converter=_facts)
    warnings: tuple[str, ...] = attrs.field(default=(), converter=_values)
    created: str = attrs.field(factory=now)
    source_format: str | None = None
    extras: PlainDict = attrs.field(factory=dict, converter=_facts)

    def __getitem__(self, key: str) -> Any:
        if key in _FIELDS:
            return getattr(self, key)
        return self.extras[key]

    def __iter__(self) -> Iterator[str]:
        yield from _FIELDS
        yield from (key for key in self.extras if key not in _FIELDS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        """Whether the same was done; when, and how long it took, is no difference."""
        if not isinstance(other, Mapping):
            return NotImplemented
        return same_plain({**self, **_OF_THE_RUN}, {**other, **_OF_THE_RUN})

    __hash__ = None  # type: ignore[assignment]

    def evolve(self, **changes: Any) -> AttributionInfo:
        """The same with some fields changed."""
        return attrs.evolve(self, **changes)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> AttributionInfo:
        """Known keys become fields, the others extras."""
        known = {key: value for key, value in values.items() if key in _FIELDS and key != "extras"}
        others = {key: value for key, value in values.items() if key not in _FIELDS}
        return cls(**known, extras={**values.get("extras", {}), **others})


def as_info(values: Mapping[str, Any]) -> AttributionInfo:
    """The info itself, or one made of a mapping."""
    return values if isinstance(values, AttributionInfo) else AttributionInfo.from_mapping(values)


_FIELDS = tuple(field.name for field in attrs.fields(AttributionInfo))
_OF_THE_RUN = {"exec_time": None, "created": ""}
