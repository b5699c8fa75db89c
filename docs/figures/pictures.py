"""Real output for the pages: ``python docs/figures/pictures.py`` makes the pictures that show it again.

Terminal output becomes SVG (``*-terminal.svg``), pages become PNG by a headless chromium (``*-page.png``, left as
they are where none is installed).
"""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import mock

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

import inseq
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.view.viewers import HtmlViewer, TerminalTokensViewer, TerminalViewer

FIGURES = Path(__file__).parent
DARK_TERMINAL = TerminalTheme((30, 30, 30), (215, 215, 215), [(30, 30, 30), *[(197, 200, 198)] * 7])
"""A little darker than the faintest shade; its sixteen colours are not used."""
SENTENCE = "The developer argued with the designer because her idea cannot be implemented."


def terminal_picture(name: str, lines: str, width: int, title: str) -> str:
    """Lines with escape codes as an SVG of a terminal."""
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(lines.rstrip("\n")))
    return console.export_svg(title=title, theme=DARK_TERMINAL, unique_id=name) + "\n"


def page_picture(name: str, page: str, width: int, click: str = "") -> None:
    """A whole page as a browser shows it, after a click on the element that a line of JavaScript finds."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return
    # A page allows no scripts but its own, and its tables are scrolled; a picture shows everything.
    page = re.sub(r"<meta http-equiv=[^>]*>", "", page)
    page += "<style>.inseq-view .scroll{max-height:none!important}</style>"
    page += f"<script>{click}.click()</script>" if click else ""
    measure = (
        "<script>document.title = document.querySelector('footer').getBoundingClientRect().bottom</script>"
    )
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    )
    with tempfile.TemporaryDirectory() as folder:

        def run(html: str, height: int, *wanted: str) -> str:
            path = Path(folder) / "page.html"
            path.write_text(html, encoding="utf-8")
            profile, size = f"--user-data-dir={folder}/profile", f"--window-size={width},{height}"
            command = [browser, *flags.split(), "--hide-scrollbars", profile, size, *wanted, path.as_uri()]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        bottom = re.search(r"<title>([\d.]+)</title>", run(page + measure, 900, "--dump-dom"))
        height = math.ceil(float(bottom[1])) + 20 if bottom else 900
        run(page, height, f"--screenshot={FIGURES / name}-page.png")


def translation() -> FeatureAttributionOutput:
    """The sentence of ``make demo``."""
    model = inseq.load_model("demo-en-fr", "integrated_gradients")
    return model.attribute(SENTENCE, step_scores=["probability"], show_progress=False)


def terminal_pictures() -> dict[str, str]:
    """The pictures of terminals, by name, in the colours of a dark one."""
    model = inseq.load_model("demo-en-fr", "integrated_gradients")
    part = model.attribute(
        SENTENCE, attr_pos_start=5, attr_pos_end=13, step_scores=["probability"], show_progress=False
    )
    with mock.patch.dict(os.environ, INSEQ_THEME="dark"):
        table = TerminalViewer(width=92, color=True).render(part)
        tokens = TerminalTokensViewer(width=92, color=True).render(part.aggregate("words"))
    return {
        "table": terminal_picture("table", table, 92, "out.show()"),
        "tokens": terminal_picture("tokens", tokens, 92, "out.show_tokens()"),
    }


def main() -> None:
    """Make every picture."""
    for name, picture in terminal_pictures().items():
        (FIGURES / f"{name}-terminal.svg").write_text(picture, encoding="utf-8")
    out = translation()
    page_picture("table", HtmlViewer().render(out), 1000, "document.querySelectorAll('.text.target .k')[7]")

    lm = inseq.load_model("demo-lm", "attention")
    attention = lm.attribute("The capital of France is", show_progress=False)
    page_picture("granular", HtmlViewer(aggregate=False).render(attention), 900)


if __name__ == "__main__":
    main()
