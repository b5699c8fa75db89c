"""What results offer as methods that lives in rooms above this one: aggregation, views and files.

A method here only forwards. It imports the room on first use, so that holding a result needs nothing but
numpy.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from inseq_core.data import frames
from inseq_core.data.token import TokenSequence, TokenWithId

if TYPE_CHECKING:
    from inseq_core.data.attribution import FeatureAttributionSequenceOutput
    from inseq_core.data.output import FeatureAttributionOutput

Precision = Literal["float32", "float16", "float8"]


class SequenceShortcuts:
    """Methods of one text's attribution."""

    __slots__ = ()

    def aggregate(
        self,
        aggregator: Any = None,
        aggregate_fn: Any = None,
        do_pre_aggregation_checks: bool = True,
        do_post_aggregation_checks: bool = True,
        **parameters: Any,
    ) -> FeatureAttributionSequenceOutput:
        """A smaller or differently cut attribution; this one is not changed.

        Args:
            aggregator: id of an aggregator, id of an aggregation function (short for ``scores`` with it), an
                aggregator or its class, a pipeline, or a list of these or of (aggregator, function) pairs,
                applied in order. Nothing: the default of the method that made the scores.
            aggregate_fn: the function of a single aggregator, or one for each of a list.
            do_pre_aggregation_checks, do_post_aggregation_checks: accepted for older scripts, without effect.
            **parameters: parameters of the aggregators (``normalize``, ``rescale``, ``select_idx``,
                ``source_spans`` …).

        Raises:
            UnknownNameError: no such aggregator or function. UnknownArgumentError: a parameter nobody takes.
        """
        from inseq_core.aggregate import aggregate

        return aggregate(_sequence(self), aggregator, aggregate_fn, **parameters)

    def rescale(self) -> FeatureAttributionSequenceOutput:
        """Scores of the default aggregation divided by the largest absolute one."""
        return self.aggregate(rescale=True)

    def weight_attributions(self, step_score_id: str) -> FeatureAttributionSequenceOutput:
        """The default aggregation with each step's scores multiplied by a step score. A new result, as
        everywhere.

        Raises:
            UnknownNameError: no such step score in this result.
        """
        from inseq_core.aggregate import weight

        return weight(_sequence(self), step_score_id)

    def __sub__(self, other: object) -> FeatureAttributionSequenceOutput:
        """``a - b``: scores of a minus scores of b."""
        if not isinstance(other, SequenceShortcuts):
            return NotImplemented
        return self.aggregate("pair", paired_attr=other)

    def get_scores_dicts(
        self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any
    ) -> dict[str, dict[tuple[int, str], dict[Any, float]]]:
        """Nested dicts of all scores, aggregated unless told otherwise.

        ``{"source_attributions": {(step position, token): {(position, token): score}},
        "target_attributions": …, "step_scores": {(step position, token): {name: value}}}``
        """
        return frames.scores_dicts(
            self.aggregate(aggregator, **parameters) if do_aggregation else _sequence(self)
        )

    def to_dataframe(self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any) -> Any:
        """A long table, one row a score: pandas if installed, else polars.

        Columns: sequence, side, position, token, step, step_position, step_token, score, one for each step
            score
        and one for each trailing axis. Cells without a score (at or after the step) are left out.

        Raises:
            MissingPackageError: neither is installed.
        """
        chosen = self.aggregate(aggregator, **parameters) if do_aggregation else _sequence(self)
        return frames.dataframe([chosen])

    def to_xarray(self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any) -> Any:
        """An ``xarray.Dataset`` over source, target, step and the trailing axes, labelled by tokens."""
        return frames.dataset(self.aggregate(aggregator, **parameters) if do_aggregation else _sequence(self))

    def decode_tokens(self, tokenizer: Any) -> FeatureAttributionSequenceOutput:
        """Tokens with an id as the tokenizer decodes them one by one (byte-level pieces become readable)."""
        sequence = _sequence(self)
        return attrs.evolve(
            sequence, source=_decoded(sequence.source, tokenizer), target=_decoded(sequence.target, tokenizer)
        )

    def show(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: int | str | None = None,
        slice_dims: dict[int | str, tuple[int, int]] | None = None,
        display: bool = True,
        return_html: bool | None = False,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **parameters: Any,
    ) -> Any:
        """The aggregated scores as a coloured table; scores that keep trailing axes are shown granular."""
        chosen = self.aggregate(aggregator, **parameters) if do_aggregation else _sequence(self)
        if chosen.is_granular:
            return chosen.show_granular(
                min_val, max_val, max_show_size, show_dim, slice_dims, display, return_html
            )
        from inseq_core.view import show_attributions

        return show_attributions(
            chosen, min_val=min_val, max_val=max_val, display=display, return_html=bool(return_html)
        )

    def show_granular(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: int | str | None = None,
        slice_dims: dict[int | str, tuple[int, int]] | None = None,
        display: bool = True,
        return_html: bool | None = False,
    ) -> Any:
        """The raw scores, one trailing axis (layer, head, dimension) browsed."""
        from inseq_core.view import show_granular_attributions

        return show_granular_attributions(
            self,
            min_val=min_val,
            max_val=max_val,
            max_show_size=max_show_size,
            show_dim=show_dim,
            slice_dims=slice_dims,
            display=display,
            return_html=bool(return_html),
        )

    def show_tokens(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        display: bool = True,
        return_html: bool | None = False,
        replace_char: dict[str, str] | None = None,
        wrap_after: int | str | list[str] | tuple[str, ...] | None = None,
        step_score_highlight: str | None = None,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **parameters: Any,
    ) -> Any:
        """The text with highlighted tokens, one line a step."""
        from inseq_core.view import show_token_attributions

        return show_token_attributions(
            self.aggregate(aggregator, **parameters) if do_aggregation else self,
            min_val=min_val,
            max_val=max_val,
            display=display,
            return_html=bool(return_html),
            replace_char=replace_char,
            wrap_after=wrap_after,
            step_score_highlight=step_score_highlight,
        )


