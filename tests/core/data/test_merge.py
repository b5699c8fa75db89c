from __future__ import annotations

import attrs
import numpy as np
import pytest
from support.results import decoder_only, encoder_decoder, output_of

from inseq_core.data.attribution import FeatureAttributionStepOutput
from inseq_core.data.output import MATCHING_FIELDS, MATCHING_NOTES, merge_attributions
from inseq_core.errors import MergeError


def test_merging_puts_texts_side_by_side():
    """A dataset attributed in pieces is one dataset."""
    a, b = output_of(encoder_decoder(), attr_pos_end=4), output_of(decoder_only(), attr_pos_end=6)
    merged = a + b

    assert list(merged) == [encoder_decoder(), decoder_only()]
    assert merged.info["input_texts"] == ("input 0", "input 0")
    assert merged.info["exec_time"] == 3.0
    assert merged.info["attr_pos_end"] == 6
    assert len(a) == len(b) == 1


def with_steps(*sequences):
    """An output of texts that were attributed together, with step attributions."""
    output = output_of(*sequences)
    return attrs.evolve(output, step_attributions=FeatureAttributionStepOutput.batched(output))


def test_step_attributions_follow_their_texts():
    """They are columns of the texts: aggregated, picked and merged as these are, batch by batch."""
    pair = with_steps(decoder_only(hidden=4), decoder_only(hidden=4, seed=1))
    merged = pair + with_steps(decoder_only(hidden=4, seed=2))

    whole = merged.aggregate()
    assert [len(step.target) for step in whole.step_attributions] == [2, 2, 2, 1, 1, 1]
    expected = np.stack([text.target_attributions[:3, 0] for text in pair.aggregate()])
    np.testing.assert_array_equal(whole.step_attributions[0].target_attributions, expected)
    assert [len(step.target) for step in merged[1:].step_attributions] == [1] * 6
    assert merged[:2] == attrs.evolve(pair, info=merged[:2].info)
    assert output_of(decoder_only(hidden=4)).aggregate().step_attributions is None


def test_step_attributions_that_do_not_tell_their_batches_are_of_one():
    """As of a file that another program wrote."""
    pair = with_steps(decoder_only(hidden=4), decoder_only(hidden=4, seed=1))
    odd = attrs.evolve(pair, step_attributions=pair.step_attributions[:2])

    assert odd.aggregate() == pair.aggregate()


def test_sum_of_outputs_is_their_merge():
    """``sum`` begins with 0, which stands for no output."""
    outputs = [output_of(encoder_decoder()) for _ in range(3)]

    assert len(sum(outputs)) == 3
    assert sum(outputs[:1]) == outputs[0]


@pytest.mark.parametrize(
    "field", [f for f in MATCHING_FIELDS if not f.endswith("args") and f != "step_scores"]
)
def test_the_field_that_differs_is_named_with_both_values(field):
    """ "Cannot merge" alone sends people through two dicts by eye."""
    one, other = output_of(decoder_only(), **{field: "left"}), output_of(decoder_only(), **{field: "right"})

    with pytest.raises(MergeError, match=f"{field} differs, 'left' in output 0 and 'right' in output 1"):
        merge_attributions([one, other])


def test_of_arguments_only_those_that_differ_are_shown():
    """The others would push them out of the line."""
    shared = {"method": "gausslegendre", "internal_batch_size": None, "return_convergence_delta": False}
    one = output_of(decoder_only(), attribution_args={**shared, "n_steps": 2})
    other = output_of(decoder_only(), attribution_args={**shared, "n_steps": 3, "tolerance": 0.1})

    with pytest.raises(
        MergeError, match=r"differs, {'n_steps': 2} in .* and {'n_steps': 3, 'tolerance': 0.1} in"
    ):
        merge_attributions([one, other])


def test_the_baseline_is_named_before_the_arguments_that_it_is_one_of():
    """It stands in both."""
    one, other = (
        output_of(decoder_only(), baseline=token, attribution_args={"n_steps": 2, "baseline": token})
        for token in ("unk", "pad")
    )

    with pytest.raises(MergeError, match="baseline differs, 'unk' in output 0 and 'pad' in output 1"):
        merge_attributions([one, other])


@pytest.mark.parametrize("note", MATCHING_NOTES)
def test_what_was_removed_and_how_steps_were_joined_is_compared(note):
    """Scores of words and of tokens are no scores of one run, nor are sums of steps and single steps."""
    one, other = output_of(decoder_only(), notes={note: "one"}), output_of(decoder_only(), notes={"nodes": 2})

    with pytest.raises(MergeError, match=f"{note} differs, 'one' in output 0 and None in output 1"):
        merge_attributions([one, other])
    assert len(merge_attributions([one, output_of(decoder_only(), notes={note: "one", "nodes": 3})])) == 2


def test_scores_of_other_axes_do_not_merge():
    """One text would have a number where the other has a vector; memory as the reason is no choice of a call's."""
    plain = decoder_only()
    granular = decoder_only(target_attributions=plain.target_attributions[..., None], axes=("hidden",))
    reduced = output_of(plain, reductions=[{"axis": "hidden", "function": "vnorm"}])

    with pytest.raises(MergeError, match=r"axes differs, \('hidden',\) in output 0 and \(\) in output 1"):
        merge_attributions([output_of(granular), output_of(plain)])
    assert len(output_of(granular) + reduced) == 2


def test_step_scores_may_be_named_in_any_order():
    """They are found by name."""
    one, other = (
        output_of(decoder_only(), step_scores=names)
        for names in (["probability", "entropy"], ["entropy", "probability"])
    )

    assert len(one + other) == 2


def test_only_outputs_merge_and_at_least_one():
    """Anything else is a slip of the hand."""
    with pytest.raises(MergeError, match="Item 1 is a str"):
        merge_attributions([output_of(decoder_only()), "a"])
    with pytest.raises(MergeError, match="Nothing to merge"):
        merge_attributions([])
    with pytest.raises(TypeError):
        output_of(decoder_only()) + 1
