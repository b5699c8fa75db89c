"""``attribute_dataset``: the texts of a dataset, a batch at a time, as one output."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from inseq_core.aggregate.chain import pipeline, reduced
from inseq_core.data.output import FeatureAttributionOutput, merge_attributions
from inseq_core.data.shortcuts import mapped
from inseq_core.dataset.checkpoint import Checkpoint
from inseq_core.dataset.opening import TextDataset, TextRow, open_dataset
from inseq_core.errors import DatasetError, InseqError, InvalidArgumentError, invalid
from inseq_core.model import AttributionModel, load_model
from inseq_core.run.progress import progress
from inseq_core.run.provenance import versions

Aggregate = Callable[[FeatureAttributionOutput], FeatureAttributionOutput]

DEFAULT_METHOD = "saliency"
"""For models that were loaded without a method."""


def attribute_dataset(
    model: Any,
    dataset_name: str | os.PathLike[str],
    input_text_field: str,
    generated_text_field: str | None = None,
    *,
    dataset_config: str | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    dataset_files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    dataset_split: str = "train",
    dataset_revision: str | None = None,
    dataset_auth_token: str | None = None,
    dataset_kwargs: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    aggregate: Any = False,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    show_progress: bool = True,
    **keywords: Any,
) -> FeatureAttributionOutput:
    """Attribute every text of a dataset.

    Rows are read, encoded and attributed ``batch_size`` at a time, each batch like a call of its own. Of the
    texts themselves no more is held; scores of every dimension are, unless they are aggregated batch by batch.

    Args:
        model: an ``AttributionModel``, or what ``load_model`` takes.
        dataset_name: a csv, tsv, json, jsonl or parquet file, the kind of ``dataset_files``, or a name that
            the library ``datasets`` knows.
        input_text_field: the field with the input texts (or chat messages).
        generated_text_field: the field with outputs to explain; otherwise the model generates them.
        dataset_config, dataset_dir, dataset_files, dataset_split, dataset_revision, dataset_auth_token,
            dataset_kwargs: see ``open_dataset``.
        batch_size: rows at a time.
        aggregate: keep one score a token of each batch as soon as it is there: True for the default way, what
            ``aggregate`` of an output takes ("words", a list, a pipeline; axes that it leaves are reduced by the
            default), or a function of the batch's output, whose result is kept as it is.
        checkpoint_dir: a folder, made if it is not there, in which each batch is kept as soon as it is done. After an
            interruption the same call goes on from it; it is yours to delete in the end.
        show_progress: a progress bar on a terminal.
        **keywords: of ``AttributionModel.attribute``.

    Returns:
        One attribution a row, in their order; the dataset is named in the info.

    Raises:
        DatasetError, DatasetMissingError, MissingPackageError: see ``open_dataset``.
        CheckpointError: ``checkpoint_dir`` cannot be used, or holds another run, or batches of other texts.
        InseqError: what ``attribute`` raises, with the rows it was about.
    """
    opened = open_dataset(
        dataset_name,
        input_text_field,
        generated_text_field,
        dataset_config=dataset_config,
        dataset_dir=dataset_dir,
        dataset_files=dataset_files,
        dataset_split=dataset_split,
        dataset_revision=dataset_revision,
        dataset_auth_token=dataset_auth_token,
        dataset_kwargs=dataset_kwargs,
    )
    if not isinstance(model, AttributionModel):
        model = load_model(model, keywords.get("method") or DEFAULT_METHOD)
    return attribute_rows(
        model,
        opened,
        dataset_split=dataset_split,
        batch_size=batch_size,
        aggregate=aggregate,
        checkpoint_dir=checkpoint_dir,
        show_progress=show_progress,
        **keywords,
    )


def attribute_rows(
    model: AttributionModel,
    dataset: TextDataset,
    *,
    dataset_split: str = "train",
    batch_size: int = 8,
    aggregate: Any = False,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    show_progress: bool = True,
    **keywords: Any,
) -> FeatureAttributionOutput:
    """Attribute the rows of an opened dataset; see ``attribute_dataset``."""
    if type(batch_size) is not int or batch_size < 1:
        raise invalid("batch_size", batch_size, "a whole number of at least 1")
    for name in ("input_texts", "generated_texts"):
        if name in keywords:
            raise InvalidArgumentError(f"{name} are what the dataset has: name the field that they are in.")
    reduce = _reduction(aggregate)
    facts = {
        "name": dataset.name,
        "split": dataset_split,
        "input_text_field": dataset.input_field,
        "generated_text_field": dataset.generated_field,
    }
    checkpoint = None
    if checkpoint_dir is not None:
        run = {"dataset": facts, "batch_size": batch_size, "aggregate": aggregate}
        checkpoint = Checkpoint.at(checkpoint_dir, {**_facts_of(model, keywords), **run})
    outputs = []
    with progress(f"rows of {dataset.name}", dataset.count or 0, show=show_progress, unit="rows") as advance:
        for rows in _batches(dataset, batch_size):
            output = None if checkpoint is None else checkpoint.kept(rows)
            if output is None:
                output = reduce(_attributed(model, dataset, rows, keywords))
                if checkpoint is not None:
                    checkpoint.keep(rows, output)
            outputs.append(output)
            advance(len(rows))
    if not outputs:
        raise DatasetError(f"{dataset.name}: it has no rows.")
    merged = merge_attributions(outputs)
    info = merged.info.evolve(extras={**merged.info.extras, "dataset": facts})
    return FeatureAttributionOutput(merged.sequence_attributions, merged.step_attributions, info)


def _facts_of(model: AttributionModel, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """What the scores of a text depend on beside it."""
    profile = model.adapter.profile
    entry, arguments = model.method_entry(keywords.get("method"))
    return {
        "model": {
            name: getattr(profile, name)
            for name in ("name", "model_class", "tokenizer_name", "framework", "dtype")
        },
        "method": {"name": entry.name, "from": str(entry.provenance), **arguments},
        "attributed_fn": keywords.get("attributed_fn") or model.default_attributed_fn_id,
        "keywords": {
            name: value for name, value in keywords.items() if name not in ("method", "attributed_fn")
        },
        "versions": versions(),
    }


def _batches(dataset: TextDataset, size: int) -> Iterator[list[TextRow]]:
    rows = iter(dataset)
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _attributed(
    model: AttributionModel, dataset: TextDataset, rows: Sequence[TextRow], keywords: Mapping[str, Any]
) -> FeatureAttributionOutput:
    generated = None if dataset.generated_field is None else [row.generated or "" for row in rows]
    try:
        return model.attribute([row.input for row in rows], generated, show_progress=False, **keywords)
    except InseqError as error:
        first, last = rows[0].number, rows[-1].number
        where = f"row {first}" if first == last else f"rows {first} to {last}"
        raise type(error)(f"{dataset.name}, {where}: {error}") from error


def _reduction(aggregate: Any) -> Aggregate:
    """What is done with each batch: nothing, the default, what an aggregator does, or a function."""
    if aggregate is None or isinstance(aggregate, bool):
        return _default if aggregate else _as_it_is
    if callable(aggregate) and not hasattr(aggregate, "aggregate"):
        return lambda output: _reduced(aggregate, output)
    aggregators = pipeline(aggregate)
    return lambda output: mapped(output, lambda sequence: reduced(sequence, aggregators))


def _reduced(aggregate: Aggregate, output: FeatureAttributionOutput) -> FeatureAttributionOutput:
    """What a user's function makes of a batch.

    Raises:
        InvalidArgumentError: it fails, or gives something else than an output.
    """
    expected = "  It is called as fn(output), and returns an output, such as output.aggregate()."
    try:
        reduced = aggregate(output)
    except InseqError:
        raise
    except Exception as error:
        raise InvalidArgumentError(
            f"aggregate failed: {type(error).__name__}: {error}\n{expected}"
        ) from error
    if not isinstance(reduced, FeatureAttributionOutput):
        raise InvalidArgumentError(f"aggregate returned a {type(reduced).__name__}.\n{expected}")
    return reduced


def _default(output: FeatureAttributionOutput) -> FeatureAttributionOutput:
    return output.aggregate()


def _as_it_is(output: FeatureAttributionOutput) -> FeatureAttributionOutput:
    return output
