"""What removal methods must give, derived from definitions and models alone, never from the engine."""

from __future__ import annotations

import itertools
import math

import attrs
import numpy as np

from inseq_core.data.batch import EncodedText
from inseq_core.model import AttributionModel
from inseq_core.testing.toys import UNK, BagModel, BagWeights

WORDS = ("the", "dog", "sees", "a", "cat", "man", "because", "red", "small", ".")


def linear_model(*, is_encoder_decoder=False, seed=2, scale=0.7, decay=0.8, **options):
    """A toy whose logits are a sum over its tokens."""
    weights = BagWeights.random(len(WORDS) + 4, seed=seed, scale=scale, decay=decay)
    return AttributionModel(
        BagModel(WORDS, weights=weights, is_encoder_decoder=is_encoder_decoder, **options)
    )


def text_of(result):
    """The attributed text in ids again."""
    source = [t.id for t in result.source] if result.source_attributions is not None else None
    return EncodedText(target_ids=[t.id for t in result.target], source_ids=source)


def steps_of(result):
    """(column, target position) of each attributed step."""
    return list(enumerate(range(result.attr_pos_start, result.attr_pos_end)))


def score(toy, text, position, removed=(), function="probability"):
    """The attributed function of one step with unknown words at some target positions."""
    ids = [UNK if j in removed else int(i) for j, i in enumerate(text.target_ids)]
    logits = toy.logits(attrs.evolve(text, target_ids=ids), position)
    target = int(text.target_ids[position])
    return logits[target] if function == "logit" else np.exp(logits[target]) / np.exp(logits).sum()


def linear_truth(model, result):
    """(L, T), and (S, T) for translators, of what each token adds to each step's logit; kept tokens: 0."""
    weights = model.adapter.weights
    target = np.full((len(result.target), result.n_steps), np.nan)
    for k, s in steps_of(result):
        for j in range(s):
            own = 0.0 if j == 0 else weights.target[result.target[j].id, result.target[s].id]
            target[j, k] = weights.decay ** (s - 1 - j) * own
    source = [
        [0.0 if str(t) == "</s>" else weights.source[t.id, result.target[s].id] for _, s in steps_of(result)]
        for t in result.source
    ]
    return target, np.array(source)


def brute_force_shapley(toy, text, position, function="probability"):
    """(position,) Shapley's values over all orders, word for word; <s> at position 0 is no player."""
    players = range(1, position)
    orders = list(itertools.permutations(players))
    values = np.zeros(position)
    for order in orders:
        removed = set(players)
        before = score(toy, text, position, removed, function)
        for player in order:
            removed.remove(player)
            after = score(toy, text, position, removed, function)
            values[player] += (after - before) / math.factorial(len(order))
            before = after
    return values
