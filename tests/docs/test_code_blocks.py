"""Everything that a page tells its reader to type works as it says."""

from __future__ import annotations

import json
import re
import sys

import pytest
from support.documents import ROOT, Reader, blocks, documents, name_of

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

PAGES = documents()
BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = list(
    dict.fromkeys(b.page for b in BLOCKS if b.language in ("python", "console") and b.mark != "not run")
)

LANGUAGES = {"python", "console", "bash", "toml", "json", "text", "bibtex"}
"""``python`` and ``console`` are run, ``bash`` is for what changes the reader's machine, the others are parsed."""


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """Documentation that does not work is worse than none."""
    modules = set(sys.modules)
    Reader(tmp_path, monkeypatch).read(page)
    for name in set(sys.modules) - modules:  # the next page may write a package of the same name
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.mark == "not run"], ids=lambda b: b.where)
def test_code_that_is_not_run_is_at_least_python(block):
    """It needs something that a test has not got, and says what."""
    assert block.value.startswith("needs "), f"{block.where}: <!-- not run: needs … -->"
    if block.language == "python":
        block.compiled()


def test_every_block_says_what_it_is():
    """A block in an unknown language is one that nothing checks."""
    unknown = [b for b in BLOCKS if b.language not in LANGUAGES and not b.language.startswith("{")]

    assert [f"{b.where}: {b.language!r}" for b in unknown] == []


@pytest.mark.parametrize("language", ["toml", "json"])
def test_data_on_pages_can_be_parsed(language):
    """Somebody will paste it into a file."""
    parse = {"toml": tomllib.loads, "json": json.loads}[language]
    for block in BLOCKS:
        if block.language == language:
            try:
                parse(block.text)
            except ValueError as error:
                pytest.fail(f"{block.where}: {error}")


def test_commands_of_ours_are_in_blocks_that_are_run():
    """``bash`` is for pip, make and git; ``$ inseq …`` goes into ``console``."""
    lines = [(b, line) for b in BLOCKS if b.language == "bash" for line in b.text.splitlines()]

    assert [f"{b.where}: {line}" for b, line in lines if re.match(r"\s*(\$ )?inseq\b", line)] == []


def test_make_targets_on_pages_exist():
    """The first thing that a newcomer types."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for block in BLOCKS:
        if block.language == "bash":
            named = re.findall(r"(?:^|\s)make ([\w-]+)", re.sub(r"#.*", "", block.text))
            assert set(named) <= targets, block.where
