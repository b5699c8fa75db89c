from __future__ import annotations

import copy
import json
import pickle

import attrs
import numpy as np
import pytest
from support.results import decoder_only, encoder_decoder, output_of

from inseq_core.data.attribution import FeatureAttributionSequenceOutput, FeatureAttributionStepOutput
from inseq_core.data.info import AttributionInfo
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.token import Segment, TokenWithId
from inseq_core.errors import AggregatorFailedError, InvalidArgumentError


def test_tokens_equal_their_strings_and_lists_of_them():
    """Scripts compare what they see with strings."""
    sequence = encoder_decoder()

    assert sequence.source == ["▁the", "▁wo", "rld", "</s>"]
    assert sequence.source[1] == "▁wo"
    assert sequence.source != ["▁the"]
    assert TokenWithId("a", 3) != TokenWithId("a", 4)


def test_a_result_cannot_be_changed_in_place():
    """One result handed to two functions must stay one result."""
    sequence = encoder_decoder()

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        sequence.attr_pos_start = 0
    with pytest.raises(ValueError, match="read-only"):
        sequence.source_attributions[0, 0] = 7


CHANGES = {
    "set": lambda d: d.__setitem__("x", 1),
    "delete": lambda d: d.__delitem__(next(iter(d))),
    "update": lambda d: d.update(x=1),
    "add": lambda d: d.__ior__({"x": 1}),
    "setdefault": lambda d: d.setdefault("x", 1),
    "pop": lambda d: d.pop(next(iter(d))),
    "popitem": lambda d: d.popitem(),
    "clear": lambda d: d.clear(),
}


def dicts_of(output):
    """Every dict of a result."""
    sequence = output[0]
    return [
        sequence.step_scores,
        sequence.sequence_scores,
        sequence.step_aggregation,
        sequence.step_aggregation["p"],
        sequence.step_attributions[0].step_scores,
        output.info.extras,
        output.info.notes,
        output.info.notes["counts"],
        output.info.input_texts[0][0],
        output.info.baseline,
    ]


def with_dicts():
    """A result with something in each of its dicts."""
    sequence = encoder_decoder(
        sequence_scores={"flow": np.ones((4, 3))}, step_aggregation={"p": {"spans": "prod"}}
    )
    info = AttributionInfo(
        extras={"mood": "good"},
        notes={"counts": {"forward": 1}},
        input_texts=([{"role": "user"}],),
        baseline={"kind": "mean"},
    )
    return FeatureAttributionOutput([sequence], None, info)


@pytest.mark.parametrize("change", CHANGES)
def test_the_dicts_of_a_result_cannot_be_changed_either(change):
    """An aggregator that added a step score added it to the user's own result."""
    output = with_dicts()
    before = copy.deepcopy(output)

    for values in dicts_of(output):
        assert values
        with pytest.raises(TypeError, match=r"cannot be changed.*\n.*attrs\.evolve"):
            CHANGES[change](values)
    assert output == before


def test_dicts_that_cannot_be_changed_are_dicts_otherwise():
    """They are copied, pickled, compared, merged and written as any other."""
    output = with_dicts()

    for values in dicts_of(output):
        for same in (copy.copy(values), copy.deepcopy(values), pickle.loads(pickle.dumps(values))):
            assert type(same) is type(values) and same.keys() == values.keys()
        assert type({**values}) is type(values.copy()) is type(values | {}) is dict
    assert json.loads(json.dumps(output.info.notes)) == output.info.notes == {"counts": {"forward": 1}}
    assert pickle.loads(pickle.dumps(output)) == copy.deepcopy(output) == output


def test_an_aggregator_that_changes_what_it_is_given_is_told_so():
    """The original stays as it is."""

    class Adds:
        def aggregate(self, attribution):
            attribution.step_scores["x"] = np.zeros(attribution.n_steps)
            return attribution

    sequence = encoder_decoder()
    with pytest.raises(AggregatorFailedError, match=r"Adds.*cannot be changed"):
        sequence.aggregate(Adds)
    assert sequence == encoder_decoder()


