"""Whatever code that is not ours raises, at whatever place: one error of ours that names it."""

from __future__ import annotations

import attrs
import pytest

import inseq_core as ic
from inseq_core import errors
from inseq_core.contracts.guard import Guard, one_line, shown, told
from inseq_core.contracts.step_function import Prepared
from inseq_core.hooks import PluginHost, get_host, use_host
from inseq_core.hooks.provenance import Provenance
from inseq_core.run.loading import load_adapter
from inseq_core.testing import toys

ACME = Provenance(plugin="acme", distribution="acme-inseq", version="1.0")


class SpeechlessError(Exception):
    """An error whose message cannot be made."""

    def __str__(self):
        raise RuntimeError("no message")


WAYS = {
    "raises": (lambda: ValueError("boo"), "boo"),
    "exits": (lambda: SystemExit(0), "SystemExit: 0"),
    "leaves": (GeneratorExit, "GeneratorExit"),
    "has no message": (SpeechlessError, r"SpeechlessError: \(its message could not be shown\)"),
}


class Failure:
    """What every hook below raises."""

    error: BaseException | None = None


def fail(*arguments, **keywords):
    """Any function of a plugin."""
    raise Failure.error


def first_logit(args):
    """A step function that works."""
    return args.logits[:, 0] * 1.0


@attrs.frozen
class Unmade:
    """A method, or an aggregator, that cannot be made."""

    def __attrs_post_init__(self):
        fail()

    attribute = aggregate = None


@attrs.frozen
class Unready:
    """A method whose check fails."""

    def check(self, request):
        fail()

    def attribute(self, ctx):
        return ctx.output()


@attrs.frozen
class Failing:
    """A method that fails, or an aggregator."""

    attribute = aggregate = fail


@attrs.frozen
class NoDefault:
    """A method whose parameters cannot be read."""

    number: int = attrs.field(factory=fail)

    def attribute(self, ctx):
        return ctx.output()


class Plugin:
    """Fails wherever it is asked."""

    @ic.hookimpl
    def inseq_step_functions(self):
        yield ic.StepFunctionSpec(name="failing", function=lambda args: fail(), summary="Fails.")
        yield ic.StepFunctionSpec(name="unchecked", function=first_logit, summary="Fails.", check=fail)
        yield ic.StepFunctionSpec(name="unprepared", function=first_logit, summary="Fails.", prepare=fail)

    @ic.hookimpl
    def inseq_attribution_methods(self):
        for factory in (Unmade, Unready, Failing, NoDefault):
            yield ic.MethodSpec(name=f"m_{factory.__name__.lower()}", factory=factory, summary="Fails.")

    @ic.hookimpl
    def inseq_aggregators(self):
        for factory in (Unmade, Failing):
            yield ic.AggregatorSpec(name=f"a_{factory.__name__.lower()}", factory=factory, summary="Fails.")

    @ic.hookimpl
    def inseq_aggregation_functions(self):
        yield ic.AggregationFunctionSpec(name="f_failing", function=fail, summary="Fails.")

    @ic.hookimpl
    def inseq_model_adapters(self):
        yield toys.ADAPTER
        yield ic.AdapterSpec(name="failing", factory=lambda model: fail(), summary="Fails.")

    @ic.hookimpl
    def inseq_models(self):
        yield ic.ModelSpec(name="lost", location=fail, summary="Fails.", framework="toy")


class Policy:
    """Fails before a call."""

    @ic.hookimpl
    def inseq_before_attribute(self, request):
        fail()


class Observer:
    """Fails beside a call, where that costs nobody anything."""

    @ic.hookimpl
    def inseq_after_attribute(self, request, output):
        fail()

    @ic.hookimpl
    def inseq_choose_framework(self, model):
        fail()


def aggregated(lm, *arguments):
    """One text's scores, aggregated."""
    return lm.attribute("the dog", method="positional")[0].aggregate(*arguments)


