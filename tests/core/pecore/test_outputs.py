from __future__ import annotations

import click
import pytest

from inseq_core.errors import InvalidArgumentError, MeaningWarning
from inseq_core.pecore import asking, attribute_context
from inseq_core.testing.toys import BagModel

CONTEXT, CURRENT = "the dog .", "red cat ."
SAID = "the dog . a cat !"


def test_an_output_is_generated_where_it_is_not_given(parrot):
    """The model's own words, without the end token."""
    out = attribute_context(parrot, CURRENT, CONTEXT)

    assert out.output_current == SAID and out.info["is_output_generated"]


def test_generation_goes_on_from_a_given_output_context(parrot):
    """The context is forced, and is not part of what is looked at."""
    out = attribute_context(parrot, CURRENT, output_context_text="the dog .")

    assert (out.output_context, out.output_current) == ("the dog .", "a cat !")


def test_generation_arguments_reach_the_model(parrot):
    """Two tokens, no more."""
    out = attribute_context(parrot, CURRENT, CONTEXT, generation_kwargs={"max_new_tokens": 2})

    assert out.output_current == "the dog"


def test_a_language_model_goes_on_from_its_input(lm):
    """What it writes is what it writes after input and separator."""
    out = attribute_context(lm, CURRENT, CONTEXT, generation_kwargs={"max_new_tokens": 2})

    (expected,) = lm.generate(f"{CONTEXT} {CURRENT}", output_generated_only=True, max_new_tokens=2)
    assert out.output_current == expected.strip()


def test_auto_takes_as_many_sentences_as_the_input_context_has(parrot):
    """Sentence by sentence, as in a translation."""
    out = attribute_context(
        parrot,
        CURRENT,
        CONTEXT,
        output_template="{context} {current}",
        handle_output_context_strategy="auto",
    )

    assert (out.output_context, out.output_current) == ("the dog .", "a cat !")


def test_auto_takes_what_stands_before_the_separator(parrot):
    """A mark that the output has once."""
    out = attribute_context(
        parrot,
        CURRENT,
        output_template="{context} a {current}",
        handle_output_context_strategy="auto",
    )

    assert (out.output_context.strip(), out.output_current) == ("the dog .", "cat !")


def test_auto_refuses_to_guess(parrot):
    """The input context has three sentences, the output two."""
    with pytest.raises(InvalidArgumentError, match=r"Where the context ends .* is not clear"):
        attribute_context(
            parrot,
            CURRENT,
            "the dog . a cat . the dog .",
            output_template="{context} {current}",
            handle_output_context_strategy="auto",
        )


def test_pre_refuses_before_anything_is_generated(parrot):
    """No model work for what cannot be answered."""
    with pytest.raises(InvalidArgumentError, match="needs output_context_text"):
        attribute_context(
            parrot,
            CURRENT,
            CONTEXT,
            output_template="{context} {current}",
            handle_output_context_strategy="pre",
        )
    assert parrot.adapter.passes == []


@pytest.mark.parametrize(("confirmed", "typed", "context"), [(True, "", "the dog ."), (False, "the", "the")])
def test_manual_asks_and_takes_the_answer(parrot, monkeypatch, confirmed, typed, context):
    """The candidate is confirmed, or another beginning is typed."""
    monkeypatch.setattr(click, "confirm", lambda *_, **__: confirmed)
    monkeypatch.setattr(click, "prompt", lambda *_, **__: typed)
    out = attribute_context(parrot, CURRENT, CONTEXT, output_template="{context} {current}")

    assert out.output_context == context and out.output_current == SAID.removeprefix(context).strip()


def test_manual_takes_nothing_for_no_context(parrot, monkeypatch):
    """As the question says: the whole output is looked at, and what stands between the places is not written."""
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    monkeypatch.setattr(click, "prompt", lambda *_, **__: "")
    plain = attribute_context(parrot, CURRENT, CONTEXT)

    out = attribute_context(parrot, CURRENT, CONTEXT, output_template="{context} ! {current}")

    assert (out.output_context, out.output_context_tokens, out.output_current) == (None, None, SAID)
    assert (out.output_current_tokens, out.cti_scores) == (plain.output_current_tokens, plain.cti_scores)


