"""The program: commands found by hook, options in both spellings, errors in one line, light help."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import inseq_core as ic
from inseq_core.cli.program import program
from inseq_core.errors import InvalidArgumentError, NotReadyWarning
from inseq_core.hooks import PluginHost, Provenance, get_host, use_host


@click.command()
@click.option("--input_texts", "-i", default="")
@click.option("--do-it", is_flag=True)
@click.option("--mode", type=click.Choice(["one_way", "other-way"]), default="one_way")
def echo(input_texts: str, do_it: bool, mode: str) -> None:
    """Say it back."""
    click.echo(f"{input_texts}|{do_it}|{mode}")


@click.command()
def fail() -> None:
    """Fail."""
    raise InvalidArgumentError("n_steps = 0 (int): expected 1 or more.")


@click.command()
def fill() -> None:
    """Write to a full disk."""
    raise OSError(28, "No space left on device")


@click.command()
@click.option("--by")
def break_down(by: str | None) -> None:
    """Have a defect, or end otherwise."""
    if by:
        raise {"exit": SystemExit(3), "ours": InvalidArgumentError("no"), "click": click.UsageError("no")}[by]
    raise ValueError("no luck\nat all")


class Plugin:
    @ic.hookimpl
    def inseq_commands(self):
        yield ic.CommandSpec(name="break-down", command=break_down, summary="Have a defect.")
        yield ic.CommandSpec(name="fill", command=fill, summary="Write to a full disk.")
        yield ic.CommandSpec(name="say-it-back", command=echo, summary="Say it back.")
        yield ic.CommandSpec(name="fail", command=fail, summary="Fail.")
        yield ic.CommandSpec(name="broken", command="nowhere_at_all:x", summary="Leads nowhere.")
        yield ic.CommandSpec(name="odd", command=len, summary="Is no click command.")


@pytest.fixture
def runner():
    """A runner on a host that has the core's own commands and the plugin above."""
    from inseq_core import plugin

    host = PluginHost(entry_points=[])
    host.register_plugin(plugin, Provenance(plugin="core", distribution="inseq-core", version="1"))
    host.register_plugin(Plugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))
    with use_host(host):
        yield CliRunner()


def test_help_lists_commands_with_their_summaries(runner):
    """Also of those that cannot be imported: help reads specs."""
    result = runner.invoke(program, ["-h"])

    assert result.exit_code == 0
    assert "say-it-back" in result.output and "Leads nowhere." in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["say-it-back", "--input_texts", "a", "--do_it", "--mode", "other_way"],
        ["say_it_back", "--input-texts", "a", "--do-it", "--mode", "other-way"],
        ["say-it-back", "-i", "a", "--do-it", "--mode", "other-way"],
    ],
)
def test_options_and_commands_are_taken_with_hyphens_and_underscores(runner, arguments):
    """Older scripts have one, fingers have the other."""
    result = runner.invoke(program, arguments)

    assert result.output == "a|True|other-way\n"


def test_what_the_operating_system_refuses_is_one_line_too(runner):
    """``inseq list > full_disk`` ended in a page of Python."""
    result = runner.invoke(program, ["fill"])

    assert result.exit_code == 1
    assert "No space left on device" in result.output and "Traceback" not in result.output
    assert isinstance(runner.invoke(program, ["--traceback", "fill"]).exception, OSError)


def test_an_error_of_ours_is_its_message_and_status_one(runner):
    """A user is told what was wrong, not where in our code."""
    result = runner.invoke(program, ["fail"])

    assert result.exit_code == 1
    assert result.output == "Error: n_steps = 0 (int): expected 1 or more.\n"


def test_a_defect_of_a_command_is_one_line_that_says_whose_it_is(runner):
    """A page of Python makes it ours; the page is there for its author."""
    result = runner.invoke(program, ["break_down"])

    assert result.exit_code == 1
    assert result.output == (
        "Error: The command 'break-down' of acme-inseq 1.0 (plugin 'acme') failed: ValueError: no luck\n"
        "  --traceback shows where it comes from.\n"
    )
    assert isinstance(runner.invoke(program, ["--traceback", "break-down"]).exception, ValueError)


