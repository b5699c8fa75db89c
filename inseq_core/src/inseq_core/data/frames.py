"""Scores as dicts, long tables and labelled arrays.

Axes: S source positions, L target positions, T attributed steps, then the trailing axes.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from inseq_core.data.scores import ScoreArray
from inseq_core.data.token import TokenSequence
from inseq_core.errors import InvalidArgumentError, MissingPackageError

if TYPE_CHECKING:
    from inseq_core.data.attribution import FeatureAttributionSequenceOutput

Label = tuple[int, str]


def scores_dicts(sequence: FeatureAttributionSequenceOutput) -> dict[str, dict[Label, dict[Any, float]]]:
    """Nested dicts: kind -> (step position, token) -> (position, token) or step score name -> number.

    Raises:
        InvalidArgumentError: there are trailing axes left.
    """
    if sequence.axes:
        raise InvalidArgumentError(
            f"The scores still have the axes {sequence.axes}: a dict needs one number a position and step.\n"
            "  Leave do_aggregation=True, or aggregate before."
        )
    dicts: dict[str, dict[Label, dict[Any, float]]] = {
        "source_attributions": {},
        "target_attributions": {},
        "step_scores": {},
    }
    for k, token in enumerate(sequence.step_tokens):
        step = (sequence.attr_pos_start + k, str(token))
        if sequence.source_attributions is not None:
            dicts["source_attributions"][step] = _column(sequence.source, sequence.source_attributions[:, k])
        if sequence.target_attributions is not None:
            prefix = TokenSequence(sequence.target[: sequence.attr_pos_end])
            dicts["target_attributions"][step] = _column(
                prefix, sequence.target_attributions[: len(prefix), k]
            )
        dicts["step_scores"][step] = {name: float(scores[k]) for name, scores in sequence.step_scores.items()}
    return dicts


def _column(tokens: TokenSequence, scores: ScoreArray) -> dict[Label, float]:
    return {
        (i, str(token)): value for i, (token, value) in enumerate(zip(tokens, scores.tolist(), strict=True))
    }


def dataframe(sequences: Sequence[FeatureAttributionSequenceOutput]) -> Any:
    """One row a score, of every sequence; pandas if installed, else polars.

    Raises:
        MissingPackageError: neither is installed.
    """
    library = next(
        (found for found in map(_optional_module, ("pandas", "polars")) if found is not None), None
    )
    if library is None:
        raise MissingPackageError("to_dataframe() needs pandas or polars.\n  pip install pandas")
    tables = [table for i, sequence in enumerate(sequences) for table in _tables(i, sequence)]
    names = list(dict.fromkeys(name for table in tables for name in table)) or list(_COLUMNS)
    columns = {
        name: np.concatenate([_column_of(table, name) for table in tables] or [np.zeros(0)]) for name in names
    }
    last = [n for n in names if n not in _COLUMNS]
    order = [n for n in _COLUMNS if n in columns] + last
    # as lists, so that either library sees text and not Python objects
    return library.DataFrame(
        {n: columns[n].tolist() if columns[n].dtype == object else columns[n] for n in order}
    )


_COLUMNS = ("sequence", "side", "position", "token", "step", "step_position", "step_token", "score")


def _column_of(table: dict[str, Any], name: str) -> Any:
    rows = len(table["sequence"])
    return table.get(name, np.full(rows, np.nan))


def _tables(index: int, sequence: FeatureAttributionSequenceOutput) -> list[dict[str, Any]]:
    """Columns of each side; of the steps alone where nothing was attributed."""
    sides = [
        (side, tokens, scores)
        for side, tokens, scores in (
            ("source", sequence.source, sequence.source_attributions),
            ("target", sequence.target, sequence.target_attributions),
        )
        if scores is not None
    ]
    if not sides:
        steps = np.arange(sequence.n_steps)
        return [{"sequence": np.full(len(steps), index), **_step_columns(sequence, steps)}]
    return [_side_table(index, sequence, side, tokens, scores) for side, tokens, scores in sides]


def _side_table(
    index: int,
    sequence: FeatureAttributionSequenceOutput,
    side: str,
    tokens: TokenSequence,
    scores: ScoreArray,
) -> dict[str, Any]:
    where = np.nonzero(~np.isnan(scores))
    positions, steps = where[0], where[1]
    return {
        "sequence": np.full(len(positions), index),
        "side": np.full(len(positions), side, dtype=object),
        "position": positions,
        "token": _labels(tokens)[positions],
        **_step_columns(sequence, steps),
        **{axis: where[2 + i] for i, axis in enumerate(sequence.axes)},
        "score": scores[where],
    }


def _step_columns(sequence: FeatureAttributionSequenceOutput, steps: Any) -> dict[str, Any]:
    return {
        "step": steps,
        "step_position": steps + sequence.attr_pos_start,
        "step_token": _labels(sequence.step_tokens)[steps],
        **{name: scores[steps] for name, scores in sequence.step_scores.items()},
    }


def _labels(tokens: TokenSequence) -> Any:
    labels = np.empty(len(tokens), dtype=object)
    # half of a character, which tokenizers of UTF-16 may give, is no text that a table can hold
    labels[:] = [str(token).encode("utf-8", "replace").decode("utf-8") for token in tokens]
    return labels


def dataset(sequence: FeatureAttributionSequenceOutput) -> Any:
    """An ``xarray.Dataset``; variables source_attributions, target_attributions and each step score.

    Raises:
        MissingPackageError: xarray is not installed.
    """
    xarray = _optional_module("xarray")
    if xarray is None:
        raise MissingPackageError("to_xarray() needs xarray.\n  pip install xarray")
    variables: dict[str, Any] = {}
    if sequence.source_attributions is not None:
        variables["source_attributions"] = (("source", "step", *sequence.axes), sequence.source_attributions)
    if sequence.target_attributions is not None:
        variables["target_attributions"] = (("target", "step", *sequence.axes), sequence.target_attributions)
    for name, scores in sequence.step_scores.items():
        variables[name] = (("step",), scores)
    coordinates = {
        "step": np.arange(sequence.attr_pos_start, sequence.attr_pos_end),
        "step_token": ("step", _labels(sequence.step_tokens)),
        "target_token": ("target", _labels(sequence.target)),
        "source_token": ("source", _labels(sequence.source)),
    }
    return xarray.Dataset(variables, coords=coordinates)


def _optional_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