def test_no_context_on_either_side_is_nothing_to_compare_with(parrot, monkeypatch):
    """With and without context would be the same texts, and every score 0."""
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    monkeypatch.setattr(click, "prompt", lambda *_, **__: "")

    with pytest.raises(InvalidArgumentError, match=r"input has none either.*\n.*input_context_text"):
        attribute_context(parrot, CURRENT, output_template="{context} {current}")


def test_manual_without_a_person_says_what_else_to_do(monkeypatch):
    """In a script nobody answers."""

    def nobody(*_, **__):
        raise click.Abort

    monkeypatch.setattr(click, "confirm", nobody)
    with pytest.raises(InvalidArgumentError, match=r"no answer.*\n.*'auto'"):
        asking.ask_output_context("the dog .", "the")


def test_an_interrupt_at_a_question_is_no_answer_that_is_missing(monkeypatch):
    """Click makes the same of both."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("click.termui.visible_prompt_func", interrupt)
    with pytest.raises(KeyboardInterrupt):
        asking.ask_output_context("the dog .", "the")


def test_another_current_output_stands_in_for_the_generated_one_and_is_told(parrot):
    """Its context is the model's own."""
    with pytest.warns(MeaningWarning, match="'a cat !' after the context"):
        out = attribute_context(
            parrot,
            CURRENT,
            CONTEXT,
            output_template="{context} {current}",
            output_current_text="red dog",
            handle_output_context_strategy="auto",
        )

    assert (out.output_context, out.output_current) == ("the dog .", "red dog")


def test_the_end_of_the_output_template_is_not_looked_at(parrot):
    """It is cut off a generated output, and put behind a given one."""
    generated = attribute_context(parrot, CURRENT, CONTEXT, output_template="{current} cat !")
    given = attribute_context(
        parrot, CURRENT, CONTEXT, output_template="{current} cat !", output_current_text="the dog . a"
    )

    assert generated.output_current_tokens == given.output_current_tokens == ("the", "dog", ".", "a")


def test_an_output_that_does_not_end_like_its_template_is_refused(parrot):
    """What to look at would be a guess."""
    with pytest.raises(InvalidArgumentError, match="does not end in ' red'"):
        attribute_context(parrot, CURRENT, CONTEXT, output_template="{current} red")


def test_nothing_generated_is_an_error_with_the_way_out(parrot):
    """The whole output was the context."""
    with pytest.raises(InvalidArgumentError, match="wrote nothing after the context"):
        attribute_context(parrot, CURRENT, output_context_text=SAID)


def test_the_beginning_of_the_output_template_is_forced(parrot):
    """Generation begins behind it."""
    out = attribute_context(parrot, CURRENT, CONTEXT, output_template="the dog . {current}")

    assert out.output_current == "a cat !"


def test_special_tokens_of_a_generated_output_are_kept_on_demand(parrot):
    """A marker between context and current output is a special token of some models."""
    adapter = parrot.adapter
    weights = adapter.weights
    weights.target[adapter.ids["dog"]] = 0.0
    weights.target[adapter.ids["dog"], adapter.ids["<unk>"]] = 9.0
    weights.target[adapter.ids["<unk>"], adapter.ids["a"]] = 9.0

    plain = attribute_context(parrot, CURRENT, CONTEXT)
    kept = attribute_context(
        parrot,
        CURRENT,
        output_template="{context} <unk> {current}",
        special_tokens_to_keep=["<unk>"],
        handle_output_context_strategy="auto",
    )

    assert plain.output_current == "the dog a cat !"
    assert (kept.output_context.strip(), kept.output_current) == ("the dog", "a cat !")


def test_a_token_that_is_not_special_need_not_be_kept():
    """Said, and done without."""
    from inseq_core.model import AttributionModel

    model = AttributionModel(BagModel(), "leave_out")
    with pytest.warns(MeaningWarning, match="'dog' is no special token of toy-lm"):
        attribute_context(model, CURRENT, CONTEXT, output_current_text="it", special_tokens_to_keep=["dog"])
