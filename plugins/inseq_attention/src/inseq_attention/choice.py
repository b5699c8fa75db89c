"""Which layers and heads: choices as users write them, checked before any model work.

A choice is an index, a span ``(start, end)`` without its end or as a slice, a list of indices, or None for
all; negative numbers count from the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from inseq_core.data.plain import items_of
from inseq_core.errors import InvalidArgumentError, invalid
from inseq_core.run.binding import plain_number

if TYPE_CHECKING:
    from inseq_core.run.request import AttributeRequest

Choice = int | tuple[int | None, int | None] | list[int] | range | slice | None
"""One, a span (start, end), several, or all; an end of a span that is None is the first or the last."""

UnitChoice = Choice | Mapping[int, Choice]
"""Heads in every layer, or by layer; layers that are not named have none."""

EXPECTED = "an index, a span (start, end) or slice, a list of indices, or None for all"


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_choice(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Refuse what is no choice at all."""
    if value is None or _is_index(value) or isinstance(value, range):
        return
    if isinstance(value, list) and value and all(map(_is_index, value)):
        return
    if isinstance(value, tuple) and len(value) == 2 and all(x is None or _is_index(x) for x in value):
        return
    raise invalid(attribute.name, value, EXPECTED)


def is_unit_choice(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Refuse what is neither a choice nor one for each layer."""
    if not isinstance(value, Mapping):
        is_choice(instance, attribute, value)
        return
    for layer, heads in value.items():
        if not _is_index(layer):
            raise invalid(f"{attribute.name}: layer", layer, "the index of a layer")
        is_choice(instance, attribute, heads)


def as_list(value: Any) -> Any:
    """A choice as plain data: ranges written out, slices as spans, numbers of arrays as Python's own, and layers
    as numbers where JSON made them text.
    """
    if isinstance(value, Mapping):
        named = ((plain_number(k), as_list(v)) for k, v in value.items())
        return {int(k) if isinstance(k, str) and k.isdigit() else k: v for k, v in named}
    if isinstance(value, slice) and value.step in (None, 1):
        value = (value.start, value.stop)
    items = None if isinstance(value, str) else items_of(value)
    if items is None:
        return plain_number(value)
    items = [plain_number(item) for item in items]
    return tuple(items) if isinstance(value, tuple) else items


def indices(name: str, choice: Choice, size: int, what: str) -> list[int]:
    """The chosen indices, in their order.

    Args:
        name: of the argument.
        size: how many there are.
        what: of what ("decoder layers").

    Raises:
        InvalidArgumentError: out of range; says the range.
    """
    plain: Any = as_list(choice)
    if plain is None:
        return list(range(size))
    if isinstance(plain, tuple):
        start, end = (size * i if end is None else end for i, end in enumerate(plain))
        _check_range(name, choice, [start], size, what)
        _check_range(name, choice, [end - 1 if end > 0 else end], size, what)
        start, end = start % size, end if end >= 0 else end + size
        if start >= end:
            raise invalid(name, choice, f"a span (start, end) with start before end, among {size} {what}")
        return list(range(start, end))
    chosen = [plain] if isinstance(plain, int) else plain
    _check_range(name, choice, chosen, size, what)
    return [i % size for i in chosen]


def _check_range(name: str, choice: Choice, chosen: list[int], size: int, what: str) -> None:
    if any(not -size <= i < size for i in chosen):
        raise InvalidArgumentError(
            f"{name} = {choice!r}: the model has {size} {what}, so indices go from 0 to {size - 1}"
            f" (or from -{size} to -1, counted from the last)."
        )


def check_layers_and_heads(
    request: AttributeRequest, layers: Choice = None, heads: Choice = None, name: str = "heads"
) -> None:
    """Refuse layers and heads that the model does not have, as far as its configuration tells.

    Args:
        layers, heads: choices among those of the decoder and of cross-attention.
        name: of the argument that holds ``heads``.
    """
    n_layers = getattr(request.adapter, "attention_layers", lambda: None)()
    n_heads = getattr(request.adapter, "attention_heads", lambda: None)()
    if n_layers and n_layers.get("decoder"):
        indices("layers", layers, n_layers["decoder"], "decoder layers with attention")
    if n_heads and n_heads.get("decoder"):
        indices(name, heads, n_heads["decoder"], "attention heads in each layer")


def check_units(request: AttributeRequest, name: str, choice: UnitChoice, kind: str) -> None:
    """Refuse zeroed heads that the model does not have, as far as its configuration tells."""
    if choice is None:
        return
    n_layers = (getattr(request.adapter, "attention_layers", lambda: None)() or {}).get(kind)
    n_heads = (getattr(request.adapter, "attention_heads", lambda: None)() or {}).get(kind)
    by_layer = choice if isinstance(choice, Mapping) else {}
    if n_layers and by_layer:
        indices(name, list(by_layer), n_layers, f"{kind} layers with attention")
    if n_heads:
        for heads in by_layer.values() if isinstance(choice, Mapping) else [choice]:
            indices(name, heads, n_heads, "attention heads in each layer")