class OutputShortcuts:
    """Methods of an output of several texts."""

    __slots__ = ()

    def aggregate(
        self, aggregator: Any = None, aggregate_fn: Any = None, **parameters: Any
    ) -> FeatureAttributionOutput:
        """Every text's attribution aggregated (``FeatureAttributionSequenceOutput.aggregate``)."""
        return _mapped(self, lambda s: s.aggregate(aggregator, aggregate_fn, **parameters))

    def rescale(self) -> FeatureAttributionOutput:
        """Every text's scores of the default aggregation divided by its largest absolute one."""
        return self.aggregate(rescale=True)

    def weight_attributions(self, step_score_id: str) -> FeatureAttributionOutput:
        """Every text's scores multiplied, step by step, by a step score. A new output, as everywhere."""
        return _mapped(self, lambda s: s.weight_attributions(step_score_id))

    def decode_tokens(self, tokenizer: Any) -> FeatureAttributionOutput:
        """Tokens of every text shown as the tokenizer decodes them."""
        return _mapped(self, lambda s: s.decode_tokens(tokenizer))

    def get_scores_dicts(
        self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any
    ) -> list[Any]:
        """One dict of scores a text."""
        return [s.get_scores_dicts(aggregator, do_aggregation, **parameters) for s in _output(self)]

    def to_dataframe(self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any) -> Any:
        """One long table of all texts, told apart by the column ``sequence``."""
        chosen = self.aggregate(aggregator, **parameters) if do_aggregation else _output(self)
        return frames.dataframe(list(chosen))

    def to_xarray(self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any) -> list[Any]:
        """One ``xarray.Dataset`` a text (texts differ in length)."""
        return [s.to_xarray(aggregator, do_aggregation, **parameters) for s in _output(self)]

    def show(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: int | str | None = None,
        slice_dims: dict[int | str, tuple[int, int]] | None = None,
        display: bool = True,
        return_html: bool | None = False,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **parameters: Any,
    ) -> Any:
        """Every text's aggregated scores as a table with colours."""
        chosen = self.aggregate(aggregator, **parameters) if do_aggregation else _output(self)
        shown = [
            s.show(
                min_val,
                max_val,
                max_show_size,
                show_dim,
                slice_dims,
                display,
                return_html,
                do_aggregation=False,
            )
            for s in chosen
        ]
        return "".join(shown) if return_html else None

    def show_granular(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        max_show_size: int | None = None,
        show_dim: int | str | None = None,
        slice_dims: dict[int | str, tuple[int, int]] | None = None,
        display: bool = True,
        return_html: bool | None = False,
    ) -> Any:
        """Every text's raw scores, one trailing axis browsed."""
        shown = [
            s.show_granular(min_val, max_val, max_show_size, show_dim, slice_dims, display, return_html)
            for s in _output(self)
        ]
        return "".join(shown) if return_html else None

    def show_tokens(
        self,
        min_val: float | None = None,
        max_val: float | None = None,
        display: bool = True,
        return_html: bool | None = False,
        replace_char: dict[str, str] | None = None,
        wrap_after: int | str | list[str] | tuple[str, ...] | None = None,
        step_score_highlight: str | None = None,
        aggregator: Any = None,
        do_aggregation: bool = True,
        **parameters: Any,
    ) -> Any:
        """Every text with highlighted tokens."""
        shown = [
            s.show_tokens(
                min_val,
                max_val,
                display,
                return_html,
                replace_char,
                wrap_after,
                step_score_highlight,
                aggregator,
                do_aggregation,
                **parameters,
            )
            for s in _output(self)
        ]
        return "".join(shown) if return_html else None

    def save(
        self,
        path: str | PathLike[str],
        overwrite: bool = False,
        compress: bool = False,
        ndarray_compact: bool = True,
        use_primitives: bool = False,
        split_sequences: bool = False,
        scores_precision: Precision = "float32",
    ) -> Any:
        """Write the output to a file (``inseq_core.store.save_attributions``)."""
        from inseq_core.store import save_attributions

        return save_attributions(
            _output(self),
            path,
            overwrite=overwrite,
            compress=compress,
            ndarray_compact=ndarray_compact,
            use_primitives=use_primitives,
            split_sequences=split_sequences,
            scores_precision=scores_precision,
        )

    @staticmethod
    def load(path: str | PathLike[str], decompress: bool = False) -> FeatureAttributionOutput:
        """Read a saved output (``inseq_core.store.load_attributions``); compression is recognised."""
        from inseq_core.store import load_attributions

        return load_attributions(path)


def _sequence(result: SequenceShortcuts) -> FeatureAttributionSequenceOutput:
    return cast("FeatureAttributionSequenceOutput", result)


def _output(result: OutputShortcuts) -> FeatureAttributionOutput:
    return cast("FeatureAttributionOutput", result)


def _mapped(result: OutputShortcuts, change: Any) -> FeatureAttributionOutput:
    output = _output(result)
    return attrs.evolve(
        output,
        sequence_attributions=[change(s) for s in output.sequence_attributions],
        step_attributions=None,
    )


def _decoded(tokens: TokenSequence, tokenizer: Any) -> TokenSequence:
    return TokenSequence(t if t.id < 0 else TokenWithId(tokenizer.decode([t.id]), t.id) for t in tokens)
