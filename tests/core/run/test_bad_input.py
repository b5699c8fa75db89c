from __future__ import annotations

import pytest

from inseq_core import errors
from inseq_core.model import AttributionModel
from inseq_core.testing.toys import BagModel

CHAT = [{"role": "man", "content": "the dog"}]


def refuse(name):
    """A check of a step function that refuses everything."""

    def check(arguments, request, is_attributed_fn):
        raise errors.InvalidArgumentError(f"{name} refuses {request.profile.name}")

    return check


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"input_texts": []}, errors.InvalidArgumentError, "at least one text"),
        ({"input_texts": 3}, errors.InvalidArgumentError, "input_texts = 3"),
        ({"input_texts": ["a", 3]}, errors.InvalidArgumentError, r"input_texts\[1\] = 3"),
        ({"input_texts": b"a"}, errors.InvalidArgumentError, "bytes"),
        ({"input_texts": [{"content": "a"}]}, errors.InvalidArgumentError, "has no role"),
        ({"input_texts": [{"role": "man"}]}, errors.InvalidArgumentError, "has no content"),
        ({"generated_texts": ["the dog", "a"]}, errors.InvalidArgumentError, "2 texts for 1 input_texts"),
        ({"generated_texts": 7}, errors.InvalidArgumentError, "generated_texts = 7"),
        ({"generated_texts": "a cat"}, errors.ForcedTextError, "does not begin with"),
        ({"method": "leav_out"}, errors.UnknownNameError, "Did you mean 'leave_out'"),
        ({"method": 3}, errors.InvalidArgumentError, "method = 3"),
        ({"method": "steep"}, errors.CapabilityError, "Methods that fit: .*leave_out"),
        ({"attributed_fn": "probabilty"}, errors.UnknownNameError, "Did you mean 'probability'"),
        ({"attributed_fn": 3}, errors.InvalidArgumentError, "the id of a step function"),
        ({"step_scores": ["entropi"]}, errors.UnknownNameError, "Did you mean 'entropy'"),
        ({"step_scores": 3}, errors.InvalidArgumentError, "step_scores = 3"),
        ({"step_scores": [3]}, errors.InvalidArgumentError, r"step_scores\[0\] = 3"),
        ({"step_scores_args": {"logprob": True}}, errors.InvalidArgumentError, "without step_scores"),
        ({"n_step": 3}, errors.UnknownArgumentError, "Did you mean 'n_steps'"),
        ({"genration_args": {}}, errors.UnknownArgumentError, "Did you mean 'generation_args'"),
        ({"n_steps": 0}, errors.InvalidArgumentError, "n_steps = 0"),
        ({"attribution_args": [1]}, errors.InvalidArgumentError, "a dict of arguments"),
        ({"attribution_args": {"logprob": True}}, errors.UnknownArgumentError, "attribution_args"),
        ({"batch_size": 0}, errors.InvalidArgumentError, "batch_size = 0"),
        ({"batch_size": "8"}, errors.InvalidArgumentError, "batch_size = '8'"),
        ({"attribute_target": "yes"}, errors.InvalidArgumentError, "attribute_target = 'yes'"),
        ({"max_new_tokens": 3}, errors.UnknownArgumentError, "go into generation_args"),
        ({"generate_from_target_prefix": True}, errors.InvalidArgumentError, "generated_texts"),
        ({"generation_args": 3}, errors.InvalidArgumentError, "generation_args = 3"),
        ({"seed": -1}, errors.InvalidArgumentError, "seed = -1"),
        ({"attr_pos_start": "first"}, errors.InvalidArgumentError, "attr_pos_start = 'first'"),
        ({"features": 3}, errors.InvalidArgumentError, "features = 3"),
        ({"features": "word", "method": "dummy"}, errors.InvalidArgumentError, "leave_out"),
        ({"removal": "zero"}, errors.CapabilityError, "Possible: delete"),
        ({"removal": 3}, errors.InvalidArgumentError, "removal = 3"),
        ({"device": "moon"}, errors.CapabilityError, "cannot be moved to 'moon'"),
        ({"override_default_attribution": True}, errors.InvalidArgumentError, "needs a method"),
        ({"chat_template_args": {"tools": []}}, errors.InvalidArgumentError, "without chat messages"),
        ({"input_texts": CHAT, "chat_template_args": {"x": 1}}, errors.UnknownArgumentError, "template"),
        ({"input_texts": CHAT, "skip_special_tokens": True}, errors.InvalidArgumentError, "template"),
    ],
)
def test_bad_input_is_refused_before_the_model_does_anything(lm, monkeypatch, arguments, error, said):
    """What was wrong, what would be right, and no minutes lost."""
    monkeypatch.setattr(lm.adapter, "generate", lambda *_: pytest.fail("the model was asked to generate"))

    with pytest.raises(error, match=said):
        lm.attribute(**{"input_texts": "the dog", **arguments})
    assert lm.adapter.passes == []