PLACES = {
    "step score": (
        lambda lm: lm.attribute("the dog", step_scores=["failing"]),
        errors.StepFunctionError,
        "step function 'failing' failed",
    ),
    "attributed function": (
        lambda lm: lm.attribute("the dog", attributed_fn="failing"),
        errors.StepFunctionError,
        "step function 'failing' failed",
    ),
    "check": (
        lambda lm: lm.attribute("the dog", step_scores=["unchecked"]),
        errors.StepFunctionError,
        "the check of step function 'unchecked' failed",
    ),
    "preparation": (
        lambda lm: lm.attribute("the dog", step_scores=["unprepared"]),
        errors.StepFunctionError,
        "the preparation of step function 'unprepared' failed",
    ),
    "method": (
        lambda lm: lm.attribute("the dog", method="m_failing"),
        errors.MethodFailedError,
        "The method 'm_failing' .*failed",
    ),
    "method made": (
        lambda lm: lm.attribute("the dog", method="m_unmade"),
        errors.InseqError,
        "method 'm_unmade'",
    ),
    "method checked": (
        lambda lm: lm.attribute("the dog", method="m_unready"),
        errors.MethodFailedError,
        "The check of the method 'm_unready' .*failed",
    ),
    "parameters read": (
        lambda lm: lm.attribute("the dog", method="m_nodefault"),
        errors.PluginError,
        r"The parameters of .*NoDefault.* cannot be read",
    ),
    "aggregator": (
        lambda lm: aggregated(lm, "a_failing"),
        errors.AggregatorFailedError,
        r"Aggregator Failing\(\) of .* failed",
    ),
    "aggregator made": (lambda lm: aggregated(lm, "a_unmade"), errors.InseqError, "Aggregator 'a_unmade'"),
    "aggregation function": (
        lambda lm: aggregated(lm, "f_failing"),
        errors.InvalidArgumentError,
        r"Aggregation function 'f_failing' of acme-inseq 1\.0 .*failed",
    ),
    "features": (
        lambda lm: lm.attribute("the dog", features=fail),
        errors.InvalidArgumentError,
        "The features function 'fail' failed",
    ),
    "model": (
        lambda lm: load_adapter("lost", None, None, {}),
        errors.PluginError,
        r"The model 'lost' of acme-inseq 1\.0 .*does not say where it is",
    ),
    "framework": (
        lambda lm: load_adapter("any", None, "failing", {}),
        errors.ModelLoadError,
        r"The framework 'failing' \(acme-inseq 1\.0 .*failed to load 'any'",
    ),
}


@pytest.fixture
def beside(registered):
    """Makes a host of what is registered already, and of some plugins."""

    def host(*plugins):
        made = PluginHost()
        for plugin in plugins:
            made.register_plugin(plugin, ACME)
        for entry in get_host().methods.entries():
            if entry.provenance.is_session:
                made.methods.register(entry.spec)
        return made

    return host


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_whatever_a_plugin_raises_is_one_error_that_names_it(lm, beside, place, way):
    """sys.exit() in a plugin would otherwise end a long run with status 0, and without a word."""
    call, kind, said = PLACES[place]
    make, message = WAYS[way]
    Failure.error = make()

    with use_host(beside(Plugin())), pytest.raises(kind, match=f"(?s){said}.*{message}") as raised:
        call(lm)

    assert raised.value.__cause__ is Failure.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("place", PLACES)
def test_an_interrupt_and_no_memory_go_through_everywhere(lm, beside, place, error):
    """They are the user's and the machine's."""
    Failure.error = error()

    with use_host(beside(Plugin())), pytest.raises(error):
        PLACES[place][0](lm)


@pytest.mark.parametrize("way", WAYS)
def test_a_policy_that_fails_is_named_and_not_passed(lm, beside, way):
    """It ended the program without a word where it called sys.exit()."""
    make, message = WAYS[way]
    Failure.error = make()

    with (
        use_host(beside(Policy())),
        pytest.raises(errors.PluginError, match=rf"inseq_before_attribute of acme-inseq 1\.0 .*{message}"),
    ):
        lm.attribute("the dog")


@pytest.mark.parametrize("way", WAYS)
def test_whoever_fails_beside_a_call_costs_nobody_the_result(lm, beside, way):
    """Also an observer that leaves, and one who is asked for an opinion on a model."""
    make, message = WAYS[way]
    Failure.error = make()

    with use_host(beside(Observer())) as host:
        with pytest.warns(errors.NotReadyWarning, match=message):
            result = lm.attribute("the dog")
        with pytest.warns(errors.NotReadyWarning, match=message):
            assert host.choose_framework(object()) is None

    assert len(result) == 1


