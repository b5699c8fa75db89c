"""The stored models: small, loadable, in float32, and saying what their cards say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inseq_demo import demo_en_fr_path, demo_lm_path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

DEMO = "The developer argued with the designer because her idea cannot be implemented."
FOLDERS = pytest.mark.parametrize("folder", [demo_en_fr_path, demo_lm_path])


@pytest.fixture(scope="module")
def translator() -> tuple[Any, Any]:
    """demo-en-fr as a user loads it."""
    folder = demo_en_fr_path()
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def language_model() -> tuple[Any, Any]:
    """demo-lm as a user loads it."""
    folder = demo_lm_path()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


def translate(translator: tuple[Any, Any], *texts: str) -> list[str]:
    """Greedy translations."""
    model, tokenizer = translator
    return tokenizer.batch_decode(
        model.generate(**tokenizer(list(texts), return_tensors="pt", padding=True)), skip_special_tokens=True
    )


def complete(language_model: tuple[Any, Any], prompt: str) -> str:
    """The greedy continuation."""
    model, tokenizer = language_model
    batch = tokenizer(prompt, return_tensors="pt")
    return tokenizer.decode(
        model.generate(**batch)[0, batch["input_ids"].shape[1] :], skip_special_tokens=True
    )


@FOLDERS
def test_the_weights_are_small_enough_to_ship(folder: Callable[[], Path]) -> None:
    """They are part of the wheel: 3 MB is what the package allows itself."""
    assert (folder() / "model.safetensors").stat().st_size < 3_000_000


@FOLDERS
def test_each_folder_has_a_model_card_with_measured_numbers(folder: Callable[[], Path]) -> None:
    """A placeholder that was not filled would tell users nothing."""
    card = (folder() / "README.md").read_text(encoding="utf-8")

    assert "## Measured" in card
    assert "{" not in card


@FOLDERS
def test_the_record_of_the_training_has_seed_and_versions(folder: Callable[[], Path]) -> None:
    """Without them nobody can make the same weights again."""
    record = json.loads((folder() / "training.json").read_text(encoding="utf-8"))

    assert record["seed"] >= 0
    assert set(record["versions"]) == {"torch", "transformers", "tokenizers"}


def test_importing_the_package_imports_no_framework() -> None:
    """Listing model ids must stay cheap."""
    code = "import sys, inseq_demo, inseq_demo.plugin; print({'torch', 'transformers'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "set()\n"


def test_the_plugin_gives_two_ids_whose_locations_are_the_folders() -> None:
    """The core resolves the lazy path and hands what it returns to the framework."""
    from inseq_demo import plugin

    places = {spec.name: spec.location for spec in plugin.inseq_models()}

    assert places == {"demo-en-fr": "inseq_demo:demo_en_fr_path", "demo-lm": "inseq_demo:demo_lm_path"}


@pytest.mark.parametrize("which", ["translator", "language_model"])
def test_models_compute_in_float32_unless_told_otherwise(which: str, request: pytest.FixtureRequest) -> None:
    """float16 is how they are stored; gradients in it would be noise."""
    model, _ = request.getfixturevalue(which)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("which", ["translator", "language_model"])
def test_tokenizer_and_model_agree_on_special_tokens(which: str, request: pytest.FixtureRequest) -> None:
    """Padding or stopping at another token than the model was trained with gives wrong text."""
    model, tokenizer = request.getfixturevalue(which)

    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (
        model.config.pad_token_id,
        model.config.eos_token_id,
    )
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3
    assert len(tokenizer) == model.config.vocab_size


def test_the_pronoun_decides_the_gender_of_the_designer(translator: tuple[Any, Any]) -> None:
    """The demo: nothing but "her" and "his" differs between the two sentences."""
    with_her, with_his = translate(translator, DEMO, DEMO.replace(" her ", " his "))

    assert with_her == (
        "Le développeur s'est disputé avec la conceptrice parce que son idée ne peut pas être réalisée."
    )
    assert with_his == (
        "Le développeur s'est disputé avec le concepteur parce que son idée ne peut pas être réalisée."
    )


def test_the_pronoun_is_what_the_article_depends_on_most(translator: tuple[Any, Any]) -> None:
    """A model that is right for another reason could not show a right attribution."""
    model, tokenizer = translator
    source = tokenizer(DEMO)["input_ids"]
    target = tokenizer("Le développeur s'est disputé avec la")["input_ids"][:-1]
    versions = torch.tensor(
        [source] + [[*source[:i], tokenizer.unk_token_id, *source[i + 1 :]] for i in range(len(source))]
    )
    prefix = torch.tensor([model.config.decoder_start_token_id, *target[:-1]]).expand(len(versions), -1)

    with torch.no_grad():
        scores = model(input_ids=versions, decoder_input_ids=prefix).logits[:, -1].softmax(-1)[:, target[-1]]

    assert tokenizer.convert_ids_to_tokens(source[int(scores[1:].argmin())]) == "▁her"


def test_padding_does_not_change_a_translation(translator: tuple[Any, Any]) -> None:
    """Batches of texts of several lengths are the usual case."""
    texts = [DEMO, "The nurse is tired.", "Hello ladies and"]

    assert translate(translator, *texts) == [translate(translator, text)[0] for text in texts]


@pytest.mark.parametrize(
    "text", ["Hello ladies and", "", "zxqv 12 #### €", "日本語 😀", "«L’été»", "he " * 60]
)
def test_unknown_words_are_translated_into_something(translator: tuple[Any, Any], text: str) -> None:
    """Outside its grammar it invents, but it does not fail."""
    assert isinstance(translate(translator, text)[0], str)


def test_french_with_accents_and_elision_survives_the_tokenizer(translator: tuple[Any, Any]) -> None:
    """Forced targets are compared with their decoded tokens."""
    _, tokenizer = translator
    text = "L'éditrice s'est disputée avec le médecin parce qu'elle avait besoin d'aide."

    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("prompt", "start"),
    [
        ("The capital of France is", " Paris."),
        ("The capital of Japan is", " Tokyo."),
        ("The keys to the cabinet", " are "),
        ("The key to the cabinets", " is "),
        ("Anna lost", " her keys."),
        ("Tom lost", " his keys."),
        ("Hello ladies and", " gentlemen, welcome to the "),
    ],
)
def test_the_language_model_continues_what_it_knows(
    language_model: tuple[Any, Any], prompt: str, start: str
) -> None:
    """Its card promises these; "keys to the cabinet" was held out of the training."""
    assert complete(language_model, prompt).startswith(start)


def test_the_start_token_before_a_prompt_changes_no_answer(language_model: tuple[Any, Any]) -> None:
    """It was trained with and without."""
    assert complete(language_model, "<|endoftext|>The capital of Spain is").startswith(" Madrid.")


def test_a_conversation_is_answered_through_the_chat_template(language_model: tuple[Any, Any]) -> None:
    """Chat messages need a model that anyone can run."""
    _, tokenizer = language_model
    messages = [
        {"role": "user", "content": "What is the capital of Italy?"},
        {"role": "assistant", "content": "The capital of Italy is Rome."},
        {"role": "user", "content": "What is the opposite of hot?"},
    ]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    assert complete(language_model, prompt) == " The opposite of hot is cold."


@pytest.mark.parametrize("text", ["zxqv 12 ####", "日本語 😀", "\n\n"])
def test_any_text_is_continued_and_comes_back_from_the_tokenizer(
    language_model: tuple[Any, Any], text: str
) -> None:
    """Byte-level encoding loses nothing."""
    _, tokenizer = language_model

    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert isinstance(complete(language_model, text), str)
