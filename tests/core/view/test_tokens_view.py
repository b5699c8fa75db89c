"""Texts with coloured tokens, step by step."""

from __future__ import annotations

import re

import attrs
import numpy as np
import pytest
from rich.cells import cell_len
from support.markup import Node, tree
from support.view_examples import (
    before_steps,
    chat,
    decoder_only,
    granular,
    hostile,
    nothing,
    output,
    translation,
)

from inseq_core.errors import InvalidArgumentError, UnknownNameError
from inseq_core.view import show_token_attributions
from inseq_core.view.plan import planned_tokens
from inseq_core.view.viewers import HtmlTokensViewer, TerminalTokensViewer

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def steps_of(root: Node) -> list[Node]:
    """The list's entries, but for the names of its columns."""
    return [li for li in root.every("li") if "names" not in li.classes]


def paragraphs(html: str) -> list[list[str]]:
    """For each step, its lines of text."""
    return [
        [
            "".join("\n" if n.tag == "br" else n.text for n in line.walk())
            for line in step.every("div", "text")
        ]
        for step in steps_of(tree(html))
    ]


def test_each_step_has_the_text_before_it():
    """The source, and the target as far as it was generated."""
    html = HtmlTokensViewer().render(output(translation()))

    assert len(paragraphs(html)) == 7
    assert paragraphs(html)[1] == ["Thedeveloperarguedbecauseheridea</s>", "<pad>La"]
    assert [line.text for line in steps_of(tree(html))[1].every("div", "text")] == [
        "The developer argued because her idea</s>",
        "<pad> La",
    ]


def test_tokens_have_the_colour_of_their_score_and_tell_it():
    """The same classes as the table, and the exact number on hover."""
    root = tree(HtmlTokensViewer().render(output(translation())))
    her = next(node for node in steps_of(root)[0].every("span", "k") if node.text == "her")

    assert "p12" in her.classes and her.attributes["title"] == "0.61"


def test_no_script_is_needed():
    """It is a text to read and to print."""
    assert not tree(HtmlTokensViewer().render(output(translation(), chat()))).every("script")


@pytest.mark.parametrize(
    ("wrap_after", "lines"),
    [
        (2, ["ab", "c.", "d"]),
        ("c", ["abc", ".d"]),
        ([".", "a"], ["a", "bc.", "d"]),
        (".!?", ["abc.", "d"]),
        (None, ["abc.d"]),
    ],
)
def test_lines_end_where_asked(wrap_after: object, lines: list[str]):
    """After so many tokens, a token, any of several, any mark of a string."""
    html = HtmlTokensViewer(wrap_after=wrap_after).render(output(decoder_only("abc.de", 5)))  # type: ignore[arg-type]

    assert paragraphs(html)[0][0].split("\n") == lines


def test_a_line_break_in_the_text_is_one_in_the_picture():
    """Prompts have paragraphs."""
    html = HtmlTokensViewer().render(output(decoder_only(["ĠA", "Ċ", "ĠB", "ĠC"], 3)))

    assert paragraphs(html)[0][0].split("\n") == ["A↵", "B"]


def test_a_step_score_can_colour_the_steps():
    """In a hue of its own, so that it is not taken for an attribution."""
    root = tree(HtmlTokensViewer(highlight="probability").render(output(translation())))
    steps = [step.one("span", "k") for step in (li.one("div", "step") for li in steps_of(root))]

    assert "h12" in steps[-1].classes and not any("h12" in step.classes for step in steps[:-1])
    assert steps_of(root)[0].one("small").text == "0.500"
    assert "probability of the step" in root.one("header").text


def test_the_colours_of_step_scores_run_from_the_least_to_the_largest():
    """Probabilities of 0.92 to 0.96 would all be one green on a scale from zero; the bar says its ends."""
    text = attrs.evolve(translation(), step_scores={"probability": np.linspace(0.92, 0.96, 7)})
    root = tree(HtmlTokensViewer(highlight="probability").render(output(text)))
    names = [li.one("div", "step").one("span", "k").classes - {"k", "s"} for li in steps_of(root)]

    assert names == [set(), {"h2"}, {"h4"}, {"h6"}, {"h8"}, {"h10"}, {"h12"}]
    assert [bar.one("span", "what").text for bar in root.every("div", "bar")] == [
        "score of an input",
        "probability of the step",
    ]
    assert root.every("div", "bar")[1].one("span", "low").text == "0.92"


def test_the_legend_stands_before_the_text():
    """Of a long text nobody sees the end first."""
    root = tree(HtmlTokensViewer().render(output(translation())))

    assert (
        root.one("header").one("div", "bar").attributes["aria-label"]
        == "Colours of scores from -0.61 to 0.61"
    )
    assert "probability" in root.one("header").one("div", "legend").text