def test_a_generation_argument_beside_a_forced_text_is_refused(lm):
    """It would change nothing, which is not what whoever wrote it believes."""
    with pytest.raises(errors.InvalidArgumentError, match="nothing is generated"):
        lm.attribute("the dog", "the dog sees", generation_args={"max_new_tokens": 2})


def test_a_string_is_one_text_never_its_characters(lm):
    """The peer's command line attributed "H", "e", "l" …"""
    assert lm.attribute("the dog", step_scores="entropy").info.input_texts == ("the dog",)


def test_texts_beyond_the_model_s_positions_say_how_long_they_are_and_may_be_cut():
    """Otherwise an index error comes out of the depths of an embedding table."""
    model = AttributionModel(BagModel(max_target=6), "dummy")

    with pytest.raises(errors.TextTooLongError, match=r"8 target tokens: toy-lm has 6 positions"):
        model.attribute("the dog sees a cat and it", generation_args={"max_new_tokens": 1})
    with pytest.raises(errors.TextTooLongError, match="Generate at most 2"):
        model.attribute("the dog sees", generation_args={"max_new_tokens": 9})
    with pytest.raises(errors.TextTooLongError, match="text 1 has 7 target tokens"):
        model.attribute(["a", "a"], ["a cat", "a cat sees the dog ."])
    (cut,) = model.attribute("the dog sees a cat and it", attr_pos_start=3, truncation=True)
    assert len(cut.target) >= 6


def test_a_model_that_cannot_generate_needs_forced_texts():
    """A masked language model, a scorer behind an interface."""

    class Scorer(BagModel):
        capabilities = BagModel.capabilities - {c for c in BagModel.capabilities if str(c) == "generate"}

    model = AttributionModel(Scorer(), "leave_out")

    with pytest.raises(errors.CapabilityError, match="generated_texts"):
        model.attribute("the dog")
    assert model.attribute("the dog", "the dog sees")[0].n_steps == 1


def test_no_method_at_all_lists_those_that_exist():
    """A step score alone would be method="dummy"."""
    with pytest.raises(errors.InvalidArgumentError, match=r"Installed: .*dummy"):
        AttributionModel(BagModel()).attribute("the dog")


def test_a_function_and_a_method_may_refuse_a_request_themselves(lm):
    """Their own checks see the whole request, before the model works."""
    from inseq_core.hooks import StepFunctionSpec, get_host
    from inseq_core.step_functions.likelihood import logit

    spec = StepFunctionSpec(name="picky", function=logit, summary="Refuses.", check=refuse("picky"))
    get_host().step_functions.register(spec)
    try:
        with pytest.raises(errors.InvalidArgumentError, match="picky refuses toy-lm"):
            lm.attribute("the dog", step_scores=["picky"])
    finally:
        get_host().step_functions.unregister("picky")


def test_a_step_function_of_another_shape_is_named(lm):
    """The peer gave one value for all rows, and nobody noticed."""

    def one_for_all(args):
        return args.logits.max(keepdims=True)[0]

    with pytest.raises(errors.StepShapeError, match=r"'one_for_all' returned shape \(1,\), expected \(8,\)"):
        lm.attribute("the dog", method="dummy", step_scores=[one_for_all])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_names_text_step_and_token(lm, value):
    """NaN in a result means "not before its step", and nothing else."""

    def spoiled(args):
        return args.logits[:, 0] * 0 + [value if s == 10 else 1.0 for s in args.grid.position]

    with pytest.raises(errors.NonFiniteScoreError, match=r"'spoiled' .* at target position 10 of text 1"):
        lm.attribute(["the", "the dog"], method="dummy", step_scores=[spoiled])
