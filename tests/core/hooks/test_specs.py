"""Spec records: what they refuse, with the value and what would be right."""

from __future__ import annotations

import attrs
import pytest

import inseq_core as ic
from inseq_core.errors import InvalidArgumentError

GOOD = {"name": "x", "factory": "package.module:Object", "summary": "A method."}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "two words", "one word"),
        ("name", "a,b", "one word"),
        ("name", "--flag", "one word"),
        ("name", "", "one word"),
        ("name", 3, "one word"),
        ("summary", "", "one line"),
        ("summary", "two\nlines", "one line"),
        ("summary", None, "one line"),
        ("factory", "package.module", "'package.module:object'"),
        ("factory", "package/module.py:Object", "'package.module:object'"),
        ("factory", None, "'package.module:object'"),
        ("paper", None, "text"),
        ("needs", {"gradient"}, "scores, generate, gradients"),
        ("needs", "gradient", "scores, generate, gradients"),
        ("trailing_axes", "hidden", "a tuple of names"),
        ("default_aggregation", "vnorm", "a tuple of names"),
        ("signed", "no", "True or False"),
    ],
)
def test_a_wrong_field_is_refused_by_name(field, value, expected):
    """A spec is written once and read by everyone: it is checked where it is made."""
    with pytest.raises(InvalidArgumentError) as raised:
        ic.MethodSpec(**{**GOOD, field: value})

    assert (
        field in str(raised.value) and expected in str(raised.value) and repr(value)[:20] in str(raised.value)
    )


def test_a_refusal_names_the_spec():
    """A plugin gives many; the message says which."""
    with pytest.raises(InvalidArgumentError, match="MethodSpec 'x': summary"):
        ic.MethodSpec(**{**GOOD, "summary": ""})


def test_lists_and_single_needs_are_taken():
    """What can only mean one thing is understood."""
    spec = ic.MethodSpec(
        **GOOD, needs=ic.Need.GRADIENTS, default_aggregation=["vnorm"], trailing_axes=["hidden"]
    )

    assert spec.needs == frozenset({ic.Need.GRADIENTS})
    assert spec.default_aggregation == ("vnorm",)


def test_an_aggregate_map_is_names_to_names():
    """``{"spans": numpy.prod}`` could not be saved with a result."""
    with pytest.raises(InvalidArgumentError, match="aggregate_map"):
        ic.StepFunctionSpec(name="x", function=len, summary="A function.", aggregate_map={"spans": max})


def test_specs_are_frozen():
    """A plugin's record cannot be changed by another plugin."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ic.MethodSpec(**GOOD).name = "y"


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "\x1b]0;title\x07", "over\rwritten", "\u202eturned", "\x9b2J"]
)
@pytest.mark.parametrize("field", ["summary", "paper", "formula"])
def test_text_that_acts_on_a_terminal_is_refused(field, text):
    """``inseq list`` prints what strangers wrote."""
    with pytest.raises(InvalidArgumentError, match=f"{field} = .*without control characters"):
        ic.MethodSpec(**{"name": "m", "factory": "a:b", "summary": "A method.", field: text})


def test_letters_of_every_alphabet_and_line_breaks_stay():
    """Nothing is wrong with them."""
    spec = ic.MethodSpec(name="m", factory="a:b", summary="مرحبا · 你好 · 👩‍👩‍👧 ∂f/∂x", when="Two\n\tlines.")

    assert spec.summary.startswith("مرحبا")
