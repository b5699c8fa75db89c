"""Chats: the template's own ids, and where turns, texts, special tokens and reasoning are in them."""

from __future__ import annotations

import copy

import pytest
from support.hf_adapters import tiny_adapter
from support.tiny_models import tiny_model

from inseq_core.data.batch import EncodedText
from inseq_core.errors import CapabilityError, InvalidArgumentError, UnknownArgumentError
from inseq_hf.loading import load

CHAT = [
    {"role": "system", "content": "You are nice."},
    {"role": "user", "content": "Hello ladies"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "Hello ladies"},
]
WITH_TEMPLATE = pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "opt"])
REWRITING = (
    "{{ bos_token }}"
    "{% if messages[-1]['role'] == 'system' %}{{ raise_exception('no question') }}{% endif %}"
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ (m['content'] if loop.last else m['content'].split('</think>')[-1]) | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if thinking %}<think>\n{% endif %}{% endif %}"
)
"""It adds a system prompt, trims, drops earlier reasoning and refuses beginnings, as real templates do."""


def spans(adapter, given, kind):
    """(label, text) of the segments of a kind."""
    return [
        (s.label, adapter.decode(given.ids[s.start : s.end], skip_special_tokens=False).strip())
        for s in given.segments
        if s.kind == kind
    ]


@WITH_TEMPLATE
def test_ids_are_those_of_the_tokenizers_own_template(name):
    """No second start token, no other spaces: what the model was trained on."""
    adapter = tiny_adapter(name)

    given = adapter.encode_chat(CHAT)

    own = adapter.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert list(given.ids) == list(own)
    assert given.text == adapter.tokenizer.apply_chat_template(
        CHAT, add_generation_prompt=True, tokenize=False
    )


