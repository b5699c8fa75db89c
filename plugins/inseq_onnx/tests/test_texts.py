"""Texts and ids without transformers: special tokens, frames, chats."""

from __future__ import annotations

import json

import jinja2
import pytest

from inseq_core.errors import CapabilityError, InvalidArgumentError
from inseq_onnx.template import render

CHAT = [{"role": "user", "content": "the dog"}, {"role": "assistant", "content": "sees"}]
TEMPLATE = (
    "{{ bos_token }}\n{% for m in messages %}\n{{ m['role'] }} : {{ m['content'] }} .\n{% endfor %}\n"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


def test_prompts_and_sources_have_the_tokenizers_frame(workshop, loaded):
    """A start token before a prompt, an end token after a source."""
    lm, translator = loaded(workshop.decoder_only()), loaded(workshop.translator())

    assert lm.encode_input("the dog").ids == (1, 4, 6)
    assert translator.encode_input("the dog").ids == (4, 6, 2)
    assert translator.encode_output("a cat", translator.encode_input("the dog")).tolist() == [1, 5, 7, 2]
    assert lm.encode_output("the dog sees", lm.encode_input("the dog")).tolist() == [1, 4, 6, 8]


def test_tokens_are_shown_with_what_they_are(workshop, loaded):
    """An unknown word is content; start and end are not."""
    adapter = loaded(workshop.decoder_only())

    shown = adapter.token_texts([1, 4, 3, 2, 99])

    assert shown.tokens == ("<s>", "the", "<unk>", "</s>", "<99>")
    assert shown.special == (True, False, False, True, False)
    assert adapter.special_tokens == ("<s>", "</s>", "<unk>", "<pad>")
    assert adapter.decode([1, 4, 6, 2]) == "the dog"


def test_baselines_are_found_by_name_and_by_text(workshop, loaded):
    """What removal puts in the place of tokens."""
    adapter = loaded(workshop.decoder_only())

    assert [adapter.baseline_ids(name) for name in ("unk", "pad", "eos", "dog", 5)] == [3, 0, 2, 6, 5]
    with pytest.raises(InvalidArgumentError, match="no such token"):
        adapter.baseline_ids("mask")


def test_special_tokens_can_be_named_when_a_model_is_loaded(workshop, loaded):
    """For tokenizers without a configuration."""
    folder = workshop.decoder_only()
    (folder / "tokenizer_config.json").unlink()

    assert loaded(folder).codec.special("eos") is None
    assert loaded(folder, tokenizer_kwargs={"eos_token": "</s>"}).codec.special("eos") == 2


def test_special_tokens_may_be_written_as_records(workshop, loaded):
    """As transformers writes added tokens."""
    folder = workshop.decoder_only()
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "</s>", "lstrip": False}})
    )

    assert loaded(folder).codec.special("eos") == 2


def test_a_chat_is_written_with_the_tokenizers_template(workshop, loaded):
    """Turns are segments of the prompt, as with any framework."""
    folder = workshop.decoder_only()
    adapter = loaded(folder, tokenizer_kwargs={"chat_template": TEMPLATE})

    given = adapter.encode_chat(CHAT[:1])

    assert given.text == "<s>\nuser : the dog .\nassistant :"
    assert [(s.label, s.start, s.end) for s in given.segments if s.kind == "turn"] == [
        ("user", 0, 6),
        ("assistant", 6, 8),
    ]


def test_a_template_may_lie_in_a_file_of_its_own(workshop, loaded):
    """As transformers writes it now."""
    folder = workshop.decoder_only()
    (folder / "chat_template.jinja").write_text(TEMPLATE)

    assert loaded(folder).encode_chat(CHAT[:1]).text.endswith("assistant :")


def test_a_chat_without_a_template_is_refused(workshop, loaded):
    """Base models have none."""
    with pytest.raises(CapabilityError, match="no chat template"):
        loaded(workshop.decoder_only()).encode_chat(CHAT)


def test_a_prefilled_answer_is_gone_on_with():
    """The text stops behind it, whatever the template writes after a message."""
    options = {"bos_token": "<s>", "add_generation_prompt": False, "continue_final_message": True}

    assert render(TEMPLATE, CHAT, options) == "<s>\nuser : the dog .\nassistant : sees"
    with pytest.raises(InvalidArgumentError, match="does not write the last message as it is"):
        render("{{ messages | length }}", CHAT, options)


def test_templates_have_what_they_expect_and_nothing_more():
    """JSON as models saw it, loop controls, refusals; and no way to the machine."""
    assert render("{{ m | tojson }}", CHAT, {"m": {"é": "<a>"}}) == '{"é": "<a>"}'
    assert render("{% for m in messages %}{% break %}{% endfor %}x", CHAT, {}) == "x"
    assert render("{% generation %}x{% endgeneration %}", CHAT, {}) == "x"
    assert len(render("{{ strftime_now('%Y') }}", CHAT, {})) == 4
    with pytest.raises(jinja2.TemplateError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", CHAT, {})
    with pytest.raises(jinja2.exceptions.SecurityError):
        render("{{ ''.__class__.__mro__[1].__subclasses__() }}", CHAT, {})


def test_one_of_several_templates_is_chosen():
    """By what the call has: tools or none."""
    several = {"default": "plain", "tool_use": "tools"}

    assert render(several, CHAT, {}) == "plain"
    assert render(several, CHAT, {"tools": [{}]}) == "tools"
    with pytest.raises(InvalidArgumentError, match="'rag', none is the default"):
        render({"rag": "x"}, CHAT, {})
