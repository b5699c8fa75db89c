"""Layers and heads to leaf through."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
from support.markup import tree
from support.view_examples import before_steps, decoder_only, granular, output

from inseq_core.data.scores import ScoreMeaning
from inseq_core.errors import InvalidArgumentError, UnknownNameError
from inseq_core.view import show_granular_attributions
from inseq_core.view.granular import Choice, axis_number, with_all
from inseq_core.view.plan import planned
from inseq_core.view.table import score_table
from inseq_core.view.viewers import HtmlViewer, TerminalViewer


def values(text, choice: Choice) -> np.ndarray:
    """The axes of the first input at the first step, each with *all* as its last entry."""
    table, _ = with_all(score_table(text), text, choice)
    return table.groups[0].values[0, 0]


def test_each_axis_gets_an_entry_for_all_of_it():
    """Its last one, by the method's own functions: here means, of 1 + l + 10 h over 3 layers and 2 heads."""
    expected = [[1, 11, 6], [2, 12, 7], [3, 13, 8], [2, 12, 7]]

    assert values(granular(), Choice()).tolist() == expected


def test_axes_are_reduced_last_axis_first():
    """A mean over layers of norms over dimensions is not the norm of means."""
    text = attrs.evolve(granular(), axes=("layer", "hidden"), default_aggregation=("vnorm", "mean"))
    norms = [np.hypot(1 + layer, 11 + layer) for layer in range(3)]

    assert values(text, Choice())[-1, -1] == pytest.approx(np.mean(norms))


def test_a_slice_is_all_there_is():
    """``slice_dims`` is what *all* is the mean of, and entries keep their numbers."""
    text = granular()
    table, axes = with_all(score_table(text), text, Choice(slice_dims={"layer": (1, 3)}))

    assert axes[0].entries == (1, 2)
    assert table.groups[0].values[0, 0].tolist() == [[2, 12, 7], [3, 13, 8], [2.5, 12.5, 7.5]]


def test_of_a_long_axis_the_strongest_entries_are_shown():
    """Hidden sizes are hundreds; the first twenty are as good as any random ones."""
    text = granular(n_layers=30)
    table, (layers, _) = with_all(score_table(text), text, Choice(max_show_size=3))

    assert layers.entries == (27, 28, 29)
    assert table.groups[0].values[0, 0, -1, 0] == pytest.approx(1 + np.mean(np.arange(30)))


def test_absent_cells_stay_absent():
    """A sum of nothing is zero for numpy, but no score."""
    text = attrs.evolve(granular(), default_aggregation=("sum", "sum"))
    table, _ = with_all(score_table(text), text, Choice())

    assert np.isnan(table.groups[1].values[0, 0]).all()


def test_axes_are_named_or_numbered_as_in_the_array():
    """0 and 1 are positions and steps."""
    axes = ("layer", "head")

    assert [axis_number(dim, axes) for dim in ("layer", 2, "head", 3, -1)] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"show_dim": "heads"}, UnknownNameError, "Did you mean 'head'"),
        ({"show_dim": 1}, InvalidArgumentError, "0 and 1 are positions and steps"),
        ({"show_dim": 2.5}, InvalidArgumentError, "layer, head"),
        ({"slice_dims": {"layer": (3, 3)}}, InvalidArgumentError, "holds none of the 3"),
        ({"slice_dims": {"layer": (0, 9)}}, InvalidArgumentError, r"goes beyond the 3 entries\.\n.* 0 to 3"),
        ({"slice_dims": {"layer": (-4, None)}}, InvalidArgumentError, "goes beyond the 3 entries"),
        ({"slice_dims": {"layer": 1}}, InvalidArgumentError, r"a pair \(start, end\)"),
        ({"max_show_size": 0}, InvalidArgumentError, "max_show_size = 0"),
    ],
)
def test_what_does_not_exist_is_said(options: dict[str, object], error: type[Exception], said: str):
    """One line of what was wrong, one of what there is."""
    with pytest.raises(error, match=said):
        show_granular_attributions(granular(), display=False, return_html=True, **options)  # type: ignore[arg-type]