@pytest.mark.parametrize(
    ("prepared", "said"),
    [
        ("x", "returned str, expected Prepared"),
        (Prepared(notes=None), "gave notes as NoneType"),
        (Prepared(labels=({}, {})), "not one dict for each of 1 texts"),
        (Prepared(labels=3), "not one dict"),
        (Prepared(labels=("she",)), "no dicts"),
    ],
)
def test_a_preparation_that_is_none_is_refused_before_the_work(lm, prepared, said):
    """Labels of another number of texts would stand at the wrong ones."""
    spec = ic.StepFunctionSpec(
        name="ready", function=first_logit, summary="Prepared.", prepare=lambda *given: prepared
    )
    get_host().step_functions.register(spec)
    try:
        with pytest.raises(errors.StepFunctionError, match=f"preparation of step function 'ready' .*{said}"):
            lm.attribute("the dog", attributed_fn="ready")
    finally:
        get_host().step_functions.unregister("ready")


def test_a_framework_that_takes_no_model_says_so(beside):
    """It was a StopIteration."""
    with use_host(beside(Plugin())) as host:
        host.adapters.register(ic.AdapterSpec(name="deaf", factory=lambda: None, summary="Takes nothing."))
        with pytest.raises(errors.PluginError, match=r"'deaf' .*cannot be told which"):
            load_adapter("any", None, "deaf", {})


def test_an_aggregator_that_lacks_an_argument_says_which(lm, beside):
    """It was a TypeError of Python's."""

    class Window:
        def __init__(self, width):
            self.width = width

        def aggregate(self, attribution):
            return attribution

    with use_host(beside()):
        with pytest.raises(errors.InvalidArgumentError, match=r"'Window' needs width.\n.*width=…"):
            aggregated(lm, Window)


class Shapeless:
    """An array that nothing can be asked about."""

    def __init__(self, shape):
        self.shape = shape

    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")


@pytest.mark.parametrize("attributed", [True, False])
def test_an_array_that_cannot_be_read_is_the_function_s(lm, attributed):
    """The method was blamed where the function was explained."""

    def odd(args):
        return Shapeless(args.target_ids.shape)

    arguments = {"attributed_fn": odd} if attributed else {"step_scores": [odd]}
    with pytest.raises(errors.StepFunctionError, match="'odd' failed: RuntimeError: no "):
        lm.attribute("the dog", **arguments)


@pytest.mark.parametrize("attributed", [True, False])
@pytest.mark.parametrize(
    ("change", "said"), [(lambda t: t.to("meta"), "meta device"), (lambda t: t.to_sparse(), "sparse")]
)
def test_an_array_without_numbers_is_refused_by_name(lm, change, said, attributed):
    """torch has arrays that only know their shape, and arrays that numpy does not know."""
    torch = pytest.importorskip("torch")

    def odd(args):
        return change(torch.ones(len(args.grid)))

    arguments = {"attributed_fn": odd} if attributed else {"step_scores": [odd]}
    with pytest.raises(errors.StepShapeError, match=f"'odd' returned an array .*{said}"):
        lm.attribute("the dog", **arguments)


def test_memory_that_ran_out_is_left_to_who_can_do_with_less():
    """What the framework says is no memory is halved by the planner, and is no fault of the function."""
    with pytest.raises(RuntimeError, match="not enough"):
        with Guard(errors.PluginError, "it failed", passes=lambda error: "enough" in str(error)):
            raise RuntimeError("not enough memory")
    with pytest.raises(errors.PluginError, match="it failed: SpeechlessError"):
        with Guard(errors.PluginError, "it failed", passes=lambda error: "enough" in str(error)):
            raise SpeechlessError


def test_what_is_said_of_an_error_cannot_act_on_a_terminal():
    """Nor fail itself."""
    assert told(ValueError("a\n\x1b[2Jb")) == "ValueError: a\n\\x1b[2Jb"
    assert one_line(ValueError("a\nb")) == "ValueError: a"
    assert told(KeyError()) == one_line(KeyError()) == "KeyError"

    class Unseen:
        def __repr__(self):
            raise SystemExit

    assert shown(Unseen()) == "a Unseen"
