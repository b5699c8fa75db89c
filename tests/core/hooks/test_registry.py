"""Registries: names, entries, lazy paths, and the error for a name that does not exist."""

from __future__ import annotations

import threading

import pytest

import inseq_core as ic
from inseq_core.errors import (
    AlreadyRegisteredError,
    InvalidArgumentError,
    MissingPackageError,
    PluginError,
    UnknownNameError,
)
from inseq_core.hooks import SESSION, PluginHost, Provenance, resolve
from inseq_core.hooks.kinds import KINDS, kind_named
from inseq_core.hooks.known import KNOWN


def method(name: str = "saliency", factory: object = "a:b") -> ic.MethodSpec:
    """A spec."""
    return ic.MethodSpec(name=name, factory=factory, summary="A method.")


@pytest.fixture
def host() -> PluginHost:
    """A host with one plugin that gives the method ``saliency``."""

    class Plugin:
        @ic.hookimpl
        def inseq_attribution_methods(self):
            return [method()]

    host = PluginHost(entry_points=[])
    host.register_plugin(Plugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))
    return host


def test_names_are_sorted_and_iteration_gives_names(host):
    """Deterministic whatever the order of installation."""
    host.methods.register(method("a_first"))

    assert list(host.methods) == host.methods.names() == ["a_first", "saliency"]
    assert len(host.methods) == 2
    assert "saliency" in host.methods and "lime" not in host.methods


def test_an_unknown_name_is_answered_three_ways(host):
    """What did I mean, what exists, what do I install."""
    with pytest.raises(UnknownNameError) as raised:
        host.methods.get("salience")

    message = str(raised.value)
    assert "No attribution method named 'salience'. Did you mean 'saliency'?" in message
    assert "Installed: saliency" in message
    assert "alti (pip install inseq-attention)" in message


def test_a_known_name_of_an_absent_package_says_what_to_install(host):
    """The commonest reason for an unknown name."""
    with pytest.raises(UnknownNameError, match="'lime' is not installed: pip install inseq-perturbation"):
        host.methods.get("lime")


def test_a_misspelt_name_of_an_absent_package_says_what_it_is_and_what_to_install(host):
    """The nearest name may be one that is not there yet."""
    with pytest.raises(UnknownNameError, match=r"mean 'kernel_shap' \(pip install inseq-perturbation\)\?"):
        host.methods.get("kernal_shap")


def test_an_installed_package_is_not_offered_for_installation():
    """If it is there and does not give the name, installing it again will not help; its failure will."""

    class EntryPoint:
        name, value = "perturbation", "inseq_perturbation.plugin"

        class dist:
            name, version = "inseq-perturbation", "0.1.0"

        def load(self):
            raise ImportError("no sklearn here")

    host = PluginHost(entry_points=[EntryPoint()])

    with pytest.warns(UserWarning), pytest.raises(UnknownNameError) as raised:
        host.methods.get("lime")
    assert "pip install inseq-perturbation" not in str(raised.value)
    assert "inseq-perturbation 0.1.0" in str(raised.value) and "no sklearn here" in str(raised.value)


def test_a_disabled_package_is_named_as_disabled():
    """The name is missing because the user asked for that, perhaps long ago in a shell profile."""

    class EntryPoint:
        name, value = "perturbation", "inseq_perturbation.plugin"

        class dist:
            name, version = "inseq-perturbation", "0.1.0"

        def load(self):
            raise AssertionError("disabled plugins are not imported")

    host = PluginHost(entry_points=[EntryPoint()], disabled=["inseq_perturbation"])

    with pytest.raises(UnknownNameError, match="installed, but disabled by INSEQ_DISABLE_PLUGINS"):
        host.methods.get("lime")


@pytest.mark.parametrize("name", [None, 3, ["saliency"], ""])
def test_a_name_that_is_no_name_is_unknown(host, name):
    """A typed error with the value, not a TypeError from a dictionary."""
    with pytest.raises(UnknownNameError):
        host.methods.get(name)


def test_what_follows_a_colon_is_a_parameter_of_the_family(host):
    """ "captum:DeepLift" is one registered method with one of its parameters filled in."""
    family = ic.MethodSpec(name="family", factory=dict, summary="A family.", variants="algorithm")
    host.methods.register(family)

    entry = host.methods.get("family:Best")

    assert entry.spec == family and entry.preset == {"algorithm": "Best"}
    for name in ("saliency:Best", "family:", "nobody:Best"):
        with pytest.raises(UnknownNameError):
            host.methods.get(name)


def test_session_entries_say_so(host):
    """Provenance of a result shows that a method came from a notebook."""
    entry = host.methods.register(method("mine"))

    assert entry.provenance == SESSION and entry.provenance.is_session
    assert str(entry.provenance) == "registered in this session"


