"""The document of a saved output: plain data, versioned; docs/file-format.md says what each field means.

Writing puts arrays wherever the file keeps them (in the document, or as tensors beside it); reading checks
every field before it is used and names the one that is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from inseq_core.data.attribution import FeatureAttributionSequenceOutput, FeatureAttributionStepOutput
from inseq_core.data.info import AttributionInfo
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreArray, ScoreMeaning
from inseq_core.data.token import Segment, TokenSequence, TokenWithId
from inseq_core.errors import FileFormatError, InvalidArgumentError
from inseq_core.store.arrays import Budget
from inseq_core.store.derived import derived_steps

FORMAT = "inseq-attribution"
VERSION = 1

Document = dict[str, Any]
PutArray = Callable[[str, ScoreArray], Any]
"""``put(name, scores)`` stores an array and returns what the document says of it."""
GetArray = Callable[[str, Any], ScoreArray]
"""``get(name, record)`` is the array that the document says something of."""


@attrs.frozen(kw_only=True)
class Part:
    """Which part of an output a file holds that holds one text of several.

    Attributes:
        index, count: it is number ``index`` of ``count``, counted from 0.
        set_id: the same in all parts of one output, and in no others; "" in files of older versions.
    """

    index: int
    count: int
    set_id: str = ""


def to_document(output: FeatureAttributionOutput, put: PutArray, part: Part | None = None) -> Document:
    """The document of an output; ``part`` where the file holds one text of several."""
    document: Document = {"format": FORMAT, "version": VERSION}
    if part is not None:
        document["part"] = {"index": part.index, "count": part.count, "set": part.set_id}
    document["info"] = _info_document(output.info)
    document["sequences"] = [
        _sequence_document(sequence, f"{i}/", put) for i, sequence in enumerate(output.sequence_attributions)
    ]
    steps = output.step_attributions
    if steps is None:
        document["steps"] = None
    elif _follow_from_texts(output):
        document["steps"] = "derived"
    else:
        document["steps"] = [_step_document(step, f"steps/{k}/", put) for k, step in enumerate(steps)]
    return document


def _follow_from_texts(output: FeatureAttributionOutput) -> bool:
    try:
        return output.step_attributions == FeatureAttributionStepOutput.batched(output.sequence_attributions)
    except InvalidArgumentError:
        return False


def from_document(document: Any, get: GetArray, budget: Budget) -> FeatureAttributionOutput:
    """The output of a document.

    Args:
        document: what the file says.
        get: reads the arrays, within the same budget.
        budget: of what is made of them.

    Raises:
        FileFormatError: not such a document, a newer one, a field that is wrong, or more than the budget.
    """
    fields = _Fields.of(document, "")
    check_version(fields.values)
    sequences = [
        _sequence(item, f"sequences[{i}]", f"{i}/", get)
        for i, item in enumerate(fields.take("sequences", list))
    ]
    steps = fields.values.get("steps")
    if steps == "derived":
        steps = derived_steps(sequences, budget)
    elif steps is not None:
        listed = fields.take("steps", list)
        steps = [_step(item, f"steps[{k}]", f"steps/{k}/", get) for k, item in enumerate(listed)]
    info = _Fields.of(_unmarked(fields.take("info", dict)), "info")
    return FeatureAttributionOutput(sequences, steps, info_from_plain(info.values))


def check_version(document: Mapping[str, Any]) -> None:
    """That it is our format, in a version that we know.

    Raises:
        FileFormatError: it is not.
    """
    if document.get("format") != FORMAT:
        raise FileFormatError(
            f"Not a saved attribution: format {_short(document.get('format'))}, expected {FORMAT!r}."
        )
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise FileFormatError(f"version {_short(version)}, expected a whole number.")
    if version > VERSION:
        raise FileFormatError(
            f"The file has version {version} of the format, this inseq reads up to {VERSION}.\n"
            "  pip install --upgrade inseq-core"
        )


def part_of(document: Mapping[str, Any]) -> Part | None:
    """Which part of an output the document is; None for a whole one.

    Raises:
        FileFormatError: it says that it is one, but not which.
    """
    if document.get("part") is None:
        return None
    fields = _Fields.of(document["part"], "part")
    part = Part(
        index=fields.number("index"), count=fields.number("count"), set_id=fields.take("set", str, "")
    )
    if not 0 <= part.index < part.count:
        raise FileFormatError(f"part says that it is number {part.index} of {part.count}, counted from 0.")
    return part


def _info_document(info: AttributionInfo) -> Document:
    return {name: _marked(getattr(info, name)) for name in _INFO_FIELDS}


def info_from_plain(plain: Mapping[str, Any]) -> AttributionInfo:
    """The info of a mapping that a file holds.

    Raises:
        FileFormatError: a field of another type than it has.
    """
    for name, kind in _INFO_TYPES.items():
        value = plain.get(name)
        if value is not None and not isinstance(value, kind):
            raise FileFormatError(f"info.{name} is {type(value).__name__}.")
    missing: dict[str, Any] = {
        name: [] if _INFO_TYPES.get(name) is list else {} for name in _NEVER_NONE if plain.get(name) is None
    }
    return AttributionInfo.from_mapping({**plain, **missing})


_INFO_FIELDS = tuple(field.name for field in attrs.fields(AttributionInfo))
_INFO_TYPES: dict[str, Any] = {
    **dict.fromkeys(
        (
            "attribution_args",
            "attributed_fn_args",
            "step_scores_args",
            "generation_args",
            "versions",
            "notes",
            "extras",
        ),
        dict,
    ),
    **dict.fromkeys(("step_scores", "input_texts", "generated_texts", "reductions", "warnings"), list),
    **dict.fromkeys(
        (
            *("attribute_target", "output_step_attributions", "include_eos_baseline", "constrained_decoding"),
            *("generate_from_target_prefix", "skip_special_tokens", "clean_special_chars"),
        ),
        bool,
    ),
    "exec_time": (int, float),
    "created": str,
}
_NEVER_NONE = tuple(name for name, kind in _INFO_TYPES.items() if kind in (dict, list))


def _marked(value: Any) -> Any:
    """Plain data without NaN and infinities, which JSON has not: ``{"$float": "nan"}``."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, dict):
        return {f"${key}" if key.startswith("$") else key: _marked(item) for key, item in value.items()}
    return [_marked(item) for item in value] if isinstance(value, (list, tuple)) else value


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$float"} and value["$float"] in ("nan", "inf", "-inf"):
            return float(value["$float"])
        return {key.removeprefix("$"): _unmarked(item) for key, item in value.items()}
    return [_unmarked(item) for item in value] if isinstance(value, list) else value


