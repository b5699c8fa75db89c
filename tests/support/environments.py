"""Environments made for a test: archives built with the tools of this one, and fresh ones to install them in.

Third-party requirements are linked in from this environment, so that nothing is downloaded.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from packaging.requirements import Requirement


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a command; its whole output if it fails."""
    code, output = attempt(*command, cwd=cwd)
    assert code == 0, output
    return output


def attempt(*command: str | Path, cwd: Path | None = None, **variables: str) -> tuple[int, str]:
    """Exit status and output of a command that may fail: standard output, and standard error if it did.

    Args:
        variables: of its environment, beside ours.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def build(folder: Path, kind: str, into: Path) -> Path:
    """Build a wheel or an sdist of one distribution with the tools of this environment."""
    before = set(into.iterdir())
    run(sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", into, cwd=folder)
    (made,) = set(into.iterdir()) - before
    return made


def closure_of(*names: str) -> set[str]:
    """Names of what the named distributions need, directly or not, without extras and without our own."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        for line in importlib.metadata.requires(waiting.pop()) or []:
            requirement = Requirement(line)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in found:
                found.add(requirement.name)
                waiting.append(requirement.name)
    return {name for name in found if not name.startswith("inseq")}


def make_environment(folder: Path, needs: set[str]) -> Path:
    """A fresh environment with links to the named distributions and nothing else. Returns its python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for name in needs:
        distribution = importlib.metadata.distribution(name)
        for top in {
            file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")
        }:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    return python


def pip(python: Path, *arguments: str | Path) -> None:
    """The pip of this environment, at work in another one that has none."""
    run(sys.executable, "-m", "pip", "--python", python, *arguments)


def make_companion(folder: Path) -> Path:
    """A new environment in which everything of this one is seen too. Returns its python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    here = sysconfig.get_path("purelib")
    (site / "companion.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python
