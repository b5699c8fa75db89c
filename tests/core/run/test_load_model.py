from __future__ import annotations

import pytest

import inseq
import inseq_core as ic
from inseq_core import errors
from inseq_core.hooks import ModelSpec, PluginHost, get_host, use_host
from inseq_core.hooks.provenance import Provenance
from inseq_core.testing import toys
from inseq_core.testing.toys import BagModel


@pytest.fixture
def carried():
    """A model that a plugin carries."""
    spec = ModelSpec(
        name="carried", location=lambda: "toy-translator", summary="A toy by another name.", framework="toy"
    )
    get_host().models.register(spec)
    yield
    get_host().models.unregister("carried")


def test_a_model_is_loaded_by_id_or_as_an_object_with_its_framework():
    """The framework's loader gets what is its own."""
    model = inseq.load_model("toy-lm", "leave_out", framework="toy", seed=3)
    same = inseq.load_model(BagModel(seed=3), "leave_out", framework="toy")

    assert model.attribute("the dog")[0] == same.attribute("the dog")[0]


def test_a_carried_model_knows_its_framework(carried):
    """load_model("demo-en-fr") works anywhere."""
    model = inseq.load_model("carried", "leave_out")

    assert model.is_encoder_decoder
    assert model.info["model_name"] == "toy-translator"


def test_a_plugin_may_say_whose_a_model_is():
    """inseq_choose_framework; asked only where the user names no framework."""
    import inseq_core as ic

    class Plugin:
        @ic.hookimpl
        def inseq_choose_framework(self, model):
            return "toy" if isinstance(model, BagModel) else None

        @ic.hookimpl
        def inseq_model_adapters(self):
            yield toys.ADAPTER

    host = PluginHost(entry_points=())
    host.register_plugin(Plugin(), Provenance(plugin="chooser"))
    with use_host(host):
        assert inseq.load_model(BagModel()).info["framework"] == "toy"


def test_arguments_of_the_method_are_its_defaults_in_every_call():
    """load_model(…, n_steps=20), then attribute() without; a call may say otherwise."""
    model = inseq.load_model("toy-lm", "leave_out", framework="toy", sign=-1.0)
    plain = inseq.load_model("toy-lm", "leave_out", framework="toy")

    assert model.attribute("the dog").info.attribution_args["sign"] == -1.0
    assert model.attribute("the dog", sign=1.0)[0] == plain.attribute("the dog")[0]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"model": ""}, errors.InvalidArgumentError, "model = ''"),
        ({"framework": "tou"}, errors.UnknownNameError, "Did you mean 'toy'"),
        ({"attribution_method": "leav_out"}, errors.UnknownNameError, "Did you mean 'leave_out'"),
        ({"attribution_method": 3}, errors.InvalidArgumentError, "attribution_method = 3"),
        ({"attribution_method": "steep"}, errors.CapabilityError, "'steep' needs gradients"),
        ({"sed": 3}, errors.UnknownArgumentError, "Did you mean 'seed'"),
        ({"attribution_method": "leave_out", "n_stps": 3}, errors.UnknownArgumentError, "'n_steps'"),
        ({"attribution_method": "leave_out", "n_steps": 0}, errors.InvalidArgumentError, "n_steps = 0"),
        ({"model": "toy"}, errors.InvalidArgumentError, "model = 'toy'"),
    ],
)
def test_what_cannot_be_loaded_says_why(arguments, error, said):
    """Names and arguments are checked before a model is loaded."""
    with pytest.raises(error, match=said):
        inseq.load_model(**{"model": "toy-lm", "framework": "toy", **arguments})


def test_without_any_framework_it_says_what_to_install():
    """The core alone can show and aggregate, but not run."""
    with (
        use_host(PluginHost(entry_points=())),
        pytest.raises(errors.MissingPackageError, match="pip install inseq-hf"),
    ):
        inseq.load_model("gpt2")


def test_a_loaded_model_is_not_loaded_again():
    """load_model(load_model(…)) is a slip."""
    with pytest.raises(errors.InvalidArgumentError, match="loaded already"):
        inseq.load_model(inseq.load_model("toy-lm", framework="toy"))


