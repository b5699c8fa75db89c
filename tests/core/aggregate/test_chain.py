from __future__ import annotations

import tracemalloc
from typing import ClassVar

import attrs
import numpy as np
import pytest
from support.results import decoder_only, encoder_decoder, output_of

from inseq_core.aggregate import AggregatorPipeline, ContiguousSpanAggregator, SubwordAggregator, reduced
from inseq_core.aggregate.scores import SequenceAttributionAggregator
from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.errors import (
    AggregatorFailedError,
    InvalidArgumentError,
    UnknownArgumentError,
    UnknownNameError,
)
from inseq_core.hooks import aggregation_functions, aggregators


def test_every_way_to_say_it_means_the_same():
    """Ids, classes, records, lists, pairs and pipelines are notations of one thing."""
    granular = decoder_only(hidden=4)
    expected = granular.aggregate("subwords").aggregate("vnorm")

    for notation in (
        ["subwords", "vnorm"],
        ("subwords", "vnorm"),
        [("subwords", None), ("scores", "vnorm")],
        [SubwordAggregator, "vnorm"],
        [SubwordAggregator(), SequenceAttributionAggregator(aggregate_fn="vnorm")],
        AggregatorPipeline(["subwords", "scores"], [None, "vnorm"]),
        [AggregatorPipeline(["subwords"]), "vnorm"],
    ):
        assert granular.aggregate(notation) == expected
    assert granular.aggregate(["subwords", "scores"], [None, "vnorm"]) == expected


def test_parameters_go_to_whoever_takes_them():
    """One call for a chain; each aggregator picks its own."""
    chained = decoder_only(hidden=4).aggregate(["spans", "vnorm"], target_spans=[(0, 2)], normalize=False)
    by_hand = (
        decoder_only(hidden=4)
        .aggregate(ContiguousSpanAggregator(target_spans=[(0, 2)]))
        .aggregate(SequenceAttributionAggregator(aggregate_fn="vnorm", normalize=False))
    )

    assert chained == by_hand


@pytest.mark.parametrize("aggregator", ["subwords", ["subwords", "vnorm"], "sum", SubwordAggregator(), []])
def test_reduced_scores_are_one_number_a_token(aggregator):
    """What tables are made of: the aggregators, then the default of what they leave."""
    granular = decoder_only(hidden=4)
    whole = reduced(granular, aggregator)

    assert whole.axes == ()
    assert whole == granular.aggregate(aggregator).aggregate()


