"""What ends the program from outside: Ctrl-C and signals, one line and the status of shells, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import click
import pytest
from click.testing import CliRunner

import inseq_core as ic
from inseq_core.cli.program import program
from inseq_core.hooks import PluginHost, Provenance, use_host

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@click.command()
def work() -> None:
    """Is interrupted."""
    raise KeyboardInterrupt


@click.command()
def ask() -> None:
    """Ask for something."""
    click.prompt("Which?")


class Plugin:
    @ic.hookimpl
    def inseq_commands(self):
        yield ic.CommandSpec(name="work", command=work, summary="Work.")
        yield ic.CommandSpec(name="ask", command=ask, summary="Ask.")


@pytest.fixture
def runner():
    """A runner on a host with these two commands."""
    host = PluginHost(entry_points=[])
    host.register_plugin(Plugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))
    with use_host(host):
        yield CliRunner()


def ended(code, *, ignored=None):
    """How a program of ours ends whose code is this; Ctrl-C is not ignored, as it is in the background."""

    def before() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=before,
    )


@pytest.mark.parametrize("arguments", [["work"], ["--traceback", "work"]])
def test_an_interrupt_is_one_line_and_status_130(runner, arguments):
    """ "Aborted!" and status 1 looked to scripts like a failure of ours."""
    result = runner.invoke(program, arguments)

    assert (result.exit_code, result.output) == (130, "Interrupted.\n")


def test_an_interrupt_while_help_is_written_is_one_too(runner, monkeypatch):
    """Plugins are asked for what they have: that may take a while."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(program), "format_commands", interrupt)

    assert runner.invoke(program, ["-h"]).exit_code == 130


@pytest.mark.parametrize(
    ("error", "status", "said"), [(KeyboardInterrupt, 130, "Interrupted."), (EOFError, 1, "Aborted!")]
)
def test_an_interrupt_at_a_prompt_is_told_from_the_end_of_the_input(runner, monkeypatch, error, status, said):
    """Click makes the same of both."""

    @click.command()
    def asking() -> None:
        def answer(*_):
            raise error

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("click.termui.visible_prompt_func", answer)
            click.prompt("Which?")

    monkeypatch.setattr(ask, "callback", asking.callback)
    result = runner.invoke(program, ["ask"])

    assert result.exit_code == status and said in result.output


@posix
def test_an_interrupt_while_the_program_is_imported_is_one_too():
    """Whoever sees the typing error in the command presses Ctrl-C at once."""
    done = ended("""
        import os, signal, sys

        class Early:
            def find_spec(self, name, path=None, target=None):
                if name == "click":
                    os.kill(os.getpid(), signal.SIGINT)

        from inseq_core.cli.main import main
        assert "click" not in sys.modules
        sys.meta_path.insert(0, Early())
        main(["list"])
    """)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


SAVE_AND = """
    import os, signal
    from inseq_core.cli.main import main
    from inseq_core.hooks import ModelSpec, get_host
    from inseq_core.testing.toys import ADAPTER

    get_host().adapters.register(ADAPTER)
    get_host().models.register(ModelSpec(name="toy", location=lambda: "toy-lm", summary="A toy.", framework="toy"))
    usual = os.fsync
    def flush(descriptor):
        usual(descriptor)
        os.kill(os.getpid(), signal.{signal})
    os.fsync = flush
    main(["attribute", "-m", "toy", "-a", "dummy", "-i", "the dog", "--hide", "-o", {path!r}])
"""


@posix
@pytest.mark.parametrize(
    ("name", "said"),
    [("SIGINT", "Interrupted."), ("SIGTERM", "Terminated."), ("SIGHUP", "The terminal is gone.")],
)
def test_a_signal_during_a_save_leaves_nothing_half_written(name, said, tmp_path):
    """Each killed job left a hidden file of the size of its result."""
    path = tmp_path / "out.json"
    path.write_text("before")

    done = ended(SAVE_AND.format(signal=name, path=str(path)))

    assert done.returncode == 128 + getattr(signal, name)
    assert done.stderr == f"{said}\n"
    assert os.listdir(tmp_path) == ["out.json"] and path.read_text() == "before"


@posix
def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    """``nohup inseq …`` is meant."""
    done = ended(SAVE_AND.format(signal="SIGHUP", path=str(tmp_path / "out.json")), ignored=signal.SIGHUP)

    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["out.json"]


@posix
def test_a_forked_worker_ends_as_it_would_without_us():
    """Pools of processes end theirs by SIGTERM; a worker must not go on into the rest of our program."""
    done = ended("""
        import os, signal, sys, time
        import click
        import inseq_core as ic
        from inseq_core.cli.main import main
        from inseq_core.hooks import get_host

        @click.command()
        def fork():
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                os.write(writer, b"up")
                time.sleep(60)
            os.read(reader, 2)
            os.kill(child, signal.SIGTERM)
            click.echo(os.waitpid(child, 0)[1] == signal.SIGTERM)

        get_host().commands.register(ic.CommandSpec(name="fork", command=fork, summary="Fork."))
        main(["fork"])
    """)

    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
