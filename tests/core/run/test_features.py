from __future__ import annotations

import numpy as np
import pytest

from inseq_core.data.features import Feature
from inseq_core.errors import InvalidArgumentError
from inseq_core.run.cutting import PlacedTokens, pieces, placed_as_written, sentences
from inseq_core.testing.toys import BagModel

CHAT = [{"role": "man", "content": "the dog sees"}, {"role": "woman", "content": "a cat"}]


class Pieces(BagModel):
    """A toy that writes words in pieces of two letters, as tokenizers do: "▁do", "gs"."""

    def __init__(self):
        super().__init__(words=("▁th", "e", "▁do", "g", "gs", "▁se", "es", "▁a", "▁c", "at", ".", "▁M", "r"))

    def _ids_of(self, text):
        ids, words = [], text.split(" ")
        for word in filter(None, words):
            left = f"▁{word}"
            while left:
                piece = next(p for p in sorted(self.vocabulary, key=len, reverse=True) if left.startswith(p))
                ids.append(self.ids[piece])
                left = left[len(piece) :]
        return ids

    def decode(self, ids, skip_special_tokens=True):
        shown = [self.vocabulary[i] for i in ids if i >= 4 or not skip_special_tokens]
        return "".join(shown).replace("▁", " ").removeprefix(" ")

    def token_texts(self, ids, side="target"):
        from inseq_core.contracts.adapter import TokenTexts

        tokens = tuple(self.vocabulary[i] for i in ids)
        starts = tuple(t.startswith("▁") or t[0] == "<" for t in tokens)
        return TokenTexts(tokens=tokens, word_starts=starts, special=tuple(i < 4 for i in ids))


def features_of(model, features, text="the dogs see a cat. the dog sees.", **options):
    """(label, positions) of the features that a call removed, from its segments."""
    (result,) = model.attribute(
        text, f"{text} a cat", features=features, method="leave_out", attributed_fn="logit", **options
    )
    kind = result.feature_kind
    return kind, [(s.label, s.start, s.end) for s in result.segments if s.kind == kind], result


@pytest.fixture
def pieces_lm():
    """A decoder-only toy with word pieces."""
    from inseq_core.model import AttributionModel

    return AttributionModel(Pieces())


def test_words_are_the_pieces_that_the_tokenizer_says_belong_together(pieces_lm):
    """A word is removed whole and its pieces show one score."""
    _, found, result = features_of(pieces_lm, "word")

    assert found[:4] == [("▁the", 1, 3), ("▁dogs", 3, 5), ("▁see", 5, 7), ("▁a", 7, 8)]
    scores = result.target_attributions[1:3, 0]
    assert scores[0] == scores[1] != 0


def test_sentences_end_at_full_stops_and_where_the_generation_begins(pieces_lm):
    """What was given is not removed together with what was written; of that, what a step sees."""
    kind, found, _ = features_of(pieces_lm, "sentence")

    assert kind == "sentence"
    assert [label for label, _, _ in found] == ["the dogs see a cat.", "the dog sees.", "a c"]


def test_segments_stand_between_separators(pieces_lm):
    """Any text separates."""
    _, found, _ = features_of(pieces_lm, {"separator": "."})

    assert [label for label, _, _ in found] == ["the dogs see a cat.", "the dog sees.", "a c"]


def test_segments_are_paragraphs_unless_something_else_is_said(pieces_lm):
    """A text without blank lines is one; a chat is its turns."""
    from inseq_core.model import AttributionModel

    kind, found, _ = features_of(pieces_lm, "segment")
    assert (kind, len(found)) == ("segment", 2)
    (result,) = AttributionModel(BagModel()).attribute(CHAT, features="segment", method="leave_out")
    assert result.feature_kind == "turn"


def test_spans_of_characters_are_found_in_the_tokens(pieces_lm):
    """Labels are the caller's, or the text; what is in no span is never removed."""
    text = "the dogs see a cat. the dog sees."
    spans = [(4, 8, "animals"), (15, 18)]
    _, found, result = features_of(pieces_lm, spans, text)

    assert [label for label, _, _ in found] == ["animals", "cat"]
    decoded = [pieces_lm.adapter.decode([t.id for t in result.target[s:e]]) for _, s, e in found]
    assert decoded == ["dogs", "cat"]
    inside = {p for _, s, e in found for p in range(s, e)}
    outside = [p for p in range(len(result.target) - 1) if p not in inside]
    np.testing.assert_array_equal(result.target_attributions[outside][:, -1], 0.0)


def test_each_text_has_its_own_spans(lm):
    """A list for each; the number has to fit."""
    out = lm.attribute(["the dog", "a cat sees"], features=[[(0, 3)], [(2, 5, "cat")]])

    assert [[s.label for s in r.segments] for r in out] == [["the"], ["cat"]]
    with pytest.raises(InvalidArgumentError, match="spans for 2 texts, input_texts has 1"):
        lm.attribute("the dog", features=[[(0, 3)], [(2, 5)]])