def test_what_is_asked_of_the_whole_is_done_in_the_end():
    """Merged afterwards, normalised scores would no longer sum to one, nor rescaled ones have a largest of one."""
    granular = decoder_only(hidden=4)
    raw = granular.aggregate(["vnorm", ("subwords", "mean")], normalize=False)

    chain = ["vnorm", ("subwords", "mean")]
    normalized, rescaled = (reduced(granular, chain, **{name: True}) for name in ("normalize", "rescale"))

    # float32
    np.testing.assert_allclose(np.nansum(normalized.target_attributions, axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(rescaled.target_attributions, raw.target_attributions / raw.maximum, rtol=1e-6)
    assert reduced(granular, chain, normalize=False) == raw
    assert reduced(granular, "subwords", select_idx=2, normalize=False) == granular.aggregate(
        ["subwords", "scores"], select_idx=2, normalize=False
    )
    with pytest.raises(UnknownArgumentError, match="'normalise'"):
        reduced(granular, "subwords", normalise=True)


def test_a_parameter_that_nobody_takes_is_an_error_that_says_who_takes_what():
    """A misspelt parameter that does nothing is worse than none."""
    with pytest.raises(UnknownArgumentError, match="'normalise'") as caught:
        decoder_only(hidden=4).aggregate("vnorm", normalise=False)
    assert "'normalize'" in str(caught.value)
    with pytest.raises(UnknownArgumentError):
        decoder_only(hidden=4).aggregate(source_spans=(0, 1))


@pytest.mark.parametrize(
    ("notation", "error"),
    [
        ("subword", UnknownNameError),
        (["vnorm", "nothing"], UnknownNameError),
        (3, InvalidArgumentError),
        ([("a", "b", "c")], InvalidArgumentError),
        ([("vnorm", "mean")], InvalidArgumentError),
    ],
)
def test_what_is_no_aggregator_is_refused(notation, error):
    """With the nearest name where there is one."""
    with pytest.raises(error):
        decoder_only(hidden=4).aggregate(notation)


def test_functions_and_aggregators_must_be_as_many():
    """zip would drop the rest in silence."""
    with pytest.raises(InvalidArgumentError, match="each of 2 aggregators"):
        AggregatorPipeline(["subwords", "scores"], ["sum"])


def test_a_pipeline_is_a_value_that_reads_as_what_it_does():
    """It is printed in notebooks, compared, and used on many results."""
    pipeline = AggregatorPipeline([("subwords", "sum"), SequenceAttributionAggregator(select_idx=3), "vnorm"])

    assert repr(pipeline) == (
        "Aggregation: subwords(aggregate_fn='sum') → scores(select_idx=3) → scores(aggregate_fn='vnorm')"
    )
    assert repr(AggregatorPipeline([])) == "Aggregation: none"
    assert pipeline == AggregatorPipeline([pipeline])
    assert encoder_decoder().aggregate(AggregatorPipeline([])) == encoder_decoder()


def test_checks_of_older_scripts_are_accepted():
    """Scripts switch off checks that are not needed here."""
    aggregated = decoder_only(hidden=4).aggregate("subwords", do_post_aggregation_checks=False)

    assert aggregated == decoder_only(hidden=4).aggregate("subwords")


def test_no_result_changes_anothers_defaults():
    """Aggregation of one result must not be seen in the next."""
    first = decoder_only(hidden=4)
    expected = decoder_only(hidden=4).aggregate()
    first.aggregate(["subwords", ("scores", "sum")], normalize=False)

    assert first == decoder_only(hidden=4)
    assert decoder_only(hidden=4).aggregate() == expected


def test_an_output_aggregates_all_of_its_texts():
    """What is said once holds for every text; the info stays."""
    output = output_of(decoder_only(hidden=4), decoder_only(hidden=4, seed=1))
    aggregated = output.aggregate("subwords").aggregate()

    assert [s.axes for s in aggregated] == [(), ()]
    assert aggregated.info == output.info
    assert aggregated[1] == output[1].aggregate("subwords").aggregate()


def test_the_cores_own_are_registered_like_anyones():
    """They have no privileges: what the core can do, a plugin can."""
    assert {
        "scores",
        "spans",
        "subwords",
        "words",
        "sentences",
        "segments",
        "split",
        "pair",
        "slices",
    } <= set(aggregators().names())
    assert {"mean", "max", "min", "sum", "prod", "absmax", "vnorm"} <= set(aggregation_functions().names())
    for name in aggregators():
        if aggregators().get(name).provenance.distribution == "inseq-core":
            assert aggregators().get(name).load().name == name


@attrs.frozen
class Negated:
    """A stranger's aggregator."""

    name: ClassVar[str] = "negated"
    times: int = 1

    def aggregate(self, attribution):
        return attrs.evolve(attribution, source_attributions=-self.times * attribution.source_attributions)


def test_a_strangers_aggregator_fits_into_a_chain():
    """A frozen record with ``aggregate`` is all that it takes."""
    chained = encoder_decoder().aggregate([Negated, ("spans", "sum")], times=2, source_spans=(1, 3))

    np.testing.assert_array_equal(chained.source_attributions[1], [-10, 2, 0])


def test_an_aggregator_that_returns_something_else_is_named():
    """The chain would fail one step later, at someone innocent."""

    @attrs.frozen
    class Forgetful:
        def aggregate(self, attribution):
            return None

    with pytest.raises(InvalidArgumentError, match="Forgetful"):
        encoder_decoder().aggregate([Forgetful(), "scores"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lambda given: 1 / 0, "ZeroDivisionError"),
        (lambda given: given.source_attributions.fill(0), "read-only"),
    ],
)
def test_an_aggregator_that_fails_is_named_with_its_module(body, said):
    """In a chain of five, a division by zero could be anyone's."""

    @attrs.frozen
    class Unlucky:
        def aggregate(self, attribution):
            return body(attribution)

    with pytest.raises(AggregatorFailedError, match=rf"Unlucky.* of {__name__} failed: .*{said}"):
        encoder_decoder().aggregate([Unlucky(), "scores"])


@pytest.mark.parametrize("aggregator", [None, "subwords", ["mean"], ["spans", "vnorm"]])
def test_aggregating_never_holds_more_than_a_second_result(aggregator):
    """A dataset of large results is aggregated one after the other, within the memory of two of them."""
    size = (96, 64, 768)
    large = FeatureAttributionSequenceOutput(
        source=["▁a", "b"] * 48,
        target=["▁c", "d"] * 32,
        source_attributions=np.ones(size, dtype=np.float32),
        axes=("hidden",),
        default_aggregation=("vnorm",),
        normalize=True,
    )
    spans = {"source_spans": [(0, 2)]} if "spans" in (aggregator or ()) else {}
    large.aggregate(aggregator, **spans)  # imports are not what is measured

    tracemalloc.start()
    large.aggregate(aggregator, **spans)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # a second result at most, and the blocks of 2^19 numbers that are reduced at once, in float64 with a mask
    assert peak < large.source_attributions.nbytes + 12 * 2**19
