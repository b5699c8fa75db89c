"""The attribution method: the narrow waist.

A method sees an ``AttributionContext`` and nothing else, and works on all steps at once. It is a frozen attrs
class whose fields are its parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from inseq_core.data.result import MethodOutput

if TYPE_CHECKING:
    from inseq_core.contracts.context import AttributionContext


@runtime_checkable
class AttributionMethod(Protocol):
    """What a method plugin implements.

    A class may also have ``check(self, request) -> None``, called before any model work with the request of
    the call (``request.profile``, ``request.is_encoder_decoder`` …) to refuse what it cannot do.
    """

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Scores (R, S, *trailing) and (R, L, *trailing) of every input for every row of ``ctx``."""
        ...
