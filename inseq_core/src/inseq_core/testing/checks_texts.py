"""Checks of the text side of model adapters: text to ids and back, tokens to read, arrays across the border.

Axes: S source positions, L target positions.
"""

from __future__ import annotations

import numpy as np

from inseq_core.errors import ForcedTextError, InseqError
from inseq_core.hooks.kinds import ADAPTERS
from inseq_core.testing.adapters import AdapterUnderTest
from inseq_core.testing.checks import NotApplicable, check_of, demand, refuse

KIND = ADAPTERS.key


@check_of(KIND)
def a_text_survives(subject: AdapterUnderTest) -> None:
    """A text in ids, decoded, is the text.

    Otherwise results show other words than the model was given.
    """
    adapter = subject.adapter
    for example in subject.examples:
        given = adapter.encode_input(example.text)
        text = subject.full(example)
        ids = adapter.encode_output(text, given)
        decoded = adapter.decode([int(i) for i in ids])
        demand(decoded.split() == text.split(), f"{text!r} came back as {decoded!r}")


@check_of(KIND)
def the_boundary_is_in_ids(subject: AdapterUnderTest) -> None:
    """A forced output begins with the very ids that generation would start from.

    What was given and what was generated are told apart by position, never by comparing strings.
    """
    adapter = subject.adapter
    for example in subject.examples:
        given = adapter.encode_input(example.text)
        start = np.asarray(adapter.start_ids(given))
        ids = np.asarray(adapter.encode_output(subject.full(example), given))
        demand(len(start) > 0, f"{example.text!r}: generation starts from nothing")
        demand(
            np.array_equal(ids[: len(start)], start),
            f"{example.text!r}: the output begins with {ids[: len(start)].tolist()}, generation with {start.tolist()}",
        )
        demand(len(ids) > len(start), f"{example.text!r}: the output adds no token")


@check_of(KIND)
def a_text_that_does_not_continue_is_refused(subject: AdapterUnderTest) -> None:
    """A forced text that does not begin with its input is refused by a ForcedTextError.

    It would be attributed to an input that it does not have.
    """
    adapter = subject.adapter
    if adapter.is_encoder_decoder:
        raise NotApplicable("outputs of translators begin with no input")
    given = adapter.encode_input(subject.examples[0].text)
    try:
        adapter.encode_output(f"because {subject.examples[0].output}", given)
    except ForcedTextError:
        return
    refuse("a text that does not begin with the input was taken")


@check_of(KIND)
def every_id_has_a_token(subject: AdapterUnderTest) -> None:
    """Every id has one readable token, and it is known which begin words and which are special.

    Tables, words and spans are made of them.
    """
    adapter = subject.adapter
    for example in subject.examples:
        text = subject.forced(example)
        for side, ids in (("target", text.target_ids), ("source", text.source_ids)):
            if ids is None:
                continue
            shown = adapter.token_texts(ids.tolist(), side)
            for name in ("tokens", "word_starts", "special"):
                values = getattr(shown, name)
                demand(len(values) == len(ids), f"{side}: {len(values)} {name} for {len(ids)} ids")
            demand(all(isinstance(token, str) for token in shown.tokens), f"{side}: a token is no text")
            plain = [token for token, special in zip(shown.tokens, shown.special, strict=True) if not special]
            demand(bool(plain), f"{side}: every token is special")


@check_of(KIND)
def baselines_are_tokens(subject: AdapterUnderTest) -> None:
    """ "unk" stands for a token of the vocabulary, and some positions are kept in every baseline.

    Path and removal methods put it in place of what is absent.
    """
    adapter = subject.adapter
    for side in ("source", "target") if adapter.is_encoder_decoder else ("target",):
        found = adapter.baseline_ids("unk", side)
        is_id = isinstance(found, (int, np.integer)) and 0 <= found < adapter.profile.vocabulary_size
        demand(is_id, f"baseline_ids('unk', {side!r}) = {found!r}")
        text = subject.forced(subject.examples[0])
        ids = text.target_ids if side == "target" or text.source_ids is None else text.source_ids
        kept = np.asarray(adapter.kept_in_baseline(ids, side, False))
        is_mask = kept.dtype == bool and kept.shape == ids.shape
        demand(is_mask, f"kept_in_baseline gave {kept.dtype} of shape {kept.shape}")
        demand(not kept.all(), f"kept_in_baseline keeps every {side} position, so nothing can be absent")
    try:
        adapter.baseline_ids("no such token \N{SNOWMAN} at all", "target")
    except InseqError:
        return
    refuse("a baseline that is no token was taken")


@check_of(KIND)
def arrays_survive(subject: AdapterUnderTest) -> None:
    """Numpy arrays come back from the framework as they went in.

    Ids, masks and scores cross the border all the time.
    """
    for array in (
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.linspace(0, 1, 4, dtype=np.float32),
        np.array([True, False]),
    ):
        back = np.asarray(subject.adapter.to_numpy(subject.adapter.as_array(array)))
        is_same = back.shape == array.shape and np.array_equal(back, array)
        demand(is_same, f"{array.dtype} {array.tolist()} came back as {back.dtype} {back.tolist()}")


CHECKS = (
    a_text_survives,
    the_boundary_is_in_ids,
    a_text_that_does_not_continue_is_refused,
    every_id_has_a_token,
    baselines_are_tokens,
    arrays_survive,
)