def test_a_terminal_goes_through_one_axis():
    """A panel an entry, the other axes reduced, and the panel says so."""
    picture = TerminalViewer(aggregate=False).render(output(granular()))
    panels = [line for line in picture.splitlines() if line.startswith("layer ")]

    assert [panel.split(" ─")[0] for panel in panels] == [f"layer {i} (head: mean over 2)" for i in range(3)]
    assert [line.split()[1] for line in picture.splitlines() if line.startswith("a ")][-3:] == [
        "*6.00",
        "*7.00",
        "*8.00",
    ]


def test_the_axis_to_show_can_be_chosen(capsys: pytest.CaptureFixture[str]):
    """By name, as in the peer."""
    show_granular_attributions(granular(), show_dim="head")
    picture = capsys.readouterr().out

    assert "head 0 (layer: mean over 3)" in picture and "head 1" in picture and "layer 0" not in picture


def test_a_page_begins_with_everything_reduced():
    """The overview first; a slider an axis leads to the single entries."""
    root = tree(HtmlViewer(aggregate=False).render(output(granular())))
    boxes = [axis.every("input")[1].attributes for axis in root.every("fieldset")]

    assert ["checked" in box for box in boxes] == [True, True]
    assert root.every("tr", "r")[0].every("td")[0].text == "7.00"


def test_a_page_begins_with_the_axis_that_was_asked_for():
    """Its first entry, the others reduced."""
    html = show_granular_attributions(granular(), show_dim="layer", display=False, return_html=True)
    root = tree(html)

    assert ["checked" in f.every("input")[1].attributes for f in root.every("fieldset")] == [False, True]
    assert root.every("tr", "r")[0].every("td")[0].text == "6.00"


def test_every_slice_is_in_the_page():
    """4 entries of layer by 3 of head, the last of each being all; rows a and b, two steps."""
    root = tree(HtmlViewer(aggregate=False).render(output(granular())))
    data = json.loads(root.every("script")[0].text)
    (text,) = data["texts"]
    tenths = [[float(n) for n in s.split(",") if n] for s in text["scores"]]

    assert [len(axis) for axis in text["axes"]] == [4, 3]
    assert len(text["scores"]) == 12 and text["first"] == 11
    layer_1_head_1 = text["scores"][1 * 3 + 1]
    decimals = data["scales"][text["scale"][4]][3]
    assert [float(n) / 10**decimals for n in layer_1_head_1.split(",") if n] == [12.0] * 3
    assert all(len(numbers) == 3 for numbers in tenths)


def test_norms_are_unsigned_and_have_a_scale_of_their_own():
    """One dimension of a gradient is signed and small, the norm of all of them is neither."""
    rng = np.random.default_rng(0)
    text = attrs.evolve(
        decoder_only("abc", 1),
        target_attributions=before_steps(rng.normal(size=(3, 2, 400)), 1),
        axes=("hidden",),
        default_aggregation=("vnorm",),
        meaning=ScoreMeaning(signed=True),
    )
    plan = planned(text, aggregate=False)

    assert plan.looks[(False,)].colors.signed and not plan.looks[(True,)].colors.signed
    assert plan.looks[(True,)].colors.high > 3 * plan.looks[(False,)].colors.high
    assert plan.texts[0].axes[0].size == 400 and len(plan.texts[0].axes[0].entries) == 20


def test_texts_with_different_axes_are_not_one_picture():
    """Sliders would mean something else for each."""
    with pytest.raises(InvalidArgumentError, match="the same trailing axes"):
        show_granular_attributions([granular(), decoder_only("abc", 1)], display=False)


def test_scores_without_axes_are_a_table():
    """``show_granular`` of an aggregated result shows what there is."""
    html = show_granular_attributions(decoder_only("abc", 1), display=False, return_html=True)

    assert not tree(html).every("fieldset")


def test_axes_of_any_size_fit_a_page():
    """32 layers by 32 heads of a long text would be a hundred megabytes; the page shows fewer."""
    scores = np.broadcast_to(np.float32(0.5), (60, 50, 32, 32))
    text = attrs.evolve(
        decoder_only([f"w{i}" for i in range(60)], 10),
        target_attributions=scores,
        axes=("layer", "head"),
        default_aggregation=("mean", "mean"),
    )
    plan = planned(text, aggregate=False, max_show_size=32, on_page=True)

    assert sum(group.values.size for group in plan.tables[0].groups) <= 3_000_000
