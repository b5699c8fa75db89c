"""The pictures of terminals on the pages are what the code draws today."""

from __future__ import annotations

import html
import re
import sys

import pytest
from support.documents import DOCS

sys.path.insert(0, str(DOCS / "figures"))
try:
    import pictures
finally:
    sys.path.remove(str(DOCS / "figures"))

NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """Every picture, drawn now."""
    return pictures.terminal_pictures()


def pieces(picture: str) -> list[tuple[str, str]]:
    """(height, text) of every run of one style; a number is never in two of them."""
    found = re.findall(r'<text [^>]*y="([\d.]+)"[^>]*>([^<]*)</text>', picture)
    return [(y, html.unescape(text)) for y, text in found]


def lines(picture: str) -> list[str]:
    """The lines of a picture without spaces, which belong to no run, and with a 0 for every number."""
    rows: dict[str, str] = {}
    for y, text in pieces(picture):
        rows[y] = rows.get(y, "") + "".join(NUMBER.sub("0", text).split())
    return list(rows.values())


def numbers(picture: str) -> list[float]:
    """The numbers of a picture."""
    return [float(number) for _, text in pieces(picture) for number in NUMBER.findall(text)]


@pytest.mark.parametrize("name", ["table", "tokens"])
def test_a_picture_of_a_terminal_shows_what_is_drawn_today(name: str, made: dict[str, str]):
    """A picture is the first thing that is read, and nobody reads it again; numbers may differ in the last digit."""
    committed = (pictures.FIGURES / f"{name}-terminal.svg").read_text(encoding="utf-8")

    assert lines(committed) == lines(made[name]), "make it again: python docs/figures/pictures.py"
    assert numbers(committed) == pytest.approx(numbers(made[name]), abs=0.011)


def test_there_is_a_picture_of_every_terminal(made: dict[str, str]):
    """One that no code makes any more is checked by nothing."""
    committed = {path.name.removesuffix("-terminal.svg") for path in pictures.FIGURES.glob("*-terminal.svg")}

    assert committed == set(made) == {"table", "tokens"}
