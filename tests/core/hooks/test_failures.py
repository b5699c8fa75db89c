"""Failures: a plugin that cannot be used is named with its reason, and everything else works."""

from __future__ import annotations

import warnings

import pytest

import inseq_core as ic
from inseq_core.errors import InvalidArgumentError, NotReadyWarning, PluginError, UnknownNameError
from inseq_core.hooks import PluginHost, Provenance

SOURCES = {
    "raises at import": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "is no Python": ("def", "SyntaxError"),
    "imports what is not there": ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
    "exits at import": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "misspells a hook": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_atribution_methods():
            return []
        """,
        "did you mean 'inseq_attribution_methods'?",
    ),
    "implements a hook of the future": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_holograms():
            return []
        """,
        "no hook is named 'inseq_holograms'; misspelt, or written for a newer inseq-core",
    ),
    "wants an argument of the future": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods(locale):
            return []
        """,
        "another signature in this inseq-core",
    ),
    "forgets to mark a hook": (
        """
        def inseq_attribution_methods():
            return []
        """,
        "not marked with @inseq_core.hookimpl",
    ),
    "raises when it is asked": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            raise KeyError("gone")
        """,
        "KeyError: 'gone'",
    ),
    "exits when it is asked": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            raise SystemExit(3)
        """,
        "SystemExit: 3",
    ),
    "gives a name instead of a record": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            return "saliency"
        """,
        "gave 'saliency' (str) where a MethodSpec belongs",
    ),
    "gives a record of another kind": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            yield ic.AggregatorSpec(name="x", factory="a:b", summary="An aggregator.")
        """,
        "where a MethodSpec belongs",
    ),
    "gives a record that is not valid": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            yield ic.MethodSpec(name="two words", factory="a:b", summary="A method.")
        """,
        "'two words'",
    ),
    "gives a record with a field of the future": (
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            yield ic.MethodSpec(name="x", factory="a:b", summary="A method.", colour="blue")
        """,
        "colour",
    ),
    "uses a name of the future": ("import inseq_core as ic; ic.HologramSpec", "HologramSpec"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_plugin_that_fails_is_set_aside_alone(site, working, case):
    """Kept with its reason and distribution, told once, and no one else is hurt."""
    source, reason = SOURCES[case]
    site.install("broken-inseq", source, version="2.0", name="broken")
    site.install("acme-inseq", working)
    host = site.host()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        names = host.methods.names()
        report = next(r for r in host.plugins() if r.distribution == "broken-inseq")

    assert "acme_method" in names
    assert report.status == "failed"
    assert [(f.plugin, f.distribution, f.version) for f in report.failures] == [
        ("broken", "broken-inseq", "2.0")
    ]
    assert reason in report.failures[0].reason
    messages = [str(w.message) for w in told if "broken-inseq" in str(w.message)]
    assert len(messages) == 1
    assert issubclass(next(w for w in told if "broken-inseq" in str(w.message)).category, NotReadyWarning)


def test_the_traceback_is_kept_for_the_author(site):
    """One line for users, the whole story for whoever has to repair it."""
    site.install("broken-inseq", "def f():\n    raise RuntimeError('deep inside')\nf()\n")
    host = site.host()

    with pytest.warns(NotReadyWarning):
        failure = next(f for f in host.failures if f.distribution == "broken-inseq")

    assert "in f" in failure.traceback
    assert "\n" not in failure.reason


def test_keyboard_interrupt_at_import_is_the_users_and_goes_through(site, working, monkeypatch):
    """Control-C means stop, also while plugins load; a later question starts anew."""
    site.install(
        "slow-inseq", "import os\nif 'FAKE_CALM' not in os.environ: raise KeyboardInterrupt\n" + working
    )
    host = site.host()

    with pytest.raises(KeyboardInterrupt):
        host.methods.names()
    monkeypatch.setenv("FAKE_CALM", "1")

    assert "acme_method" in host.methods


def test_good_records_beside_a_bad_one_are_kept(site):
    """A plugin loses what is wrong with it, not what is right."""
    site.install(
        "acme-inseq",
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            yield ic.MethodSpec(name="first", factory="a:b", summary="A method.")
            yield 7
            yield ic.MethodSpec(name="second", factory="a:b", summary="A method.")
        """,
    )
    host = site.host()

    with pytest.warns(NotReadyWarning, match="gave 7"):
        names = host.methods.names()

    assert {"first", "second"} <= set(names)


class OddName(str):
    """A name that cannot be compared, sorted or looked up."""

    def _refuse(self, *other):
        raise RuntimeError("odd")

    __hash__ = __eq__ = __lt__ = _refuse


class OddSpec(ic.StepFunctionSpec):
    """A record of a plugin's own class."""

    def _refuse(self, *other):
        raise RuntimeError("odd")

    __hash__ = __eq__ = __repr__ = _refuse


