from __future__ import annotations

import sys

import attrs
import numpy as np
import pytest

from inseq_core.data.result import MethodOutput
from inseq_core.errors import MethodFailedError, MethodOutputError, NonFiniteScoreError


def attribute(model, output, **arguments):
    """A call of the method that returns ``output``."""
    return model.attribute("the dog", method="broken", output=output, **arguments)


def beside_zeros(**given):
    """Scores as they should be, and something beside them."""
    return lambda ctx: MethodOutput(target=np.zeros(ctx.target_shape), **given)


@attrs.frozen
class Unreadable:
    """An array whose numbers cannot be had."""

    shape: tuple[int, ...]

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no numbers")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (None, "returned NoneType, expected a MethodOutput"),
        (
            lambda ctx: ctx.output(target=np.zeros(ctx.target_shape, dtype=complex)),
            "scores of type complex128, expected real numbers",
        ),
        (
            lambda ctx: ctx.output(target=np.zeros(ctx.target_shape, dtype=object)),
            "scores of type object, expected real numbers",
        ),
        (lambda ctx: ctx.output(target=np.zeros((1, 2))), r"shape \(1, 2\), expected \(8, 10\)"),
        (
            lambda ctx: ctx.output(target=np.zeros((*ctx.target_shape, 4))),
            r"shape \(8, 10, 4\), expected \(8, 10\)",
        ),
        (
            lambda ctx: MethodOutput(source=np.zeros((8, 3)), target=np.zeros(ctx.target_shape)),
            "gave source scores, which were not asked for",
        ),
        (
            lambda ctx: ctx.output(target=np.zeros(ctx.target_shape), step_scores={"deltas": np.zeros(3)}),
            r"step score 'deltas' of shape \(3,\), expected \(8,\)",
        ),
        (beside_zeros(notes=None), "gave notes as NoneType, expected a dict"),
        (beside_zeros(notes={"features": 3}), "gave the note 'features' as int, expected ctx.features"),
        (beside_zeros(step_scores=[1.0]), "gave step_scores as list, expected a dict"),
        (beside_zeros(step_scores={3: np.zeros(8)}), "gave step_scores with keys that are no names"),
        (
            beside_zeros(step_scores={"deltas": np.array([{}] * 8)}),
            "step score 'deltas' of type object, expected real numbers",
        ),
        (beside_zeros(axes=3), "gave axes = 3, expected a tuple of different names"),
        (beside_zeros(axes="layer"), "gave axes = 'layer', expected a tuple"),
        (beside_zeros(axes=("layer", "layer")), "expected a tuple of different names"),
        (beside_zeros(beside=None), "gave beside as NoneType"),
        (
            beside_zeros(beside={"error": None}),
            r"gave 'error' beside its scores as NoneType, expected a pair",
        ),
        (beside_zeros(beside={"error": (None, None, None)}), "expected a pair"),
        (beside_zeros(beside={"error": (None, np.array(["a"]))}), "of type <U1, expected real numbers"),
        (beside_zeros(sequence_scores={"flow": None}), "gave sequence score 'flow' as NoneType"),
        (beside_zeros(sequence_scores={"flow": []}), "for 0 texts, expected one value for each of 1 texts"),
        (beside_zeros(sequence_scores={"flow": [object()]}), "of type object, expected real numbers"),
        (beside_zeros(sequence_scores={"flow": [np.zeros((2, 3))]}), r"of shape \(2, 3\), expected .* 8\)"),
        (
            lambda ctx: ctx.output(target=Unreadable(ctx.target_shape)),
            "gave cannot be read: RuntimeError: no",
        ),
    ],
)
def test_what_breaks_the_contract_is_refused_with_method_and_shapes(lm, output, said):
    """A wrong shape that broadcasts would be a wrong number."""
    with pytest.raises(MethodOutputError, match=said) as error:
        attribute(lm, output)
    assert "'broken' (registered in this session)" in str(error.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lambda ctx: ctx.zeros, "AttributeError: .* has no attribute 'zeros'"),
        (lambda ctx: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda ctx: sys.exit(3), "SystemExit: 3"),
        (lambda ctx: ctx.batch.target_ids.fill(0), "ValueError: assignment destination is read-only"),
        (lambda ctx: ctx.batch.target_mask.fill(0), "ValueError: assignment destination is read-only"),
    ],
)
def test_a_method_that_fails_is_named_with_who_provides_it(lm, body, said):
    """A trace of Python's own does not say whose plugin it was; what other functions read cannot be changed."""
    with pytest.raises(
        MethodFailedError, match=rf"'broken' \(registered in this session\) failed on .*{said}"
    ):
        attribute(lm, body)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_and_no_memory_are_no_fault_of_the_method(lm, error):
    """They are the user's and the machine's."""

    def stopped(ctx):
        raise error

    with pytest.raises(error):
        attribute(lm, stopped)