def test_a_taken_name_needs_overwrite(host):
    """A notebook cell that shadows a plugin by accident is stopped."""
    with pytest.raises(AlreadyRegisteredError, match=r"acme-inseq 1\.0"):
        host.methods.register(method())

    host.methods.register(method(factory="mine:Method"), overwrite=True)
    assert host.methods.get("saliency").spec.factory == "mine:Method"


def test_unregistering_brings_back_what_was_replaced(host):
    """The plugin's own is hidden, not lost."""
    host.methods.register(method(factory="mine:Method"), overwrite=True)

    host.methods.unregister("saliency")

    assert host.methods.get("saliency").provenance.plugin == "acme"


def test_what_a_plugin_gives_cannot_be_unregistered(host):
    """It would be back in the next process; the variable is the way."""
    with pytest.raises(InvalidArgumentError, match="INSEQ_DISABLE_PLUGINS=acme"):
        host.methods.unregister("saliency")
    with pytest.raises(UnknownNameError):
        host.methods.unregister("never_was")


def test_a_registry_takes_its_own_kind_only(host):
    """A viewer among the methods would surface as an AttributeError much later."""
    with pytest.raises(InvalidArgumentError, match="MethodSpec"):
        host.methods.register(ic.ViewerSpec(name="v", factory="a:b", summary="A view."))


def test_loading_follows_the_lazy_path(host):
    """The path is imported when the thing is wanted."""
    entry = host.methods.register(method("ordered", "collections:OrderedDict.fromkeys"))

    assert entry.load()("ab") == {"a": None, "b": None}


def test_a_live_object_is_its_own_path(host):
    """Notebooks have no module to name."""
    assert host.methods.register(method("mine", dict)).load() is dict


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("collections:OrderedDikt", "Did you mean 'OrderedDict'?"),
        ("collections.nothing:x", "collections.nothing"),
        ("a_package_that_is_not_there.module:x", "a_package_that_is_not_there"),
    ],
)
def test_a_path_that_leads_nowhere_names_distribution_path_and_cause(path, cause):
    """A defect of the plugin: its authors need the path, its users the package."""

    class Plugin:
        @ic.hookimpl
        def inseq_attribution_methods(self):
            return [method("broken", path)]

    host = PluginHost(entry_points=[])
    host.register_plugin(Plugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))

    with pytest.raises(PluginError) as raised:
        host.methods.get("broken").load()

    message = str(raised.value)
    assert "attribution method 'broken' of acme-inseq 1.0" in message
    assert path in message and cause in message
    assert raised.value.__cause__ is not None


def test_a_missing_dependency_says_what_to_install(site):
    """The core alone lists what needs torch; running it says what is missing."""
    module = site.install("acme-inseq", "import a_library_that_is_not_there\n", name="unused")

    with pytest.raises(MissingPackageError, match="pip install a_library_that_is_not_there"):
        resolve(f"{module}:thing", "method 'x'")


def test_a_module_that_exits_when_it_is_loaded_does_not_end_the_program(site):
    """A script without a main guard, named by a lazy path."""
    module = site.install("acme-inseq", "import sys\nsys.exit(2)\n", name="unused")

    with pytest.raises(PluginError, match="SystemExit"):
        resolve(f"{module}:thing")


def test_threads_that_ask_first_see_everything(host):
    """Discovery happens once and is complete before anyone gets an answer."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(host.methods.names())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [["saliency"]] * 8


@pytest.mark.parametrize("name", ["step_functions", "step-functions", "step function", "Step Functions"])
def test_kinds_are_known_by_key_and_word(name):
    """The command line and Python spell them differently."""
    assert kind_named(name).key == "step_functions"


def test_an_unknown_kind_has_its_error(host):
    """Also for ``unregister("method", …)`` typed from memory."""
    with pytest.raises(UnknownNameError, match="Did you mean 'viewers'"):
        host.registry("viewrs")


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_what_our_packages_provide_is_in_the_phone_book(kind):
    """A new method of ours is to be found before its package is installed: add it to known.py."""
    ours = {package for names in KNOWN.values() for package in names.values()}
    provided = {
        entry.name: entry.provenance.distribution
        for entry in PluginHost(disabled=[]).registry(kind).entries()
        if entry.provenance.distribution in ours
    }

    assert {name: KNOWN[kind].get(name) for name in provided} == provided


def test_what_is_known_elsewhere_is_of_existing_kinds():
    """A typing error in the phone book would silence it."""
    assert set(KNOWN) <= {kind.key for kind in KINDS}