class UnreadableSpec(OddSpec):
    """A record that cannot even be read."""

    summary = property(OddSpec._refuse)


class Unshown:
    """No record, and nothing that can be shown."""

    __repr__ = OddSpec._refuse


def test_names_and_records_of_odd_classes_are_plain_ones_here():
    """``inseq list`` ended in a traceback for everybody, because of one name."""

    class Plugin:
        @ic.hookimpl
        def inseq_step_functions(self):
            yield ic.StepFunctionSpec(
                name=OddName("odd"), function="a:b", summary="x", aggregate_map={"spans": OddName("sum")}
            )
            yield OddSpec(name="own", function="a:b", summary="x", rowwise=True)
            yield Unshown()
            yield ic.StepFunctionSpec(name="plain", function="a:b", summary="x")

        @ic.hookimpl
        def inseq_attribution_methods(self):
            yield ic.MethodSpec(
                name="m",
                factory="a:b",
                summary="x",
                default_aggregation=(OddName("sum"),),
                trailing_axes=["h"],
            )

    host = host_with(Plugin())
    with pytest.warns(NotReadyWarning, match="gave a Unshown"):
        assert host.step_functions.names() == ["odd", "own", "plain"]
    assert host.step_functions.get("own").spec.rowwise is True
    assert type(host.step_functions.get("odd").spec.aggregate_map["spans"]) is str
    assert host.methods.get("m").spec.default_aggregation == ("sum",)
    assert len(host.plugins()) == 1


def test_a_record_that_cannot_be_read_is_the_failure_of_its_plugin():
    """It is read once, where that is noticed."""

    class Plugin:
        @ic.hookimpl
        def inseq_step_functions(self):
            yield UnreadableSpec.__new__(UnreadableSpec)

    host = host_with(Plugin())
    with pytest.warns(NotReadyWarning, match="odd|no attribute"):
        assert host.step_functions.names() == []


def test_a_failure_in_one_hook_leaves_the_plugins_other_hooks(site):
    """Its viewers work though its methods do not."""
    site.install(
        "acme-inseq",
        """
        import inseq_core as ic

        @ic.hookimpl
        def inseq_attribution_methods():
            raise RuntimeError

        @ic.hookimpl
        def inseq_viewers():
            return ic.ViewerSpec(name="acme_view", factory="a:b", summary="A view.")
        """,
    )
    host = site.host()

    with pytest.warns(NotReadyWarning):
        host.methods.names()

    assert "acme_view" in host.viewers


def test_an_unknown_name_tells_which_plugin_failed(site):
    """Whoever misses a method of a broken plugin learns why it is missing."""
    site.install("broken-inseq", "raise RuntimeError('no luck')", version="2.0")
    host = site.host()

    with pytest.warns(NotReadyWarning), pytest.raises(UnknownNameError) as raised:
        host.methods.get("their_method")

    assert "broken-inseq 2.0 (plugin 'acme') was set aside at import: RuntimeError: no luck." in str(
        raised.value
    )


def test_a_warning_made_an_error_leaves_the_host_whole(site, working):
    """Under ``-W error`` the first question fails, and the second is answered."""
    site.install("broken-inseq", "raise RuntimeError('no luck')")
    site.install("acme-inseq", working)
    host = site.host()

    with warnings.catch_warnings():
        warnings.simplefilter("error", NotReadyWarning)
        with pytest.raises(NotReadyWarning):
            host.methods.names()
        assert "acme_method" in host.methods


def test_what_a_plugin_prints_stays_out_of_stdout(site, working, capsys):
    """``inseq list --json`` is read by programs."""
    loud = "print('hello from import')\n" + working + "    print('hello from hook')\n"
    site.install("acme-inseq", loud)

    site.host().methods.names()

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "hello from import" in printed.err and "hello from hook" in printed.err


@pytest.mark.parametrize("path", ["{module}:nothing_here", "not a path!", "{module}:empty"])
def test_an_entry_point_that_leads_nowhere_is_a_failure(site, path):
    """Wrong object, wrong syntax, and None."""
    site.install("broken-inseq", "empty = None", path=path)
    host = site.host()

    with pytest.warns(NotReadyWarning, match="broken-inseq"):
        assert host.failures


def test_a_plugin_that_asks_for_registries_while_they_are_filled_is_told_so():
    """A half-filled registry would give answers that depend on the order of plugins."""
    host = PluginHost(entry_points=[])

    class Curious:
        @ic.hookimpl
        def inseq_attribution_methods(self):
            host.methods.names()

    host.register_plugin(Curious(), Provenance(plugin="curious"))

    with pytest.warns(NotReadyWarning, match="while it was being asked for its own"):
        assert host.methods.names() == []


