"""Checks of viewers: they draw, show everything, print nothing, and take tokens for text."""

from __future__ import annotations

import contextlib
import io
from html.parser import HTMLParser
from typing import Any

from inseq_core.errors import MissingPackageError
from inseq_core.hooks.kinds import VIEWERS
from inseq_core.testing.aggregators import ViewerUnderTest
from inseq_core.testing.checks import NotApplicable, check_of, demand
from inseq_core.testing.compare import changed, snapshot
from inseq_core.testing.descriptions import must_be_frozen, must_document, must_load
from inseq_core.testing.samples import continuation, hostile_sample, output_of, samples

KIND = VIEWERS.key


def rendered(viewer: ViewerUnderTest, output: Any) -> Any:
    """What a viewer draws.

    Raises:
        NotApplicable: a package that it draws with is not installed.
    """
    try:
        return viewer.render(output)
    except MissingPackageError as error:
        raise NotApplicable(str(error).partition("\n")[0]) from error


@check_of(KIND)
def it_loads(viewer: ViewerUnderTest) -> None:
    """Its lazy path leads to a class with render(attributions).

    Listing works without importing it, so a wrong path is found only when somebody wants to use it.
    """
    must_load(viewer, "render")


@check_of(KIND)
def parameters_are_documented(viewer: ViewerUnderTest) -> None:
    """Every parameter has a sentence of its own.

    It is what `inseq explain` and the documentation show.
    """
    must_document(viewer.factory())


@check_of(KIND)
def parameters_are_frozen(viewer: ViewerUnderTest) -> None:
    """Its parameters cannot be changed after they were checked.

    One viewer draws many results.
    """
    must_be_frozen(viewer.factory(), viewer.arguments)


@check_of(KIND)
def it_draws_every_result(viewer: ViewerUnderTest) -> None:
    """It draws results of every shape, and gives what it drew.

    Translations, continuations, results with trailing axes, without scores, and of several texts.
    """
    every = [sample.attribution for sample in samples()]
    for label, output in [
        *((s.label, output_of(s.attribution)) for s in samples()),
        ("several texts", output_of(*every[:3])),
    ]:
        drawn = rendered(viewer, output)
        demand(drawn is not None, f"{label}: gave nothing; render() returns what it draws")
        demand(not isinstance(drawn, str) or bool(drawn.strip()), f"{label}: gave empty text")


@check_of(KIND)
def nothing_is_printed(viewer: ViewerUnderTest) -> None:
    """Drawing prints nothing and shows nothing.

    Whoever asked for it decides where it goes.
    """
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        rendered(viewer, output_of(continuation()))
    printed = said.getvalue() + complained.getvalue()
    demand(not printed, f"printed {printed[:60]!r}")


@check_of(KIND)
def the_input_is_not_changed(viewer: ViewerUnderTest) -> None:
    """The result is the same after it was drawn.

    It is saved and drawn again.
    """
    output = output_of(continuation())
    before = snapshot(output)
    rendered(viewer, output)
    found = list(changed(before, snapshot(output)))
    demand(not found, f"{', '.join(found[:3])} was changed")


@check_of(KIND)
def every_token_is_shown(viewer: ViewerUnderTest) -> None:
    """Every input and every step of a small result is there to be read.

    A token that is left out looks like one without a score.
    """
    words = ["dog", "cat", "sees", "likes", "small", "red"]
    output = output_of(
        continuation(source=words[:3], target=words, source_word_starts=None, target_word_starts=None)
    )
    drawn = rendered(viewer, output)
    if not isinstance(drawn, str):
        raise NotApplicable("it draws no text")
    missing = [word for word in words if word not in drawn]
    demand(not missing, f"{', '.join(missing)} cannot be read")


class _Markup(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.handlers: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handlers += [
            f"<{tag} {name}>" for name, value in attrs if name.startswith("on") and "alert" in (value or "")
        ]
        self.images += [tag for name, value in attrs if name == "src" and value == "x"]


@check_of(KIND)
def hostile_tokens_stay_text(viewer: ViewerUnderTest) -> None:
    """Markup, scripts, templates and control codes in tokens are shown as they are written.

    Texts come from anywhere; a page of them is opened in a browser, a table of them printed to a terminal.
    """
    drawn = rendered(viewer, output_of(hostile_sample(), text="<script>alert('inseq')</script>"))
    if not isinstance(drawn, str):
        raise NotApplicable("it draws no text")
    demand("\x1b[31mred" not in drawn, "a control code of a token reaches the terminal")
    if viewer.spec.media == "html":
        demand("<script>alert('inseq')" not in drawn, "a token's script is part of the page")
        page = _Markup()
        page.feed(drawn)
        demand(not page.handlers, f"a token made {page.handlers[:1]}")
        demand(not page.images, f"a token made an element <{page.images[:1]}>")
    else:
        demand("[bold]" in drawn, "a token's [bold] was taken for markup")
    demand("49" not in drawn or "7 * 7" in drawn, "a token was taken for a template")


CHECKS = (
    it_loads,
    parameters_are_documented,
    parameters_are_frozen,
    it_draws_every_result,
    nothing_is_printed,
    the_input_is_not_changed,
    every_token_is_shown,
    hostile_tokens_stay_text,
)
