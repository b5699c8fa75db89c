"""Methods that are broken in one way each, beside one that is sound."""

from __future__ import annotations

import random
from typing import Any

import attrs
import numpy as np
import torch
from support.mutants.record import Mutant, looked_at

import inseq_core as ic
from inseq_core.torch import InputTensors


@attrs.frozen(kw_only=True)
class Sound:
    """Embedding times gradient.

    Args:
        scale: factor of every score.
    """

    scale: float = attrs.field(default=1.0, validator=attrs.validators.instance_of(float))

    def scores(self, ctx: Any) -> InputTensors:
        """(R, S, D) and (R, L, D)."""
        return ctx.step_gradients() * ctx.inputs * self.scale

    def attribute(self, ctx: Any) -> Any:
        """The scores."""
        return ctx.output(self.scores(ctx))


SOUND = ic.MethodSpec(
    name="sound",
    factory=Sound,
    summary="Embedding times gradient.",
    paper="https://arxiv.org/abs/1605.01713",
    needs={ic.Need.GRADIENTS},
    trailing_axes=("hidden",),
    default_aggregation=("vnorm",),
    additive=True,
)


class Undocumented(Sound):
    """Embedding times gradient."""


@attrs.define(kw_only=True)
class Changeable:
    """A parameter that can be changed later.

    Args:
        scale: factor of every score.
    """

    scale: float = attrs.field(default=1.0, validator=attrs.validators.instance_of(float))

    def attribute(self, ctx: Any) -> Any:
        """The scores."""
        return Sound(scale=self.scale).attribute(ctx)


@attrs.frozen(kw_only=True)
class TakesAnything(Sound):
    """A parameter without a validator.

    Args:
        scale: see Sound.
        mode: not looked at.
    """

    mode: Any = "plain"


@attrs.frozen(kw_only=True)
class CrashesOnNonsense(Sound):
    """A parameter that is used without being looked at.

    Args:
        scale: see Sound.
        power: of the scores.
    """

    power: Any = 1

    def scores(self, ctx: Any) -> InputTensors:
        return super().scores(ctx).map(lambda x: x**self.power)


class SumsHidden(Sound):
    """Gives one number a token, though its spec names the hidden axis."""

    def attribute(self, ctx: Any) -> Any:
        scores = self.scores(ctx).sum_hidden()
        return ctx.output(scores.source, scores.target)


class ForgetsTheSource(Sound):
    """Scores the target of translators only."""

    def attribute(self, ctx: Any) -> Any:
        return ic.MethodOutput(target=self.scores(ctx).target)


class DividesByZero(Sound):
    """The first token's scores are NaN."""

    def scores(self, ctx: Any) -> InputTensors:
        def spoil(x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x[:, :1] * torch.nan, x[:, 1:]], dim=1)

        return super().scores(ctx).map(spoil)


class GivesZeros(Sound):
    """Something was not connected."""

    def scores(self, ctx: Any) -> InputTensors:
        return super().scores(ctx) * 0.0


class NotesAFunction(Sound):
    """Its notes are no plain data."""

    def attribute(self, ctx: Any) -> Any:
        return ctx.output(self.scores(ctx), notes={"how": self.scores})


class ScoresWhatComesLater(Sound):
    """Every position gets something, also those behind the step."""

    def scores(self, ctx: Any) -> InputTensors:
        return super().scores(ctx) + 1.0


class KnowsTheEnd(Sound):
    """Divides by the length of the whole text, which earlier steps cannot know."""

    def scores(self, ctx: Any) -> InputTensors:
        lengths = [len(text.target_ids) for text in ctx.request.full_texts]
        factor = torch.tensor([1.0 / lengths[b] for b in ctx.grid.sequence.tolist()], dtype=torch.float64)
        return super().scores(ctx).map(lambda x: x * factor[:, None, None])


class CountsItsNeighbours(Sound):
    """Divides by the number of texts in the batch."""

    def scores(self, ctx: Any) -> InputTensors:
        return super().scores(ctx) / len(ctx.batch)


class CountsItsChunk(Sound):
    """Divides by the number of steps that happen to be in one context."""

    def scores(self, ctx: Any) -> InputTensors:
        return super().scores(ctx) / (1 + len(set(ctx.grid.step.tolist())))


class DrawsFromTorch(Sound):
    """Noise from the process's generator."""

    def scores(self, ctx: Any) -> InputTensors:
        return super().scores(ctx).map(lambda x: x * (1 + torch.rand(x.shape[1], 1)))


class DrawsFromTheSeed(Sound):
    """Noise from the call's seed."""

    def scores(self, ctx: Any) -> InputTensors:
        factor = 1 + float(ctx.generator().random())
        return super().scores(ctx) * factor


class SeedsEverything(Sound):
    """Seeds the process's generators."""

    def scores(self, ctx: Any) -> InputTensors:
        random.seed(0)
        return super().scores(ctx)


class TwiceTooMuch(Sound):
    """Every score is twice what it should be."""

    def scores(self, ctx: Any) -> InputTensors:
        return super().scores(ctx) * 2.0


class BiasedNoise(Sound):
    """Random scores whose mean is a third too large."""

    def scores(self, ctx: Any) -> InputTensors:
        factor = 4 / 3 + 0.1 * float(np.random.default_rng([*ctx.text_key(), 1]).normal())
        return super().scores(ctx) * factor


class LeavesAHook(Sound):
    """A hook stays on the model."""

    def scores(self, ctx: Any) -> InputTensors:
        ctx.adapter.model.register_forward_hook(lambda *_: None)
        return super().scores(ctx)