@WITH_TEMPLATE
def test_turns_cover_the_chat_in_order(name):
    """Every token belongs to one turn, so that turns can be summed; equal texts are told apart."""
    adapter = tiny_adapter(name)
    given = adapter.encode_chat(CHAT)

    turns = [s for s in given.segments if s.kind == "turn"]

    assert [s.label for s in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [s.start for s in turns] == [0, *(s.end for s in turns[:-1])]
    assert turns[-1].end == len(given.ids)
    assert all(s.side == "target" for s in turns)
    assert [text for _, text in spans(adapter, given, "content")] == [m["content"] for m in CHAT]


def test_a_prefilled_answer_is_left_open():
    """A last message of the assistant's is the beginning of the answer, not an answer."""
    adapter = tiny_adapter("llama")
    chat = [*CHAT, {"role": "assistant", "content": "Sure, she"}]

    given = adapter.encode_chat(chat)

    assert given.text.endswith("<|im_start|>assistant\nSure, she")
    assert [s.label for s in given.segments if s.kind == "turn"][-1] == "assistant"
    assert spans(adapter, given, "content")[-1] == ("assistant", "Sure, she")


def test_special_tokens_are_segments():
    """Markers of turns get much attention; a view must be able to leave them out."""
    adapter = tiny_adapter("llama")

    given = adapter.encode_chat(CHAT[1:2])

    assert [label for label, _ in spans(adapter, given, "special")] == [
        "<s><|im_start|>",
        "<|im_end|>",
        "<|im_start|>",
    ]


def test_tools_stand_before_the_first_turn():
    """What a template writes by itself is not the user's."""
    adapter = tiny_adapter("qwen2")
    tool = {"type": "function", "function": {"name": "weather", "description": "", "parameters": {}}}

    given = adapter.encode_chat(CHAT[1:2], tools=[tool])

    turns = spans(adapter, given, "turn")
    assert "weather" in turns[0][1] and turns[0][0] == "system"
    assert "weather" not in turns[1][1] and turns[1][0] == "user"


def test_turns_are_found_in_a_template_that_rewrites_the_chat():
    """Beginnings of the chat cannot be rendered there, or are rendered differently."""
    adapter = tiny_adapter("llama")
    chat = [
        {"role": "user", "content": "  Hello ladies "},
        {"role": "assistant", "content": "<think>who are they</think>Yes?"},
        {"role": "user", "content": "Hello ladies"},
    ]

    given = adapter.encode_chat(chat, chat_template=REWRITING, thinking=True)

    assert "who are they" not in given.text
    turns = spans(adapter, given, "turn")
    assert [label for label, _ in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert "Be brief." in turns[0][1] and "Yes?" in turns[2][1] and "<think>" in turns[4][1]
    assert [text for _, text in spans(adapter, given, "content")] == ["Hello ladies", "Yes?", "Hello ladies"]


def test_a_system_message_that_cannot_be_rendered_alone_is_a_turn():
    """Some templates raise on chats without a question."""
    adapter = tiny_adapter("llama")

    given = adapter.encode_chat(CHAT, chat_template=REWRITING)

    assert [label for label, _ in spans(adapter, given, "turn")] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert "You are nice." in spans(adapter, given, "turn")[0][1]


def answered(adapter, answer):
    """(label, text) of the segments of an answer to a chat."""
    given = adapter.encode_chat(CHAT[1:2])
    ids = adapter.encode_output(given.text + answer, given)
    text = EncodedText(target_ids=ids, prompt_length=len(given.ids))
    return [
        (s.label, adapter.decode(ids[s.start : s.end], skip_special_tokens=False))
        for s in adapter.output_segments(text)
    ]


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_reasoning_and_answer_are_told_apart(name):
    """What a model thinks before it answers is a segment of its own."""
    found = answered(tiny_adapter(name), "<think>hello ladies</think>Yes she is")

    assert found == [("reasoning", "<think>hello ladies</think>"), ("answer", "Yes she is")]


def test_reasoning_that_the_template_opened_begins_with_the_output():
    """Some templates write the opening marker themselves."""
    assert answered(tiny_adapter("qwen2"), "hello</think>Yes") == [
        ("reasoning", "hello</think>"),
        ("answer", "Yes"),
    ]


def test_an_output_without_markers_has_no_segments():
    """Most models do not reason between markers."""
    assert answered(tiny_adapter("qwen2"), "Yes she is") == []


def test_reasoning_in_the_prompt_is_a_segment():
    """Also where it is not at the end."""
    adapter = tiny_adapter("qwen2")
    chat = [*CHAT[1:2], {"role": "assistant", "content": "<think>hmm</think>Yes"}, *CHAT[1:2]]

    assert spans(adapter, adapter.encode_chat(chat), "reasoning") == [("reasoning", "<think>hmm</think>")]


def test_the_answer_to_a_chat_goes_on_in_ids():
    """The rendered text is not tokenised again: a second start token would shift everything."""
    adapter = tiny_adapter("llama")
    given = adapter.encode_chat(CHAT)

    ids = adapter.encode_output(given.text + "Yes she is", given)

    assert ids[: len(given.ids)].tolist() == list(given.ids)
    assert adapter.decode(ids[len(given.ids) :]) == "Yes she is"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"content": "Hello"}], "has no role"),
        ([{"role": "user"}], "has no content"),
        ([{"role": "user", "content": 3}], r"\['content'\] = 3"),
        (["Hello"], r"messages\[0\] = 'Hello'"),
        ([], "at least one message"),
        ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], "no text"),
    ],
)
def test_messages_that_are_none_are_refused(messages, said):
    """Templates would render ``None``, or fail in Jinja."""
    with pytest.raises(InvalidArgumentError, match=said):
        tiny_adapter("llama").encode_chat(messages)


def test_content_may_be_parts_of_text():
    """The newer form of messages."""
    adapter = tiny_adapter("llama")
    template = "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endfor %}"
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "ladies"}]

    given = adapter.encode_chat([{"role": "user", "content": parts}], chat_template=template)

    assert given.text == "Hello ladies"


def test_a_chat_that_the_template_refuses_says_so():
    """Gemma's and Llama 2's templates insist on alternating roles."""
    with pytest.raises(InvalidArgumentError, match=r"refuses these messages: no question.\n.*system"):
        tiny_adapter("llama").encode_chat(CHAT[:1], chat_template=REWRITING)


def test_an_argument_that_the_template_does_not_have_is_refused():
    """Jinja ignores unknown variables in silence."""
    with pytest.raises(UnknownArgumentError, match="Did you mean 'thinking'"):
        tiny_adapter("llama").encode_chat(CHAT, chat_template=REWRITING, thinkin=True)


def test_a_tokenizer_without_a_template_says_what_to_do():
    """Base models have none."""
    model, tokenizer = tiny_model("llama")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = None

    with pytest.raises(CapabilityError, match="no chat template"):
        load(model, tokenizer=tokenizer).encode_chat(CHAT)
