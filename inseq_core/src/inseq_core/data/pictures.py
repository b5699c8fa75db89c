"""What results offer as views: the same methods for one text and for many.

A method here only forwards. It imports the view room on first use, so that holding a result needs nothing but
numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal


class ViewShortcuts:
    """``show`` and its relatives; a view of several texts is one picture with one colour scale."""

    __slots__ = ()

    def show(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: int | str | None = None,
        slice_dims: Mapping[int | str, tuple[int, int]] | None = None,
        display: bool = True,
        return_html: bool | None = False,
        return_figure: bool = False,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **parameters: Any,
    ) -> Any:
        """The aggregated scores as a coloured table, one number for each input and step.

        Args:
            min_val, max_val, max_show_size, show_dim, slice_dims, display, return_html, return_figure: as in
                ``inseq.show_attributions``.
            aggregator, **parameters: as in ``aggregate``; axes that the aggregator leaves are reduced by the
                method's default.
            do_aggregation: aggregate first; otherwise the scores are shown as they are, trailing axes granular.
        """
        from inseq_core.view import show_attributions

        chosen: Any = self
        return show_attributions(
            chosen._reduced(aggregator, **parameters) if do_aggregation else chosen,
            min_val=min_val,
            max_val=max_val,
            max_show_size=max_show_size,
            show_dim=show_dim,
            slice_dims=slice_dims,
            display=display,
            return_html=return_html or False,
            return_figure=return_figure,
            do_aggregation=False,
        )

    def show_granular(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: int | str | None = None,
        slice_dims: Mapping[int | str, tuple[int, int]] | None = None,
        display: bool = True,
        return_html: bool | None = False,
        return_figure: bool = False,
    ) -> Any:
        """The raw scores, their trailing axes (layer, head, dimension) to leaf through.

        Arguments as in ``inseq.show_granular_attributions``.
        """
        from inseq_core.view import show_granular_attributions

        chosen: Any = self
        return show_granular_attributions(
            chosen,
            max_show_size=max_show_size,
            min_val=min_val,
            max_val=max_val,
            show_dim=show_dim,
            slice_dims=slice_dims,
            display=display,
            return_html=return_html or False,
            return_figure=return_figure,
        )

    def show_tokens(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        display: bool = True,
        return_html: bool | None = False,
        return_figure: bool = False,
        replace_char: Mapping[str, str] | None = None,
        wrap_after: int | str | Sequence[str] | None = None,
        step_score_highlight: str | None = None,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **parameters: Any,
    ) -> Any:
        """The text before each step with its tokens coloured.

        Arguments as in ``inseq.show_token_attributions`` and in ``aggregate``; there is no figure of it.

        Raises:
            InvalidArgumentError: ``return_figure``, or as in ``inseq.show_token_attributions``.
        """
        from inseq_core.view import show_token_attributions

        chosen: Any = self
        return show_token_attributions(
            chosen._reduced(aggregator, **parameters) if do_aggregation else chosen,
            min_val=min_val,
            max_val=max_val,
            display=display,
            return_html=return_html or False,
            return_figure=return_figure,
            replace_char=replace_char,
            wrap_after=wrap_after,
            step_score_highlight=step_score_highlight,
            do_aggregation=False,
        )

    def save_html(
        self,
        path: str | PathLike[str],
        view: Literal["table", "granular", "tokens"] = "table",
        *,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
    ) -> Path:
        """Write the page to a file, all of it or nothing.

        Arguments as in ``inseq_core.view.save_html``.
        """
        from inseq_core.view import save_html

        chosen: Any = self
        return save_html(
            chosen, path, view=view, min_val=min_val, max_val=max_val, max_show_size=max_show_size
        )

    def _repr_html_(self) -> str:
        """What a notebook shows where a result is the value of a cell."""
        from inseq_core.view import html_fragment

        chosen: Any = self
        return html_fragment(chosen)
