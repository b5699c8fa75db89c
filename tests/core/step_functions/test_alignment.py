from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inseq_core.errors import InvalidArgumentError, ModelLoadError, PositionError
from inseq_core.model import AttributionModel
from inseq_core.step_functions.aligners import align, identical, in_order, similarity, word_pairs
from inseq_core.step_functions.alignment import along_pairs, as_alignments, from_the_right
from inseq_core.testing.toys import BagModel

# -- pairs to positions ------------------------------------------------------------------------------


def test_steps_between_two_pairs_follow_the_first_up_to_the_second():
    """Two tokens of the text may stand against one of the contrast, and the other way round."""
    pairs = [(2, 2), (5, 4), (6, 9)]

    assert along_pairs(pairs, (1, 9), 12).tolist() == [1, 2, 3, 4, 4, 9, 10, 11]


def test_steps_behind_the_contrast_s_end_stand_against_its_last_token():
    """There is always something to compare with."""
    assert along_pairs([(1, 1)], (1, 6), 3).tolist() == [1, 2, 2, 2, 2]


def test_of_several_pairs_of_one_step_the_first_token_counts():
    """One number a step: where its counterpart begins."""
    assert along_pairs([(1, 4), (1, 2), (1, 3)], (1, 2), 6).tolist() == [2]


def test_pairs_may_cross():
    """Another order of words is no reason to compare with something else."""
    assert along_pairs([(1, 3), (2, 1), (3, 2)], (1, 4), 5).tolist() == [3, 1, 2]


@given(
    pairs=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=8),
    span=st.tuples(st.integers(1, 12), st.integers(1, 6)).map(lambda t: (t[0], t[0] + t[1])),
)
def test_every_step_has_a_counterpart_that_has_a_score(pairs, span):
    """Whatever the pairs: within the contrast, and not before its first scored token."""
    positions = along_pairs(pairs, span, 10)

    assert positions.shape == (span[1] - span[0],)
    assert positions.min() >= 1 and positions.max() <= 9


def test_without_pairs_the_two_ends_stand_side_by_side():
    """Prompts may differ in length where outputs do not."""
    assert from_the_right((3, 6), 6, 10, "the text").tolist() == [7, 8, 9]
    with pytest.raises(PositionError, match="the first 1 of 3 steps"):
        from_the_right((3, 6), 6, 3, "the text")


@pytest.mark.parametrize(
    ("value", "n_texts", "expected"),
    [
        (None, 2, (None, None)),
        ("auto", 2, ("auto", "auto")),
        ([(1, 2), (2, 3)], 1, (((1, 2), (2, 3)),)),
        ([[1, 2]], 1, (((1, 2),),)),
        ([[(1, 2)], "auto"], 2, (((1, 2),), "auto")),
        ([[(1, 2)], None], 2, (((1, 2),), None)),
        (np.array([[1, 2], [2, 3]]), 1, (((1, 2), (2, 3)),)),
    ],
)
def test_alignments_are_given_as_pairs_lists_or_auto(value, n_texts, expected):
    """One text may do without the outer list."""
    assert as_alignments(value, n_texts) == expected


@pytest.mark.parametrize("value", [3, "right", [[(1, 2)]], [(1, 2)], [[(1, 2)], 3], [[(1,)], []]])
def test_what_is_no_alignment_of_two_texts_is_refused(value):
    """With the value; one list of pairs does not say for which text it is."""
    with pytest.raises(InvalidArgumentError, match="contrast_targets_alignments"):
        as_alignments(value, 2)


# -- finding pairs -----------------------------------------------------------------------------------


def test_equal_runs_of_tokens_are_paired_and_so_is_what_replaces_what():
    """As ``difflib`` sees two versions of a text."""
    assert identical([1, 2, 3, 4, 5], [1, 9, 8, 4, 5]) == ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4))
    assert identical([1, 2, 3], [7, 1, 2, 3]) == ((0, 1), (1, 2), (2, 3))


