from __future__ import annotations

import sys

import numpy as np
import pytest

from inseq_core.data.result import MethodOutput
from inseq_core.errors import MethodFailedError, MethodOutputError, NonFiniteScoreError


def attribute(model, output, **arguments):
    """A call of the method that returns ``output``."""
    return model.attribute("the dog", method="broken", output=output, **arguments)


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