def test_a_function_may_cut_the_text(lm):
    """What is never removed is left out of its features, and so are positions that no step sees."""

    def halves(text, adapter):
        return [Feature(label="first", side="target", positions=range(3)), _feature(range(3, 100))]

    def _feature(positions):
        return Feature(label="rest", side="target", positions=positions)

    (result,) = lm.attribute("the dog sees a", features=halves)

    assert result.feature_kind == "halves"
    assert [(s.label, s.start) for s in result.segments] == [("first", 1), ("rest", 3)]


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([], "features = "),
        ([(3, 2)], r"\(3, 2\).*span of characters"),
        ([(0, 99)], r"span \(0, 99\) ends behind text 0, which has 7 characters"),
        ([(3, 4)], r"no token .* begins in the span \(3, 4\): ' '"),
        ({"separator": ""}, "separator = ''"),
        ({"by": "word"}, "features = "),
        ("wrod", "Did you mean 'word'"),
        (
            "turn",
            "'turn': the text has no features of this kind.*\n  Use features='token', 'word', 'sentence', 's",
        ),
        (lambda text, adapter: [], "function '<lambda>' gave no token that can be removed from 'the dog'"),
        (
            lambda text, adapter: [Feature(label="x", side="target", positions=[99])],
            "gave no token that can be",
        ),
        (lambda text, adapter: [Feature(label="x", side="source", positions=[0])], "the model has no source"),
        (lambda text, adapter: [Feature(label=3, side="target", positions=[1])], "label = 3"),
        (lambda text, adapter: [3], "the function gave = 3"),
        (lambda text, adapter: [Feature(label="x", side="left", positions=[1])], "side of 'x' = 'left'"),
        (lambda text, adapter: [Feature(label="x", side="target", positions=[-1])], "positions of 'x'"),
    ],
)
def test_features_that_are_none_are_refused(lm, features, said):
    """Before the model scores anything."""
    with pytest.raises(InvalidArgumentError, match=said):
        lm.attribute("the dog", "the dog sees", features=features)
    assert lm.adapter.passes == []


@pytest.mark.parametrize("features", ["tokens", "Word", "sentnce"])
def test_a_misspelt_kind_is_refused_before_anything_is_generated(lm, monkeypatch, features):
    """Generating may take minutes."""
    monkeypatch.setattr(lm.adapter, "generate", lambda *_: pytest.fail("was generated"))

    with pytest.raises(InvalidArgumentError, match="Did you mean"):
        lm.attribute("the dog", features=features)


def test_an_empty_source_says_what_could_be_removed_instead(translator):
    """Naming kinds of features, as for a misspelt one, would help nobody."""
    with pytest.raises(InvalidArgumentError) as caught:
        translator.attribute("", "the dog")
    assert str(caught.value) == (
        "There is nothing to remove: all tokens of the source are special: ''.\n"
        "  Give it at least one word, or remove parts of the target prefix: attribute_target=True."
    )
    assert translator.attribute("", "the dog", attribute_target=True)[0].source_attributions.shape[1] > 0


def test_spans_may_be_numbers_of_arrays(lm):
    """As offsets of other tools come."""
    (result,) = lm.attribute("the dog sees", features=[(np.int64(0), np.int64(3)), np.array([4, 7])])
    assert [s.label for s in result.segments] == ["the", "dog"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One. ", "Two! ", "Three?"]),
        ("Dr. Who met J. Smith. Then he left.", ["Dr. Who met J. Smith. ", "Then he left."]),
        ('He said "go." Then left.', ['He said "go." ', "Then left."]),
        ("A line\nanother line", ["A line\n", "another line"]),
        ("一。二！三", ["一。", "二！", "三"]),
        ("3.14 is pi", ["3.14 is pi"]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    """Full stops inside numbers and behind abbreviations end nothing."""
    assert [text[a:b] for a, b in sentences(text)] == expected


def test_a_separator_belongs_to_what_it_ends():
    """Nothing of the text is lost, and empty pieces are no features."""
    text = "a; b;; c"
    assert [text[a:b] for a, b in pieces(text, ";")] == ["a;", " b;", " c"]


def test_tokens_are_placed_by_what_the_text_gains():
    """Also where a piece begins with the space before its word, and in a long text."""
    adapter = Pieces()
    ids = adapter._ids_of("the dogs see a cat. " * 4)
    placed = PlacedTokens.of(adapter, ids)

    for i, start in zip(ids, placed.starts, strict=True):
        piece = adapter.vocabulary[i].replace("▁", "")
        assert placed.text[start : start + len(piece)] == piece


def test_a_text_that_decodes_a_little_differently_is_followed():
    """Tokenizers change case, spaces and letters; positions are those of the text as it was written."""
    adapter = Pieces()
    ids = adapter._ids_of("the dogs see")
    placed = placed_as_written(adapter, ids, "The  dogs  see")

    starts = [placed.starts[i] for i, j in enumerate(ids) if adapter.vocabulary[j].startswith("▁")]
    assert starts == [0, 5, 11]
