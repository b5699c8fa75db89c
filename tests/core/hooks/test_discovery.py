"""Discovery: plugins are found by their entry points, described by their metadata, and asked late."""

from __future__ import annotations

import sys

import pytest

from inseq_core.errors import NotReadyWarning
from inseq_core.hooks import PluginHost


def test_an_installed_plugin_is_found_with_its_provenance(site, working):
    """The whole of installation is an entry point: no list of plugins is kept anywhere."""
    site.install("acme-inseq", working, version="3.1")

    entry = PluginHost().methods.get("acme_method")

    assert entry.spec.summary == "Nothing but a name."
    assert (entry.provenance.plugin, entry.provenance.distribution, entry.provenance.version) == (
        "acme",
        "acme-inseq",
        "3.1",
    )


def test_listing_does_not_import_what_lazy_paths_lead_to(site, working):
    """``acme.method`` does not exist, and nobody notices before it is loaded."""
    site.install("acme-inseq", working)

    assert "acme_method" in PluginHost().methods.names()


def test_nothing_is_imported_before_the_first_question(site, working):
    """``import inseq`` makes no host, and a host makes no imports."""
    module = site.install("acme-inseq", working)

    host = PluginHost()
    assert module not in sys.modules
    host.methods.names()
    assert module in sys.modules


def test_plugins_are_imported_once(site):
    """A second question, of another kind, finds the plugin loaded."""
    site.install(
        "acme-inseq",
        """
        import sys
        sys.fake_imports = getattr(sys, "fake_imports", 0) + 1
        """,
    )
    host = PluginHost()

    host.methods.names()
    host.step_functions.names()
    host.plugins()

    assert sys.fake_imports == 1
    del sys.fake_imports


def test_an_entry_point_may_lead_to_an_object_inside_a_module(site):
    """Any object with hook implementations is a plugin."""
    source = """
    import inseq_core as ic

    class Plugin:
        @ic.hookimpl
        def inseq_viewers(self):
            return [ic.ViewerSpec(name="acme_view", factory="acme:View", summary="A view.")]

    plugin = Plugin()
    """
    site.install("acme-inseq", source, path="{module}:plugin")

    assert "acme_view" in PluginHost().viewers


def test_a_distribution_without_metadata_still_gives_its_plugin(site, working):
    """A half-written .dist-info folder costs a version, not the plugin."""
    site.install("acme-inseq", working, version=None)

    assert PluginHost().methods.get("acme_method").provenance.version == ""


def test_an_unreadable_entry_points_file_does_not_hide_other_plugins(site, working):
    """importlib_metadata reads all or nothing; one broken file may not cost everyone their plugins."""
    site.install("acme-inseq", working)
    site.describe("broken-inseq", "1.0", "[inseq]\nthis line is no entry point\n")
    host = PluginHost()

    with pytest.warns(NotReadyWarning, match="broken-inseq"):
        assert "acme_method" in host.methods
    assert [f.stage for f in host.failures if f.distribution == "broken-inseq"] == ["discovery"]


def test_a_broken_stranger_that_is_no_plugin_is_not_our_affair(site, working, recwarn):
    """Someone else's unreadable metadata is not reported as a failed plugin."""
    site.install("acme-inseq", working)
    site.describe("other", "1.0", "[console_scripts]\nthis line is no entry point\n")
    host = PluginHost()

    assert "acme_method" in host.methods
    assert not [f for f in host.failures if f.distribution == "other"]


def test_two_distributions_may_use_one_entry_point_name(site, working):
    """Entry-point names are unique within a distribution only."""
    site.install("acme-inseq", working)
    site.install("other-inseq", working.replace("acme_method", "other_method"))

    names = PluginHost().methods.names()

    assert {"acme_method", "other_method"} <= set(names)


@pytest.mark.parametrize("switch", ["acme", "ACME-Inseq", "other, acme_inseq ,"])
def test_a_plugin_is_disabled_by_its_name_or_its_distribution(site, working, monkeypatch, switch):
    """The way out of a conflict or of a broken plugin, without uninstalling anything."""
    module = site.install("acme-inseq", working)
    monkeypatch.setenv("INSEQ_DISABLE_PLUGINS", switch)
    host = PluginHost()

    assert "acme_method" not in host.methods
    assert module not in sys.modules
    assert [r.status for r in host.plugins() if r.distribution == "acme-inseq"] == ["disabled"]


def test_a_disabled_name_that_nothing_has_is_told(site):
    """A misspelt switch switches nothing off; the listing says so."""
    host = PluginHost(disabled=["captun", "inseq-captum"])

    assert host.disabled_but_absent() == ("captun",)


def test_hand_made_entry_points_replace_the_installed_ones():
    """Tests and frozen applications choose their plugins."""
    host = PluginHost(entry_points=[])

    assert host.plugins() == ()
    assert host.methods.names() == []


def test_tracing_prints_hook_calls_and_answers_to_stderr(site, working, monkeypatch, capsys):
    """INSEQ_TRACE_PLUGINS=1 answers "who was asked, and what did they say"."""
    site.install("acme-inseq", working)
    monkeypatch.setenv("INSEQ_TRACE_PLUGINS", "1")

    PluginHost().methods.names()

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "inseq_attribution_methods() asked of acme-inseq:acme" in printed.err
    assert "acme-inseq 1.0 (plugin 'acme') gave acme_method" in printed.err


def test_the_core_registers_through_entry_points_like_everyone(site):
    """Built-ins have no privileges: their provenance is a distribution and a plugin."""
    provenance = PluginHost().commands.get("plugins").provenance

    assert (provenance.distribution, provenance.plugin) == ("inseq-core", "core")