def test_equality_is_of_numbers_and_nan_equals_nan():
    """NaN marks cells without a score, and two such cells are the same."""
    assert encoder_decoder() == encoder_decoder()
    assert encoder_decoder() != encoder_decoder(attr_pos_start=1, step_scores={})
    other = np.array(encoder_decoder().source_attributions)
    other[0, 0] += 1
    assert encoder_decoder() != encoder_decoder(source_attributions=other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"source_attributions": np.zeros((3, 3))},
            r"source_attributions has shape \(3, 3\), expected \(4, 3\)",
        ),
        ({"target_attributions": np.zeros((4, 3, 2))}, r"expected \(4, 3\)"),
        ({"step_scores": {"p": [1.0]}}, r"step score 'p' has shape \(1,\), expected \(3,\)"),
        ({"attr_pos_start": 5}, r"\[5, 4\) of 4 target tokens"),
        (
            {"segments": [Segment(label="turn", start=2, end=9)]},
            r"segment 'turn' covers \[2, 9\) of 4 target tokens",
        ),
        ({"source_special": [True]}, "source_special has 1 values for 4 source tokens"),
        ({"source_attributions": np.array([["a"]])}, "real numbers"),
        ({"axes": ("head", "head")}, "different names"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_both_sizes(changes, message):
    """A wrong shape found here is not found as a wrong picture later."""
    with pytest.raises(InvalidArgumentError, match=message):
        encoder_decoder(**changes)


def test_minimum_and_maximum_look_at_finite_scores_of_both_sides():
    """They are the ends of a colour scale, which has to reach zero and cannot reach infinity."""
    assert encoder_decoder().minimum == -20
    assert encoder_decoder().maximum == 20
    positive = encoder_decoder(source_attributions=np.array([[1, np.inf, 1]] * 4), target_attributions=None)
    assert (positive.minimum, positive.maximum) == (0, 1)


def test_a_slice_of_an_attributed_source_keeps_every_step():
    """Slices choose what was looked at, not what was explained."""
    part = encoder_decoder()[1:3]

    assert part.source == ["▁wo", "rld"]
    assert part.target == encoder_decoder().target
    np.testing.assert_array_equal(part.source_attributions, [[2, 2, 0], [3, -3, 0]])


def test_a_slice_of_a_decoder_only_result_keeps_what_was_generated():
    """The prompt is cut; generated tokens are both what was looked at and what was explained."""
    whole = decoder_only()
    part = whole[1:2]

    assert part.source == ["b"]
    assert part.target == ["b", "Ġd", "e", "f"]
    assert (part.attr_pos_start, part.attr_pos_end) == (1, 4)
    np.testing.assert_array_equal(part.target_attributions, whole.target_attributions[[1, 3, 4, 5]])


def test_a_span_is_named_by_its_tokens():
    """Counting tokens is what a computer does."""
    sequence = decoder_only()

    assert sequence["b", "c"].source == ["b", "Ġc"]
    assert sequence["a":"b"].source == ["Ġa", "b"]
    assert sequence["Ġc"].source == ["Ġc"]
    assert sequence[-1].target == ["Ġd", "e", "f"]
    assert sequence[0] == sequence["a"]


@pytest.mark.parametrize("bad", ["x", 17, slice(2, 1), slice(0, 3, 2), 1.5])
def test_a_span_that_is_not_there_is_refused(bad):
    """An empty result would look like one without scores."""
    with pytest.raises(InvalidArgumentError):
        encoder_decoder()[bad]


def test_steps_hold_what_came_before_them():
    """Step k sees the prefix before its own token, as a model does."""
    steps = encoder_decoder().step_attributions

    assert [len(s.prefix[0]) for s in steps] == [1, 2, 3]
    assert [s.target[0][0] for s in steps] == ["▁le", "▁mon", "de"]
    np.testing.assert_array_equal(steps[1].target_attributions, [[20, -20]])
    np.testing.assert_array_equal(steps[1].source_attributions, [[-1, 2, -3, 4]])
    np.testing.assert_array_equal(steps[1].step_scores["entropy"], [2])


def test_batched_steps_pad_with_nan():
    """Texts of one call differ in length; a cell that is no token has no score."""
    short = encoder_decoder(
        source=["▁the"], source_attributions=np.ones((1, 3), dtype=np.float32), source_special=None
    )
    steps = FeatureAttributionStepOutput.batched([encoder_decoder(), short])

    assert len(steps) == 3
    assert steps[0].source_attributions.shape == (2, 4)
    assert np.isnan(steps[0].source_attributions[1, 1:]).all()


def test_a_slice_of_an_output_is_an_output_of_those_texts():
    """The texts in its info are those of its sequences."""
    output = output_of(encoder_decoder(), decoder_only(), decoder_only(seed=1))

    assert output[1] == decoder_only()
    assert [s.target for s in output[1:]] == [decoder_only().target] * 2
    assert output[1:].info["input_texts"] == ("input 1", "input 2")
    assert len(list(output)) == len(output) == 3


def test_decoding_tokens_replaces_those_with_an_id():
    """Merged spans have no id, and nothing to decode."""

    class Reversed:
        def decode(self, ids):
            return f"<{ids[0]}>"

    sequence = encoder_decoder(source=[TokenWithId("a", 5), TokenWithId("b"), TokenWithId("c", 6), "d"])

    assert sequence.decode_tokens(Reversed()).source == ["<5>", "b", "<6>", "d"]
    assert sequence.source[0] == TokenWithId("a", 5)


def test_bfloat16_becomes_float32_and_other_floats_stay():
    """numpy has no bfloat16; its numbers are all float32 numbers."""
    half = FeatureAttributionSequenceOutput(target=["a"], step_scores={"x": np.ones(1, np.float16)})
    whole = FeatureAttributionSequenceOutput(target=["a"], step_scores={"x": [1]})

    assert half.step_scores["x"].dtype == np.float16
    assert whole.step_scores["x"].dtype == np.float32
    ml_dtypes = pytest.importorskip("ml_dtypes")
    brain = FeatureAttributionSequenceOutput(
        target=["a"], step_scores={"x": np.array([1.5], dtype=ml_dtypes.bfloat16)}
    )
    assert brain.step_scores["x"].dtype == np.float32
    assert brain.step_scores["x"] == 1.5
