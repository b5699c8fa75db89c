"""The result: how much each output token depends on the context, and on which of its tokens.

Plain data throughout: ``to_dict`` and ``from_dict`` are exact, and files are JSON that the peer's own
(``inseq attribute-context`` up to 0.7) can be read beside.
Axes: K tokens of the current output, I tokens of the input context, O tokens of the output context.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import attrs

from inseq_core.data.plain import as_plain_dict, same_plain
from inseq_core.errors import FileFormatError, SavedFileMissingError
from inseq_core.pecore.selecting import standing_out, threshold

FORMAT = "inseq-attribute-context"
VERSION = 1

Scores = tuple[float, ...]
Item = TypeVar("Item")


def _scores(values: Iterable[float | None]) -> Scores:
    return tuple(math.nan if v is None else float(v) for v in values)


def _optional_scores(values: Iterable[float | None] | None) -> Scores | None:
    return None if values is None else _scores(values)


def _tokens(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(v) for v in values)


def _optional_tokens(values: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if values is None else _tokens(values)


def _optional_facts(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else as_plain_dict(values)


@attrs.frozen(kw_only=True, eq=False)
class Cue:
    """A context token that stands out.

    Attributes:
        side: "input" or "output": which context.
        index: among that context's tokens.
        token: its piece.
        score: its CCI score.
    """

    side: str
    index: int
    token: str
    score: float


@attrs.frozen(kw_only=True, eq=False)
class CCIOutput:
    """Contextual cues of one context-sensitive token.

    Attributes:
        cti_idx: its index among the tokens of the current output.
        cti_token: its piece.
        cti_score: how much it depends on the context.
        contextual_output: the output with context, up to it.
        contrast_token: what it was compared with; None where the attributed function compares nothing.
        contextless_output: the output without context, up to the token that it was compared with.
        input_context_scores: (I,) attribution of each token of the input context; None without one.
        output_context_scores: (O,) of each token of the output context.
    """

    cti_idx: int
    cti_token: str
    cti_score: float
    contextual_output: str
    contrast_token: str | None = None
    contextless_output: str | None = None
    input_context_scores: Scores | None = attrs.field(default=None, converter=_optional_scores)
    output_context_scores: Scores | None = attrs.field(default=None, converter=_optional_scores)

    @property
    def all_scores(self) -> Scores:
        """Scores of the input context, then of the output context."""
        return (*(self.input_context_scores or ()), *(self.output_context_scores or ()))

    @property
    def minimum(self) -> float:
        """The smallest score, at most 0."""
        return min((0.0, *(s for s in self.all_scores if not math.isnan(s))))

    @property
    def maximum(self) -> float:
        """The largest score, at least 0."""
        return max((0.0, *(s for s in self.all_scores if not math.isnan(s))))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return _plain_record(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CCIOutput):
            return NotImplemented
        return same_plain(self.to_dict(), other.to_dict())

    __hash__ = None  # type: ignore[assignment]


@attrs.frozen(kw_only=True, eq=False)
class AttributeContextOutput:
    """What ``attribute_context`` returns.

    Attributes:
        input_context, input_context_tokens: the input context, and its pieces; None without one.
        output_context, output_context_tokens: the same of the output context.
        output_current, output_current_tokens: the output that was looked at, and its (K,) pieces.
        cti_scores: (K,) how much each depends on the context (CTI), in the metric's unit.
        cci_scores: the cues of each context-sensitive token, the most sensitive first.
        info: how it was made: the arguments, model and versions; None where that was not wanted.
    """

    input_context: str | None = None
    input_context_tokens: tuple[str, ...] | None = attrs.field(default=None, converter=_optional_tokens)
    output_context: str | None = None
    output_context_tokens: tuple[str, ...] | None = attrs.field(default=None, converter=_optional_tokens)
    output_current: str
    output_current_tokens: tuple[str, ...] = attrs.field(converter=_tokens)
    cti_scores: Scores = attrs.field(converter=_scores)
    cci_scores: tuple[CCIOutput, ...] = attrs.field(default=(), converter=tuple[CCIOutput, ...])
    info: dict[str, Any] | None = attrs.field(default=None, converter=_optional_facts)

    def __attrs_post_init__(self) -> None:
        _check_count("cti_scores", self.cti_scores, self.output_current_tokens)
        for i, cci in enumerate(self.cci_scores):
            if not 0 <= cci.cti_idx < len(self.output_current_tokens):
                raise FileFormatError(
                    f"cci_scores[{i}]: cti_idx = {cci.cti_idx}, of {len(self.output_current_tokens)} tokens."
                )
            for side in ("input", "output"):
                scores = getattr(cci, f"{side}_context_scores")
                if scores is not None:
                    tokens = getattr(self, f"{side}_context_tokens")
                    _check_count(f"cci_scores[{i}].{side}_context_scores", scores, tokens)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AttributeContextOutput):
            return NotImplemented
        return same_plain(self.to_dict(), other.to_dict())

    __hash__ = None  # type: ignore[assignment]

    @property
    def cti_threshold(self) -> float:
        """The CTI score from which a token counts as context-sensitive."""
        return threshold(self.cti_scores, self._setting("context_sensitivity_std_threshold", 1.0))

    @property
    def has_input_context(self) -> bool:
        """Whether there is an input context."""
        return self.input_context is not None

    @property
    def has_output_context(self) -> bool:
        """Whether there is an output context."""
        return self.output_context is not None

    def cci_threshold(self, cci: CCIOutput) -> float:
        """The CCI score from which a context token counts as a cue."""
        return threshold(cci.all_scores, self._setting("attribution_std_threshold", 1.0))

    def cues(self, cci: CCIOutput) -> tuple[Cue, ...]:
        """The context tokens that stand out for a context-sensitive token, the strongest first."""
        places = [
            (side, i, token)
            for side in ("input", "output")
            if getattr(cci, f"{side}_context_scores") is not None
            for i, token in enumerate(getattr(self, f"{side}_context_tokens") or ())
        ]
        scores = cci.all_scores
        chosen = standing_out(
            scores, self._setting("attribution_std_threshold", 1.0), self._setting("attribution_topk", None)
        )
        return tuple(
            Cue(side=places[k][0], index=places[k][1], token=places[k][2], score=scores[k]) for k in chosen
        )

    def _setting(self, name: str, default: Any) -> Any:
        return default if self.info is None else self.info.get(name, default)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; ``from_dict`` gives the same result back."""
        record = _plain_record(self)
        record["cci_scores"] = [cci.to_dict() for cci in self.cci_scores]
        if self.info is None:
            del record["info"]
        return record

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AttributeContextOutput:
        """The result of plain data.

        Raises:
            FileFormatError: the data are not those of a result.
        """
        if not isinstance(values, Mapping) or not isinstance(values.get("cci_scores"), (list, tuple)):
            raise FileFormatError("Not a context attribution: there is no list 'cci_scores' in it.")
        cues = [_record(CCIOutput, f"cci_scores[{i}]", v) for i, v in enumerate(values["cci_scores"])]
        return _record(cls, "the result", {**values, "cci_scores": cues})

    def save(self, path: str | PathLike[str], overwrite: bool = False) -> Path:
        """Write the result as JSON, all of it or nothing.

        Raises:
            SavedFileExistsError: something is there, and ``overwrite`` is False.
        """
        from inseq_core.store.json_file import dump
        from inseq_core.store.whole import as_path, write_whole

        document = {"format": FORMAT, "version": VERSION, **_without_nan(self.to_dict())}
        return write_whole(as_path(path), lambda: dump(document), overwrite)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> AttributeContextOutput:
        """Read a saved result, ours or the peer's.

        Raises:
            SavedFileMissingError: nothing is there. FileFormatError: it is something else, or newer.
        """
        from inseq_core.store.json_file import parse
        from inseq_core.store.whole import as_path

        if not as_path(path).is_file():
            raise SavedFileMissingError(f"There is no file {path}.")
        values = parse(as_path(path).read_bytes()).value
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise FileFormatError(f"{path} is no context attribution, but {values['format']!r}.")
        if isinstance(values, dict) and values.get("version", VERSION) != VERSION:
            raise FileFormatError(f"{path} has version {values['version']!r}: this inseq reads {VERSION}.")
        try:
            return cls.from_dict(values)
        except FileFormatError as error:
            raise FileFormatError(f"{path}: {error}") from error

    def show(self, display: bool = True, return_html: bool = False) -> str | None:
        """Show the context-sensitive tokens and their cues: coloured text, or in a notebook a page.

        Args:
            display: show it; otherwise only return what is asked for.
            return_html: return the page.
        """
        from inseq_core.pecore.pictures import show

        return show(self, display=display, return_html=return_html)

    def save_html(self, path: str | PathLike[str]) -> Path:
        """Write the page to a file, all of it or nothing."""
        from inseq_core.pecore.pictures import page
        from inseq_core.store.whole import as_path, write_whole

        return write_whole(as_path(path), lambda: page(self).encode("utf-8"), overwrite=True)

    def _repr_html_(self) -> str:
        """What a notebook shows for a result that is the value of a cell."""
        from inseq_core.pecore.pictures import page

        return page(self, whole=False)


