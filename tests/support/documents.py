"""Documents and the blocks of code in them, and how they are run.

A block of ``python`` is run; blocks of one page share their names, in their order. In a block of ``console`` every
line that begins with ``$ inseq`` is run, and what stands below it is what a reader would see, roughly. A comment
before a block says what is special about it:

    <!-- not run: needs the hub -->       it is compiled, and the reason is given <!-- raises:
    UnknownNameError -->     it has to fail in this way <!-- exits: 1 -->                     the same for a
    command <!-- warns: MeaningWarning -->        a warning that is meant

A block that begins with the comment ``# path/to/file.py`` is a file of the project that the page writes; its
package is importable, and its plugin found, from the next block on.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import attrs
import click.testing
import pytest

from inseq_core import errors
from inseq_core.cli.program import program
from inseq_core.hooks import PluginHost, use_host

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>`{3,})(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"<!-- (?P<kind>not run|raises|exits|warns): (?P<value>[^\n]+?) -->\s*\Z")
_FILE = re.compile(r"\A# (?P<path>[\w./-]+\.(?:py|toml|md))(?:\s[^\n]*)?\n")


def documents() -> list[Path]:
    """Every page that a person wrote: the site's, READMEs, and what stands at the root."""
    made = [DOCS / "_build", DOCS / "reference"]
    site = [path for path in DOCS.rglob("*.md") if not set(made) & set(path.parents)]
    readmes = [*ROOT.glob("inseq_*/README.md"), *ROOT.glob("plugins/*/README.md")]
    return sorted([*site, *readmes, *ROOT.glob("*.md")])


def name_of(page: Path) -> str:
    """Where a page is, from the root."""
    return page.relative_to(ROOT).as_posix()


@attrs.frozen(kw_only=True)
class Block:
    """A block of code.

    Attributes:
        line: the line of the page that its first line stands on, from 1.
        mark: what the comment before it says ("raises"), "" where there is none; ``value`` the rest of it.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""
    value: str = ""

    @property
    def where(self) -> str:
        """``docs/hooks.md:12``."""
        return f"{name_of(self.page)}:{self.line}"

    @property
    def file(self) -> str:
        """Path of the file that the block is, "" where it is none."""
        match = _FILE.match(self.text)
        return match["path"] if match else ""

    def compiled(self) -> object:
        """The code of a python block; tracebacks show the page and its lines."""
        return compile("\n" * (self.line - 1) + self.text, str(self.page), "exec", dont_inherit=True)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        mark = _MARK.search(text[: match.start()])
        found.append(
            Block(
                page=page,
                line=text.count("\n", 0, match.start("text")) + 1,
                language=match["language"].strip(),
                text=textwrap.dedent(match["text"]),
                mark=mark["kind"] if mark else "",
                value=mark["value"] if mark else "",
            )
        )
    return found


def prose_of(page: Path) -> str:
    """A page without its blocks of code; lines stay where they are."""
    return _FENCE.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))


class Reader:
    """Somebody who types what a page says, in a folder and a session of their own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.names: dict[str, object] = {"__name__": "page"}
        self._monkeypatch = monkeypatch
        self._is_installed = True

    def read(self, page: Path) -> None:
        """Do everything that the page says, in its order."""
        self._monkeypatch.chdir(self.folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(use_host(PluginHost()))
            for block in blocks(page):
                if block.mark == "not run":
                    continue
                if block.file:
                    self._write(block)
                elif block.language in ("python", "console"):
                    if not self._is_installed:
                        stack.enter_context(use_host(self._installed()))
                    self.run(block)
            if any(self.folder.glob("tests/*.py")):
                self._installed()
                self._run_tests(page)

    def run(self, block: Block) -> None:
        """Run one block, and compare how it ends with what its mark says."""
        raised = getattr(errors, block.value, Exception) if block.mark == "raises" else None
        with _meant_warnings(block):
            try:
                if block.language == "python":
                    exec(block.compiled(), self.names)
                else:
                    self._commands(block)
            except Exception as error:
                if raised is None or not isinstance(error, raised):
                    raise
                return
        if raised is not None:
            pytest.fail(f"{block.where}: no {block.value} was raised")

    def _commands(self, block: Block) -> None:
        for line in re.findall(r"^\$ (.+(?:\\\n.+)*)", block.text, re.MULTILINE):
            words = shlex.split(line.replace("\\\n", " "))
            variables = {}
            while "=" in words[0]:
                name, _, value = words.pop(0).partition("=")
                variables[name] = value
            assert words[0] == "inseq", f"{block.where}: {line}: commands of other programs go into ```bash"
            with pytest.MonkeyPatch.context() as environment:
                for name, value in variables.items():
                    environment.setenv(name, value)
                with use_host(PluginHost()):
                    result = click.testing.CliRunner().invoke(program, words[1:], prog_name="inseq")
            expected = int(block.value) if block.mark == "exits" else 0
            if result.exit_code != expected:
                if result.exception is not None and not isinstance(result.exception, SystemExit):
                    raise result.exception
                pytest.fail(f"{block.where}: {line}: exit status {result.exit_code}\n{result.output[-1500:]}")

    def _write(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        self._is_installed = False

    def _installed(self) -> PluginHost:
        """A host that finds the project as if it were installed: its modules, and its entry point."""
        sources = self.folder / "src"
        project = (self.folder / "pyproject.toml").read_text(encoding="utf-8")
        points = re.search(r"\[project\.entry-points\.inseq\]\n((?:\w.*\n)+)", project)
        name = re.search(r'^name = "([^"]+)"', project, re.MULTILINE)
        assert points and name, "the page's pyproject.toml names no distribution or no plugin"
        info = sources / f"{name[1].replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        metadata = f"Metadata-Version: 2.1\nName: {name[1]}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text("[inseq]\n" + points[1].replace('"', ""), encoding="utf-8")
        for package in sources.glob("*/*.py"):
            (package.parent / "__init__.py").touch()
        if str(sources) not in sys.path:
            self._monkeypatch.syspath_prepend(str(sources))
        importlib.invalidate_caches()
        self._is_installed = True
        return PluginHost()

    def _run_tests(self, page: Path) -> None:
        """The tests that the page writes, as its reader would run them."""
        paths = [str(self.folder / "src"), os.environ.get("PYTHONPATH", "")]
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, f"the tests of {name_of(page)} fail:\n{finished.stdout[-3000:]}"


@contextlib.contextmanager
def _meant_warnings(block: Block) -> Iterator[None]:
    """Our own warnings are errors in a document, but for the one that it is about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", errors.InseqWarning)
        if block.mark == "warns":
            warnings.simplefilter("ignore", getattr(errors, block.value))
        yield
