"""Registration at run time: the same records, checks and errors as from a plugin, and its own provenance."""

from __future__ import annotations

import re

import attrs
import numpy as np
import pytest
from support.results import decoder_only

import inseq
import inseq_core as ic
from inseq_core.aggregate import AggregatorPipeline
from inseq_core.aggregate import plugin as aggregate_plugin
from inseq_core.errors import AlreadyRegisteredError, InseqError, InvalidArgumentError, UnknownArgumentError
from inseq_core.hooks import PluginHost, Provenance, get_host, use_host
from inseq_core.hooks.parameters import parameters_of
from inseq_core.hooks.registration import unregister


@pytest.fixture(autouse=True)
def host():
    """A host that has aggregators alone, so that names are free and nothing stays."""
    with use_host(PluginHost(entry_points=[])) as host:
        source = Provenance(plugin="aggregate", distribution="inseq-core", version="1")
        host.register_plugin(aggregate_plugin, source)
        yield host


def my_score(args, top_p=0.9):
    """Mass of the nucleus."""
    return args.logits[:, 0] * top_p


@attrs.frozen
class WordOrder:
    """Scores by position. decay: share that is left at each step back."""

    decay: float = 0.5

    def attribute(self, ctx):
        raise NotImplementedError

    def aggregate(self, attribution):
        raise NotImplementedError


def test_a_step_function_is_listed_and_loaded(host):
    """What the documentation's example does."""
    inseq.register_step_function(my_score, "my_score", aggregate_map={"spans": "prod"})

    spec = host.step_functions.get("my_score").spec
    assert inseq.list_step_functions() == ["my_score"]
    assert spec.aggregate_map == {"spans": "prod"}
    assert spec.summary == "Mass of the nucleus."
    assert host.step_functions.get("my_score").load() is my_score


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"spans": "nope"}, "No aggregation function named 'nope'"),
        ({"spam": "prod"}, "No aggregator named 'spam'. Did you mean 'spans'"),
        ({"spans": max}, "aggregate_map = "),
        ("prod", "aggregate_map = 'prod'"),
        ([("spans", "prod")], "aggregate_map = "),
    ],
)
def test_an_aggregate_map_of_things_that_there_are_not_is_refused_at_once(host, wrong, said):
    """It failed at an ``aggregate`` hours later, or never had an effect."""
    with pytest.raises(InseqError, match=re.escape(said)):
        inseq.register_step_function(my_score, "my_score", aggregate_map=wrong)

    assert not host.step_functions.names()


def test_a_method_reduced_by_what_there_is_not_is_refused_at_once(host):
    """The first ``show()`` would have said so, after the work."""
    with pytest.raises(InseqError, match="default_aggregation: No aggregation function named 'nope'"):
        inseq.register_attribution_method(WordOrder, trailing_axes=("layer",), default_aggregation=("nope",))


@pytest.mark.parametrize("name", ["", "a b", "a,b", "../a", "-a", "a:b", "\x1b[31m", "a\n", "<b>", "'a'"])
def test_a_name_that_cannot_be_typed_or_shown_is_refused(host, name):
    """Names are typed in terminals, and stand in tables, pages and files."""
    with pytest.raises(InvalidArgumentError, match="one word of letters"):
        inseq.register_step_function(my_score, name)


@pytest.mark.parametrize("name", ["gini", "naïve", "top-p", "p99.9", "acme/gini", "2x"])
def test_other_names_are_taken(host, name):
    """Hyphens, dots and letters of any alphabet are."""
    assert inseq.register_step_function(my_score, name).name == name


def test_a_function_without_docstring_gets_a_summary(host):
    """A lambda in a notebook has nothing to say about itself."""
    entry = inseq.register_step_function(lambda args: args.logits[:, 0], "first")

    assert entry.spec.summary


@pytest.mark.parametrize("register", ["method", "aggregator"])
def test_a_class_is_registered_under_its_name_in_snake_case(host, register):
    """``identifier`` may be left out."""
    given = inseq.register_attribution_method if register == "method" else inseq.register_aggregator

    assert given(WordOrder).name == "word_order"


def test_spec_fields_go_beside_the_class(host):
    """A notebook's method can say what it needs and how it is aggregated, as a plugin's can."""
    spec = inseq.register_attribution_method(
        WordOrder,
        "order",
        needs={ic.Need.GRADIENTS},
        trailing_axes=("hidden",),
        default_aggregation=("vnorm",),
    ).spec

    assert spec.needs == {ic.Need.GRADIENTS}
    assert spec.default_aggregation == ("vnorm",)


@pytest.mark.parametrize("needs", [{"gradients"}, ("gradients",), "gradients", ic.Need.GRADIENTS])
def test_needs_are_said_in_the_words_that_explain_shows(host, needs):
    """The enumeration is for plugins; a notebook has the words before it."""
    spec = inseq.register_attribution_method(WordOrder, "order", needs=needs).spec

    assert spec.needs == frozenset({ic.Need.GRADIENTS})


