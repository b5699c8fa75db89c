"""ReAGent: which tokens cannot be exchanged without changing what the model says.

Again and again some features are replaced by other tokens; the importance of the replaced ones goes up by how
much the target's probability fell, that of the others down. Replacements and choices are drawn beforehand, so
that many rounds of many probes are run in one batch, and each version answers for every step.
Axes: M probes, N rounds, P versions, F features, R rows, S, L positions, K candidates.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
from array_api_compat import array_namespace

from inseq_core.contracts.context import AttributionContext
from inseq_core.contracts.removal import RemovalWay
from inseq_core.contracts.replacements import ORIGINS, replacement_pool
from inseq_core.contracts.step_function import StepFunctionArgs
from inseq_core.data.batch import BoolArray, EncodedText, IntArray
from inseq_core.data.result import MethodOutput
from inseq_core.errors import ApproximationWarning, InvalidArgumentError
from inseq_perturbation.parameters import between, one_of, whole
from inseq_perturbation.versions import uniform_draws

CANDIDATES = 64
"""Replacements drawn for each position; rounds choose among them."""

AT_ONCE = 512
"""Versions of one batch of rounds."""

STEEPEST = 1.0 - 1e-6
"""Largest change of score that is told apart: a logit of 1 is infinite."""


@attrs.frozen(kw_only=True)
class Reagent:
    """Recursive attribution (Zhao and Shan 2024, algorithm 1); scores of a step are positive and sum to one.

    The attributed function is taken for a probability: its change lies between -1 and 1. Three things differ
    from the paper, so that one set of versions can serve every step: each feature is replaced with
    probability ``replacing_ratio`` instead of exactly that share of them; the stopping condition is looked at
    after 1, 2, 3, 4, 6, 9 … rounds, half as many again each time, instead of after every one; and
    replacements come from a pool of 64 draws for each position.

    Args:
        keep_top_n: features that have to be enough for the target, where all others are replaced.
        stopping_condition_top_k: they are enough where the target is then among so many most likely tokens.
        replacing_ratio: probability that a feature is replaced in a round.
        max_probe_steps: rounds at most.
        num_probes: independent runs, averaged.
        replacements: "model" (what the model itself expects at a target position; the vocabulary for a
            source), "vocabulary" (every token is as likely), or "masked" (what ``masked_model`` expects, from
            both sides).
        masked_model: for "masked": (model, tokenizer) of transformers, or the folder of one; nothing is
            downloaded.
    """

    keep_top_n: int = attrs.field(default=5, validator=whole(1))
    stopping_condition_top_k: int = attrs.field(default=3, validator=whole(1))
    replacing_ratio: float = attrs.field(default=0.3, validator=between(0, 1))
    max_probe_steps: int = attrs.field(default=3000, validator=whole(1))
    num_probes: int = attrs.field(default=16, validator=whole(1))
    replacements: str = attrs.field(default="model", validator=one_of(*ORIGINS, "masked"))
    masked_model: Any = None

    def __attrs_post_init__(self) -> None:
        if (self.replacements == "masked") != (self.masked_model is not None):
            raise InvalidArgumentError(
                f"replacements = {self.replacements!r}, masked_model = {self.masked_model!r}: expected both "
                "replacements='masked' and masked_model=(model, tokenizer), or neither."
            )

    def check(self, request: Any) -> None:
        """Refuse another way to remove: replacing is what this method is."""
        way = request.options.removal
        if way is not None and attrs.evolve(way, spread=False) != RemovalWay():
            raise InvalidArgumentError(
                f"removal = {str(way)!r} is not used: this method puts other tokens in place of features.\n"
                f"  Choose them by replacements={', '.join(map(repr, (*ORIGINS, 'masked')))}."
            )

    def attribute(self, ctx: AttributionContext) -> MethodOutput:
        """Importance of features on their tokens; ``probe_steps`` (R,) rounds that a step took, on
        average."""
        run = ReagentRun.of(self, ctx)
        for rounds in self.looks():
            run.probe(rounds)
            run.look()
            if not run.is_open.any():
                break
        if run.largest_fall > 1.0:
            warnings.warn(
                f"reagent takes {ctx.request.attributed.name!r} for a probability, but it changed by up to"
                f" {run.largest_fall:.3g}: changes beyond 1 count as 1.\n"
                "  Use attributed_fn='probability', or another method.",
                ApproximationWarning,
                stacklevel=2,
            )
        importance = softmax(np.where(ctx.seen_features[:, None], run.logits, -np.inf)).mean(axis=1)
        notes = {"removal": f"replacements:{self.replacements}", "versions": run.versions}
        return ctx.feature_output(
            importance, step_scores={"probe_steps": run.rounds.mean(axis=1)}, notes=notes
        )

    def looks(self) -> Iterator[int]:
        """Rounds before each look at the stopping condition."""
        done = 0
        while done < self.max_probe_steps:
            rounds = min(max(done // 2, 1), self.max_probe_steps - done)
            yield rounds
            done += rounds


@attrs.define(kw_only=True, eq=False)
class ReagentRun:
    """One text's probes while they go on.

    Attributes:
        pools: side -> (S or L, K) replacements.
        members: side -> (F, S or L) the features' positions.
        logits: (R, M, F) importance so far, on the scale of log-odds.
        is_open: (R, M) probes that go on.
        rounds: (R, M) rounds that each took.
        versions, batches, looks: texts that were run, batches of rounds, looks at the stopping condition.
        largest_fall: largest change of a score, in either direction.
    """

    method: Reagent
    ctx: AttributionContext
    pools: dict[str, IntArray]
    members: dict[str, BoolArray]
    logits: np.ndarray
    is_open: BoolArray
    rounds: IntArray
    versions: int = 0
    batches: int = 0
    looks: int = 0
    largest_fall: float = 0.0

    @classmethod
    def of(cls, method: Reagent, ctx: AttributionContext) -> ReagentRun:
        """Before the first round: importance is random."""
        text = ctx.batch.texts[0]
        sides = ("source", "target") if ctx.batch.has_source else ("target",)
        width = {
            "target": len(text.target_ids),
            "source": 0 if text.source_ids is None else len(text.source_ids),
        }
        shape = (ctx.n_rows, method.num_probes)
        begin = uniform_draws(ctx, ctx.generator(), method.num_probes)
        return cls(
            method=method,
            ctx=ctx,
            pools={side: pool_of(method, ctx, side) for side in sides},
            members={side: ctx.features.members(side)[:, : width[side]] for side in sides},
            logits=np.tile(begin, (ctx.n_rows, 1, 1)),
            is_open=np.ones(shape, dtype=np.bool_),
            rounds=np.zeros(shape, dtype=np.int64),
        )

    def probe(self, rounds: int) -> None:
        """Some rounds of every probe: replace, see what the score loses, pass it on to the importance."""
        probes = self.method.num_probes
        at_once = max(AT_ONCE // probes, 1)
        for first in range(0, rounds, at_once):
            some = min(at_once, rounds - first) * probes
            # a generator for each batch of rounds, so that a prefix of the features draws the same numbers
            generator = np.random.default_rng([*self.ctx.text_key(), 5, self.batches])
            self.batches += 1
            replaced, chosen = np.split(uniform_draws(self.ctx, generator, 2 * some), 2)
            replaced = replaced < self.method.replacing_ratio
            choice = (chosen * CANDIDATES).astype(np.int64)
            texts = [self.version(r, c) for r, c in zip(replaced, choice, strict=True)]
            scores = self.ctx.version_scores([self.ctx.batch.texts[0], *texts])
            self.versions += some
            fall = scores[:1] - scores[1:]  # (N·M, R)
            self.largest_fall = max(self.largest_fall, float(np.abs(fall).max(initial=0.0)))
            fall = np.clip(fall, -STEEPEST, STEEPEST)
            gain = np.log1p(fall) - np.log1p(-fall)  # log-odds of (fall + 1) / 2
            signed = np.where(replaced, 1.0, -1.0)  # (N·M, F)
            by_round = (gain.T[:, :, None] * signed[None]).reshape(len(gain.T), -1, probes, signed.shape[1])
            self.logits += np.where(self.is_open[:, :, None], by_round.sum(axis=1), 0.0)
        self.rounds += np.where(self.is_open, rounds, 0)

    def look(self) -> None:
        """Close probes whose most important features are enough: the target stays likely with all others
        replaced."""
        seen = self.ctx.seen_features
        row, probe = np.nonzero(self.is_open)
        order = np.where(seen[row], self.logits[row, probe], -np.inf).argsort(axis=1)
        top = np.zeros_like(order, dtype=np.bool_)
        np.put_along_axis(top, order[:, -self.method.keep_top_n :], True, axis=1)
        choice = np.tile(((self.looks + probe) % CANDIDATES)[:, None], (1, top.shape[1]))
        self.looks += 1
        position = self.ctx.grid.position[row]
        texts = [
            self.version(~t, c).truncated(int(p))
            for t, c, p in zip(top, choice, position.tolist(), strict=True)
        ]
        of = np.zeros((int(np.bincount(row).max()), self.ctx.n_rows), dtype=np.int64)
        place = np.arange(len(row)) - np.searchsorted(row, row)  # the how-many-th open probe of its row
        of[place, row] = np.arange(1, len(row) + 1)
        ranks = self.ctx.version_scores([self.ctx.batch.texts[0], *texts], of, rank_of_target)[place, row]
        self.versions += len(texts)
        self.is_open[row, probe] = ranks >= self.method.stopping_condition_top_k

    def version(self, replaced: BoolArray, choice: IntArray) -> EncodedText:
        """The text with other tokens in the place of some features.

        Args:
            replaced: (F,). choice: (F,) which of the candidates stand in for each.
        """
        text = self.ctx.batch.texts[0]
        ids: dict[str, Any] = {}
        for side, members in self.members.items():
            own = text.source_ids if side == "source" and text.source_ids is not None else text.target_ids
            new = own.copy()
            for feature in np.flatnonzero(replaced & members.any(axis=1)):
                covered = members[feature]
                new[covered] = self.pools[side][covered, choice[feature]]
            ids[f"{side}_ids"] = new
        return attrs.evolve(text, **ids)


def pool_of(method: Reagent, ctx: AttributionContext, side: str) -> IntArray:
    """(S or L, K) replacements for each position."""
    if method.replacements == "masked":
        from inseq_perturbation.masked import masked_pool

        return masked_pool(ctx, side, CANDIDATES, method.masked_model)
    return replacement_pool(ctx, side, CANDIDATES, method.replacements)


def rank_of_target(args: StepFunctionArgs) -> Any:
    """(R,) how many tokens are more likely than the target: 0 for the most likely one."""
    xp = array_namespace(args.logits)
    own = xp.take_along_axis(args.logits, args.target_ids[:, None], axis=-1)
    return xp.sum(xp.astype(args.logits > own, xp.int64), axis=-1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis; zeros where nothing is finite."""
    highest = logits.max(axis=-1, keepdims=True)
    power = np.exp(logits - np.where(np.isfinite(highest), highest, 0.0))
    return power / np.maximum(power.sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
