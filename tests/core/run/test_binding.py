from __future__ import annotations

import attrs
import pytest

from inseq_core.errors import InvalidArgumentError, UnknownArgumentError
from inseq_core.hooks import MethodSpec, get_host
from inseq_core.run.binding import Taker, construct, share_out


@attrs.frozen(kw_only=True)
class Method:
    n_steps: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    top_k: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))
    way: str = attrs.field(default="a", validator=attrs.validators.in_(("a", "b")))


def function(args, top_k=1, top_p=1.0):
    """A step function."""


def takers(method=None, own=None, scores=None):
    """The three takers of a call, with their dicts."""
    return [
        Taker.of("method 'm'", Method, "attribution_args", method or {}),
        Taker.of("attributed function 'f'", function, "attributed_fn_args", own or {}),
        Taker.of("step score 'f'", function, "step_scores_args", scores or {}),
    ]


def test_a_keyword_goes_to_everyone_who_takes_it():
    """The peer's rule: a contrast text is given once, for the function and the score."""
    shares = share_out("attribute()", {"n_steps": 3, "top_k": 7, "top_p": 0.5}, takers())

    assert shares == ({"n_steps": 3, "top_k": 7}, {"top_k": 7, "top_p": 0.5}, {"top_k": 7, "top_p": 0.5})


def test_a_dict_is_for_its_owner_alone_and_goes_before_a_keyword():
    """Otherwise two owners of one name could not get two values."""
    shares = share_out("attribute()", {"top_k": 7}, takers(scores={"top_k": 9}))

    assert [share["top_k"] for share in shares] == [7, 7, 9]


def test_a_typo_is_an_error_with_the_nearest_name_and_every_owner():
    """An ignored argument is a wrong result that nobody notices."""
    with pytest.raises(UnknownArgumentError) as error:
        share_out("attribute()", {"n_step": 3}, takers(), own=("batch_size",))

    assert "Did you mean 'n_steps'?" in str(error.value)
    assert "method 'm': n_steps, top_k, way" in str(error.value)
    assert "attribute(): batch_size" in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a_step", "'a_step'. It is an argument of the method taker_of_steps.\n"),
        (
            "contrast_targets",
            "It is an argument of the step functions contrast_logits, contrast_logits_diff, ",
        ),
        ("logprob", "It is an argument of the method taker_of_steps and of the step functions contrast_prob"),
    ],
)
def test_an_argument_of_something_else_says_of_what(name, said):
    """It is no slip of the pen: the method or the function is the one that was not meant."""

    @attrs.frozen
    class TakerOfSteps:
        a_step: int = 1
        logprob: bool = False

        def attribute(self, ctx): ...

    host = get_host()
    host.methods.register(MethodSpec(name="taker_of_steps", factory=TakerOfSteps, summary="Takes them."))
    broken = MethodSpec(
        name="cannot_be_loaded", factory="no_such_package.methods:Broken", summary="Cannot be loaded."
    )
    host.methods.register(broken)
    try:
        for given in ({"keywords": {name: 3}, "takers": takers()}, {"takers": takers(method={name: 3})}):
            with pytest.raises(UnknownArgumentError) as error:
                share_out("attribute()", **{"keywords": {}, "own": ("steps",), **given})
            assert said in str(error.value) and "Did you mean" not in str(error.value)
    finally:
        host.methods.unregister("taker_of_steps")
        host.methods.unregister("cannot_be_loaded")


def test_a_dict_entry_that_its_owner_does_not_take_is_an_error():
    """Also where somebody else takes it: the dict says who is meant."""
    with pytest.raises(
        UnknownArgumentError, match="attribution_args got an argument that nobody takes: 'top_p'"
    ):
        share_out("attribute()", {}, takers(method={"top_p": 0.5}))


def test_a_required_argument_that_is_missing_is_named():
    """Before anything is called, and with both ways to give it."""

    def needs(args, contrast):
        """A step function with a required argument."""

    with pytest.raises(InvalidArgumentError, match="attributed function 'g' needs contrast"):
        share_out("attribute()", {}, [Taker.of("attributed function 'g'", needs, "attributed_fn_args", {})])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_steps": 0}, "n_steps = 0 (int): must be >= 1"),
        ({"top_k": "x"}, "top_k = 'x' (str): expected an integer."),
        ({"way": "c"}, "way = 'c' (str): expected one of 'a', 'b'."),
    ],
)
def test_a_value_that_a_method_refuses_is_shown_with_its_name_and_what_it_should_be(arguments, said):
    """attrs' own messages carry the whole class definition."""
    with pytest.raises(InvalidArgumentError) as error:
        construct("method 'm'", Method, arguments)

    assert str(error.value).startswith(f"method 'm': {said}")
