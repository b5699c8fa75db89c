"""What results offer as methods that lives in rooms above this one: aggregation, files (views: pictures.py).

A method here only forwards. It imports the room on first use, so that holding a result needs nothing but
numpy.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from inseq_core.data import frames
from inseq_core.data.pictures import ViewShortcuts
from inseq_core.data.token import TokenSequence, TokenWithId
from inseq_core.errors import invalid

if TYPE_CHECKING:
    from inseq_core.data.attribution import FeatureAttributionSequenceOutput
    from inseq_core.data.output import FeatureAttributionOutput

Precision = Literal["float32", "float16", "float8"]


class SequenceShortcuts(ViewShortcuts):
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

    def _reduced(
        self,
        aggregator: Any = None,
        aggregate_fn: Any = None,
        do_pre_aggregation_checks: bool = True,
        do_post_aggregation_checks: bool = True,
        **parameters: Any,
    ) -> FeatureAttributionSequenceOutput:
        """``aggregate``, and axes that are left reduced by their default: one number a position and step."""
        from inseq_core.aggregate import reduced

        return reduced(_sequence(self), aggregator, aggregate_fn, **parameters)

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
        """Nested dicts of all scores, aggregated to one a token unless told otherwise.

        ``{"source_attributions": {(step position, token): {(position, token): score}},
        "target_attributions": …, "step_scores": {(step position, token): {name: value}}}``
        """
        return frames.scores_dicts(
            self._reduced(aggregator, **parameters) if do_aggregation else _sequence(self)
        )

    def to_dataframe(self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any) -> Any:
        """A long table, one row a score: pandas if installed, else polars.

        Columns: sequence, side, position, token, step, step_position, step_token, score, one for each step
        score, and with ``do_aggregation=False`` one for each trailing axis. Cells without a score (at or after
        the step) are left out.

        Raises:
            MissingPackageError: neither is installed.
        """
        chosen = self._reduced(aggregator, **parameters) if do_aggregation else _sequence(self)
        return frames.dataframe([chosen])

    def to_xarray(self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any) -> Any:
        """An ``xarray.Dataset`` over source, target and step, labelled by tokens; with ``do_aggregation=False``
        over the trailing axes too.
        """
        return frames.dataset(self._reduced(aggregator, **parameters) if do_aggregation else _sequence(self))

    def decode_tokens(self, tokenizer: Any) -> FeatureAttributionSequenceOutput:
        """Tokens with an id as the tokenizer decodes them one by one (byte-level pieces become readable)."""
        if not callable(getattr(tokenizer, "decode", None)):
            raise invalid("tokenizer", tokenizer, "a tokenizer: something with decode(ids)")
        sequence = _sequence(self)
        return attrs.evolve(
            sequence, source=_decoded(sequence.source, tokenizer), target=_decoded(sequence.target, tokenizer)
        )


class OutputShortcuts(ViewShortcuts):
    """Methods of an output of several texts."""

    __slots__ = ()

    def aggregate(
        self, aggregator: Any = None, aggregate_fn: Any = None, **parameters: Any
    ) -> FeatureAttributionOutput:
        """Every text's attribution aggregated (``FeatureAttributionSequenceOutput.aggregate``)."""
        return mapped(self, lambda s: s.aggregate(aggregator, aggregate_fn, **parameters))

    def _reduced(self, aggregator: Any = None, **parameters: Any) -> FeatureAttributionOutput:
        """``aggregate``, and axes that are left reduced by their default."""
        return mapped(self, lambda s: s._reduced(aggregator, **parameters))

    def rescale(self) -> FeatureAttributionOutput:
        """Every text's scores of the default aggregation divided by its largest absolute one."""
        return self.aggregate(rescale=True)

    def weight_attributions(self, step_score_id: str) -> FeatureAttributionOutput:
        """Every text's scores multiplied, step by step, by a step score. A new output, as everywhere."""
        return mapped(self, lambda s: s.weight_attributions(step_score_id))

    def decode_tokens(self, tokenizer: Any) -> FeatureAttributionOutput:
        """Tokens of every text shown as the tokenizer decodes them."""
        return mapped(self, lambda s: s.decode_tokens(tokenizer))

    def get_scores_dicts(
        self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any
    ) -> list[Any]:
        """One dict of scores a text."""
        return [s.get_scores_dicts(aggregator, do_aggregation, **parameters) for s in _output(self)]

    def to_dataframe(self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any) -> Any:
        """One long table of all texts, told apart by the column ``sequence``."""
        chosen = self._reduced(aggregator, **parameters) if do_aggregation else _output(self)
        return frames.dataframe(list(chosen))

    def to_xarray(self, aggregator: Any = None, do_aggregation: bool = True, **parameters: Any) -> list[Any]:
        """One ``xarray.Dataset`` a text (texts differ in length)."""
        return [s.to_xarray(aggregator, do_aggregation, **parameters) for s in _output(self)]

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


def mapped(result: OutputShortcuts, change: Any) -> FeatureAttributionOutput:
    """The output with each text's attribution changed."""
    output = _output(result)
    return output.with_sequences([change(s) for s in output.sequence_attributions])


def _decoded(tokens: TokenSequence, tokenizer: Any) -> TokenSequence:
    return TokenSequence(t if t.id < 0 else TokenWithId(tokenizer.decode([t.id]), t.id) for t in tokens)