class MovesTheWeights(Sound):
    """A parameter is changed a little, in place."""

    def scores(self, ctx: Any) -> InputTensors:
        ctx.adapter.model.head.bias.data.add_(1e-3)
        return super().scores(ctx)


class CleansUpAtTheEnd(Sound):
    """A parameter is put back, unless something fails before."""

    def scores(self, ctx: Any) -> InputTensors:
        bias = ctx.adapter.model.head.bias
        before = bias.detach().clone()
        bias.data.add_(1e-3)
        scores = super().scores(ctx)
        bias.data.copy_(before)
        return scores


class HidesFailures(Sound):
    """What goes wrong becomes zeros."""

    def scores(self, ctx: Any) -> InputTensors:
        try:
            return super().scores(ctx)
        except RuntimeError:
            return ctx.zeros()


class CallsTheModel(Sound):
    """Runs the model in the mode that it was given in, not through the context."""

    def scores(self, ctx: Any) -> InputTensors:
        scores = super().scores(ctx)
        if ctx.batch.has_source:
            return scores
        ids = ctx.adapter.as_array(ctx.batch.target_ids)
        ctx.adapter.model.train()
        with torch.no_grad():
            size = ctx.adapter.run_decoder(ids, torch.ones_like(ids)).logits.square().mean()
        return scores * float(size)


def method(factory: Any = Sound, **changes: Any) -> Any:
    """A method under test, made of the sound spec with changes."""
    return lambda: looked_at("methods", attrs.evolve(SOUND, factory=factory, **changes))


METHODS = (
    Mutant(check="it_loads", defect="a lazy path that leads nowhere", make=method("inseq_core.axes:Sound")),
    Mutant(check="it_loads", defect="a class without attribute()", make=method(dict)),
    Mutant(check="its_source_is_named", defect="no paper", make=method(paper="")),
    Mutant(check="parameters_are_documented", defect="a parameter without a word", make=method(Undocumented)),
    Mutant(check="parameters_are_frozen", defect="a class that can be changed", make=method(Changeable)),
    Mutant(
        check="parameters_are_validated", defect="a parameter that takes anything", make=method(TakesAnything)
    ),
    Mutant(
        check="parameters_are_validated",
        defect="nonsense ends in a bare TypeError",
        make=method(CrashesOnNonsense),
    ),
    Mutant(
        check="its_aggregation_exists",
        defect="an aggregation function that does not exist",
        make=method(default_aggregation=("norm",)),
    ),
    Mutant(
        check="its_aggregation_exists",
        defect="fewer aggregation functions than axes",
        make=method(default_aggregation=()),
    ),
    Mutant(
        check="shapes_follow_the_spec", defect="the declared hidden axis is missing", make=method(SumsHidden)
    ),
    Mutant(check="shapes_follow_the_spec", defect="no scores of the source", make=method(ForgetsTheSource)),
    Mutant(check="scores_are_finite", defect="NaN for the first token", make=method(DividesByZero)),
    Mutant(check="something_is_scored", defect="zeros throughout", make=method(GivesZeros)),
    Mutant(check="results_can_be_saved", defect="a function among its notes", make=method(NotesAFunction)),
    Mutant(
        check="later_tokens_get_nothing",
        defect="a constant added to every position",
        make=method(ScoresWhatComesLater),
    ),
    Mutant(
        check="later_tokens_change_nothing",
        defect="divides by the length of the whole text",
        make=method(KnowsTheEnd),
    ),
    Mutant(
        check="alone_equals_in_a_batch",
        defect="divides by the number of texts",
        make=method(CountsItsNeighbours),
    ),
    Mutant(
        check="steps_alone_equal_steps_together",
        defect="divides by the number of steps in a chunk",
        make=method(CountsItsChunk),
    ),
    Mutant(
        check="same_call_gives_same_numbers",
        defect="noise from the global generator",
        make=method(DrawsFromTorch, deterministic=False),
    ),
    Mutant(
        check="deterministic_needs_no_seed",
        defect="declared deterministic, but draws",
        make=method(DrawsFromTheSeed),
    ),
    Mutant(
        check="global_randomness_is_left_alone",
        defect="seeds the global generator",
        make=method(SeedsEverything),
    ),
    Mutant(
        check="unsigned_scores_are_not_negative",
        defect="signed scores declared unsigned",
        make=method(signed=False),
    ),
    Mutant(check="linear_truth_is_found", defect="every score doubled", make=method(TwiceTooMuch)),
    Mutant(
        check="linear_truth_is_found",
        defect="random scores whose mean is off",
        make=method(BiasedNoise, deterministic=False),
    ),
    Mutant(
        check="complete_scores_add_up",
        defect="embedding times gradient, declared complete",
        make=method(complete=True),
    ),
    Mutant(check="the_model_is_left_as_it_was", defect="a hook that stays", make=method(LeavesAHook)),
    Mutant(
        check="the_model_is_left_as_it_was", defect="a weight moved in place", make=method(MovesTheWeights)
    ),
    Mutant(
        check="the_model_is_left_as_it_was_after_a_failure",
        defect="a weight put back without try/finally",
        make=method(CleansUpAtTheEnd),
    ),
    Mutant(
        check="the_model_is_left_as_it_was_after_a_failure",
        defect="failures of the model become zeros",
        make=method(HidesFailures),
    ),
    Mutant(
        check="training_mode_does_not_show",
        defect="switches dropout on and calls the model",
        make=method(CallsTheModel),
    ),
)
