"""Showing: where a picture goes, and what is returned."""

from __future__ import annotations

import inspect
import os
import stat
import subprocess
import sys
import types
from pathlib import Path

import attrs
import pytest
from support.results import decoder_only, output_of
from support.view_examples import chat, granular, output, translation

import inseq_core
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.errors import InvalidArgumentError, UnknownNameError
from inseq_core.hooks import get_host
from inseq_core.view import (
    save_html,
    show_attributions,
    show_granular_attributions,
    show_token_attributions,
)
from inseq_core.view.viewers import (
    HtmlTokensViewer,
    HtmlViewer,
    TableOptions,
    TerminalTokensViewer,
    TerminalViewer,
    TokensOptions,
)

VIEWS = [show_attributions, show_granular_attributions, show_token_attributions]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A notebook, as far as a view can tell; gives what was displayed in it."""
    shown: list[str] = []
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display = types.ModuleType("IPython.display")
    display.HTML = lambda html: html  # type: ignore[attr-defined]
    display.display = shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


@pytest.mark.parametrize("show", VIEWS)
def test_a_view_prints_and_returns_nothing(show, capsys: pytest.CaptureFixture[str]):
    """In a terminal the picture is the printing."""
    assert show(translation()) is None
    assert "developer" in capsys.readouterr().out


@pytest.mark.parametrize("show", VIEWS)
def test_html_is_returned_and_nothing_shown_when_asked(show, capsys: pytest.CaptureFixture[str]):
    """``display=False, return_html=True`` is how scripts get a page."""
    html = show(output(translation()), display=False, return_html=True)

    assert html.startswith("<!DOCTYPE html>") and html.rstrip().endswith("</html>")
    assert capsys.readouterr().out == ""


def test_both_can_be_had(capsys: pytest.CaptureFixture[str]):
    """As in the peer, ``return_html`` does not switch the printing off."""
    assert show_attributions(translation(), return_html=True).startswith("<!DOCTYPE html>")
    assert "developer" in capsys.readouterr().out


@pytest.mark.parametrize("view", ["show", "show_tokens"])
def test_an_aggregator_of_tokens_is_shown_as_one_number_a_token(view, capsys: pytest.CaptureFixture[str]):
    """Merging words leaves the hidden dimensions, and nobody asks for a table of each."""
    hidden = output_of(decoder_only(hidden=4))
    getattr(hidden, view)(aggregator="subwords")
    shown = capsys.readouterr().out
    getattr(hidden.aggregate("subwords").aggregate(), view)()

    assert "hidden" not in shown and shown == capsys.readouterr().out


@pytest.mark.parametrize("show", VIEWS)
def test_a_notebook_gets_html_that_fits_into_its_page(
    show, notebook: list[str], capsys: pytest.CaptureFixture[str]
):
    """A part of a page, not a document; and no table in characters below it."""
    show(translation())
    (html,) = notebook

    assert html.startswith('<div class="inseq-view"') and "<!DOCTYPE" not in html
    assert capsys.readouterr().out == ""


def test_ipython_in_a_terminal_is_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It has no kernel, and shows no HTML."""
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(colors="neutral")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    show_attributions(translation())

    assert "developer" in capsys.readouterr().out


def test_one_text_several_texts_and_an_output_can_be_shown():
    """Whatever users hold in their hands."""
    for value in (translation(), [translation(), chat()], output(translation())):
        assert show_attributions(value, display=False, return_html=True)


@pytest.mark.parametrize("value", [FeatureAttributionOutput([]), [], 3, "text", [None]])
def test_what_cannot_be_shown_is_refused(value: object):
    """With what was expected instead."""
    with pytest.raises(InvalidArgumentError, match=r"Nothing to show|what model\.attribute\(\) returned"):
        show_attributions(value, display=False)  # type: ignore[arg-type]


def test_granular_scores_are_aggregated_unless_told_otherwise():
    """``show_attributions(model.attribute(...))`` is the shortest way to a picture."""
    aggregated = show_attributions(granular(), display=False, return_html=True)
    raw = show_attributions(granular(), display=False, return_html=True, do_aggregation=False)

    assert "<fieldset" not in aggregated and "<fieldset" in raw


def test_a_figure_and_a_page_are_not_both_returned():
    """There is one return value."""
    with pytest.raises(InvalidArgumentError, match="return_html and return_figure"):
        show_attributions(translation(), return_html=True, return_figure=True)