def test_words_that_choose_each_other_are_paired():
    """A word that nothing resembles stays alone, also where it resembles something a little."""
    similar = np.array([[0.9, 0.1, 0.0], [0.1, 0.2, 0.8], [0.0, 0.3, 0.7]])

    assert word_pairs(similar) == ((0, 0), (1, 2))


def test_repeated_words_are_paired_in_their_order():
    """Each "the" is as similar to every other: the place decides, however far the context moves it."""
    a = ["the", "dog", "saw", "the", "cat", "and", "the", "bird"]
    b = [
        "once",
        "upon",
        "a",
        "time",
        "in",
        "a",
        "land",
        "far",
        "away",
        "the",
        "dog",
        "saw",
        "the",
        "cat",
        "and",
        "the",
        "bird",
    ]
    similar = np.array([[float(x == y) for y in b] for x in a])

    assert word_pairs(similar) == tuple((i, i + 9) for i in range(8))


def test_the_alignment_without_crossings_is_the_longest_common_subsequence():
    """For similarities of 0 and 1, whose dynamic programme is known."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        a, b = generator.integers(0, 4, size=9), generator.integers(0, 4, size=7)
        similar = (a[:, None] == b[None, :]).astype(float)
        table = np.zeros((10, 8))
        for i in range(9):
            for j in range(7):
                best = max(table[i, j + 1], table[i + 1, j])
                table[i + 1, j + 1] = table[i, j] + 1 if similar[i, j] else best
        places = in_order(similar)
        matched = [(i, int(p)) for i, p in enumerate(places) if p == int(p) and similar[i, int(p)]]
        increasing = [pair for k, pair in enumerate(matched) if all(pair[1] > m[1] for m in matched[:k])]

        assert len(increasing) >= table[9, 7]
        assert (np.diff(places) >= 0).all()


def test_a_word_without_a_vector_resembles_nothing():
    """Zero vectors have no direction; NaN would win every comparison."""
    similar = similarity(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 2.0]]))

    np.testing.assert_array_equal(similar, [[0, 0], [1, 0]])


def vectors(words):
    """Words that begin alike are alike."""
    return np.array(
        [[float(word[0] == letter) for letter in "abcdefghijklmnopqrstuvwxyz."] for word in words]
    )


def test_an_aligner_may_be_a_function_from_words_to_vectors():
    """Any encoder that a user has, in two lines."""
    model = BagModel()
    a = model.encode_input("the red dog sees a cat").ids
    b = model.encode_input("a cat hears the blue dog").ids

    pairs = align(model, a, b, vectors)
    paired = {(model.vocabulary[a[i]], model.vocabulary[b[j]]) for i, j in pairs}
    assert {("dog", "dog"), ("cat", "cat"), ("the", "the"), ("a", "a"), ("<s>", "<s>")} <= paired


def test_a_model_without_embeddings_aligns_by_equal_tokens():
    """The default has to work on every adapter."""
    model = BagModel()
    ids = model.encode_input("the dog sees a cat").ids

    assert align(model, ids, ids) == tuple((i, i) for i in range(6))


def test_a_function_that_gives_no_vectors_is_refused():
    """With the shape that it gave."""
    model = BagModel()
    ids = model.encode_input("the dog").ids

    with pytest.raises(InvalidArgumentError, match=r"shape \(3,\) for 2 words"):
        align(model, ids, ids, lambda words: np.zeros(3))


def test_encoders_by_name_are_the_framework_s_business():
    """A framework without encoders says what to give instead."""
    model = AttributionModel(BagModel(), "dummy")
    arguments = {"contrast_targets": "the dog hears", "contrast_targets_alignments": "auto"}

    with pytest.raises(Exception, match=r"no encoders by name.*\n.*function") as error:
        model.attribute("the dog", "the dog is", step_scores="pcxmi", contrast_aligner="labse", **arguments)
    assert not isinstance(error.value, ModelLoadError)
