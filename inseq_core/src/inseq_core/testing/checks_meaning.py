"""Checks of what an attribution method's numbers mean.

Every expected number comes from somewhere else: the same call cut differently, closed forms, plain passes.
Axes: R rows, S source positions, L target positions, T steps, then the method's trailing axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from inseq_core.hooks import Capability
from inseq_core.hooks.kinds import METHODS
from inseq_core.testing.checks import NotApplicable, check_of, demand, refuse
from inseq_core.testing.compare import same, same_attribution
from inseq_core.testing.examples import Example
from inseq_core.testing.methods import EXPLAINED, MethodUnderTest, Observation, is_random
from inseq_core.testing.state import random_state, stir_random_state
from inseq_core.testing.words import EOS

KIND = METHODS.key


@check_of(KIND)
def later_tokens_get_nothing(method: MethodUnderTest) -> None:
    """A token at or after a step has no score for it.

    The model had not seen it yet. What stands there is zero, or NaN.
    """
    for toy in method.toys():
        for call, row in method.scored(toy).rows():
            for side, values in call.sides.items():
                behind = values[row][~call.visible[side][row]]
                if np.nan_to_num(behind).any():
                    refuse(
                        f"{toy.label}: the step at target position {call.position[row]} gives {side} positions that it "
                        f"does not see scores up to {np.nanmax(np.abs(behind)):.3g}"
                    )


@check_of(KIND, unless=is_random)
def later_tokens_change_nothing(method: MethodUnderTest) -> None:
    """A step's scores are those of the text that ends with it.

    One pass over the whole text stands in for a pass over every prefix: the two must agree.
    """
    for toy in method.toys():
        example = toy.examples[0]
        (whole,) = method.observe(toy.make(), [example]).output
        words = example.output.split()
        cut = Example(text=example.text, output=" ".join(words[:-2]))
        (short,) = method.observe(toy.make(), [cut]).output
        # a translator's end token stands at the end of both, so it is another step in each
        steps = short.n_steps - int(toy.is_encoder_decoder)
        demand(steps > 0, "the example has no steps to compare")
        for side in ("source", "target"):
            long, brief = getattr(whole, f"{side}_attributions"), getattr(short, f"{side}_attributions")
            if long is not None and brief is not None:
                rows = min(len(long), len(brief)) - (side == "target" and toy.is_encoder_decoder)
                same(
                    brief[:rows, :steps],
                    long[:rows, :steps],
                    f"{toy.label}: {side} scores of the text cut behind step {steps}",
                )


@check_of(KIND)
def alone_equals_in_a_batch(method: MethodUnderTest) -> None:
    """A text gets the same scores alone and among longer and shorter ones.

    Padding may not be seen, and draws belong to a text, not to its place in a batch.
    """
    for toy in method.toys():
        together = method.scored(toy)
        for i, example in enumerate(toy.examples):
            (alone,) = method.observe(toy.make(), [example]).output
            same_attribution(alone, together[i], f"{toy.label}: text {i} alone")


@check_of(KIND)
def steps_alone_equal_steps_together(method: MethodUnderTest) -> None:
    """Steps in contexts of their own, on shorter prefixes and with less memory, get the same scores.

    How a call is cut into chunks is a matter of memory and may not show in the numbers.
    """
    for toy in method.toys():
        together = method.scored(toy)
        for rows_at_once in (1, 3):
            cut = toy.make()
            cut.rows_at_once = rows_at_once
            observed = method.observe(cut, toy.examples)
            for i in range(len(toy.examples)):
                same_attribution(
                    observed[i], together[i], f"{toy.label}: text {i} in contexts of {rows_at_once} rows"
                )
    adapter: Any = method.toys()[0].make()
    if hasattr(adapter, "memory_budget"):
        adapter.memory_budget = 1
        toy = method.toys()[0]
        alone = method.observe(adapter, toy.examples[1:2])
        same_attribution(alone[0], method.scored(toy)[1], f"{toy.label}: text 1 with one byte to plan with")


@check_of(KIND)
def same_call_gives_same_numbers(method: MethodUnderTest) -> None:
    """Two calls with one seed give the same numbers, whatever was drawn elsewhere in between.

    Draws derive from the seed of the call; the process's global generators are everybody's.
    """
    before = random_state()
    try:
        for toy in method.toys():
            first = method.scored(toy)
            stir_random_state(12345)
            second = method.observe(toy.make(), toy.examples)
            for i in range(len(toy.examples)):
                same_attribution(second[i], first[i], f"{toy.label}: text {i}, the same call again")
    finally:
        stir_random_state(len(before))


@check_of(KIND, unless=is_random)
def deterministic_needs_no_seed(method: MethodUnderTest) -> None:
    """Declared deterministic, it gives the same numbers for every seed.

    `deterministic=False` in the spec is what tells users to name the seed.
    """
    for toy in method.toys():
        first = method.scored(toy)
        other = method.observe(toy.make(), toy.examples, seed=7)
        for i in range(len(toy.examples)):
            same_attribution(other[i], first[i], f"{toy.label}: text {i} with another seed")


def is_signed(method: MethodUnderTest) -> str:
    """Why scores may be below zero."""
    return "its scores are signed" if method.spec.signed else ""


@check_of(KIND, unless=is_signed)
def unsigned_scores_are_not_negative(method: MethodUnderTest) -> None:
    """Declared unsigned, no score is below zero.

    Views choose their colours, and aggregations their warnings, by this.
    """
    for toy in method.toys():
        for call in method.scored(toy).calls:
            for side, values in call.sides.items():
                lowest = float(np.nan_to_num(values).min(initial=0.0))
                demand(
                    lowest >= 0,
                    f"{toy.label}: a {side} score of {lowest:.3g}, though its spec says signed=False",
                )


def no_closed_form(method: MethodUnderTest) -> str:
    """Why the truth of a linear model says nothing about a method."""
    spec = method.spec
    if not spec.signed or not (spec.additive or spec.complete):
        return "its scores are no contributions (signed, and additive or complete)"
    if not spec.needs <= {Capability.SCORES, Capability.GENERATE, Capability.GRADIENTS}:
        return "it looks at parts that a linear model does not have"
    return ""


SEEDS = 16
"""Calls of a random method whose mean is compared with the truth."""

SHRINKAGE = 0.02
"""How far the mean of a random method may be from the truth for another reason than chance, relative to the largest:
a penalty on its coefficients (Ridge, Lasso) makes all of them a little smaller."""


@check_of(KIND, unless=no_closed_form)
def linear_truth_is_found(method: MethodUnderTest) -> None:
    """On a model that is linear in its embeddings, a token's score is what it adds to the logit.

    Every signed, additive method agrees there, so every other number is wrong. A method that draws has to agree on
    average: within five standard errors over several seeds.
    """
    if method.explained != EXPLAINED[0]:
        raise NotApplicable(f"it does not explain a {EXPLAINED[0]}")
    for toy in (toy for toy in method.every_toy() if toy.is_linear):
        adapter = toy.make()
        seeds = (0,) if method.spec.deterministic else range(SEEDS)
        examples = toy.examples if method.spec.deterministic else toy.examples[:1]
        runs = [method.observe(adapter, examples, seed=seed) for seed in seeds]
        if not runs[0].has_scores:
            raise NotApplicable("it scores nothing")
        for found, expected, what in _linear_scores(adapter, examples, runs):
            if method.spec.deterministic:
                same(found[0], expected, f"{toy.label}: {what}", tolerance=1e-3)
            else:
                _same_on_average(found, expected, f"{toy.label}: {what}")


def _linear_scores(
    adapter: Any, examples: Sequence[Example], runs: list[Observation]
) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """(seeds, positions) scores of ordinary tokens and their true contributions, step by step."""
    for text, example in enumerate(examples):
        encoded = _encoded(adapter, example)
        for side in ("source", "target"):
            arrays = [getattr(run[text], f"{side}_attributions") for run in runs]
            if arrays[0] is None:
                continue
            scores = np.stack([a.reshape(*a.shape[:2], -1).sum(-1) for a in arrays])  # (seeds, positions, T)
            for step in range(scores.shape[2]):
                position = runs[0][text].attr_pos_start + step
                if encoded.target_ids[position] == EOS:
                    continue
                truth = dict(
                    zip(("source", "target"), adapter.contributions(encoded, position), strict=True)
                )[side]
                ids = (encoded.source_ids if side == "source" else encoded.target_ids)[: len(truth)]
                ordinary = ids > EOS
                yield (
                    scores[:, : len(truth), step][:, ordinary],
                    truth[ordinary],
                    f"{side} scores of step {step} of text {text}",
                )


def _encoded(adapter: Any, example: Example) -> Any:
    from inseq_core.data.batch import EncodedText

    given = adapter.encode_input(example.text)
    source = given.ids if adapter.is_encoder_decoder else None
    return EncodedText(target_ids=adapter.encode_output(example.output, given), source_ids=source)


def _same_on_average(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Refuse a mean over seeds that is more than five standard errors from the truth anywhere."""
    mean, spread = found.mean(0), found.std(0, ddof=1)
    error = spread / np.sqrt(len(found))
    allowed = 5 * error + SHRINKAGE * max(float(np.abs(expected).max(initial=0.0)), 1e-12)
    worst = int(np.argmax(np.abs(mean - expected) - allowed)) if len(mean) else 0
    if len(mean) and abs(mean[worst] - expected[worst]) > allowed[worst]:
        refuse(
            f"{what}: {mean[worst]:.4g} ± {error[worst]:.2g} over {len(found)} seeds where {expected[worst]:.4g} "
            "was expected"
        )