def test_lines_and_texts_have_names():
    """Source and generated text are told apart, and so are the texts of a batch, without a script."""
    root = tree(HtmlTokensViewer().render(output(translation(), chat())))
    first, second = root.every("section")

    assert [h.text for h in root.every("h2")] == [
        "1 of 2 · The developer argued because her idea",
        "2 of 2 · What is it?↵",
    ]
    assert [c.text for c in steps_of(first)[0].every("div", "cap")] == ["Source", "Generated"]
    assert [c.text for c in second.every("div", "cap")] == ["Step", "Text before the step"]


def test_a_token_without_a_score_is_marked_and_the_mark_explained():
    """It did not score zero; and a token that was no input has no mark."""
    text = decoder_only("abcd", 2)
    scores = np.array(text.target_attributions)
    scores[1, 0] = np.nan
    root = tree(HtmlTokensViewer().render(output(attrs.evolve(text, target_attributions=scores))))
    tokens = steps_of(root)[0].every("span", "k")[1:]

    assert [(t.text, "m" in t.classes, t.attributes.get("title")) for t in tokens] == [
        ("a", False, "0.1"),
        ("b", True, "no score"),
    ]
    assert root.one("span", "key").text == "token no score"
    assert not tree(HtmlTokensViewer().render(output(text))).every("span", "key")


@pytest.mark.parametrize("score", [0.0, np.nan])
def test_scores_without_colours_have_no_bar(score: float):
    """From 0.00 to 0.00 there is nothing to tell apart."""
    text = decoder_only("abcd", 2)
    blank = attrs.evolve(
        text, target_attributions=np.where(np.isnan(text.target_attributions), np.nan, score)
    )

    assert not tree(HtmlTokensViewer().render(output(blank))).every("div", "bar")


def test_an_unknown_step_score_says_which_there_are():
    """And how to get it."""
    with pytest.raises(UnknownNameError, match=r"perplexity, probability[\s\S]*step_scores=\['entropy'\]"):
        show_token_attributions(translation(), display=False, step_score_highlight="entropy")


def test_strings_can_be_replaced():
    """``replace_char`` of the peer."""
    html = show_token_attributions(
        decoder_only(["a_b", "c"], 1), display=False, return_html=True, replace_char={"_": "+"}
    )

    assert paragraphs(html)[0] == ["a+b"]


def test_granular_scores_are_aggregated_first():
    """A token has one colour; without aggregation that is an error that says what to do."""
    assert show_token_attributions(granular(), display=False, return_html=True)
    with pytest.raises(InvalidArgumentError, match="do_aggregation=True"):
        show_token_attributions(granular(), display=False, do_aggregation=False)


def test_wrapping_after_nothing_is_refused():
    """Zero tokens a line is no text."""
    with pytest.raises(InvalidArgumentError, match="wrap_after = 0"):
        show_token_attributions(chat(), wrap_after=0)


def terminal(*texts: object, width: int = 100, **options: object) -> str:
    """The picture of some texts in a terminal."""
    return TerminalTokensViewer(width=width, **options).render(output(*texts))  # type: ignore[arg-type]


def plain_words(picture: str) -> str:
    """The words of a picture without escape codes, as one line."""
    return " ".join(ESCAPE.sub("", picture).split())


def long_text(n_tokens: int, first: int):
    """Scores between 1 and 2 for every input: all of them matter."""
    scores = np.repeat(np.linspace(1, 2, n_tokens)[:, None], n_tokens - first, axis=1)
    tokens = [f"Ġw{i}" for i in range(n_tokens)]
    return attrs.evolve(decoder_only(tokens, first), target_attributions=before_steps(scores, first))


def test_a_terminal_shows_a_paragraph_a_step():
    """The attributed token and its score on the left, the text on the right, an empty line behind."""
    picture = ESCAPE.sub("", terminal(translation(), highlight="probability", color=True))
    lines = [line.strip() for line in picture.splitlines()]

    first = lines.index("La  The developer argued because her idea</s>")
    assert lines[first + 1 : first + 3] == ["0.500  <pad>", ""]
    assert any(line.endswith("probability of the step") for line in lines)


def test_an_empty_line_follows_every_step():
    """Otherwise the second line of a step cannot be told from the first one of the next."""
    lines = [line.strip() for line in terminal(translation()).splitlines()]
    starts = [i for i, line in enumerate(lines) if "argued" in line]

    assert len(starts) == 7
    assert all(lines[i + 2] == "" for i in starts)


def test_no_input_of_a_long_text_loses_its_score():
    """A token without colour says that it did not matter; of 200 that all did, every one is coloured."""
    (steps,) = planned_tokens(output(long_text(300, 150)), on_page=False).texts
    (on_page,) = planned_tokens(output(long_text(300, 150))).texts

    for shown in (steps, on_page):
        assert all(token.score >= 1 and token.level for line in shown[-1].lines for token in line)
    assert len(steps) == 100 and len(on_page) == 150