def _sequence_document(sequence: FeatureAttributionSequenceOutput, prefix: str, put: PutArray) -> Document:
    return {
        "source": _side_document(sequence, "source"),
        "target": _side_document(sequence, "target"),
        "attr_pos_start": sequence.attr_pos_start,
        "attr_pos_end": sequence.attr_pos_end,
        "axes": list(sequence.axes),
        "default_aggregation": list(sequence.default_aggregation),
        "normalize": sequence.normalize,
        "meaning": attrs.asdict(sequence.meaning),
        "feature_kind": sequence.feature_kind,
        "is_spread": sequence.is_spread,
        "step_aggregation": sequence.step_aggregation,
        "segments": [attrs.asdict(segment) for segment in sequence.segments],
        **_arrays_document(sequence, prefix, put),
    }


def _arrays_document(record: Any, prefix: str, put: PutArray) -> Document:
    document: Document = {}
    for name in ("source_attributions", "target_attributions"):
        scores = getattr(record, name)
        document[name] = None if scores is None else put(prefix + name, scores)
    for name in ("step_scores", "sequence_scores"):
        document[name] = {
            key: put(f"{prefix}{name}/{i}", scores)
            for i, (key, scores) in enumerate(getattr(record, name).items())
        }
    return document


def _side_document(sequence: FeatureAttributionSequenceOutput, side: str) -> Document:
    return {
        **_tokens_document(getattr(sequence, side)),
        "word_starts": _positions(getattr(sequence, f"{side}_word_starts")),
        "special": _positions(getattr(sequence, f"{side}_special")),
    }


def _tokens_document(tokens: TokenSequence) -> Document:
    return {"tokens": [token.token for token in tokens], "ids": [token.id for token in tokens]}


def _positions(flags: tuple[bool, ...] | None) -> list[int] | None:
    return None if flags is None else [i for i, flag in enumerate(flags) if flag]


def _step_document(step: FeatureAttributionStepOutput, prefix: str, put: PutArray) -> Document:
    return {
        **{
            side: [_tokens_document(t) for t in getattr(step, side)]
            for side in ("source", "prefix", "target")
        },
        **_arrays_document(step, prefix, put),
    }


