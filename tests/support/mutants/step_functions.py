"""Step functions that are broken in one way each, beside one that is sound."""

from __future__ import annotations

import random
from typing import Any

import attrs
import numpy as np
import torch
from array_api_compat import array_namespace
from support.mutants.record import Mutant, looked_at

import inseq_core as ic
from inseq_core.step_functions.arrays import log_softmax, pick


def sound(args: ic.StepFunctionArgs, logprob: bool = False) -> Any:
    """Probability of each target token.

    Args:
        args: one row a step.
        logprob: the logarithm instead.
    """
    log_p = pick(log_softmax(args.logits), args.target_ids)
    return log_p if logprob else array_namespace(log_p).exp(log_p)


SOUND = ic.StepFunctionSpec(
    name="sound",
    function=sound,
    summary="Probability of the target token.",
    formula="p_y",
    range="[0, 1]",
    aggregate_map={"spans": "prod"},
    rowwise=True,
)


def undocumented(args: Any, logprob: bool = False) -> Any:
    """Probability of each target token."""
    return sound(args, logprob)


def a_number_for_each_token(args: Any) -> Any:
    """(R, V)."""
    return log_softmax(args.logits)


def nan_for_the_first_step(args: Any) -> Any:
    """NaN where the first step of a text is."""
    spoilt = args.adapter.as_array(np.where(args.grid.step > 0, 0.0, np.nan))
    return sound(args) + spoilt


def torch_only(args: Any) -> Any:
    """By torch's own functions."""
    log_p = torch.log_softmax(args.logits, dim=-1)
    return log_p.gather(-1, args.target_ids[:, None])[:, 0].exp()


def counts_padding(args: Any) -> Any:
    """Divides by the width of the padded batch."""
    return sound(args) / args.decoder_input_ids.shape[1]


def centred(args: Any) -> Any:
    """Minus the mean over the rows."""
    values = sound(args)
    return values - values.mean()


def changes_logits(args: Any) -> Any:
    """Shifts the logits in place, behind autograd's back."""
    values = sound(args)
    logits = args.forward_output.logits
    if isinstance(logits, torch.Tensor):
        logits.data.add_(1.0)
    return values


def logarithm(args: Any) -> Any:
    """ln p, though a probability is declared."""
    return sound(args, logprob=True)


def half_detached(args: Any) -> Any:
    """A factor whose derivative was forgotten."""
    values = sound(args)
    return values * values.detach() if isinstance(values, torch.Tensor) else values * values


def detached(args: Any) -> Any:
    """No graph at all."""
    values = sound(args)
    return values.detach() if isinstance(values, torch.Tensor) else values


def noisy(args: Any) -> Any:
    """Draws from the process's generator."""
    return sound(args) * (0.5 + random.random() / 2)


def leaves_hooks(args: Any) -> Any:
    """On every module of a torch model."""
    model = getattr(args.adapter, "model", None)
    if model is not None:
        for module in model.modules():
            module.register_forward_hook(lambda *_: None)
    return sound(args)


def only_beside(args: Any) -> Any:
    """Fails where it is what is explained."""
    if args.is_attributed_fn:
        raise ValueError("not meant for this")
    return sound(args)


def function(path: Any = sound, **changes: Any) -> Any:
    """A step function under test, made of the sound spec with changes."""
    return lambda: looked_at("step_functions", attrs.evolve(SOUND, function=path, **changes))


STEP_FUNCTIONS = (
    Mutant(check="it_loads", defect="a lazy path that leads nowhere", make=function("inseq_core.axes:sound")),
    Mutant(check="its_definition_is_given", defect="neither formula nor paper", make=function(formula="")),
    Mutant(
        check="parameters_are_documented", defect="a parameter without a word", make=function(undocumented)
    ),
    Mutant(
        check="its_aggregation_exists",
        defect="an aggregation function that does not exist",
        make=function(aggregate_map={"spans": "product"}),
    ),
    Mutant(
        check="one_number_a_step",
        defect="a number for each token of the vocabulary",
        make=function(a_number_for_each_token),
    ),
    Mutant(check="one_number_a_step", defect="NaN at the first step", make=function(nan_for_the_first_step)),
    Mutant(
        check="every_framework_is_served", defect="works on torch tensors only", make=function(torch_only)
    ),
    Mutant(
        check="alone_equals_in_a_batch",
        defect="divides by the width of the padding",
        make=function(counts_padding),
    ),
    Mutant(check="rows_are_kept_apart", defect="subtracts the mean over rows", make=function(centred)),
    Mutant(
        check="what_it_is_given_is_not_changed",
        defect="shifts the logits in place",
        make=function(changes_logits),
    ),
    Mutant(
        check="values_lie_in_the_range",
        defect="logarithms, declared as probabilities",
        make=function(logarithm),
    ),
    Mutant(
        check="its_gradient_is_the_derivative",
        defect="a factor that was detached",
        make=function(half_detached),
    ),
    Mutant(check="its_gradient_is_the_derivative", defect="detached altogether", make=function(detached)),
    Mutant(
        check="same_call_gives_same_numbers", defect="noise from the global generator", make=function(noisy)
    ),
    Mutant(check="the_model_is_left_as_it_was", defect="hooks that stay", make=function(leaves_hooks)),
    Mutant(check="it_can_be_explained", defect="fails as attributed function", make=function(only_beside)),
)
