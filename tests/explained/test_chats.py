from __future__ import annotations

import itertools

import numpy as np
import pytest

from inseq_core import errors

CHAT = [
    {"role": "system", "content": "Answer the question."},
    {"role": "user", "content": "What is the capital of France?"},
]
OTHER = [CHAT[0], {"role": "user", "content": "Is the house small?"}]
NEW = {"generation_args": {"max_new_tokens": 4}}
ONE_OF_EACH = ("gpt2", "llama", "qwen2")


def segments(result, kind):
    """(label, tokens) of the segments of a kind."""
    return [
        (s.label, "".join(str(t) for t in result.target[s.start : s.end]))
        for s in result.segments
        if s.kind == kind
    ]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_chat_is_explained_in_the_ids_of_its_template(load, name):
    """Rendered once, tokenised once, generated from; the boundary is in ids."""
    model = load(name)
    (result,) = model.attribute(CHAT, method="dummy", step_scores="probability", **NEW)
    ids = model.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)

    assert [t.id for t in result.source] == list(ids)
    assert [t.id for t in result.target[: len(ids)]] == list(ids)
    assert result.attr_pos_start == len(ids) and result.n_steps == 4
    assert [label for label, _ in segments(result, "turn")] == ["system", "user", "assistant"]
    assert model.attribute(CHAT, method="dummy", **NEW).info.input_texts == (CHAT,)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_turns_and_special_tokens_are_segments_of_the_result(load, name):
    """They cover the prompt in order, and say what was written by the template."""
    (result,) = load(name).attribute(CHAT, method="dummy", **NEW)
    turns = [s for s in result.segments if s.kind == "turn"]
    contents = dict(segments(result, "content"))

    assert turns[0].start == 0 and turns[-1].end == len(result.source)
    assert all(a.end == b.start for a, b in itertools.pairwise(turns))
    assert "capital" in contents["user"] and "<|im_" not in contents["user"]
    assert all("<|im_" in text or "<s>" in text for _, text in segments(result, "special"))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_turns_are_features(load, name):
    """What did each message contribute: one score a turn, on all of its tokens."""
    model = load(name)
    (result,) = model.attribute(CHAT, method="leave_out", features="turn", **NEW)
    scores = result.target_attributions

    assert result.feature_kind == "turn"
    for turn in (s for s in result.segments if s.kind == "turn"):
        free = [p for p in range(turn.start, turn.end) if scores[p, 0] != 0]
        assert len({float(scores[p, 0]) for p in free}) <= 1
    system = next(s for s in result.segments if s.kind == "content" and s.label == "system")
    assert (scores[system.start : system.end, 0] != 0).any()


def test_several_chats_are_as_alone(load):
    """Of different lengths, in any batch."""
    model = load("llama")
    chats = [CHAT, OTHER, CHAT[1:]]
    call = {"method": "saliency", "step_scores": ["probability"], **NEW}
    for size in (None, 2):
        for chat, result in zip(chats, model.attribute(chats, batch_size=size, **call), strict=True):
            (alone,) = model.attribute(chat, **call)
            assert alone.target == result.target and alone.segments == result.segments
            np.testing.assert_allclose(
                alone.target_attributions, result.target_attributions, rtol=1e-5, atol=1e-8
            )


def test_a_prefilled_answer_goes_on(load):
    """The last message is the assistant's: its turn stays open, and what follows is generated."""
    model = load("gpt2")
    begun = [*CHAT, {"role": "assistant", "content": "The capital"}]
    (result,) = model.attribute(begun, method="dummy", **NEW)
    prompt = "".join(str(t) for t in result.source).replace("Ġ", " ")

    assert prompt.endswith("The capital")
    assert [label for label, _ in segments(result, "turn")] == ["system", "user", "assistant"]