def test_methods_of_results_show_the_same(capsys: pytest.CaptureFixture[str]):
    """``out.show()`` is ``show_attributions(out)`` of the aggregated output, one picture for all texts."""
    out = output(translation(), chat())

    assert out.show(display=False, return_html=True) == show_attributions(
        out.aggregate(), display=False, return_html=True
    )
    assert out.show_tokens(display=False, return_html=True) == show_token_attributions(
        out.aggregate(), display=False, return_html=True
    )
    assert granular().show_granular(display=False, return_html=True) == show_granular_attributions(
        granular(), display=False, return_html=True
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("show", "names"),
    [
        (show_attributions, ["attributions", "min_val", "max_val", "display", "return_html"]),
        (
            show_granular_attributions,
            ["attributions", "max_show_size", "min_val", "max_val", "show_dim", "slice_dims", "display"],
        ),
        (
            show_token_attributions,
            [
                *["attributions", "min_val", "max_val", "display", "return_html", "return_figure"],
                *["replace_char", "wrap_after", "step_score_highlight"],
            ],
        ),
    ],
)
def test_arguments_stand_where_users_of_the_peer_have_them(show, names: list[str]):
    """Scripts that pass them by position must go on to work."""
    assert list(inspect.signature(show).parameters)[: len(names)] == names


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A full disk must not leave half a page where a whole one was."""
    path = tmp_path / "page.html"
    path.write_text("before")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        save_html(translation(), path)

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("view", ["table", "granular", "tokens"])
def test_a_page_is_saved_as_utf8_that_others_can_read(tmp_path: Path, view: str):
    """With the permissions of any new file."""
    path = save_html(output(translation()), tmp_path / "page.html", view=view)  # type: ignore[arg-type]
    other = tmp_path / "other"
    other.touch()

    assert "dévelop" in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_a_page_without_a_place_is_refused(tmp_path: Path):
    """Before any work, with what was wrong."""
    with pytest.raises(InvalidArgumentError, match="a folder that exists"):
        save_html(translation(), tmp_path / "missing" / "page.html")
    with pytest.raises(InvalidArgumentError, match="not a folder"):
        save_html(translation(), tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'tokens'"):
        save_html(translation(), tmp_path / "page.html", view="token")  # type: ignore[arg-type]


def test_the_views_are_registered_like_anyone_elses():
    """Each loads, and renders an output without showing it."""
    viewers = get_host().viewers

    for name in ("terminal", "terminal-tokens", "html", "html-tokens"):
        assert "her" in viewers.get(name).load()().render(output(translation()))


@pytest.mark.parametrize(
    ("viewer", "function", "renamed"),
    [
        (TableOptions, show_attributions, {"do_aggregation": "aggregate"}),
        (
            TokensOptions,
            show_token_attributions,
            {
                "do_aggregation": "aggregate",
                "replace_char": "replace",
                "step_score_highlight": "highlight",
            },
        ),
    ],
)
def test_a_view_takes_the_same_options_through_every_door(viewer, function, renamed: dict[str, str]):
    """What a function can be asked for, its viewers can be asked for too."""
    presented = {"attributions", "display", "return_html", "return_figure"}
    names = [name for name in inspect.signature(function).parameters if name not in presented]

    assert {renamed.get(name, name) for name in names} == {field.name for field in attrs.fields(viewer)}


@pytest.mark.parametrize("viewer", [TerminalViewer, TerminalTokensViewer, HtmlViewer, HtmlTokensViewer])
def test_every_viewer_takes_the_ends_of_the_scale(viewer):
    """A scale given by hand is how pictures of several results are compared."""
    colored = {"color": True} if "color" in attrs.fields_dict(viewer) else {}
    assert "9.00" in viewer(min_val=-9.0, max_val=9.0, **colored).render(output(translation()))


def test_a_result_saves_what_the_function_saves(tmp_path: Path):
    """``out.save_html(path, max_val=…)`` takes what ``save_html(out, path, max_val=…)`` takes, by the same names."""
    function, method = (
        inspect.signature(f).parameters for f in (save_html, FeatureAttributionOutput.save_html)
    )
    out = output(translation(), chat())
    options = {"min_val": -2.0, "max_val": 2.0, "max_show_size": 3}
    saved = out.save_html(tmp_path / "a.html", **options).read_text()  # type: ignore[arg-type]

    assert list(method)[1:] == list(function)[1:]
    assert saved == save_html(out, tmp_path / "b.html", **options).read_text()  # type: ignore[arg-type]


def test_views_import_what_they_draw_with_only_when_they_draw():
    """``import inseq`` must stay light: no rich, no template engine, no matplotlib, no IPython."""
    code = (
        "import sys, inseq_core.view.show, inseq_core.view.plugin\n"
        "print(sorted({'rich', 'jinja2', 'matplotlib', 'IPython', 'torch'} & set(sys.modules)))"
    )
    folder = str(Path(inseq_core.__file__).parents[1])
    environ = {**os.environ, "PYTHONPATH": folder}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True
    )

    assert done.stdout.strip() == "[]"
