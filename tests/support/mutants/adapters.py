"""Adapters that are broken in one way each: toys with one method that is wrong."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from support.mutants.record import Mutant

import inseq_core as ic
from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import as_ids
from inseq_core.hooks import SESSION, Entry
from inseq_core.hooks.kinds import ADAPTERS as KIND
from inseq_core.testing.adapters import AdapterUnderTest
from inseq_core.testing.torch_toys import TorchToy
from inseq_core.testing.toys import ADAPTER, UNK, BagModel


class NoVocabularySize(BagModel):
    def __init__(self) -> None:
        super().__init__()
        self.profile = attrs.evolve(self.profile, vocabulary_size=0)


class LosesTheFirstWord(BagModel):
    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str:
        return " ".join(super().decode(ids, skip_special_tokens).split()[1:])


class TokenisesAgain(BagModel):
    def encode_output(self, text: str, given: Any) -> Any:
        return as_ids(self.encode_input(text).ids[1:])


class TakesAnyText(BagModel):
    def encode_output(self, text: str, given: Any) -> Any:
        return as_ids([*given.ids, *self.encode_input(text).ids[len(given.ids) :]])


class ForgetsATokenText(BagModel):
    def token_texts(self, ids: Any, side: str = "target") -> Any:
        return super().token_texts(list(ids)[1:], side)


class BaselineOutsideTheVocabulary(BagModel):
    def baseline_ids(self, baseline: Any, side: str = "target") -> int:
        return -1 if baseline == "unk" else super().baseline_ids(baseline, side)


class AnyBaselineIsUnknown(BagModel):
    def baseline_ids(self, baseline: Any, side: str = "target") -> int:
        return self.ids.get(baseline, UNK)


class EverythingInHalves(BagModel):
    def as_array(self, values: Any) -> Any:
        return np.asarray(values, dtype=np.float16)


class ForgetsTheStepAxis(BagModel):
    def forward_rows(self, batch: Any, grid: Any) -> Any:
        return ForwardOutput(logits=super().forward_rows(batch, grid).logits[:, 0])


class LooksAhead(BagModel):
    def logits(self, text: Any, position: int) -> Any:
        ahead = len(text.target_ids) - position
        return super().logits(text, position) + 0.01 * ahead


class SeesPadding(BagModel):
    def forward_rows(self, batch: Any, grid: Any) -> Any:
        padding = batch.target_ids.shape[1] - batch.target_lengths[grid.sequence]
        logits = super().forward_rows(batch, grid).logits
        return ForwardOutput(logits=logits + 0.01 * padding[:, None, None])


class SortsRows(BagModel):
    def forward_rows(self, batch: Any, grid: Any) -> Any:
        logits = super().forward_rows(batch, grid).logits
        return ForwardOutput(logits=logits[np.argsort(grid.position, kind="stable")])


class GivesOnlyWhatIsNew(BagModel):
    def generate(self, texts: Any, generation_args: Any) -> Any:
        every = super().generate(texts, generation_args)
        return [ids[len(text.target_ids) :] for text, ids in zip(texts, every, strict=True)]


class GeneratesForTheBatch(BagModel):
    def generate(self, texts: Any, generation_args: Any) -> Any:
        every = super().generate(texts, generation_args)
        return [np.append(ids[:-1], 4 + len(texts)) for ids in every]


class RowByRow(TorchToy):
    def forward_rows(self, batch: Any, grid: Any) -> Any:
        import torch

        rows = [super(RowByRow, self).forward_rows(batch, grid.take([r])).logits for r in range(len(grid))]
        return ForwardOutput(logits=torch.cat(rows))


class SeesThroughTheMask(BagModel):
    def logits(self, text: Any, position: int) -> Any:
        return super().logits(attrs.evolve(text, target_kept=None, source_kept=None), position)


class DeclaresWhatItCannot(BagModel):
    removals = frozenset({"token", "mean"})

    def logits(self, text: Any, position: int) -> Any:
        if text.target_blank is not None:
            raise NotImplementedError("other embeddings")
        return super().logits(text, position)


class HalvesTheGradient(TorchToy):
    def run_decoder(self, *args: Any, **kwargs: Any) -> Any:
        head = self.head_module()
        handle = head.register_forward_pre_hook(lambda module, given: (given[0] / 2 + given[0].detach() / 2,))
        try:
            return super().run_decoder(*args, **kwargs)
        finally:
            handle.remove()


class LeavesTrainingMode(TorchToy):
    def generate(self, texts: Any, generation_args: Any) -> Any:
        found = super().generate(texts, generation_args)
        self.model.train()
        return found


def adapter(kind: Any = BagModel, spec: Any = None) -> Any:
    """An adapter under test."""
    entry = None if spec is None else Entry(spec=spec, provenance=SESSION, kind=KIND)
    return lambda: AdapterUnderTest(entry, None, kind())


ADAPTERS = (
    Mutant(
        check="it_loads",
        defect="a lazy path that leads nowhere",
        make=adapter(spec=attrs.evolve(ADAPTER, factory="inseq_core.axes:load")),
    ),
    Mutant(check="its_profile_is_filled", defect="no vocabulary size", make=adapter(NoVocabularySize)),
    Mutant(
        check="capabilities_are_declared",
        defect="a model that can do more than its framework says",
        make=adapter(spec=attrs.evolve(ADAPTER, capabilities={ic.Capability.SCORES})),
    ),
    Mutant(check="a_text_survives", defect="the first word is lost", make=adapter(LosesTheFirstWord)),
    Mutant(
        check="the_boundary_is_in_ids",
        defect="the whole text is tokenised again",
        make=adapter(TokenisesAgain),
    ),
    Mutant(
        check="a_text_that_does_not_continue_is_refused", defect="takes any text", make=adapter(TakesAnyText)
    ),
    Mutant(check="every_id_has_a_token", defect="one token too few", make=adapter(ForgetsATokenText)),
    Mutant(
        check="baselines_are_tokens",
        defect="an id outside the vocabulary",
        make=adapter(BaselineOutsideTheVocabulary),
    ),
    Mutant(
        check="baselines_are_tokens",
        defect="any text is the unknown token",
        make=adapter(AnyBaselineIsUnknown),
    ),
    Mutant(check="arrays_survive", defect="everything becomes float16", make=adapter(EverythingInHalves)),
    Mutant(check="every_row_has_logits", defect="the step axis is missing", make=adapter(ForgetsTheStepAxis)),
    Mutant(
        check="later_tokens_change_no_logits", defect="looks at how much follows", make=adapter(LooksAhead)
    ),
    Mutant(check="padding_changes_no_logits", defect="looks at the padding", make=adapter(SeesPadding)),
    Mutant(check="rows_can_be_chosen", defect="rows in an order of its own", make=adapter(SortsRows)),
    Mutant(
        check="generation_continues_what_was_given",
        defect="gives the new ids alone",
        make=adapter(GivesOnlyWhatIsNew),
    ),
    Mutant(
        check="generation_alone_equals_in_a_batch",
        defect="ends as the batch is long",
        make=adapter(GeneratesForTheBatch),
    ),
    Mutant(check="passes_are_counted", defect="one pass a row", make=adapter(RowByRow)),
    Mutant(
        check="masked_tokens_are_not_seen",
        defect="the mask is not looked at",
        make=adapter(SeesThroughTheMask),
    ),
    Mutant(
        check="removals_are_served",
        defect="declares a removal that it cannot do",
        make=adapter(DeclaresWhatItCannot),
    ),
    Mutant(
        check="gradients_match_differences",
        defect="a part of the graph is detached",
        make=adapter(HalvesTheGradient),
    ),
    Mutant(
        check="the_model_is_left_as_it_was",
        defect="training mode that stays",
        make=adapter(LeavesTrainingMode),
    ),
)
