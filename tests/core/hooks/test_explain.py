"""Explain: everything that the spec, the class and the provenance say about a name."""

from __future__ import annotations

import attrs
import pytest

import inseq
import inseq_core as ic
from inseq_core.errors import UnknownNameError
from inseq_core.explain import explanation
from inseq_core.hooks import PluginHost, Provenance, use_host


@attrs.frozen
class Integrated:
    """A path method. n_steps: nodes of the quadrature, >= 1."""

    n_steps: int = 50

    def attribute(self, ctx):
        raise NotImplementedError


class Plugin:
    @ic.hookimpl
    def inseq_attribution_methods(self):
        yield ic.MethodSpec(
            name="integrated",
            factory=Integrated,
            summary="Gradients along a path.",
            paper="https://arxiv.org/abs/1703.01365",
            formula="(x - x0) * mean of gradients",
            needs={ic.Need.GRADIENTS},
            trailing_axes=("hidden",),
            default_aggregation=("vnorm",),
            complete=True,
            passes="n_steps",
            when="When completeness matters.",
        )
        yield ic.MethodSpec(name="broken", factory="nowhere_at_all.module:x", summary="Leads nowhere.")
        yield ic.MethodSpec(name="shared", factory=Integrated, summary="A method.")

    @ic.hookimpl
    def inseq_aggregators(self):
        yield ic.AggregatorSpec(name="shared", factory=dict, summary="An aggregator.")

    @ic.hookimpl
    def inseq_model_adapters(self):
        yield ic.AdapterSpec(
            name="torchy", factory="a:b", summary="Has gradients.", capabilities=set(ic.Capability)
        )
        yield ic.AdapterSpec(name="remote", factory="a:b", summary="Has none.")

    @ic.hookimpl
    def inseq_models(self):
        yield ic.ModelSpec(
            name="demo", location="a:b", summary="A model.", framework="torchy", task="translation"
        )

    @ic.hookimpl
    def inseq_viewers(self):
        yield ic.ViewerSpec(name="braille", factory=dict, summary="Dots.", media="terminal")

    @ic.hookimpl
    def inseq_commands(self):
        yield ic.CommandSpec(name="report", command="a:b", summary="Report.")

    @ic.hookimpl
    def inseq_aggregation_functions(self):
        yield ic.AggregationFunctionSpec(name="median", function="a:b", summary="The middle.", signed=False)

    @ic.hookimpl
    def inseq_step_functions(self):
        yield ic.StepFunctionSpec(
            name="gini",
            function="a:b",
            summary="Impurity.",
            formula="1 - sum p^2",
            unit="none",
            range="[0, 1)",
            aggregate_map={"spans": "mean"},
            differentiable=False,
            rowwise=False,
        )


@pytest.fixture(autouse=True)
def host():
    """A host with the plugin above."""
    with use_host(PluginHost(entry_points=[])) as host:
        host.register_plugin(Plugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.2"))
        yield host


def test_a_method_is_explained_by_all_that_is_known(capsys):
    """What it is, who has it, what it costs, what it needs, what may be set."""
    inseq.explain("integrated")

    printed = " ".join(capsys.readouterr().out.split())
    for part in (
        "integrated: attribution method",
        "Gradients along a path.",
        "acme-inseq 1.2 (plugin 'acme')",
        "https://arxiv.org/abs/1703.01365",
        "(x - x0) * mean of gradients",
        "n_steps model passes",
        "by default vnorm over hidden, then L1 per step",
        "signed, complete, not additive, deterministic",
        "When completeness matters.",
        "n_steps: int = 50",
        "nodes of the quadrature, >= 1.",
    ):
        assert part in printed


def test_frameworks_that_can_run_a_method_are_named():
    """A method's needs against what installed frameworks can do."""
    text = " ".join(explanation("integrated").split())

    assert "Runs on torchy Cost" in text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gini", ["step function", "1 - sum p^2", "[0, 1)", "spans: mean", "methods that need no gradients"]),
        ("median", ["aggregation function", "not signed"]),
        ("torchy", ["framework", "attentions, generate, gradients"]),
        ("demo", ["model", "translation", 'inseq.load_model("demo")']),
        ("braille", ["viewer", "terminal"]),
        ("report", ["command", "inseq report --help"]),
    ],
)
def test_every_kind_is_explained(name, parts):
    """Each by its own facts."""
    text = explanation(name)

    assert all(part in text for part in parts), text


def test_a_name_that_two_kinds_share_is_explained_for_both():
    """The user asked for a name, not for a kind."""
    text = explanation("shared")

    assert "shared: attribution method" in text and "shared: aggregator" in text


def test_what_cannot_be_loaded_is_explained_as_far_as_it_is_known():
    """Its spec is there; only its parameters need the code."""
    text = explanation("broken")

    assert "Leads nowhere." in text
    assert "unknown: The attribution method 'broken'" in text


def test_a_variant_is_explained_by_its_family():
    """ "family:variant" fixes a parameter of the family; it is said, and no longer offered."""

    @attrs.frozen
    class Family:
        """A family. algorithm: which of them. n_samples: how many."""

        algorithm: str
        n_samples: int = 5

        def attribute(self, ctx):
            raise NotImplementedError

    inseq.register_attribution_method(Family, "family", variants="algorithm")

    text = explanation("family:Best")
    assert "family: attribution method, with algorithm = 'Best'" in text
    assert "n_samples: int = 5" in text and "algorithm: str" not in text
    with pytest.raises(UnknownNameError):
        explanation("integrated:Best")


def test_names_registered_later_are_explained():
    """A notebook's own function is explained like any other."""

    def my_score(args, top_p=0.9):
        """Mass of the nucleus. top_p: its size."""

    inseq.register_step_function(my_score, "my_score")

    text = explanation("my_score")
    assert "registered in this session" in text and "top_p = 0.9" in text and "its size." in text


def test_a_contested_name_is_explained_as_such(host):
    """Rather than by one of the two."""

    class Other:
        @ic.hookimpl
        def inseq_attribution_methods(self):
            yield ic.MethodSpec(name="integrated", factory=dict, summary="Another one.")

    host.register_plugin(Other(), Provenance(plugin="other", distribution="other-inseq", version="1.0"))

    assert "provided more than once" in explanation("integrated")


def test_unknown_names_are_answered_in_the_words_of_the_nearest_kind():
    """Not "no such thing", but what was probably meant, and what to install."""
    with pytest.raises(UnknownNameError, match="No attribution method named 'integratd'"):
        explanation("integratd")
    with pytest.raises(UnknownNameError, match="'lime' is not installed: pip install inseq-perturbation"):
        explanation("lime")
    with pytest.raises(UnknownNameError, match="No method, step function"):
        explanation("qqqqq")