def test_the_default_attributed_function_can_be_set(lm):
    """The peer has the setter, and it fails."""
    lm.default_attributed_fn_id = "logit"

    assert lm.attribute("the dog").info.attributed_fn == "logit"
    with pytest.raises(errors.UnknownNameError, match="Did you mean 'entropy'"):
        lm.default_attributed_fn_id = "entropi"


def test_a_method_can_become_the_default(lm):
    """Only where override_default_attribution says so."""
    lm.attribute("the dog", method="dummy")
    assert lm.get_attribution_method().name == "leave_out"

    lm.attribute("the dog", method="dummy", override_default_attribution=True)
    assert lm.get_attribution_method().name == "dummy"


def test_hooks_see_the_request_and_the_result_and_may_refuse(lm):
    """Before any model work; what they raise reaches the user."""
    import inseq_core as ic

    seen = []

    class Watcher:
        @ic.hookimpl
        def inseq_before_attribute(self, request):
            if "cat" in request.input_texts[0]:
                raise errors.InvalidArgumentError("No cats.")
            seen.append(request.method.name)

        @ic.hookimpl
        def inseq_after_attribute(self, request, output):
            seen.append(len(output))

    host = PluginHost()
    host.register_plugin(Watcher(), Provenance(plugin="watcher"))
    with use_host(host):
        lm.attribute("the dog", method="dummy")
        with pytest.raises(errors.InvalidArgumentError, match="No cats"):
            lm.attribute("the cat", method="dummy")
    assert seen == ["dummy", 1]


class BrokenPlugin:
    """Everything that a plugin can get wrong between its spec and its first number."""

    @ic.hookimpl
    def inseq_models(self):
        yield ic.ModelSpec(name="lost", location=lambda: 1 / 0, summary="Nowhere.", framework="toy")

    @ic.hookimpl
    def inseq_model_adapters(self):
        for name, factory in (("raises", lambda model: 1 / 0), ("counts", lambda model: 3)):
            yield ic.AdapterSpec(
                name=name, factory=factory, summary="Broken.", capabilities={ic.Capability.SCORES}
            )

    @ic.hookimpl
    def inseq_attribution_methods(self):
        yield ic.MethodSpec(name="unmade", factory=lambda: {}["no"], summary="Raises when it is made.")
        yield ic.MethodSpec(name="nothing", factory=lambda: None, summary="Makes nothing.")
        yield ic.MethodSpec(
            name="lost_sum",
            factory=lambda: None,
            summary="Reduced by nothing.",
            default_aggregation=("nope",),
        )


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("lost",), errors.PluginError, "does not say where it is: ZeroDivisionError"),
        (("toy-lm", None, "raises"), errors.ModelLoadError, "failed to load 'toy-lm': ZeroDivisionError"),
        (("toy-lm", None, "counts"), errors.PluginError, "loaded 'toy-lm' as int, which is no ModelAdapter"),
        (("toy-lm", "unmade", "toy"), errors.PluginError, "cannot be made: KeyError: 'no'"),
        (("toy-lm", "nothing", "toy"), errors.PluginError, r"is made as NoneType, which has no\nattribute"),
    ],
)
def test_a_plugin_that_fails_on_the_way_to_a_model_is_named(arguments, error, said):
    """And nobody else is the worse for it."""
    host = PluginHost()
    host.register_plugin(BrokenPlugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))
    with use_host(host):
        host.adapters.register(toys.ADAPTER)
        pattern = rf"acme-inseq 1\.0 \(plugin 'acme'\).*{said}".replace(r"\n", " ")
        with pytest.raises(error, match=pattern):
            inseq.load_model(*arguments)
        model = inseq.load_model("toy-lm", "occlusion", framework="toy")
        with pytest.raises(errors.PluginError, match=r"'lost_sum' \(acme-inseq.* aggregated by 'nope'"):
            model.attribute("the dog", method="lost_sum", show_progress=False)

        assert model.attribute("the dog", show_progress=False)