@attrs.frozen
class _Fields:
    """Fields of one object of a document, each checked when it is taken."""

    values: Mapping[str, Any]
    path: str

    @classmethod
    def of(cls, values: Any, path: str) -> _Fields:
        if not isinstance(values, dict):
            raise FileFormatError(f"{path or 'The document'} is {type(values).__name__}, expected an object.")
        return cls(values, path)

    def name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        value = self.values.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise FileFormatError(
                f"{self.name(key)} is {_short(value)}, expected {_WORDS.get(kind, kind.__name__)}."
            )
        return value

    def number(self, key: str, default: Any = None) -> int:
        number: int = self.take(key, int, default)
        if not -(1 << 53) <= number <= 1 << 53:
            raise FileFormatError(f"{self.name(key)} is {_short(number)}, which is too large.")
        return number

    def texts(self, key: str) -> list[str]:
        values: list[str] = self.take(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise FileFormatError(f"{self.name(key)} holds something that is not text.")
        return values


_WORDS = {dict: "an object", list: "a list", str: "text", int: "a whole number", bool: "true or false"}


def _sequence(item: Any, path: str, prefix: str, get: GetArray) -> FeatureAttributionSequenceOutput:
    fields = _Fields.of(item, path)
    source, target = (_Fields.of(fields.take(side, dict), fields.name(side)) for side in ("source", "target"))
    meaning = fields.take("meaning", dict, {})
    maps = fields.take("step_aggregation", dict, {})
    if not all(isinstance(m, dict) and all(isinstance(v, str) for v in m.values()) for m in maps.values()):
        raise FileFormatError(f"{path}.step_aggregation does not name functions.")
    if not all(isinstance(value, bool) for value in meaning.values()):
        raise FileFormatError(f"{path}.meaning holds something that is not true or false.")
    known = {field.name for field in attrs.fields(ScoreMeaning)}
    try:
        return FeatureAttributionSequenceOutput(
            source=_tokens(source),
            target=_tokens(target),
            attr_pos_start=fields.number("attr_pos_start"),
            attr_pos_end=fields.number("attr_pos_end"),
            axes=fields.texts("axes"),
            default_aggregation=fields.texts("default_aggregation"),
            normalize=fields.take("normalize", bool, False),
            meaning=ScoreMeaning(**{key: value for key, value in meaning.items() if key in known}),
            feature_kind=fields.take("feature_kind", str, "token"),
            is_spread=fields.take("is_spread", bool, False),
            step_aggregation=maps,
            segments=[
                _segment(s, f"{path}.segments[{i}]") for i, s in enumerate(fields.take("segments", list, []))
            ],
            source_word_starts=_flags(source, "word_starts"),
            target_word_starts=_flags(target, "word_starts"),
            source_special=_flags(source, "special"),
            target_special=_flags(target, "special"),
            **_arrays(fields, prefix, get),
        )
    except InvalidArgumentError as error:
        raise FileFormatError(f"{path}: {error}") from error


def _arrays(fields: _Fields, prefix: str, get: GetArray) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for name in ("source_attributions", "target_attributions"):
        record = fields.values.get(name)
        arrays[name] = None if record is None else get(prefix + name, record)
    for name in ("step_scores", "sequence_scores"):
        records = fields.take(name, dict, {})
        arrays[name] = {
            key: get(f"{prefix}{name}/{i}", record) for i, (key, record) in enumerate(records.items())
        }
    return arrays


def _step(item: Any, path: str, prefix: str, get: GetArray) -> FeatureAttributionStepOutput:
    fields = _Fields.of(item, path)
    sides: dict[str, Any] = {
        side: tuple(
            _tokens(_Fields.of(tokens, f"{path}.{side}[{i}]"))
            for i, tokens in enumerate(fields.take(side, list, []))
        )
        for side in ("source", "prefix", "target")
    }
    return FeatureAttributionStepOutput(**sides, **_arrays(fields, prefix, get))


def _tokens(fields: _Fields) -> TokenSequence:
    texts, ids = fields.texts("tokens"), fields.take("ids", list, [])
    if len(ids) != len(texts) or not all(type(i) is int and -1 <= i < 1 << 53 for i in ids):
        raise FileFormatError(
            f"{fields.name('ids')} does not hold one whole number, at least -1, for each of {len(texts)} "
            f"tokens."
        )
    return TokenSequence(TokenWithId(text, i) for text, i in zip(texts, ids, strict=True))


def _flags(fields: _Fields, key: str) -> tuple[bool, ...] | None:
    if fields.values.get(key) is None:
        return None
    positions, count = fields.take(key, list), len(fields.texts("tokens"))
    if not all(type(p) is int and 0 <= p < count for p in positions):
        raise FileFormatError(f"{fields.name(key)} holds something that is no position of {count} tokens.")
    chosen = set(positions)
    return tuple(i in chosen for i in range(count))


def _segment(item: Any, path: str) -> Segment:
    fields = _Fields.of(item, path)
    side = fields.take("side", str, "target")
    if side not in ("source", "target"):
        raise FileFormatError(f"{path}.side is {_short(side)}, expected 'source' or 'target'.")
    return Segment(
        label=fields.take("label", str),
        start=fields.number("start"),
        end=fields.number("end"),
        kind=fields.take("kind", str, "segment"),
        side=side,
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
