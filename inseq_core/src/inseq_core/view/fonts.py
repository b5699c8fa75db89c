"""Letters of every script in a matplotlib figure.

Matplotlib draws with one font and falls back on others only if it is told which. Here they are looked for
among those that are installed, character by character; what none of them has is drawn as an empty box.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

import attrs

_ELSEWHERE = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Noto Sans KR",
    "Source Han Sans SC",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Nirmala UI",
    "Segoe UI",
    "Segoe UI Symbol",
    "Segoe UI Emoji",
    "Noto Emoji",
    "Noto Sans Symbols",
    "Noto Sans Symbols2",
    "Arial Unicode MS",
)
"""Fonts of many scripts on Linux, macOS and Windows; others are called after the one script they have."""
_UNKNOWN = "□"
_UNSEEN = ("Cf", "Mn", "Me")
"""Categories of characters that join or change their neighbours and need no box of their own."""


@attrs.frozen(kw_only=True)
class Lettering:
    """The fonts of a figure.

    Attributes:
        families: in the order in which they are asked.
        unknown: characters that no font has.
    """

    families: tuple[str, ...]
    unknown: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Lettering:
        """The installed fonts that some texts need."""
        from matplotlib import font_manager, rcParams

        installed = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist}
        families = list(rcParams["font.family"])
        wanted = {char for char in set().union(*texts) if not char.isspace()}
        wanted -= _characters(font_manager.findfont(font_manager.FontProperties()))
        for family in (*_ELSEWHERE, *_of_scripts(wanted)):
            if not wanted:
                break
            found = wanted & _characters(installed[family]) if family in installed else set()
            if found:
                families.append(family)
                wanted -= found
        return cls(families=tuple(families), unknown=frozenset(wanted))

    def drawn(self, text: str) -> str:
        """A text in which every character can be drawn, and nothing is taken for a formula."""
        shown = (self._known(char) for char in text)
        return "".join(shown).replace("$", r"\$")

    def _known(self, char: str) -> str:
        if char not in self.unknown:
            return char
        return "" if unicodedata.category(char) in _UNSEEN else _UNKNOWN


def _of_scripts(characters: Iterable[str]) -> Iterator[str]:
    """``Noto Sans Devanagari`` for what Unicode calls DEVANAGARI LETTER A."""
    scripts = {unicodedata.name(char, "").partition(" ")[0].title() for char in characters}
    return (f"Noto Sans {script}" for script in sorted(scripts) if script)


def _characters(path: str) -> set[str]:
    from matplotlib.font_manager import get_font

    return {chr(code) for code in get_font(path).get_charmap()}
