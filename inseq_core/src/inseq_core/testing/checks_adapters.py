"""Checks of model adapters: what was loaded, and logits that depend on what they may depend on.

Axes: B sequences, S source positions, L target positions, R rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from inseq_core.data.steps import StepGrid
from inseq_core.hooks import Capability
from inseq_core.hooks.kinds import ADAPTERS, METHODS
from inseq_core.model import AttributionModel
from inseq_core.testing.adapters import AdapterUnderTest
from inseq_core.testing.checks import NotApplicable, check_of, demand, without_warnings
from inseq_core.testing.compare import changed, same
from inseq_core.testing.registered import LEAVE_ONE_OUT, registered
from inseq_core.testing.state import model_state

KIND = ADAPTERS.key


@check_of(KIND)
def it_loads(subject: AdapterUnderTest) -> None:
    """Its lazy path leads to a loader, and the loader gives an adapter.

    Listing works without importing it, so a wrong path is found only when somebody wants to use it.
    """
    if subject.entry is not None:
        demand(callable(subject.entry.load()), "its factory cannot be called")
    demand(subject.adapter.profile is not None, "the adapter has no profile")


@check_of(KIND)
def its_profile_is_filled(subject: AdapterUnderTest) -> None:
    """Its profile says what was loaded, by which framework, and how large the vocabulary is.

    Every result carries it.
    """
    profile = subject.adapter.profile
    empty = [name for name in ("name", "model_class", "framework") if not getattr(profile, name)]
    demand(not empty, f"profile.{', profile.'.join(empty)} is empty")
    demand(profile.vocabulary_size > 0, f"profile.vocabulary_size = {profile.vocabulary_size}")


@check_of(KIND)
def capabilities_are_declared(subject: AdapterUnderTest) -> None:
    """The model can do nothing that its framework's spec does not say, and it can score.

    Methods are offered by what the spec says, and refused by what the model can do.
    """
    found = subject.adapter.capabilities
    demand(Capability.SCORES in found, "it cannot score, so nothing can be done with it")
    if subject.entry is not None:
        more = sorted(map(str, found - subject.entry.spec.capabilities))
        demand(not more, f"{', '.join(more)} is not among the capabilities of its spec")


@check_of(KIND)
def every_row_has_logits(subject: AdapterUnderTest) -> None:
    """It gives (R, 1, V) finite logits, V being the vocabulary that its profile names.

    Step functions index them by token ids.
    """
    text = subject.forced(subject.examples[0])
    batch = subject.batch([text])
    grid = StepGrid.of(batch, [(1, len(text.target_ids))])
    logits = np.asarray(subject.adapter.to_numpy(subject.adapter.forward_rows(batch, grid).logits))
    expected = (len(grid), 1, subject.adapter.profile.vocabulary_size)
    demand(logits.shape == expected, f"logits of shape {logits.shape}, expected {expected}")
    demand(not np.isnan(logits).any(), "NaN among the logits")


@check_of(KIND)
def later_tokens_change_no_logits(subject: AdapterUnderTest) -> None:
    """A row's logits do not depend on what follows it.

    One pass over a whole text stands in for a pass over every prefix. A model that looks ahead has to be run prefix by
    prefix by its adapter.
    """
    adapter = subject.adapter
    text = subject.forced(subject.examples[1])
    adapter.self_check(subject.batch([text]))
    (whole,) = subject.logits([text])
    for length in (len(text.target_ids) - 1, len(text.target_ids) // 2 + 1):
        (short,) = subject.logits([text.truncated(length)])
        what = f"logits of the text cut to {length} positions"
        same(short, whole[: length - 1], what, subject.tolerance)


@check_of(KIND)
def padding_changes_no_logits(subject: AdapterUnderTest) -> None:
    """A text has the same logits alone and beside a longer one.

    Batches are padded on the right; padding may not be seen.
    """
    texts = [subject.forced(example) for example in subject.examples]
    subject.adapter.self_check(subject.batch(texts))
    together = subject.logits(texts)
    for i, text in enumerate(texts):
        same(together[i], subject.logits([text])[0], f"logits of text {i} beside another", subject.tolerance)


@check_of(KIND)
def rows_can_be_chosen(subject: AdapterUnderTest) -> None:
    """Any rows, of any of the texts, have the logits that they have among all.

    Work is cut into chunks of rows.
    """
    texts = [subject.forced(example) for example in subject.examples]
    batch = subject.batch(texts)
    grid = StepGrid.of(batch, [(1, len(text.target_ids)) for text in texts])
    adapter = subject.adapter
    every = np.asarray(adapter.to_numpy(adapter.forward_rows(batch, grid).logits))
    chosen = np.arange(len(grid))[1::2]
    some = np.asarray(adapter.to_numpy(adapter.forward_rows(batch, grid.take(chosen)).logits))
    same(some, every[chosen], "logits of every second row", subject.tolerance)


def cannot_generate(subject: AdapterUnderTest) -> None:
    """Raise ``NotApplicable`` where a model does not generate."""
    if Capability.GENERATE not in subject.adapter.capabilities:
        raise NotApplicable("it does not generate")


@check_of(KIND)
def generation_continues_what_was_given(subject: AdapterUnderTest) -> None:
    """Generated ids begin with the ids that were given, and add a few.

    Where generation starts is a position.
    """
    cannot_generate(subject)
    begun = [subject.begun(example) for example in subject.examples]
    for text, ids in zip(begun, subject.adapter.generate(begun, {"max_new_tokens": 4}), strict=True):
        start = text.target_ids
        demand(np.array_equal(ids[: len(start)], start), f"{start.tolist()} was continued as {ids.tolist()}")
        added = len(ids) - len(start)
        demand(0 < added <= 4, f"{added} new tokens, expected one to four")


@check_of(KIND)
def generation_alone_equals_in_a_batch(subject: AdapterUnderTest) -> None:
    """A text is continued in the same way alone and beside another one.

    Otherwise it depends on its neighbours what is explained.
    """
    cannot_generate(subject)
    begun = [subject.begun(example) for example in subject.examples]
    together = subject.adapter.generate(begun, {"max_new_tokens": 4})
    for text, ids in zip(begun, together, strict=True):
        (alone,) = subject.adapter.generate([text], {"max_new_tokens": 4})
        demand(np.array_equal(alone, ids), f"{alone.tolist()} alone, {ids.tolist()} in a batch")


@check_of(KIND)
def passes_are_counted(subject: AdapterUnderTest) -> None:
    """Where it counts its passes, one batch is one pass (and one of the encoder), however many its rows.

    The cost of a call is part of its result.
    """
    adapter = subject.adapter
    text = subject.forced(subject.examples[0])
    adapter.self_check(subject.batch([text]))
    before = dict(adapter.counts)
    subject.logits([text])
    if not adapter.counts:
        raise NotApplicable("it does not count")
    spent = adapter.counts.get("forward", 0) - before.get("forward", 0)
    demand(1 <= spent <= 1 + adapter.is_encoder_decoder, f"{spent} forward passes for one batch")


@check_of(KIND)
def masked_tokens_are_not_seen(subject: AdapterUnderTest) -> None:
    """Where it says that tokens can be masked, what stands behind the mask changes nothing elsewhere.

    Removal by masking would remove nothing.
    """
    adapter = subject.adapter
    if "mask" not in adapter.removals:
        raise NotApplicable("it does not mask")
    for side in ("source", "target") if adapter.is_encoder_decoder else ("target",):
        text = subject.forced(subject.examples[1])
        ids = text.source_ids if side == "source" and text.source_ids is not None else text.target_ids
        kept = np.arange(len(ids)) != 1
        found = []
        for token in (int(ids[0]), int(ids[-1])):
            other = ids.copy()
            other[1] = token
            masked: dict[str, Any] = {f"{side}_ids": other, f"{side}_kept": kept}
            (logits,) = subject.logits([attrs.evolve(text, **masked)], first=3)
            found.append(logits)
        same(found[0], found[1], f"logits with two other tokens behind a {side} mask", subject.tolerance)


@check_of(KIND)
def removals_are_served(subject: AdapterUnderTest) -> None:
    """Every way to remove that it declares gives finite scores.

    Removal methods are offered them by name.
    """
    example = subject.examples[0]
    with registered(METHODS, LEAVE_ONE_OUT) as method, without_warnings():
        for way in sorted(subject.adapter.removals):
            (found,) = AttributionModel(subject.adapter).attribute(
                example.text, subject.full(example), method=method, removal=way, show_progress=False
            )
            for scores in (found.source_attributions, found.target_attributions):
                if scores is not None:
                    demand(bool(np.isfinite(scores).any()), f"removal {way!r}: no finite score")


@check_of(KIND)
def gradients_match_differences(subject: AdapterUnderTest) -> None:
    """Where it gives gradients, they are what small changes of the embeddings do to the score.

    Every gradient method stands on them.
    """
    adapter: Any = subject.adapter
    if Capability.GRADIENTS not in adapter.capabilities:
        raise NotApplicable("it gives no gradients")
    if adapter.profile.dtype not in STEP_AND_TOLERANCE:
        raise NotApplicable(f"differences of {adapter.profile.dtype} numbers say nothing")
    _check_gradients(subject, *STEP_AND_TOLERANCE[adapter.profile.dtype])


STEP_AND_TOLERANCE = {"float64": (1e-3, 1e-5), "float32": (1e-2, 2e-2)}
"""By type, the step of the differences, in units of the embeddings' spread, and how near they come: a
compromise of rounding, which grows as the step shrinks, and curvature, which grows with its fourth power."""


def _check_gradients(subject: AdapterUnderTest, size: float, tolerance: float) -> None:
    import torch

    from inseq_core.contracts.context import ContextRequest
    from inseq_core.contracts.step_function import BoundStepFunction, StepCall
    from inseq_core.step_functions.likelihood import logit

    adapter: Any = subject.adapter
    text = subject.forced(subject.examples[0])
    batch = subject.batch([text])
    adapter.self_check(batch)
    grid = StepGrid.of(batch, [(text.prompt_length, len(text.target_ids))])
    request = ContextRequest(
        batch=batch.truncated(grid.prefix_length),
        grid=grid,
        attributed=BoundStepFunction(name="logit", function=logit, rowwise=True),
        full_texts=batch.texts,
        call=StepCall(adapter=adapter, texts=batch.texts),
    )
    ctx = adapter.context(request)
    slopes = ctx.step_gradients().of_rows()
    generator = torch.Generator().manual_seed(0)
    direction = ctx.inputs.map(
        lambda x: torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x) * x.std()
    )
    once, twice = (
        (ctx.scores(ctx.inputs + direction * s) - ctx.scores(ctx.inputs - direction * s)).double()
        for s in (size, 2 * size)
    )
    difference = (8 * once - twice) / (12 * size)
    along = [
        (slope * d[ctx.rows]).double().sum(dim=(1, 2))
        for slope, d in zip(slopes.sides(), direction.sides(), strict=True)
    ]
    found, expected = adapter.to_numpy(sum(along)), adapter.to_numpy(difference)
    same(found, expected, "gradient along a random direction", tolerance)


@check_of(KIND)
def the_model_is_left_as_it_was(subject: AdapterUnderTest) -> None:
    """Scoring and generating change neither numbers nor modes, hooks or attributes of the model.

    It is the user's.
    """
    texts = [subject.forced(example) for example in subject.examples]
    before = model_state(subject.adapter)
    subject.adapter.self_check(subject.batch(texts))
    subject.logits(texts)
    if Capability.GENERATE in subject.adapter.capabilities:
        subject.adapter.generate([subject.begun(subject.examples[0])], {"max_new_tokens": 2})
    found = [where.removeprefix("it.") for where in changed(before, model_state(subject.adapter))]
    demand(not found, f"changed {', '.join(found[:4])}")


CHECKS = (
    it_loads,
    its_profile_is_filled,
    capabilities_are_declared,
    every_row_has_logits,
    later_tokens_change_no_logits,
    padding_changes_no_logits,
    rows_can_be_chosen,
    generation_continues_what_was_given,
    generation_alone_equals_in_a_batch,
    passes_are_counted,
    masked_tokens_are_not_seen,
    removals_are_served,
    gradients_match_differences,
    the_model_is_left_as_it_was,
)
