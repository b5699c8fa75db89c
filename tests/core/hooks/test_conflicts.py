"""Conflicts: two plugins that give one name. Never the last one wins."""

from __future__ import annotations

import pytest

import inseq_core as ic
from inseq_core.errors import PluginConflictError
from inseq_core.hooks import PluginHost, Provenance


def giving(*names: str, factory: str = "a:b") -> object:
    """A plugin with methods of these names."""

    class Plugin:
        @ic.hookimpl
        def inseq_attribution_methods(self):
            return [ic.MethodSpec(name=name, factory=factory, summary="A method.") for name in names]

    return Plugin()


def host_of(**plugins: object) -> PluginHost:
    """A host with plugins by name, each of the distribution ``<name>-inseq``."""
    host = PluginHost(entry_points=[])
    for name, plugin in plugins.items():
        host.register_plugin(plugin, Provenance(plugin=name, distribution=f"{name}-inseq", version="1.0"))
    return host


def test_asking_for_a_contested_name_names_both_sides_and_the_way_out():
    """The user decides which package to do without; we do not decide by the order of installation."""
    host = host_of(acme=giving("saliency"), zeta=giving("saliency"))

    with pytest.raises(PluginConflictError) as raised:
        host.methods.get("saliency")

    message = str(raised.value)
    assert "acme-inseq 1.0" in message and "zeta-inseq 1.0" in message
    assert "INSEQ_DISABLE_PLUGINS=acme or INSEQ_DISABLE_PLUGINS=zeta" in message


def test_other_names_of_both_plugins_keep_working():
    """A conflict costs one name."""
    host = host_of(acme=giving("saliency", "one"), zeta=giving("saliency", "two"))

    assert host.methods.get("one").provenance.plugin == "acme"
    assert host.methods.get("two").provenance.plugin == "zeta"
    assert host.methods.names() == ["one", "saliency", "two"]


def test_listing_shows_the_conflict():
    """``inseq plugins`` reports it before anyone runs into it."""
    host = host_of(acme=giving("saliency"), zeta=giving("saliency"))

    assert [source.plugin for source in host.methods.conflicts()["saliency"]] == ["acme", "zeta"]
    assert [report.conflicts for report in host.plugins()] == [{"methods": ("saliency",)}] * 2


def test_disabling_one_side_settles_it(site, working):
    """The variable that the error names does what the error says."""
    site.install("acme-inseq", working, name="acme")
    site.install("zeta-inseq", working, name="zeta")

    with pytest.raises(PluginConflictError):
        PluginHost().methods.get("acme_method")
    assert PluginHost(disabled=["zeta"]).methods.get("acme_method").provenance.plugin == "acme"


def test_plugins_of_one_name_are_told_apart_by_their_distributions(site, working):
    """Disabling the shared name would disable both."""
    site.install("acme-inseq", working, name="same")
    site.install("zeta-inseq", working, name="same")

    with pytest.raises(PluginConflictError) as raised:
        PluginHost().methods.get("acme_method")

    assert "INSEQ_DISABLE_PLUGINS=acme-inseq or INSEQ_DISABLE_PLUGINS=zeta-inseq" in str(raised.value)


def test_a_plugin_that_gives_one_name_twice_is_in_conflict_with_itself():
    """Two different things of one name cannot be told apart, whoever gives them."""

    class Plugin:
        @ic.hookimpl
        def inseq_attribution_methods(self):
            yield ic.MethodSpec(name="twice", factory="a:b", summary="A method.")
            yield ic.MethodSpec(name="twice", factory="a:c", summary="Another method.")

    with pytest.raises(PluginConflictError, match="more than once"):
        host_of(acme=Plugin()).methods.get("twice")


def test_a_plugin_that_repeats_itself_literally_is_understood():
    """The same record twice says nothing new."""
    host = host_of(acme=giving("twice", "twice"))

    assert host.methods.get("twice").name == "twice"


def test_one_name_may_be_of_several_kinds():
    """A method and a viewer called alike are asked for in different places."""

    class Plugin:
        @ic.hookimpl
        def inseq_attribution_methods(self):
            return [ic.MethodSpec(name="heat", factory="a:b", summary="A method.")]

        @ic.hookimpl
        def inseq_viewers(self):
            return [ic.ViewerSpec(name="heat", factory="a:b", summary="A view.")]

    host = host_of(acme=Plugin())

    assert host.methods.get("heat").spec.summary == "A method."
    assert host.viewers.get("heat").spec.summary == "A view."