def test_source_scores_that_are_missing_are_refused(translator):
    """An encoder–decoder result without its source would look like a decoder-only one."""
    with pytest.raises(MethodOutputError, match=r"gave no source scores, expected shape \(\d+, 3\)"):
        attribute(
            translator, lambda ctx: MethodOutput(target=np.zeros((ctx.n_rows, 9))), attribute_target=True
        )


def test_nan_where_a_score_should_be_is_refused(lm):
    """The first step that has one is named."""

    def spoiled(ctx):
        scores = np.zeros(ctx.target_shape)
        scores[2, 1] = np.nan
        return ctx.output(target=scores)

    with pytest.raises(
        NonFiniteScoreError,
        match=r"target attribution of 'broken' .* at target position 5.*\n.*comes from the method",
    ):
        attribute(lm, spoiled)


@pytest.mark.parametrize(
    "output",
    [
        lambda ctx: ctx.output(target=np.full(ctx.target_shape, 1e300)),
        lambda ctx: beside_zeros(step_scores={"deltas": np.full(ctx.n_rows, -1e300)})(ctx),
    ],
)
def test_what_float32_cannot_hold_is_refused(lm, output):
    """Results are float32: the number became infinite after it was looked at."""
    with pytest.raises(NonFiniteScoreError, match=r"\n.*float32, whose largest number"):
        attribute(lm, output)


def test_a_step_score_of_the_method_does_not_hide_the_one_that_was_asked_for(lm):
    """One name shows one of them, and nobody could know which."""
    with pytest.raises(MethodOutputError, match="step score 'entropy', which is also the name"):
        attribute(
            lm, beside_zeros(step_scores={"entropy": np.zeros(8)}), step_scores=["probability", "entropy"]
        )


def test_notes_are_kept_as_plain_data(lm):
    """A note is no reason to lose a result, nor a way to change it later."""

    class Silent:
        def __repr__(self):
            raise RuntimeError("nothing to say")

    kept = [1, 2]
    result = attribute(lm, beside_zeros(notes={"kept": kept, "silent": Silent(), "passes": "many"}))
    kept.append(3)

    assert result.info.notes["kept"] == [1, 2]
    assert result.info.notes["silent"] == "<Silent>"
    assert result.info.notes["passes"] == "many"


def test_what_a_method_leaves_behind_a_step_does_not_matter(lm):
    """The contract says that it is ignored; also NaN."""

    def careless(ctx):
        scores = np.where(ctx.visible("target"), 1.0, np.nan)
        return ctx.output(target=scores)

    (result,) = attribute(lm, careless)

    assert np.nansum(result.target_attributions[:, 0]) == result.attr_pos_start


def test_step_scores_and_notes_of_a_method_reach_the_result(lm):
    """Convergence deltas, passes used."""
    (result,) = lm.attribute("the dog", method="positional", step_scores=["entropy"])

    assert list(result.step_scores) == ["position", "entropy"]
    assert result.step_scores["position"].tolist() == list(range(3, 3 + result.n_steps))


def test_sequence_scores_of_half_a_text_are_refused(lm, monkeypatch):
    """They would be those of the last chunk."""
    monkeypatch.setattr(lm.adapter, "plan", lambda batch, grid, spec: [np.arange(2), np.arange(2, len(grid))])

    with pytest.raises(MethodOutputError, match="all_steps=True"):
        attribute(lm, lambda ctx: MethodOutput(sequence_scores={"encoder_x": [np.zeros((2, 2))]}))