@pytest.mark.parametrize(("by", "status"), [("exit", 3), ("ours", 1), ("click", 2)])
def test_a_command_that_means_to_end_is_not_said_to_have_a_defect(runner, by, status):
    """Its own status, its own message."""
    result = runner.invoke(program, ["break-down", "--by", by])

    assert result.exit_code == status and "failed" not in result.output


def test_traceback_is_shown_on_request(runner, monkeypatch):
    """By option, or by variable where the command line is not ours to change."""
    assert isinstance(runner.invoke(program, ["--traceback", "fail"]).exception, InvalidArgumentError)

    monkeypatch.setenv("INSEQ_TRACEBACK", "1")
    assert isinstance(runner.invoke(program, ["fail"]).exception, InvalidArgumentError)


def test_traceback_may_stand_behind_the_command(runner):
    """A hint says --traceback, and the end of a line is where it is added."""
    assert isinstance(runner.invoke(program, ["fail", "--traceback"]).exception, InvalidArgumentError)
    assert isinstance(runner.invoke(program, ["fill", "--traceback"]).exception, OSError)
    assert "Error: " in runner.invoke(program, ["fail"]).output
    assert "--traceback" in runner.invoke(program, ["fail", "--help"]).output


def test_an_unknown_command_is_answered_like_any_unknown_name(runner):
    """What was meant, what exists."""
    result = runner.invoke(program, ["say-it-bak"])

    assert result.exit_code == 2
    assert "No command named 'say-it-bak'. Did you mean 'say-it-back'?" in result.output


@pytest.mark.parametrize(("name", "reason"), [("broken", "nowhere_at_all"), ("odd", "no click command")])
def test_a_broken_command_breaks_alone(runner, name, reason):
    """It fails when it is run, with its distribution; the others run."""
    result = runner.invoke(program, [name])

    assert result.exit_code == 1
    assert "acme-inseq 1.0" in result.output and reason in result.output
    assert runner.invoke(program, ["say-it-back"]).exit_code == 0


def test_warnings_of_ours_take_one_line(runner):
    """Without the line of our code that gave them."""

    @click.command()
    def warn() -> None:
        import warnings

        warnings.warn("something is off", NotReadyWarning, stacklevel=1)

    get_host().commands.register(ic.CommandSpec(name="warn", command=warn, summary="Warn."))

    assert runner.invoke(program, ["warn"]).stderr == "Warning: something is off\n"


def test_version_is_printed():
    """``inseq --version``."""
    from inseq_core.version import get_version

    assert CliRunner().invoke(program, ["--version"]).output == f"inseq {get_version()}\n"


