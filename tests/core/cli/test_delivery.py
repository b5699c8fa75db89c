"""A result is saved, drawn and shown, each also where another fails."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import click
import pytest
from click.testing import CliRunner

from inseq_core.cli.options import check_folder
from inseq_core.cli.program import program
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.pecore import AttributeContextOutput

pytestmark = pytest.mark.usefixtures("toys")

CONTEXT = (
    *("attribute-context", "-a", "leave_out", "--input_current_text", "a cat"),
    *("--input_context_text", "the small dog", "--output_current_text", "sees it because"),
)
COMMANDS = {
    "attribute": ("attribute", "-a", "dummy", "-i", "the dog"),
    "attribute-dataset": ("attribute-dataset", "-a", "dummy", "-d", "rows.csv", "-in", "text"),
    "attribute-context": CONTEXT,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that the commands run in, with a dataset."""
    (tmp_path / "rows.csv").write_text("text\nthe dog\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(command, path):
    """What the command saved."""
    kind = AttributeContextOutput if command == "attribute-context" else FeatureAttributionOutput
    return kind.load(path)


def ended(arguments, stdout):
    """How the program ends in a process of its own."""
    code = f"""
        import sys
        from inseq_core.cli.main import main
        from inseq_core.hooks import MethodSpec, ModelSpec, get_host
        from inseq_core.testing.toys import ADAPTER

        sys.path[:0] = {[p for p in sys.path if p]!r}
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from conftest import SPECS

        host = get_host()
        host.adapters.register(ADAPTER)
        for spec in SPECS:
            host.methods.register(spec)
        host.models.register(
            ModelSpec(name="toy-lm", location=lambda: "toy-lm", summary="A toy.", framework="toy")
        )
        main(sys.argv[1:])
    """
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *arguments, "-m", "toy-lm"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_is_gone_costs_no_result(command, folder):
    """``inseq attribute … -o out.json | head -1``: the table was cut off, and the file never written."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = ended([*COMMANDS[command], "-o", "out.json", "--viz_path", "out.html"], writer)
    finally:
        os.close(writer)

    assert done.returncode == 1
    assert done.stderr == "Saved: out.json\nPicture: out.html\n"
    assert load(command, folder / "out.json") is not None
    assert (folder / "out.html").read_text().rstrip().endswith("</html>")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_full_costs_no_result(command, folder):
    """``inseq attribute … -o /results/out.json > log`` where the log's disk is full."""
    with open("/dev/full", "w") as full:
        done = ended([*COMMANDS[command], "-o", "out.json"], full)

    assert done.returncode == 1
    assert "Saved: out.json\n" in done.stderr and "No space left on device" in done.stderr
    assert load(command, folder / "out.json") is not None


@pytest.mark.parametrize("command", COMMANDS)
def test_a_picture_that_cannot_be_written_costs_neither_file_nor_table(command, folder):
    """And its failure is the status of the program."""
    (folder / "folder").mkdir()
    arguments = [*COMMANDS[command], "-m", "toy-lm", "-o", "out.json", "--viz_path", "broken.html"]
    (folder / "broken.html").symlink_to(folder / "loop.html")
    (folder / "loop.html").symlink_to(folder / "broken.html")

    result = CliRunner().invoke(program, arguments)

    assert result.exit_code == 1 and "broken.html could not be written" in result.stderr
    assert load(command, folder / "out.json") is not None
    assert "dog" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_failure_is_said(command, folder, monkeypatch):
    """Two disks may be full."""

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    arguments = [*COMMANDS[command], "-m", "toy-lm", "-o", "out.json", "--viz_path", "out.html"]

    result = CliRunner().invoke(program, arguments)

    assert result.exit_code == 1
    assert "Error: out.json could not be written" in result.stderr
    assert "Error: out.html could not be written" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="devices and links of POSIX")
def test_what_is_no_ordinary_file_needs_no_folder_to_be_made_in(tmp_path, monkeypatch):
    """``-o /dev/stdout``: an ordinary user may make nothing in ``/dev``, nor in the folder of a link to elsewhere."""
    link, locked = tmp_path / "out.json", tmp_path / "locked"
    locked.mkdir()
    link.symlink_to(locked / "out.json")
    os.mkfifo(locked / "pipe")
    usual = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path) not in (str(locked), "/dev") and usual(path, mode)
    )

    check_folder("save_path", "/dev/null")
    check_folder("save_path", str(locked / "pipe"))
    check_folder("save_path", str(tmp_path / "new.json"))
    for path in (locked / "new.json", link):
        with pytest.raises(click.UsageError, match=r"nothing may be written into the folder .*locked"):
            check_folder("save_path", str(path))
