"""The keywords of ``attribute()`` that belong to the call itself, checked one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from inseq_core.contracts.removal import RemovalWay
from inseq_core.errors import invalid
from inseq_core.run.binding import argument_dict, plain_number
from inseq_core.run.features import FeatureChoice, as_removal, check_features


def _is_flag(instance: Any, attribute: attrs.Attribute[bool], value: Any) -> None:
    if not isinstance(value, bool):
        raise invalid(attribute.name, value, "True or False")


def as_count(name: str, value: Any) -> int:
    """A whole number of at least 1, also one of numpy's."""
    value = plain_number(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise invalid(name, value, "a whole number of at least 1, or None")
    return value


def _is_count(instance: Any, attribute: attrs.Attribute[int], value: Any) -> None:
    if value is not None:
        as_count(attribute.name, value)


def _is_seed(instance: Any, attribute: attrs.Attribute[int], value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid(attribute.name, value, "a whole number of at least 0")


def _flag(default: bool = False) -> Any:
    return attrs.field(default=default, validator=_is_flag)


def _or_zero(value: Any) -> Any:
    return 0 if value is None else plain_number(value)


def _features(value: Any) -> FeatureChoice | None:
    return None if value is None else check_features(value)


def _generation_args(value: Any) -> dict[str, Any]:
    return {name: plain_number(v) for name, v in argument_dict("generation_args", value).items()}


def _template_args(value: Any) -> dict[str, Any]:
    return argument_dict("chat_template_args", value)


def _as_steps(value: Any) -> str | tuple[int, int]:
    """``"each"``, ``"sum"``, or the positions of a sum."""
    if isinstance(value, str) and value in ("each", "sum"):
        return str(value)
    if isinstance(value, (list, tuple)) and len(value) == 2:
        start, end = map(plain_number, value)
        if type(start) is int and type(end) is int:
            return (start, end)
    raise invalid("steps", value, "'each', 'sum', or the span (start, end) of target positions to sum over")


@attrs.frozen(kw_only=True, eq=False)
class Options:
    """The keywords of ``attribute()`` that belong to the call itself; see ``AttributionModel.attribute``."""

    attr_pos_start: Any = None
    attr_pos_end: Any = None
    show_progress: bool = _flag(True)
    pretty_progress: bool = _flag(True)
    output_step_attributions: bool = _flag()
    attribute_target: bool = _flag()
    include_eos_baseline: bool = _flag()
    batch_size: int | None = attrs.field(default=None, validator=_is_count, converter=plain_number)
    generate_from_target_prefix: bool = _flag()
    skip_special_tokens: bool = _flag()
    clean_special_chars: bool = _flag()
    generation_args: Mapping[str, Any] = attrs.field(factory=dict, converter=_generation_args)
    seed: int = attrs.field(default=0, validator=_is_seed, converter=_or_zero)
    features: FeatureChoice | None = attrs.field(default=None, converter=_features)
    removal: RemovalWay | None = attrs.field(default=None, converter=as_removal)
    keep_granular: bool = _flag()
    truncation: bool = _flag()
    attribute_span: Any = None
    steps: str | tuple[int, int] = attrs.field(default="each", converter=_as_steps)
    weight_by: Any = None
    chat_template_args: Mapping[str, Any] = attrs.field(factory=dict, converter=_template_args)