def _check_count(name: str, scores: Sequence[float], tokens: Sequence[str] | None) -> None:
    if tokens is None or len(scores) != len(tokens):
        count = "no" if tokens is None else str(len(tokens))
        raise FileFormatError(f"{name} has {len(scores)} scores for {count} tokens.")


def _plain_record(value: Any) -> dict[str, Any]:
    record = attrs.asdict(value, recurse=False)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in record.items()}


def _without_nan(value: Any) -> Any:
    """NaN as null, which JSON has."""
    if isinstance(value, dict):
        return {name: _without_nan(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "cti_idx": int,
    "cti_token": str,
    "cti_score": (int, float),
    "contextual_output": str,
    "contrast_token": str,
    "contextless_output": str,
    "input_context": str,
    "output_context": str,
    "output_current": str,
}
_LISTS: Mapping[str, type | tuple[type, ...]] = {
    "input_context_scores": (int, float),
    "output_context_scores": (int, float),
    "cti_scores": (int, float),
    "input_context_tokens": str,
    "output_context_tokens": str,
    "output_current_tokens": str,
}


def _record(kind: type[Item], name: str, values: Any) -> Item:
    """A record of plain data, each value of its kind; names that it does not have are left out."""
    if not isinstance(values, Mapping):
        raise FileFormatError(f"{name} is a {type(values).__name__}: expected names and values.")
    fields = attrs.fields(kind)  # type: ignore[arg-type]
    for field in fields:
        value = values.get(field.name)
        is_needed = field.default is attrs.NOTHING
        if value is None:
            if is_needed:
                raise FileFormatError(f"{name} has no {field.name}.")
            continue
        items, wanted = [value], _KINDS.get(field.name)
        if field.name in _LISTS:
            if not isinstance(value, (list, tuple)):
                raise FileFormatError(f"{name}: {field.name} is a {type(value).__name__}: expected a list.")
            # a score that there is none of is null
            wanted = _LISTS[field.name]
            items = [v for v in value if v is not None or wanted is str]
        for item in items:
            if wanted is not None and (not isinstance(item, wanted) or isinstance(item, bool)):
                raise FileFormatError(f"{name}: {field.name} holds {item!r}, a {type(item).__name__}.")
        if field.name == "info" and not isinstance(value, Mapping):
            raise FileFormatError(f"{name}: info is a {type(value).__name__}: expected names and values.")
    return kind(**{f.name: values[f.name] for f in fields if values.get(f.name) is not None})
