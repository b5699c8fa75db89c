from __future__ import annotations

import json

import attrs
import numpy as np
import pytest

from inseq_core.aggregate import AggregatorPipeline
from inseq_core.dataset import attribute_dataset
from inseq_core.errors import DatasetError, InvalidArgumentError, TextTooLongError, UnknownNameError
from inseq_core.hooks import MethodSpec, get_host
from inseq_core.model import AttributionModel
from inseq_core.testing.toys import BagModel

TEXTS = ["the dog", "a cat sees", "she likes the red dog", "he", "it is small"]


@pytest.fixture
def path(tmp_path):
    """Five texts in a file."""
    file = tmp_path / "rows.jsonl"
    rows = [{"text": t, "output": f"{t} because it"} for t in TEXTS]
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_a_dataset_is_attributed_like_its_texts(lm, path, batch_size):
    """Whatever the batches: tokens, positions and scores in the order of the rows."""
    out = attribute_dataset(lm, path, "text", batch_size=batch_size, step_scores=["probability"])
    whole = lm.attribute(TEXTS, step_scores=["probability"])

    assert len(out) == 5 and out.info.input_texts == tuple(TEXTS)
    for a, b in zip(out, whole, strict=True):
        assert a.target == b.target
        np.testing.assert_allclose(a.step_scores["probability"], b.step_scores["probability"], rtol=1e-6)


def test_given_outputs_are_explained(lm, path):
    """Of the other field."""
    out = attribute_dataset(lm, path, "text", "output", batch_size=2)

    assert out.info.constrained_decoding
    assert out.info.generated_texts == tuple(f"{t} because it" for t in TEXTS)


def test_no_more_texts_are_encoded_at_once_than_a_batch_has(lm, path, monkeypatch):
    """What makes big datasets possible."""
    sizes = []
    usual = lm.attribute

    def attribute(texts, *arguments, **keywords):
        sizes.append(len(texts))
        return usual(texts, *arguments, **keywords)

    monkeypatch.setattr(lm, "attribute", attribute)
    attribute_dataset(lm, path, "text", batch_size=2)

    assert sizes == [2, 2, 1]


def test_the_dataset_is_named_in_the_info(lm, path):
    """Where the texts are from; no token is kept."""
    out = attribute_dataset(lm, path, "text", dataset_split="train[:2]")

    assert out.info.extras["dataset"] == {
        "name": path,
        "split": "train[:2]",
        "input_text_field": "text",
        "generated_text_field": None,
    }


def test_batches_are_aggregated_as_they_are_made(lm, path):
    """By a function; each sees its own batch only."""
    seen = []

    def keep(out):
        seen.append(len(out))
        return out

    attribute_dataset(lm, path, "text", batch_size=3, aggregate=keep)
    assert seen == [3, 2]


@pytest.mark.parametrize("aggregate", [True, "words", ["words", "sum"], AggregatorPipeline(["words"])])
def test_batches_are_aggregated_by_what_an_output_is_aggregated_by(lm, path, aggregate):
    """A name was taken for True."""
    found = attribute_dataset(lm, path, "text", batch_size=3, aggregate=aggregate)
    whole = lm.attribute(TEXTS)

    assert list(found) == list(whole.aggregate(None if aggregate is True else aggregate).aggregate())


@attrs.frozen
class Layered:
    """Ones in two layers."""

    def attribute(self, ctx):
        return ctx.output(target=np.ones((*ctx.target_shape[:2], 2)))


def test_axes_that_an_aggregator_leaves_are_let_go(lm, path):
    """Every layer and dimension of every text is what aggregation is there to let go."""
    spec = MethodSpec(name="layered", factory=Layered, summary="Two layers.", trailing_axes=("layer",))
    get_host().methods.register(spec)
    try:
        words = attribute_dataset(lm, path, "text", aggregate="words", method="layered")
        stepwise = attribute_dataset(
            lm, path, "text", aggregate=True, method="layered", batch_size=2, output_step_attributions=True
        )
        as_it_is = attribute_dataset(lm, path, "text", aggregate=lambda out: out, method="layered")
    finally:
        get_host().methods.unregister(spec.name)

    assert as_it_is[0].axes == ("layer",) and words[0].axes == ()
    assert all(s.target_attributions.ndim == 2 for s in stepwise.step_attributions)
    assert [len(s.target) for s in stepwise[4:].step_attributions] == [1] * stepwise[4].n_steps
    assert list(words) == list(as_it_is.aggregate("words").aggregate())


@pytest.mark.parametrize(
    ("aggregate", "error", "said"),
    [
        ("nope", UnknownNameError, "named 'nope'"),
        (3, InvalidArgumentError, "aggregator = 3"),
        (lambda out: 1 / 0, InvalidArgumentError, "aggregate failed: ZeroDivisionError"),
        (lambda out: 3, InvalidArgumentError, "aggregate returned a int"),
    ],
)
def test_what_cannot_aggregate_a_batch_is_refused(lm, path, aggregate, error, said):
    """By an error of ours."""
    with pytest.raises(error, match=said):
        attribute_dataset(lm, path, "text", aggregate=aggregate)


def test_a_row_that_the_model_cannot_take_is_named(path):
    """The error keeps its kind, and says which rows."""
    model = AttributionModel(BagModel(max_target=4), "dummy")
    with pytest.raises(TextTooLongError, match="rows 3 to 4: "):
        attribute_dataset(model, path, "text", batch_size=2)


def test_wrong_arguments_are_refused(lm, path):
    """Texts are the dataset's."""
    with pytest.raises(InvalidArgumentError, match="batch_size = 0"):
        attribute_dataset(lm, path, "text", batch_size=0)
    with pytest.raises(InvalidArgumentError, match="generated_texts are what the dataset has"):
        attribute_dataset(lm, path, "text", generated_texts=["a"])


def test_the_dataset_is_looked_at_before_a_model_is_loaded(path):
    """Loading may take minutes."""
    with pytest.raises(DatasetError, match="no field 'txt'"):
        attribute_dataset("a-model-that-there-is-not", path, "txt")


def test_the_library_s_own_datasets_are_read(lm, path, tmp_path, monkeypatch):
    """A folder, offline, through the real library."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = attribute_dataset(
        lm,
        str(tmp_path),
        "text",
        dataset_split="train[:2]",
        dataset_kwargs={"cache_dir": str(tmp_path / "cache")},
    )

    assert out.info.input_texts == tuple(TEXTS[:2])