@pytest.mark.parametrize(
    ("n_steps", "said"),
    [
        (102, "Left out: the last 2 steps of 102."),
        (101, "Left out: the last step of 101."),
        (100, ""),
    ],
)
def test_steps_that_are_left_out_are_counted(n_steps: int, said: str):
    """A silent cut would look like the whole."""
    text = long_text(n_steps + 5, 5)

    assert planned_tokens(output(text), on_page=False).left_out == (said,)
    assert said in plain_words(terminal(text))
    assert ("Left out" in plain_words(terminal(text))) is bool(said)


def test_a_page_of_a_very_long_text_has_fewer_steps():
    """Every step has the whole text before it: 1000 steps of 1000 tokens would be a million words."""
    text = long_text(2500, 1500)
    (said,) = planned_tokens(output(text)).left_out

    assert said == "Left out: the last 940 steps of 1000."


@pytest.mark.parametrize("width", [24, 40, 80])
def test_a_text_without_spaces_is_not_cut(width: int):
    """Chinese has none, and a long line of it must go on below."""
    picture = terminal(decoder_only(["我喜欢猫和狗"] * 20 + ["x"], 20), color=True, width=width)

    assert ESCAPE.sub("", picture).count("我") == 20
    assert all(cell_len(line) <= width for line in ESCAPE.sub("", picture).splitlines())


def test_without_colours_the_strongest_scores_are_written_into_the_text():
    """In a pipe, a text of which only the colours have gone says nothing at all."""
    picture = terminal(translation())

    assert "The [developer -0.25] argued because [her 0.61] idea[</s> 0.02]" in picture
    assert "In brackets: the 3 strongest scores of each step." in plain_words(picture)
    assert "raised the probability" in plain_words(picture)
    assert not any(word in plain_words(picture) for word in ("Red", "blue", "violet"))


def test_tiny_scores_are_written_with_their_factor():
    """2.35 that is 2.35×10⁻⁷ is a lie of seven orders of magnitude."""
    text = decoder_only("abc", 2)
    tiny = attrs.evolve(text, target_attributions=np.array(text.target_attributions) * 1e-8)

    assert "[a 1.00][b 2.00]" in terminal(tiny)
    assert "the 3 strongest scores of each step, ×10⁻⁹." in plain_words(terminal(tiny))


def test_a_missing_score_is_not_a_weak_one():
    """What has no score is marked, and what the mark says stands below; without such a token nothing does."""
    text = decoder_only("abcd", 3)
    scores = np.array(text.target_attributions)
    scores[1, 0] = np.nan
    missing = attrs.evolve(text, target_attributions=scores)

    assert "Underlined: the method gave no score." in plain_words(terminal(missing, color=True))
    assert re.search(r"\x1b\[4mb", terminal(missing, color=True))
    assert "[b n/a]" in terminal(missing)
    assert "n/a: the method gave no score." in plain_words(terminal(missing))
    for color in (True, False):
        assert "gave no score" not in plain_words(terminal(text, color=color))


def test_tokens_that_were_not_attributed_have_no_missing_score():
    """Step scores alone have a text, and nothing in it was to be scored."""
    alone = attrs.evolve(translation(), source_attributions=None, target_attributions=None)
    (steps,) = planned_tokens(output(alone)).texts

    assert not any(token.is_missing for step in steps for line in step.lines for token in line)


def test_a_text_is_not_explained_in_the_words_of_a_table():
    """There are no columns, and no numbers above or below zero to look at."""
    picture = plain_words(terminal(translation(), color=True))

    assert "Each paragraph explains the token on its left" in picture
    assert "Red tokens raised the probability, blue tokens lowered it." in picture
    assert "column" not in picture
    assert "The stronger the violet" in plain_words(terminal(chat(), color=True))


@pytest.mark.parametrize(("score", "said"), [(0.0, "All scores are zero."), (np.nan, "No scores.")])
def test_a_text_whose_scores_say_nothing_has_no_legend(score: float, said: str):
    """A bar from zero to zero explains colours that no score can have."""
    scores = before_steps(np.full((4, 2), score), 2)
    text = attrs.evolve(decoder_only("abcd", 2), target_attributions=scores)
    plan = planned_tokens(output(text))

    assert plan.base.is_blank and said in plan.base.reading
    for color in (True, False):
        picture = plain_words(terminal(text, color=color))
        assert said in picture
        assert not any(word in picture for word in ("▄", "violet", "brackets", "mattered"))


def test_hostile_tokens_do_nothing_here_either():
    """The same labels as in tables."""
    picture = TerminalTokensViewer(width=60).render(output(hostile(), nothing()))
    root = tree(HtmlTokensViewer().render(output(hostile(), nothing())))

    assert not set(picture) & set("\x1b\x00\x7f\x9b\r\u202e\ud800")
    assert not root.every("script") and not root.every("img")
    assert "No step was attributed." in picture
