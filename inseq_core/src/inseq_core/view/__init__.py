"""Everything one looks at: tables and texts with colours, in a terminal, in a notebook, on a page, as a
figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.lazy import lazy_names

if TYPE_CHECKING:
    from inseq_core.view.show import html_fragment as html_fragment
    from inseq_core.view.show import save_html as save_html
    from inseq_core.view.show import show_attributions as show_attributions
    from inseq_core.view.show import show_granular_attributions as show_granular_attributions
    from inseq_core.view.show import show_token_attributions as show_token_attributions

_TABLE = dict.fromkeys(
    (
        "html_fragment",
        "save_html",
        "show_attributions",
        "show_granular_attributions",
        "show_token_attributions",
    ),
    "inseq_core.view.show",
)

__all__ = sorted(_TABLE)  # noqa: PLE0605

__getattr__, __dir__ = lazy_names(__name__, _TABLE)
