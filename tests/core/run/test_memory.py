from __future__ import annotations

import numpy as np
import pytest

from inseq_core.hooks import MethodSpec, get_host
from inseq_core.model import AttributionModel
from inseq_core.run import assemble, score
from inseq_core.testing.toys import BagModel


class SmallMemory(BagModel):
    """Cannot hold more than so many rows, or texts in generation."""

    def __init__(self, most_rows, most_texts=100, **options):
        super().__init__(**options)
        self.most_rows, self.most_texts, self.freed, self.tried = most_rows, most_texts, 0, []

    def generate(self, texts, generation_args):
        if len(texts) > self.most_texts:
            raise MemoryError
        return super().generate(texts, generation_args)

    def forward_rows(self, batch, grid):
        self.tried.append(len(grid))
        if len(grid) > self.most_rows:
            raise MemoryError
        return super().forward_rows(batch, grid)

    def free_memory(self):
        self.freed += 1


TEXTS = ["the dog sees", "a cat", "she likes it because it is red"]


@pytest.mark.parametrize("is_encoder_decoder", [False, True])
@pytest.mark.parametrize("most", [1, 3, 7, 20])
def test_what_does_not_fit_is_halved_and_nothing_changes(most, is_encoder_decoder):
    """Whatever the chunks, the numbers are those of one pass."""
    arguments = {"method": "dummy", "step_scores": ["probability", "entropy"]}
    plain = AttributionModel(BagModel(is_encoder_decoder=is_encoder_decoder)).attribute(TEXTS, **arguments)
    small = SmallMemory(most, is_encoder_decoder=is_encoder_decoder)
    out = AttributionModel(small).attribute(TEXTS, **arguments)

    assert list(out) == list(plain)
    assert small.freed == sum(n > most for n in small.tried)


def test_a_size_that_was_too_much_is_not_tried_again():
    """Each attempt costs a pass."""
    small = SmallMemory(3)
    AttributionModel(small).attribute(TEXTS, method="dummy", step_scores=["entropy"])

    assert small.tried[:4] == [24, 12, 6, 3]
    assert all(n <= 3 for n in small.tried[4:])


def test_one_row_that_does_not_fit_is_the_user_s_to_know():
    """There is nothing left to halve."""
    with pytest.raises(MemoryError):
        AttributionModel(SmallMemory(0)).attribute("the dog", method="dummy", step_scores=["entropy"])


def test_generation_is_halved_too():
    """A batch that does not fit goes on in halves."""
    out = AttributionModel(SmallMemory(100, most_texts=1)).attribute(TEXTS, method="dummy")

    assert list(out) == list(AttributionModel(BagModel()).attribute(TEXTS, method="dummy"))


def test_rows_of_a_method_are_halved_also_inside_the_plan_of_the_adapter():
    """The method's own passes are what fills the memory."""
    small = SmallMemory(40)
    out = AttributionModel(small, "leave_out").attribute(TEXTS)

    assert list(out) == list(AttributionModel(BagModel(), "leave_out").attribute(TEXTS))


def test_steps_of_one_text_are_not_parted_where_the_method_wants_them_all():
    """all_steps=True: halves are of texts, and one text that does not fit is an error."""
    seen = []

    class Whole:
        def attribute(self, ctx):
            seen.append(len(ctx.grid))
            if len(ctx.batch) > 1:
                raise MemoryError
            return ctx.output(target=np.zeros(ctx.target_shape))

    get_host().methods.register(MethodSpec(name="whole", factory=Whole, summary="All steps.", all_steps=True))
    try:
        AttributionModel(BagModel()).attribute(TEXTS, method="whole")
    finally:
        get_host().methods.unregister("whole")

    assert seen == [24, 8, 16, 8, 8]


def test_rows_of_step_scores_are_cut_to_the_budget_of_logits(lm, monkeypatch):
    """1,000 rows of 262,144 logits are a gigabyte."""
    whole = lm.attribute(TEXTS, method="dummy", step_scores=["entropy"])
    monkeypatch.setattr(score, "LOGIT_BUDGET", 4 * 23 * 5)
    lm.adapter.passes.clear()
    out = lm.attribute(TEXTS, method="dummy", step_scores=["entropy"])

    assert list(out) == list(whole)
    assert len(lm.adapter.passes) == 5  # 24 rows in chunks of 5


def test_trailing_axes_that_would_not_fit_are_reduced_as_they_are_made(lm, monkeypatch):
    """The same numbers as aggregating afterwards, without ever holding them all; and the info says so."""
    whole = lm.attribute(TEXTS, method="positional")
    monkeypatch.setattr(assemble, "GRANULAR_BUDGET", 1000)
    reduced = lm.attribute(TEXTS, method="positional")
    kept = lm.attribute(TEXTS, method="positional", keep_granular=True)

    assert whole[0].target_attributions.shape[2:] == (2, 3) and kept[0] == whole[0]
    assert reduced[0].axes == () and reduced[0].target_attributions.ndim == 2
    for a, b in zip(reduced, whole, strict=True):
        np.testing.assert_allclose(a.target_attributions, b.target_attributions.sum(-1).mean(-1), rtol=1e-6)
        np.testing.assert_allclose(
            a.aggregate().target_attributions, b.aggregate().target_attributions, rtol=1e-5
        )
    assert [r["axis"] for r in reduced.info.reductions] == ["hidden", "layer"]
    assert whole.info.reductions == ()
