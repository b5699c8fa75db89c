"""What the view room of inseq-core registers."""

from __future__ import annotations

from collections.abc import Iterable

import inseq_core as ic

_ROOM = "inseq_core.view.viewers"


@ic.hookimpl
def inseq_viewers() -> Iterable[ic.ViewerSpec]:
    """The viewers of the core."""
    yield ic.ViewerSpec(
        name="terminal",
        factory=f"{_ROOM}:TerminalViewer",
        summary="A table of inputs and steps in a terminal, coloured, folded to its width.",
        media="terminal",
    )
    yield ic.ViewerSpec(
        name="terminal-tokens",
        factory=f"{_ROOM}:TerminalTokensViewer",
        summary="The text before each step in a terminal, its tokens coloured.",
        media="terminal",
    )
    yield ic.ViewerSpec(
        name="html",
        factory=f"{_ROOM}:HtmlViewer",
        summary="A self-contained page to click: the text coloured by a step, the table, its axes.",
        media="html",
    )
    yield ic.ViewerSpec(
        name="html-tokens",
        factory=f"{_ROOM}:HtmlTokensViewer",
        summary="A self-contained page with the text before each step, its tokens coloured.",
        media="html",
    )
    yield ic.ViewerSpec(
        name="figure",
        factory=f"{_ROOM}:FigureViewer",
        summary="A matplotlib heatmap for papers (needs inseq[plots]).",
        media="image",
    )
