"""Texts with coloured tokens, step by step."""

from __future__ import annotations

import pytest
from support.markup import tree
from support.view_examples import chat, decoder_only, granular, hostile, nothing, output, translation

from inseq_core.errors import InvalidArgumentError, UnknownNameError
from inseq_core.view import show_token_attributions
from inseq_core.view.viewers import HtmlTokensViewer, TerminalTokensViewer


def paragraphs(html: str) -> list[list[str]]:
    """For each step, its lines of text."""
    return [
        [
            "".join("\n" if n.tag == "br" else n.text for n in line.walk())
            for line in step.every("div", "text")
        ]
        for step in tree(html).every("li")
    ]


def test_each_step_has_the_text_before_it():
    """The source, and the target as far as it was generated."""
    html = HtmlTokensViewer().render(output(translation()))

    assert len(paragraphs(html)) == 7
    assert paragraphs(html)[1] == ["Thedeveloperarguedbecauseheridea</s>", "<pad>La"]
    assert [line.text for line in tree(html).every("li")[1].every("div", "text")] == [
        "The developer argued because her idea</s>",
        "<pad> La",
    ]


def test_tokens_have_the_colour_of_their_score_and_tell_it():
    """The same classes as the table, and the exact number on hover."""
    root = tree(HtmlTokensViewer().render(output(translation())))
    her = next(node for node in root.every("li")[0].every("span", "k") if node.text == "her")

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
    steps = [step.one("span", "k") for step in (li.one("div", "step") for li in root.every("li"))]

    assert "h12" in steps[-1].classes and not any("h12" in step.classes for step in steps[:-1])
    assert root.every("li")[0].one("small").text == "0.500"
    assert "probability of the step" in root.one("footer").text


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


def test_a_terminal_shows_a_paragraph_a_step():
    """The attributed token and its score on the left, the text on the right."""
    picture = TerminalTokensViewer(highlight="probability", width=100).render(output(translation()))
    lines = [line.strip() for line in picture.splitlines()]

    assert "La  The developer argued because her idea</s>" in lines
    assert "0.500  <pad>" in lines
    assert any(line.endswith("probability of the step") for line in lines)


def test_hostile_tokens_do_nothing_here_either():
    """The same labels as in tables."""
    picture = TerminalTokensViewer(width=60).render(output(hostile(), nothing()))
    root = tree(HtmlTokensViewer().render(output(hostile(), nothing())))

    assert not set(picture) & set("\x1b\x00\x7f\x9b\r\u202e\ud800")
    assert not root.every("script") and not root.every("img")
    assert "No step was attributed." in picture