def test_an_answer_may_be_given_alone(load):
    """Nobody should have to write the template out; the whole text will do, too."""
    model = load("gpt2")
    (alone,) = model.attribute(CHAT, "It is Paris.", method="dummy")
    text = model.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=False)
    (whole,) = model.attribute(CHAT, text + "It is Paris.", method="dummy")

    assert alone.target == whole.target
    assert "".join(str(t) for t in alone.step_tokens).replace("Ġ", " ") == "It is Paris."


def test_an_answer_may_be_given_back_as_results_hold_it(load):
    """The decoded chat was taken for the answer, and stood in the model twice."""
    model = load("gpt2")
    first = model.attribute(CHAT, method="dummy", **NEW)

    again = model.attribute(CHAT, first.info.generated_texts, method="dummy", show_progress=False)

    n = len(first[0].source)
    assert again[0].target[:n] == first[0].target[:n]
    assert model.decode([t.id for t in again[0].target]) == model.decode([t.id for t in first[0].target])


def test_tools_reach_the_template(load):
    """They stand in the prompt, and are no turn of anybody's."""
    model = load("gpt2")
    tools = [{"type": "function", "function": {"name": "house"}}]
    (result,) = model.attribute(CHAT, method="dummy", chat_template_args={"tools": tools}, **NEW)

    assert "house" in "".join(str(t) for t in result.source)


def test_reasoning_in_an_answer_is_a_segment(load):
    """Between its markers, markers included; the answer is what follows."""
    (result,) = load("gpt2").attribute(CHAT, "<think>It is not small.</think>It is Paris.", method="dummy")
    found = {kind: segments(result, kind) for kind in ("reasoning", "answer")}

    assert found["reasoning"][0][1].replace("Ġ", " ") == "<think>It is not small.</think>"
    assert found["answer"][0][1].replace("Ġ", " ") == "It is Paris."


@pytest.mark.parametrize("attributed", ["probability", "contrast_prob_diff"])
def test_chats_are_compared_with_other_answers_and_other_chats(load, attributed):
    """The answer alone is enough for a contrast, too; another chat goes with the same answer in ids."""
    model = load("gpt2")
    (result,) = model.attribute(
        CHAT, "It is Paris.", method="saliency", attributed_fn=attributed,
        step_scores=["contrast_prob_diff"], contrast_targets="It is not.", contrast_targets_alignments="auto",
    )  # fmt: skip
    assert np.isfinite(result.step_scores["contrast_prob_diff"]).all()
    labels = [str(t) for t in result.step_tokens]
    assert any("→" in label for label in labels) == (attributed == "contrast_prob_diff")

    out = model.attribute(CHAT, "It is Paris.", method="dummy", step_scores="pcxmi", contrast_sources=[OTHER])
    assert out.info.notes["contrasts"][0].endswith("It is Paris.")
    assert "house" in out.info.notes["contrasts"][0]


def test_views_show_turns(load):
    """In a terminal and in a page."""
    (result,) = load("gpt2").attribute(CHAT, method="saliency", **NEW)
    page = result.show(display=False, return_html=True)

    assert all(label in page for label in ("system", "user", "assistant"))


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"content": "Hello"}], "no role"),
        ([{"role": "user"}], "no content"),
        ([{"role": 3, "content": "Hello"}], "no role"),
        ([], "at least one"),
        ([[]], "at least one message"),
        ([*CHAT, "Hello"], "a message with role and content"),
        ({"role": "user", "content": 3}, "text"),
    ],
)
def test_messages_that_are_none_are_refused_before_the_model_works(load, messages, said):
    """With an example of one that is."""
    model = load("gpt2")
    counts = dict(model.adapter.counts)
    with pytest.raises(errors.InvalidArgumentError, match=said):
        model.attribute(messages, method="dummy")
    assert dict(model.adapter.counts) == counts


def test_a_tokenizer_without_a_template_says_so(load):
    """A template made up by us would be another prompt than the model was trained on."""
    with pytest.raises(errors.CapabilityError, match="no chat template"):
        load("gpt2", tokenizer="wordpiece").attribute(CHAT, method="dummy")