@pytest.mark.parametrize("needs", [{"gradient"}, "gradient", {3}, 3, [["gradients"]], {"gradients", "x"}])
def test_needs_that_there_are_not_are_refused_with_those_that_there_are(needs):
    """At once, and before anything is registered."""
    with pytest.raises(
        InvalidArgumentError, match=r"order.*needs = .*scores, generate, gradients, attentions"
    ):
        inseq.register_attribution_method(WordOrder, "order", needs=needs)


def test_a_function_of_the_attribution_is_an_aggregator(host):
    """Its other arguments are the aggregator's parameters."""

    def times(attribution, factor=2.0):
        """Every score so many times."""
        return attrs.evolve(attribution, target_attributions=attribution.target_attributions * factor)

    spec = inseq.register_aggregator(times).spec
    inseq.register_aggregator(lambda attribution: attribution.rescale(), "largest_is_one")
    given = decoder_only()

    assert (spec.name, spec.summary) == ("times", "Every score so many times.")
    assert [str(p) for p in parameters_of(spec.factory)] == ["factor = 2.0"]
    for arguments, factor in (({}, 2), ({"factor": 3}, 3)):
        scores = given.aggregate("times", **arguments).target_attributions
        np.testing.assert_array_equal(scores, given.target_attributions * factor)
    assert given.aggregate("largest_is_one").maximum <= 1
    with pytest.raises(UnknownArgumentError, match="Did you mean 'factor'"):
        given.aggregate("times", factr=3)


def test_a_function_that_makes_an_aggregator_is_one_as_well(host):
    """What needs no argument cannot be waiting for an attribution."""
    inseq.register_aggregator(lambda: AggregatorPipeline(["mean"]), "made")

    assert decoder_only(hidden=2).aggregate("made").axes == ()


def test_a_whole_spec_can_be_registered(host):
    """And its fields changed on the way."""
    spec = ic.MethodSpec(name="order", factory=WordOrder, summary="By position.")

    assert inseq.register_attribution_method(spec).spec == spec
    assert inseq.register_attribution_method(spec, "order_2", signed=False).spec.signed is False


def test_a_misspelt_field_has_a_suggestion():
    """``default_agregation`` would be lost silently otherwise."""
    with pytest.raises(UnknownArgumentError, match="Did you mean 'default_aggregation'"):
        inseq.register_attribution_method(WordOrder, default_agregation=("vnorm",))


def test_a_taken_identifier_needs_overwrite():
    """Running a notebook cell twice is the usual way into this."""
    inseq.register_step_function(my_score, "my_score")

    with pytest.raises(AlreadyRegisteredError, match="overwrite=True"):
        inseq.register_step_function(my_score, "my_score")
    inseq.register_step_function(max, "my_score", overwrite=True)
    assert get_host().step_functions.get("my_score").load() is max


@pytest.mark.parametrize(
    ("register", "given"),
    [
        (inseq.register_step_function, "probability"),
        (inseq.register_step_function, lambda: 1.0),
        (inseq.register_aggregation_function, None),
        (inseq.register_attribution_method, 3),
        (inseq.register_attribution_method, dict),
        (inseq.register_aggregator, dict),
    ],
)
def test_what_cannot_be_called_is_refused(register, given):
    """Before it is asked for in the middle of a run."""
    with pytest.raises(InvalidArgumentError):
        register(given, "x")


def test_an_aggregation_function_is_named_after_itself(host):
    """The function's own name is what people would look for."""

    def nanmedian(array, axis):
        """The middle one."""

    entry = inseq.register_aggregation_function(nanmedian, signed=True)

    assert entry.name == "nanmedian" and entry.spec.summary == "The middle one."


def test_a_method_can_be_taken_back(host):
    """Tests and notebooks clean up."""
    inseq.register_attribution_method(WordOrder)
    unregister("methods", "word_order")

    assert inseq.list_feature_attribution_methods() == []


CONFIG = {"self_attention_module": "attn", "cross_attention_module": None, "value_vector": "value"}


def test_a_model_config_is_registered_once_unless_overwritten(host):
    """A ValueError otherwise, as users of the peer expect."""
    inseq.register_model_config("toy", CONFIG)

    with pytest.raises(ValueError, match="overwrite=True"):
        inseq.register_model_config("toy", CONFIG)
    inseq.register_model_config("toy", {**CONFIG, "value_vector": "v"}, overwrite=True)
    assert host.model_configs.get("toy").spec.fields["value_vector"] == "v"


def test_a_partial_model_config_needs_permission(host):
    """A forgotten field would be found by the method that needs it, much later."""
    with pytest.raises(ValueError, match="lacks cross_attention_module, value_vector"):
        inseq.register_model_config("toy", {"self_attention_module": "attn"})

    inseq.register_model_config("toy", {"self_attention_module": "attn"}, allow_partial=True)
    assert host.model_configs.get("toy").spec.fields["value_vector"] is None


@pytest.mark.parametrize("config", [{**CONFIG, "value_vektor": "v"}, {**CONFIG, "value_vector": 3}, ["attn"]])
def test_a_wrong_model_config_is_a_value_error(config):
    """Unknown fields, wrong values, no dict at all."""
    with pytest.raises(ValueError, match="config"):
        inseq.register_model_config("toy", config)
