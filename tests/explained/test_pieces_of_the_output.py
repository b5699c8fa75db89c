from __future__ import annotations

import pytest

from inseq_core import errors

TEXT = ("The nurse met", "The nurse met the developer, and the developer was late; the weather was good")


def found(model, piece, *texts, **arguments):
    """The tokens whose steps a piece selects."""
    (result,) = model.attribute(*(texts or TEXT), method="dummy", attribute_span=piece, **arguments)
    return [str(t) for t in result.step_tokens]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_piece_selects_the_tokens_that_it_touches(load, name):
    """Also those that it cuts: the token of " the" begins before "the"."""
    model = load(name)

    text = "".join(found(model, "and the developer")).replace("Ġ", " ").replace("▁", " ")
    assert text == " and the developer"
    assert "".join(found(model, "eathe")).replace("Ġ", " ").replace("▁", " ").strip() in (
        "weather",
        "eather",
        "weathe",
    )


def test_each_text_may_have_a_piece_of_its_own(load):
    """None takes everything that was generated."""
    model = load("gpt2")
    results = model.attribute(
        ["Hello", "A dog"], ["Hello ladies and gentlemen", "A dog and a cat"], method="dummy",
        attribute_span=["gentlemen", None],
    )  # fmt: skip

    assert "".join(str(t) for t in results[0].step_tokens).replace("Ġ", " ").strip() == "gentlemen"
    assert results[1].attr_pos_start == len(results[1].source) and results[1].attr_pos_end == len(
        results[1].target
    )
    assert results.info.notes["attribute_span"] == ["gentlemen", None]


def test_pieces_of_a_translation_are_found_behind_its_start(load):
    """Position 0 is the decoder's start; the piece may be anywhere after it."""
    model = load("marian")
    (result,) = model.attribute("The nurse", "A dog and a cat", method="dummy", attribute_span="dog")

    assert result.attr_pos_start == 1 + [str(t) for t in result.target[1:]].index(str(result.step_tokens[0]))
    assert "dog".startswith("".join(str(t) for t in result.step_tokens).strip("▁")[:1])


def test_special_tokens_can_be_named(load):
    """Why did it end here."""
    model = load("marian")

    assert found(model, "</s>", "The nurse", "A dog") == ["</s>"]


def test_a_piece_that_stands_there_twice_is_ambiguous(load):
    """With the positions, or more of its surroundings."""
    with pytest.raises(
        errors.PositionError, match=r"stands 2 times.*\n.*positions \[\d+, \d+\), \[\d+, \d+\)"
    ):
        found(load("gpt2"), "the developer")
    assert found(load("gpt2"), "and the developer")


def test_a_piece_that_is_not_there_shows_the_output(load):
    """Was it written otherwise?"""
    with pytest.raises(errors.PositionError, match=r"'the engineer' is no part of the output.*the developer"):
        found(load("gpt2"), "the engineer")


def test_a_piece_of_the_prompt_says_which_positions_it_has(load):
    """Prompt tokens are attributed by position."""
    model = load("gpt2")
    with pytest.raises(errors.PositionError, match="stands in the prompt: attr_pos_start = ") as error:
        found(model, "nurse")
    words = str(error.value).rstrip(".").replace(",", "").split()
    start, end = int(words[-4]), int(words[-1])
    (result,) = model.attribute(*TEXT, method="dummy", attr_pos_start=start, attr_pos_end=end)

    assert "".join(str(t) for t in result.step_tokens).replace("Ġ", " ").strip() == "nurse"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"attribute_span": ""}, "at least one character"),
        ({"attribute_span": "  "}, "at least one character"),
        ({"attribute_span": 3}, "a piece of the output"),
        ({"attribute_span": ["a", "b"]}, "a list of 1"),
        ({"attribute_span": "dog", "attr_pos_start": 3}, "attr_pos_start or attr_pos_end"),
        ({"attribute_span": "dog", "attr_pos_end": 3}, "attr_pos_start or attr_pos_end"),
    ],
)
def test_what_is_no_piece_is_refused_before_the_model_works(load, arguments, said):
    """With the value."""
    model = load("gpt2")
    counts = dict(model.adapter.counts)
    with pytest.raises(errors.InvalidArgumentError, match=said):
        model.attribute("Hello", method="dummy", **arguments)
    assert dict(model.adapter.counts) == counts