def test_a_plugin_that_asks_the_host_while_it_is_imported_is_told_so():
    """The same one step earlier: the list of plugins is not there yet."""

    class EntryPoint:
        name, value = "curious", "curious.plugin"

        def load(self):
            host.viewers.names()

    host = PluginHost(entry_points=[EntryPoint()])

    with pytest.warns(NotReadyWarning, match="while it was being imported"):
        assert host.methods.names() == []


def test_one_module_in_two_distributions_is_said_by_name(site, working):
    """A renamed package may leave its old metadata behind: the remains are named."""
    module = site.install("new-inseq", working)
    site.describe("old-inseq", "0.9", f"[inseq]\nacme = {module}\n")
    host = site.host()

    with pytest.warns(NotReadyWarning, match="uninstall one of the two"):
        entry = host.methods.get("acme_method")

    assert entry.provenance.distribution == "new-inseq"


def test_an_optional_hook_of_the_future_is_no_failure(site):
    """A plugin may serve newer versions too, if it says so."""
    site.install(
        "acme-inseq",
        """
        import inseq_core as ic

        @ic.hookimpl(optionalhook=True)
        def inseq_holograms():
            return []
        """,
    )

    assert site.host().failures == ()


class Request:
    """What the engine gives to the hooks around a call."""

    input_texts = ("a",)


def host_with(plugin) -> PluginHost:
    """A host with one plugin."""
    host = PluginHost(entry_points=[])
    host.register_plugin(plugin, Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))
    return host


def test_a_veto_reaches_the_user_as_it_is():
    """``inseq_before_attribute`` is where a policy speaks."""

    class Policy:
        @ic.hookimpl
        def inseq_before_attribute(self, request):
            raise InvalidArgumentError(f"{len(request.input_texts)} texts are too many.")

    with pytest.raises(InvalidArgumentError, match=r"^1 texts are too many\.$"):
        host_with(Policy()).before_attribute(Request())


def test_a_check_that_crashes_does_not_let_the_request_pass():
    """A crashed policy is not a passed one; the user learns whose it is."""

    class Crash:
        @ic.hookimpl
        def inseq_before_attribute(self, request):
            return request.no_such_field

    with pytest.raises(PluginError, match=r"acme-inseq 1\.0") as raised:
        host_with(Crash()).before_attribute(Request())
    assert isinstance(raised.value.__cause__, AttributeError)
    assert "INSEQ_DISABLE_PLUGINS=acme" in str(raised.value)


def test_an_observer_that_crashes_does_not_cost_the_result():
    """The attribution is done when it is observed."""
    seen = []

    class Crash:
        @ic.hookimpl
        def inseq_after_attribute(self, request, output):
            seen.append(output)
            raise RuntimeError("disk full")

    host = host_with(Crash())
    with pytest.warns(NotReadyWarning, match="disk full"):
        host.after_attribute(Request(), "the output")
    assert seen == ["the output"]


def test_the_framework_is_chosen_by_the_first_plugin_with_an_opinion():
    """A plugin that raises or names what does not exist is passed over."""

    class Broken:
        @ic.hookimpl(tryfirst=True)
        def inseq_choose_framework(self, model):
            raise RuntimeError("confused")

    class Wrong:
        @ic.hookimpl(tryfirst=True)
        def inseq_choose_framework(self, model):
            return "no_such_framework"

    class Right:
        @ic.hookimpl
        def inseq_model_adapters(self):
            return [ic.AdapterSpec(name="ngram", factory="a:b", summary="Counts.")]

        @ic.hookimpl
        def inseq_choose_framework(self, model):
            return "ngram" if model == "counts.arpa" else None

    host = host_with(Right())
    host.register_plugin(Broken(), Provenance(plugin="broken"))
    host.register_plugin(Wrong(), Provenance(plugin="wrong"))

    with pytest.warns(NotReadyWarning):
        assert host.choose_framework("counts.arpa") == "ngram"
    assert host.choose_framework("gpt2") is None
    assert {failure.plugin for failure in host.failures} == {"broken", "wrong"}


def test_a_reason_cannot_act_on_the_terminal_that_shows_it():
    """An error may quote whatever a file or a server gave the plugin."""

    class Plugin:
        @ic.hookimpl
        def inseq_attribution_methods(self):
            raise RuntimeError("\x1b[2J\x1b]0;title\x07 gone")

    host = PluginHost(entry_points=[])
    host.register_plugin(Plugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))
    with pytest.warns(NotReadyWarning, match="gone") as warned:
        host.methods.names()

    for text in (str(warned[0].message), str(host.failures[0]), host.failures[0].traceback):
        assert "\x1b" not in text and "\x07" not in text
        assert r"\x1b[2J\x1b]0;title\x07 gone" in text