def not_complete(method: MethodUnderTest) -> str:
    """Why scores need not add up."""
    return "" if method.spec.complete else "it does not promise completeness"


TOLERATED_GAP = 0.01
"""Gap of a complete method, relative to the largest change of score: what its default settings leave."""


@check_of(KIND, unless=not_complete)
def complete_scores_add_up(method: MethodUnderTest) -> None:
    """Declared complete, the scores of a step sum to the change of its score from a text of unknown words.

    Computed from two plain passes of the model, on every toy that has what the method needs.
    """
    if method.explained != EXPLAINED[0]:
        raise NotApplicable(f"it does not explain a {EXPLAINED[0]}")
    for toy in method.every_toy():
        adapter = toy.make()
        observed = method.observe(adapter, toy.examples)
        for text, example in enumerate(toy.examples):
            encoded = _encoded(adapter, example)
            found = observed[text]
            sums = sum(
                np.nansum(side.reshape(*side.shape[:2], -1).astype(np.float64), axis=(0, 2))
                for side in (found.source_attributions, found.target_attributions)
                if side is not None
            )
            absent = _blank(adapter, encoded, found.target_attributions is not None)
            change = np.array(
                [
                    _logit(adapter, encoded, p, encoded.target_ids[p])
                    - _logit(adapter, absent, p, encoded.target_ids[p])
                    for p in range(found.attr_pos_start, found.attr_pos_end)
                ]
            )
            gap = np.abs(sums - change)
            worst = int(gap.argmax())
            demand(
                gap[worst] <= TOLERATED_GAP * np.abs(change).max(),
                f"{toy.label}: the scores of step {worst} of text {text} sum to {float(np.asarray(sums)[worst]):.5g}, its "
                f"score changed by {change[worst]:.5g}",
            )


def _blank(adapter: Any, text: Any, with_target: bool) -> Any:
    """The text with unknown words in every attributed position but the special tokens'."""
    unknown = adapter.baseline_ids("unk")

    def blank(ids: np.ndarray, side: str) -> np.ndarray:
        return np.where(adapter.kept_in_baseline(ids, side, False), ids, unknown)

    source = None if text.source_ids is None else blank(text.source_ids, "source")
    target = blank(text.target_ids, "target") if with_target else text.target_ids
    return attrs.evolve(text, source_ids=source, target_ids=target)


def _logit(adapter: Any, text: Any, position: int, token: int) -> float:
    return float(adapter.next_logits(text.truncated(position))[token])


CHECKS = (
    later_tokens_get_nothing,
    later_tokens_change_nothing,
    alone_equals_in_a_batch,
    steps_alone_equal_steps_together,
    same_call_gives_same_numbers,
    deterministic_needs_no_seed,
    unsigned_scores_are_not_negative,
    linear_truth_is_found,
    complete_scores_add_up,
)
