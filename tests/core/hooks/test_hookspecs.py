"""Hook specs: each has an example that runs, and the plugin author's imports are there."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
import types

import pytest

import inseq_core as ic
from inseq_core.hooks import HOOKS, KINDS, PluginHost, Provenance, hookspecs


def example_of(hook: str) -> str:
    """The code of the example in a hook's docstring."""
    docstring = inspect.getdoc(getattr(hookspecs, hook)) or ""
    return textwrap.dedent(docstring.partition("Example:\n")[2])


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_is_a_working_plugin(hook):
    """What people copy is run."""
    plugin = types.ModuleType("example")
    exec(compile(example_of(hook), hook, "exec"), plugin.__dict__)
    host = PluginHost(entry_points=[])

    host.register_plugin(plugin, Provenance(plugin="example"))

    reports = host.plugins()
    assert host.failures == ()
    listing = {kind.hook: kind.key for kind in KINDS}
    if hook in listing:
        assert len(reports[0].provides[listing[hook]]) == 1
    else:
        assert reports[0].observes == (hook,)


def test_the_examples_of_plain_hooks_run():
    """They are called with what the engine gives."""
    for hook, arguments in (
        ("inseq_choose_framework", {"model": "counts.arpa"}),
        ("inseq_before_attribute", {"request": types.SimpleNamespace(input_texts=["a"])}),
        ("inseq_after_attribute", {"request": None, "output": []}),
    ):
        plugin = types.ModuleType("example")
        exec(compile(example_of(hook), hook, "exec"), plugin.__dict__)

        getattr(plugin, hook)(**arguments)


def test_every_kind_with_a_hook_has_a_hook():
    """A kind whose hook is misspelt would be empty for ever."""
    assert {kind.hook for kind in KINDS if kind.hook} <= set(HOOKS)


def test_plugin_authors_need_one_import():
    """``import inseq_core as ic``: every public name can be had from it."""
    for name in dir(ic):
        if not name.startswith("_"):
            assert getattr(ic, name) is not None


def test_an_unknown_attribute_is_an_attribute_error():
    """``hasattr`` and typing errors work as with any module."""
    assert not hasattr(ic, "MethodSpek")


def test_listing_specs_imports_no_numpy():
    """A plugin module is imported to list what it has: it stays light if it imports the core alone."""
    code = (
        "import sys, inseq_core as ic\n"
        "ic.hookimpl, ic.MethodSpec(name='x', factory='a:b', summary='A method.', needs=[ic.Need.SCORES])\n"
        "assert not {'numpy', 'torch', 'rich', 'click'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