@pytest.mark.parametrize("arguments", ["--help", "--version"])
def test_help_imports_nothing_heavy(arguments):
    """``inseq -h`` is what a newcomer types first: it answers at once."""
    code = (
        "import sys\n"
        "from inseq_core.cli.main import main\n"
        "try:\n"
        f"    main(['{arguments}'])\n"
        "except SystemExit:\n"
        "    heavy = {'torch', 'transformers', 'captum', 'numpy', 'rich', 'jinja2'} & set(sys.modules)\n"
        "    sys.exit(f'heavy: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_module_runs_the_program():
    """``python -m inseq`` where the script is not on the path."""
    done = subprocess.run(
        [sys.executable, "-m", "inseq", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("inseq ")


def test_plugins_shows_what_each_provides_and_what_failed(runner):
    """Name, distribution, version, what it provides; failures with their reason."""
    get_host().register_plugin(Mixed(), Provenance(plugin="mixed", distribution="mixed-inseq", version="0.3"))

    result = runner.invoke(program, ["plugins"])

    text = " ".join(result.stdout.split())
    assert "acme acme-inseq 1.0 ready commands: break-down, broken, fail, fill, odd, say-it-back" in text
    assert "mixed mixed-inseq 0.3 failed viewers: dots observes: inseq_after_attribute" in text
    assert "Failed: mixed-inseq 0.3 (plugin 'mixed') was set aside at inseq_attribution_methods" in text
    assert "RuntimeError: no luck" in text


def test_plugins_verbose_shows_tracebacks(runner):
    """For the author of the plugin."""
    get_host().register_plugin(Mixed(), Provenance(plugin="mixed", distribution="mixed-inseq", version="0.3"))

    assert "in inseq_attribution_methods" in runner.invoke(program, ["plugins", "-v"]).stdout
    assert "in inseq_attribution_methods" not in runner.invoke(program, ["plugins"]).stdout


def test_plugins_as_json_is_plain_data(runner):
    """For programs and bug reports."""
    get_host().register_plugin(Mixed(), Provenance(plugin="mixed", distribution="mixed-inseq", version="0.3"))

    reports = {
        report["name"]: report for report in json.loads(runner.invoke(program, ["plugins", "--json"]).stdout)
    }

    assert reports["mixed"]["provides"] == {"viewers": ["dots"]}
    assert reports["mixed"]["failures"][0]["reason"] == "RuntimeError: no luck"
    assert reports["acme"]["status"] == "ready"


def test_plugins_shows_conflicts(runner):
    """Before anyone runs into them."""

    class Other:
        @ic.hookimpl
        def inseq_commands(self):
            yield ic.CommandSpec(name="fail", command="c:d", summary="Fail otherwise.")

    get_host().register_plugin(Other(), Provenance(plugin="other", distribution="other-inseq", version="2"))

    text = " ".join(runner.invoke(program, ["plugins"]).stdout.split())
    assert "Conflict: the command 'fail' is provided by acme-inseq 1.0" in text
    assert "more than once" in runner.invoke(program, ["-h"]).output
    assert "INSEQ_DISABLE_PLUGINS" in runner.invoke(program, ["fail"]).output


class Shadow:
    @ic.hookimpl
    def inseq_commands(self):
        yield ic.CommandSpec(name="say_it_back", command=fail, summary="Something else.")


@pytest.mark.parametrize("typed", ["say-it-back", "say_it_back"])
def test_a_command_in_another_spelling_takes_the_place_of_none(runner, typed):
    """What is typed means both: the last one won, and ``inseq attribute_dataset`` was somebody else's."""
    get_host().register_plugin(Shadow(), Provenance(plugin="shadow", distribution="shadow", version="2"))

    result = runner.invoke(program, [typed])

    assert result.exit_code == 1
    assert "'say-it-back' of acme-inseq 1.0 (plugin 'acme') and 'say_it_back' of shadow 2" in result.output
    assert "INSEQ_DISABLE_PLUGINS=acme or INSEQ_DISABLE_PLUGINS=shadow" in result.output
    assert runner.invoke(program, ["-h"]).output.count("(provided more than once") == 2


def test_nobody_is_told_to_do_without_the_core(runner):
    """Its commands would all go with the one."""

    class Second(Shadow):
        @ic.hookimpl
        def inseq_commands(self):
            yield ic.CommandSpec(name="attribute_dataset", command=fail, summary="Something else.")

    get_host().register_plugin(Second(), Provenance(plugin="second", distribution="second", version="2"))

    output = runner.invoke(program, ["attribute-dataset"]).output
    assert "Disable all but one: INSEQ_DISABLE_PLUGINS=second\n" in output


def test_plugins_shows_commands_of_two_spellings(runner):
    """For people and for programs, before anyone runs into them."""
    get_host().register_plugin(Shadow(), Provenance(plugin="shadow", distribution="shadow", version="2"))

    text = " ".join(runner.invoke(program, ["plugins"]).stdout.split())
    reports = {r["name"]: r for r in json.loads(runner.invoke(program, ["plugins", "--json"]).stdout)}

    assert "Conflict: The commands 'say-it-back' of acme-inseq 1.0" in text
    assert reports["acme"]["conflicts"] == {"commands": ["say-it-back"]}
    assert reports["shadow"]["conflicts"] == {"commands": ["say_it_back"]}
    assert reports["core"]["conflicts"] == {}


class Mixed:
    """A plugin of which something works."""

    @ic.hookimpl
    def inseq_attribution_methods(self):
        raise RuntimeError("no luck")

    @ic.hookimpl
    def inseq_viewers(self):
        yield ic.ViewerSpec(name="dots", factory="a:b", summary="[bold]Dots[/bold] of braille.")

    @ic.hookimpl
    def inseq_after_attribute(self, request, output):
        """Look on."""


def test_list_shows_names_of_every_kind(runner):
    """Without a kind, an overview."""
    text = " ".join(runner.invoke(program, ["list"]).stdout.split())

    assert all(name in text for name in ("broken", "explain", "fail"))
    assert "viewers none" in text


@pytest.mark.parametrize("kind", ["viewers", "Viewer"])
def test_list_shows_summaries_of_one_kind(runner, kind):
    """With a kind, one line on each; a plugin's text is text, not markup."""
    get_host().register_plugin(Mixed(), Provenance(plugin="mixed", distribution="mixed-inseq", version="0.3"))

    text = runner.invoke(program, ["list", kind]).stdout
    assert "dots" in text and "[bold]Dots[/bold] of braille." in text and "mixed-inseq" in text


LONG = "What a step's score loses when one feature, a word say, is taken from the text."


def register_a_viewer(summary):
    """One more of a name as long as they are."""
    viewer = ic.ViewerSpec(name="a_viewer_of_a_long_name", factory="a:b", summary=summary)

    class Other:
        @ic.hookimpl
        def inseq_viewers(self):
            yield viewer

    get_host().register_plugin(Other(), Provenance(plugin="other", distribution="other-inseq", version="2"))


@pytest.mark.parametrize(
    ("width", "lines", "shows_packages"), [("80", 2, False), ("112", 1, False), ("140", 1, True)]
)
def test_list_is_read_at_any_width(runner, width, lines, shows_packages):
    """What a name is needs the room more than whose it is: summaries were folded to columns of 28."""
    register_a_viewer(LONG)

    shown = runner.invoke(program, ["list", "viewers"], env={"FORCE_COLOR": "1", "COLUMNS": width}).stdout

    head, *rows = [click.unstyle(line) for line in shown.splitlines()]
    assert head.split() == ["name", "summary", "package"][: 2 + shows_packages]
    assert len(rows) == lines and max(map(len, rows)) <= int(width)
    assert ("other-inseq" in shown) == shows_packages


def test_list_for_another_program_is_one_line_a_name(runner):
    """``inseq list methods | grep gradient`` gives names, also where this terminal is narrow."""
    register_a_viewer(LONG)
    get_host().register_plugin(Mixed(), Provenance(plugin="mixed", distribution="mixed-inseq", version="0.3"))

    lines = runner.invoke(program, ["list", "viewers"], env={"COLUMNS": "40"}).stdout.splitlines()

    assert lines == [
        f"a_viewer_of_a_long_name  {LONG}  other-inseq",
        f"dots                     {'[bold]Dots[/bold] of braille.':<{len(LONG)}}  mixed-inseq",
    ]


def test_list_as_json_is_plain_data(runner):
    """For programs: nothing else may be on stdout."""
    listed = json.loads(runner.invoke(program, ["list", "commands", "--json"]).stdout)

    assert "say-it-back" in [entry["name"] for entry in listed["commands"]]


def test_list_of_an_unknown_kind_says_which_there_are(runner):
    """A typing error."""
    result = runner.invoke(program, ["list", "mehtods"])

    assert result.exit_code == 1 and "Did you mean 'methods'?" in result.output


def test_list_of_nothing_says_so(runner):
    """An empty table would look like a failure."""
    assert runner.invoke(program, ["list", "models"]).stdout == "No models.\n"


def test_explain_explains_several_names(runner):
    """One after the other."""
    text = runner.invoke(program, ["explain", "plugins", "list"]).stdout

    assert "plugins: command" in text and "\n\nlist: command" in text


def test_explain_of_an_unknown_name_is_an_error(runner):
    """The message of Python, the status of a program."""
    result = runner.invoke(program, ["explain", "lime"])

    assert result.exit_code == 1
    assert "pip install inseq-perturbation" in result.output


def test_characters_that_a_terminal_cannot_show_do_not_end_the_program():
    """An ASCII terminal shows "?" where the text has an ellipsis or an accent."""
    code = (
        "import inseq_core as ic\n"
        "from inseq_core.hooks import get_host\n"
        "from inseq_core.cli.main import main\n"
        "get_host().viewers.register(ic.ViewerSpec(name='v', factory='a:b', summary='Caf\\u00e9 \\u2026'))\n"
        "main(['list', 'viewers'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )

    assert done.returncode == 0, done.stderr
    assert "Caf?" in done.stdout
