"""The figure for papers: what a reader needs who has nothing but the picture."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import attrs
import numpy as np
import pytest
from support.view_examples import chat, decoder_only, granular, hostile, nothing, output, translation

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.errors import InvalidArgumentError, MissingPackageError
from inseq_core.view import show_attributions
from inseq_core.view.colors import LIGHT, RED
from inseq_core.view.viewers import FigureViewer

WHITE, GREY = (255, 255, 255), (234, 236, 241)


def figure(*texts: FeatureAttributionSequenceOutput, **options: Any) -> Any:
    """The figure of some texts."""
    pytest.importorskip("matplotlib")
    return FigureViewer(**options).render(output(*texts))


def names(axes: Any, side: str) -> list[str]:
    """What stands beside the rows, or above the columns."""
    return [label.get_text() for label in (axes.get_yticklabels() if side == "y" else axes.get_xticklabels())]


def pixels(axes: Any) -> Any:
    """The colours of the cells."""
    (image,) = axes.get_images()
    return image.get_array()


def written(drawn: Any) -> str:
    """Everything that is written in a figure."""
    import matplotlib.text

    return "\n".join(text.get_text() for text in drawn.findobj(matplotlib.text.Text))


def test_a_figure_has_a_heatmap_a_text():
    """The same rows and columns, under the names of their groups."""
    drawn = figure(translation(), chat())
    first, measures, second = drawn.axes[:3]

    assert names(first, "x")[:2] == ["·La", "·dévelop"]
    assert names(first, "y")[:2] == ["Source", "·The"] and "Target prefix" in names(first, "y")
    assert names(measures, "y") == ["probability", "perplexity"]
    assert names(second, "y")[0] == "Prompt"
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["1 of 2", "2 of 2"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("Generated tokens, one step each", "Inputs")


def test_colours_have_a_bar_with_numbers():
    """Sign and size of a colour are not to be guessed."""
    (bar,) = figure(translation()).axes[-1].child_axes

    assert names(bar, "x") == ["-0.61", "0.00", "0.61"]
    assert pixels(bar).shape == (1, 25, 3)


def test_cells_have_the_colours_of_their_scores():
    """The strongest has the strongest shade, zero none; a cell that cannot have a score is grey."""
    cells = pixels(figure(decoder_only("abcd", 2)).axes[0])

    assert [tuple(cells[row, 0]) for row in (0, 3, 4)] == [WHITE, WHITE, GREY]
    assert tuple(cells[4, 1]) == LIGHT.shade(12, hue=RED)


def test_a_missing_score_is_hatched_and_explained():
    """Also where there are no numbers: it is neither zero nor at or after the step."""
    text = decoder_only([f"{i}" for i in range(90)], 10)
    scores = np.array(text.target_attributions)
    scores[1, 0] = np.nan
    drawn = figure(attrs.evolve(text, target_attributions=scores))
    (hatched,) = drawn.axes[0].collections

    assert hatched.get_hatch() and len(hatched.get_paths()) == 1
    np.testing.assert_array_equal(hatched.get_paths()[0].vertices[0], [-0.5, 1.5])  # row 2, below the title
    assert [t.get_text() for t in drawn.axes[-1].get_legend().get_texts()] == [
        "no score",
        "at or after the step",
    ]


@pytest.mark.parametrize("score", [0.0, np.nan])
def test_scores_without_colours_have_no_bar(score: float):
    """From 0.00 to 0.00 there is nothing to tell apart."""
    text = decoder_only("abcd", 2)
    drawn = figure(
        attrs.evolve(text, target_attributions=np.where(np.isnan(text.target_attributions), np.nan, score))
    )

    assert not drawn.axes[-1].child_axes
    assert "No score differs from zero." in written(drawn)


@pytest.mark.parametrize(("n_tokens", "first"), [(300, 150), (400, 1)])
def test_a_figure_fits_on_paper(n_tokens: int, first: int):
    """Cells of a large text are smaller, and what has no name is counted."""
    drawn = figure(
        decoder_only(
            [f"w{i}" for i in range(n_tokens)], first, step_scores={"x": np.arange(1.0 * n_tokens - first)}
        )
    )
    width, height = drawn.get_size_inches()

    assert width < 20 and height < 24
    assert pixels(drawn.axes[0]).shape[1] == n_tokens - first
    assert "is named." in drawn.get_supxlabel()
    assert f"x (0.00 to {n_tokens - first - 1})" in names(drawn.axes[1], "y")


def test_texts_that_do_not_fit_are_counted():
    """Agg cannot draw a picture of a thousand texts."""
    drawn = figure(*[decoder_only([f"w{i}" for i in range(100)], 50)] * 9)

    assert drawn.get_size_inches()[1] < 60
    assert "of 9 texts." in drawn.get_supxlabel()


def test_what_is_left_out_is_counted():
    """A silent cut would look like the whole."""
    note = figure(decoder_only([f"{i}" for i in range(60)], 30), max_show_size=10).get_supxlabel()

    assert "inputs with small scores are left out." in note and "The last 20 steps are left out." in note


def test_every_script_can_be_drawn():
    """No boxes where a font is installed, and no complaints of matplotlib where none is."""
    pytest.importorskip("matplotlib")
    from matplotlib import font_manager

    tokens = ["日本", "한국", "नमस्ते", "שלום", "👩‍👧", "", "$x$", "a"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = figure(decoder_only(tokens, 7))
        drawn.canvas.draw()
    labels = names(drawn.axes[0], "y")[1:]

    # of a private character nobody has a letter
    assert labels[5:] == ["□", r"\$x\$"]
    if any("CJK" in entry.name for entry in font_manager.fontManager.ttflist):
        assert labels[0] == "日本"


def test_hostile_and_empty_texts_are_drawn():
    """Formulas in tokens are not taken for formulas; a text without steps is a figure too."""
    figure(hostile(), nothing()).canvas.draw()


def test_trailing_axes_are_drawn_as_a_page_begins():
    """Reduced as the method's default does: the mean of 1 + l + 10 h over 3 layers and 2 heads is 7."""
    drawn = figure(granular(), aggregate=False)

    assert "7.0" in written(drawn)


def test_tokens_have_no_figure():
    """The heatmap of the table is not what was asked for, nor would it know where lines end."""
    with pytest.raises(InvalidArgumentError, match="return_figure = True"):
        output(translation()).show_tokens(return_figure=True)


def test_without_matplotlib_a_figure_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingPackageError, match=r"inseq\[plots\]"):
        show_attributions(translation(), return_figure=True)
