"""Links lead somewhere, and words are spelt right; both without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import DOCS, ROOT, documents, name_of, prose_of

sys.path.insert(0, str(DOCS))
try:
    from reference_source import pages as reference_pages
finally:
    sys.path.remove(str(DOCS))

_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?)\s*$", re.MULTILINE)
_TOCTREE = re.compile(r"`{3,}\{toctree\}(.*?)`{3,}", re.DOTALL)
_ADDRESS = re.compile(r"https://[\w.-]+\.[a-z]{2,}(/\S*)?|mailto:\S+@\S+")


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub and the site make them, and those written as ``(name)=``."""
    found: set[str] = set()
    for match in _HEADING.finditer(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match["text"]).replace("`", "").strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(1 for other in found if re.fullmatch(re.escape(slug) + r"(-\d+)?", other))
        found.add(slug if slug not in found else f"{slug}-{number}")
    return found | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def texts() -> dict[Path, str]:
    """Every page, those written from the code included: what a link may lead to."""
    made = {DOCS / "reference" / name: text for name, text in reference_pages().items()}
    return made | {page: prose_of(page) for page in [*documents(), *ROOT.glob("plugins/*/src/**/*.md")]}


def test_links_lead_to_files_and_headings(texts):
    """A page that was renamed, a heading that was reworded."""
    broken = []
    for page, text in texts.items():
        for match in _LINK.finditer(text):
            target = match["target"]
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            exists = there in texts or there.exists()
            is_anchored = bool(anchor) and there.suffix == ".md"
            if not exists or (is_anchored and anchor not in anchors(texts.get(there, ""))):
                broken.append(f"{page.relative_to(ROOT)}: {target}")

    assert broken == []


def test_every_page_of_the_site_is_in_its_table_of_contents():
    """A page that nothing leads to is not read."""
    listed = set()
    for page in documents():
        for block in _TOCTREE.findall(page.read_text(encoding="utf-8")):
            lines = [line for line in block.splitlines() if re.match(r"[\w./-]+$", line)]
            listed |= {(page.parent / line).resolve() for line in lines}
    pages = [page for page in documents() if DOCS in page.parents and page != DOCS / "index.md"]

    assert [name_of(page) for page in pages if page.with_suffix("") not in listed] == []


def test_addresses_are_well_formed(texts):
    """Nothing is fetched: an address that is cut off or not encrypted is seen without that."""
    for page, text in texts.items():
        for address in re.findall(r"\]\(((?:https?|mailto):[^)\s]*)\)", text):
            assert _ADDRESS.fullmatch(address), f"{page}: {address}"


def test_words_are_spelt_right():
    """In documents, and in what the reference pages are written from."""
    pytest.importorskip("codespell_lib")
    sources = map(str, [*documents(), *ROOT.glob("inseq_*/src"), *ROOT.glob("plugins/*/src")])
    found = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--config", str(DOCS / "codespell.cfg"), *sources],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert found.stdout == "" and found.returncode == 0, found.stdout + found.stderr
