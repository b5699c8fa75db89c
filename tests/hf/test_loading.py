"""Loading: what works, and what is refused in words before any weights are read."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys

import attrs
import pytest
import torch
import transformers as hf
from huggingface_hub import errors as hub_errors
from support.hf_adapters import PROMPTS, forced, plain_logits
from support.tiny_models import save_tiny, tiny_model, tiny_tokenizer

import inseq
from inseq_core.data.batch import TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import (
    CapabilityError,
    InvalidArgumentError,
    MissingPackageError,
    ModelLoadError,
    UnknownArgumentError,
)
from inseq_core.hooks.specs import Capability
from inseq_core.torch.seams import is_compiled
from inseq_hf import hub
from inseq_hf.capabilities import capabilities_of, keep_gradients
from inseq_hf.loading import load
from inseq_hf.plugin import inseq_choose_framework


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved decoder-only model."""
    return save_tiny("gpt2", tmp_path_factory.mktemp("models") / "gpt2")


@pytest.fixture
def no_network(monkeypatch):
    """A machine without a network, and without an environment that says so."""
    monkeypatch.setattr(hub, "is_reachable", lambda: False)


@pytest.mark.parametrize("name", ["gpt2", "llama", "marian", "t5", "mbart"])
def test_a_saved_model_is_loaded_whole(name, tmp_path):
    """Weights, tokenizer and kind come from the folder."""
    saved = save_tiny(name, tmp_path / name)
    model, tokenizer = tiny_model(name)

    adapter = load(str(saved))

    text = forced(adapter, PROMPTS[0], " she said.")
    batch = TokenBatch.of([text], adapter.pad_id)
    rows = adapter.forward_rows(batch, StepGrid.of(batch, [(1, len(text.target_ids))])).logits[:, 0]
    expected = plain_logits(load(model, tokenizer=tokenizer), text)[:-1]
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=0)
    assert adapter.is_encoder_decoder == (name not in ("gpt2", "llama"))
    assert adapter.profile.name == name
    assert not any(m.training for m in adapter.model.modules())


def test_every_option_of_loading_is_one_of_load_model(folder):
    """The front door hands on what the adapter takes."""
    options = {
        "device": "cpu",
        "dtype": "float64",
        "tokenizer": folder,
        "model_kwargs": {},
        "tokenizer_kwargs": {},
    }

    model = inseq.load_model(str(folder), **options)

    assert (model.device, model.info["dtype"]) == ("cpu", "float64")


def test_a_path_object_and_a_home_folder_are_paths(folder, monkeypatch):
    """``~`` is expanded, as everywhere else."""
    monkeypatch.setenv("HOME", str(folder.parent))

    assert load(folder).profile.name == load("~/gpt2").profile.name == "gpt2"


@pytest.mark.parametrize(
    ("dtype", "expected"), [(None, "float32"), ("float64", "float64"), (torch.bfloat16, "bfloat16")]
)
def test_the_floating_type_is_float32_or_what_was_asked_for(folder, dtype, expected):
    """Attributions lose more digits in low precision than predictions do."""
    assert load(folder, dtype=dtype).profile.dtype == expected


def test_a_model_stored_in_half_precision_is_widened(tmp_path):
    """And ``"auto"`` keeps it."""
    model, tokenizer = tiny_model("gpt2", seed=5)
    hf.GPT2LMHeadModel(model.config).half().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    assert load(tmp_path).profile.dtype == "float32"
    assert load(tmp_path, dtype="auto").profile.dtype == "float16"
    assert load(tmp_path, model_kwargs={"dtype": torch.float16}).profile.dtype == "float16"


def test_model_and_tokenizer_arguments_reach_transformers(tmp_path):
    """Attention implementations, languages."""
    saved = save_tiny("nllb", tmp_path)

    adapter = load(
        saved, model_kwargs={"attn_implementation": "eager"}, tokenizer_kwargs={"tgt_lang": "deu_Latn"}
    )

    assert adapter.model.config._attn_implementation == "eager"
    assert adapter.tokenizer.tgt_lang == "deu_Latn"


def test_a_tokenizer_may_lie_elsewhere(folder, tmp_path):
    """Fine-tuned weights are often saved without their tokenizer."""
    bare = shutil.copytree(
        folder, tmp_path / "bare", ignore=shutil.ignore_patterns("token*", "vocab*", "merges*")
    )
    words = tmp_path / "words"
    tiny_tokenizer("byte_bpe").save_pretrained(words)
    (model, _) = tiny_model("gpt2")

    assert load(bare, tokenizer=words).encode_input("Hello").ids == load(folder).encode_input("Hello").ids
    assert load(bare, tokenizer=tiny_tokenizer("byte_bpe")).encode_input("Hello").ids
    assert load(model, tokenizer=str(words)).encode_input("Hello").ids


# -- loaded models -------------------------------------------------------------------------------


def test_a_loaded_model_is_taken_as_it_is():
    """Same object, same device, same mode, same flags."""
    model, tokenizer = tiny_model("gpt2", seed=6)
    model.train()
    try:
        adapter = load(model, tokenizer=tokenizer)

        assert adapter.model is model and adapter.tokenizer is tokenizer
        assert all(m.training for m in model.modules())
        assert all(p.requires_grad for p in model.parameters())
    finally:
        model.eval()


def test_a_loaded_model_finds_its_tokenizer_where_it_came_from(folder):
    """``name_or_path`` is the folder or id it was loaded from."""
    model = hf.AutoModelForCausalLM.from_pretrained(folder)

    assert load(model).encode_input("Hello").ids == load(folder).encode_input("Hello").ids


def test_a_model_made_by_hand_needs_its_tokenizer():
    """It does not say where a tokenizer could be found."""
    model, _ = tiny_model("gpt2")

    with pytest.raises(ModelLoadError, match="tokenizer=tokenizer"):
        load(model)


# -- devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["gpu", "cuda:99", 3.5, "cpu:-2"])
def test_a_device_that_is_not_there_is_refused(folder, device):
    """With what is there."""
    with pytest.raises(InvalidArgumentError, match="device"):
        load(folder, device=device)


def test_a_model_is_moved_and_says_where_it_is():
    """``model.device`` is settable; on this machine there may be nothing but the CPU."""
    model, tokenizer = tiny_model("gpt2")
    adapter = load(model, tokenizer=tokenizer, device="cpu")

    adapter.to_device("cpu")

    assert adapter.profile.device == "cpu"
    with pytest.raises(InvalidArgumentError, match="not available here"):
        adapter.to_device("cuda:99")


def test_spreading_over_devices_needs_accelerate(folder, monkeypatch):
    """Said by name, before the weights are read."""
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)

    with pytest.raises(MissingPackageError, match="pip install accelerate"):
        load(folder, device="auto")


# -- what is no model of text --------------------------------------------------------------------


def tiny_bert(kind):
    """An encoder with a head of some kind."""
    return kind(
        hf.BertConfig(
            vocab_size=99, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
    )


def not_generating():
    """Models of transformers that write nothing."""
    vit = hf.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32
    )
    llama = tiny_model("llama")[0].config
    return {
        "masked": tiny_bert(hf.BertForMaskedLM),
        "encoder": tiny_bert(hf.BertModel),
        "classifier": tiny_bert(hf.BertForSequenceClassification),
        "images": hf.ViTModel(vit),
        "reward": hf.LlamaForSequenceClassification(llama),
        "headless": hf.LlamaModel(llama),
    }


@pytest.mark.parametrize("kind", ["masked", "encoder", "classifier", "images", "reward", "headless"])
def test_a_model_that_does_not_generate_is_refused(kind, tmp_path):
    """transformers would load some of them with a random head."""
    model = not_generating()[kind]
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()  # the weights are not looked at

    for given in (tmp_path, model):
        with pytest.raises(ModelLoadError, match=r"does not generate text"):
            load(given)


def test_a_body_with_tied_embeddings_has_its_head_all_the_same(tmp_path):
    """``facebook/bart-base`` says that it is a ``BartModel``."""
    model, tokenizer = tiny_model("bart")
    model.model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BartModel"]

    adapter = load(tmp_path)

    assert (
        torch.equal(adapter.embedding_matrix("target"), model.get_decoder().get_input_embeddings().weight)
        is True
    )


# -- what cannot be read -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("./nowhere", "no folder './nowhere'"),
        ("/nowhere/at/all", "no folder '/nowhere/at/all'"),
        ("a/b/c", "no folder 'a/b/c'"),
        ("two words", "expected a folder, or a hub id"),
        ("some-id-that-is-nowhere", "no network"),
        ("Helsinki-NLP/opus-mt-xx-yy", "no cached copy"),
    ],
)
def test_a_place_where_nothing_is(place, said, no_network):
    """Folders, ids and typos of both are told apart."""
    with pytest.raises((ModelLoadError, InvalidArgumentError), match=said):
        load(place)


def test_an_environment_without_the_hub_is_named(monkeypatch):
    """``HF_HUB_OFFLINE`` is easily forgotten."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(ModelLoadError, match="HF_HUB_OFFLINE"):
        load("some-id-that-is-nowhere")


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch):
    """transformers retries for minutes; here a refused connection is an answer."""
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

    assert not hub.is_reachable()


def answer(kind):
    """An error of the hub's, without the HTTP response that its versions make differently."""
    error = kind.__new__(kind)
    error.args = ("not there",)
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (hub_errors.RepositoryNotFoundError, "The hub has no model 'acme/model'"),
        (hub_errors.GatedRepoError, "gated model"),
        (hub_errors.RevisionNotFoundError, "no such revision"),
    ],
)
def test_answers_of_the_hub_are_put_in_words(error, said, monkeypatch):
    """transformers wraps them in an OSError about a local folder."""
    monkeypatch.setattr(hub, "is_reachable", lambda: True)

    def fail(*args, **options):
        raise OSError("Can't load the configuration of 'acme/model'.") from answer(error)

    monkeypatch.setattr(hf.AutoConfig, "from_pretrained", fail)

    with pytest.raises(ModelLoadError, match=said):
        load("acme/model")


def damaged(folder, tmp_path, change):
    """A changed copy of a folder."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    change(copy)
    return copy


def cut_weights(path):
    """As after a full disk."""
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def other_type(path):
    """A model that this transformers does not know."""
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "model_type": "superllm"}))


def without_tokenizer(path):
    """As after saving the model alone."""
    for file in [*path.glob("token*"), *path.glob("vocab*"), *path.glob("merges*")]:
        file.unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut_weights, "weights of the folder .* cannot be read.*\n.*whole"),
        (lambda path: (path / "model.safetensors").unlink(), "weights of the folder .* cannot be read"),
        (
            lambda path: (path / "config.json").write_text("{no"),
            "configuration of the folder .* cannot be read",
        ),
        (lambda path: (path / "config.json").unlink(), "has no config.json"),
        (other_type, "superllm"),
        (without_tokenizer, "(?i)tokenizer .*tokenizer=…"),
    ],
    ids=["cut weights", "no weights", "no JSON", "no config", "unknown type", "no tokenizer"],
)
def test_a_damaged_folder_says_what_is_damaged(change, said, folder, tmp_path):
    """An empty tokenizer, for one, is what transformers makes of missing files."""
    with pytest.raises(ModelLoadError, match=f"(?s){said}"):
        load(damaged(folder, tmp_path, change))


def test_weights_that_are_missing_are_not_made_up(folder, tmp_path):
    """transformers warns and draws them at random."""
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    name = next(key for key in weights if "mlp" in key)
    save_file(
        {k: v for k, v in weights.items() if k != name}, copy / "model.safetensors", metadata={"format": "pt"}
    )

    with pytest.raises(ModelLoadError, match="holds no weights for"):
        load(copy)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"model_kwargs": {"nonsense": 1}}, UnknownArgumentError, "nonsense.*model_kwargs"),
        ({"model_kwargs": [1]}, InvalidArgumentError, "model_kwargs"),
        ({"tokenizer_kwargs": "x"}, InvalidArgumentError, "tokenizer_kwargs"),
        ({"tokenizer": 3}, InvalidArgumentError, "tokenizer = 3"),
        ({"tokenizer": "./nowhere"}, ModelLoadError, "no folder"),
        ({"dtype": "int8"}, InvalidArgumentError, "floating type"),
        ({"dtype": "float33"}, InvalidArgumentError, "floating type"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, options, error, said):
    """By the name under which they were given."""
    with pytest.raises(error, match=said):
        load(folder, **options)


@pytest.mark.parametrize("given", [3, None, object(), torch.nn.Linear(2, 2)])
def test_what_is_no_model_is_refused(given):
    """Any torch module but a model of transformers."""
    with pytest.raises(InvalidArgumentError, match="model = "):
        load(given)


def test_a_file_is_not_a_folder(folder):
    """But its folder is near."""
    with pytest.raises(ModelLoadError, match="is a file"):
        load(folder / "config.json")


def test_a_folder_with_a_gguf_file_says_how_to_load_it(tmp_path):
    """It needs no config.json, but its name."""
    (tmp_path / "model.Q4.gguf").write_bytes(b"GGUF")

    with pytest.raises(ModelLoadError, match=r"gguf_file': 'model.Q4.gguf'"):
        load(tmp_path)


# -- capabilities --------------------------------------------------------------------------------


class Rounded(torch.autograd.Function):
    """Quantised arithmetic without a derivative."""

    @staticmethod
    def forward(ctx, x):
        return x.round(decimals=3)

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


def test_quantised_weights_without_gradients_offer_none():
    """A kernel without a derivative gives zeros, or raises; both must be found before a method runs."""
    model, tokenizer = tiny_model("gpt2", seed=8)
    handle = model.transformer.h[0].register_forward_hook(
        lambda m, a, out: (
            Rounded.apply(out) if isinstance(out, torch.Tensor) else (Rounded.apply(out[0]), *out[1:])
        )
    )
    model.is_quantized = True
    try:
        adapter = load(model, tokenizer=tokenizer)
    finally:
        handle.remove()
        del model.is_quantized

    assert Capability.GRADIENTS not in adapter.capabilities
    assert any("quantised" in note for note in adapter.notes)
    assert Capability.GRADIENTS in capabilities_of(adapter)


def test_four_bit_layers_are_asked_not_to_repack_themselves():
    """On some CPUs their gradients would be zero after the first generation."""

    @attrs.define(eq=False)
    class Layer(torch.nn.Module):
        support_avx512bf16_for_cpu: bool = True

        def __attrs_pre_init__(self):
            super().__init__()

    model = torch.nn.Sequential(Layer(), torch.nn.Linear(2, 2))

    keep_gradients(model)

    assert not model[0].support_avx512bf16_for_cpu


# -- the plugin ----------------------------------------------------------------------------------


def test_models_of_transformers_and_ids_are_taken():
    """Ids last of all: other frameworks are asked first."""
    assert inseq_choose_framework("gpt2") == "hf_transformers"
    assert inseq_choose_framework(tiny_model("gpt2")[0]) == "hf_transformers"
    assert inseq_choose_framework(torch.nn.Linear(2, 2)) is None
    assert inseq_choose_framework.inseq_impl["trylast"]


def test_the_plugin_imports_neither_torch_nor_transformers():
    """Listing what is installed must stay light."""
    code = (
        "import sys, inseq_hf.plugin as p;"
        "list(p.inseq_model_adapters()); p.inseq_choose_framework(object());"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("way", ["wrapped", "in place", "its forward", "one layer"])
def test_a_compiled_model_is_attributed_as_it_was_written(way):
    """Compiled code does not see the hooks that the engine's seams are made of. The model stays compiled."""
    model, tokenizer = tiny_model("gpt2")
    expected = inseq.load_model(model, "layer_integrated_gradients", tokenizer=tokenizer)
    texts, options = ("A dog", "A dog and a cat"), {"n_steps": 3, "target_layer": "transformer.h.1"}
    compiled = given = copy.deepcopy(model)
    if way == "wrapped":
        given = torch.compile(compiled, backend="eager")
    elif way == "its forward":
        compiled.forward = torch.compile(compiled.forward, backend="eager")
        compiled(torch.tensor([[1, 2, 3]]))
    else:
        (compiled if way == "in place" else compiled.transformer.h[1]).compile(backend="eager")

    found = inseq.load_model(given, "layer_integrated_gradients", tokenizer=tokenizer).attribute(
        *texts, **options
    )

    assert found[0].target_attributions == pytest.approx(
        expected.attribute(*texts, **options)[0].target_attributions, abs=1e-6, nan_ok=True
    )
    assert is_compiled(compiled.modules()) == (way != "wrapped")
    assert torch._dynamo.eval_frame._stance.stance == "default"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_weights_that_torch_packed_offer_no_gradients():
    """Dynamically quantised layers have no parameters to tell by, and no derivative: gradient methods are refused
    before any work, with those that fit.
    """
    model, tokenizer = tiny_model("bart")
    packed = torch.ao.quantization.quantize_dynamic(
        copy.deepcopy(model), {torch.nn.Linear}, dtype=torch.qint8
    )
    with pytest.raises(CapabilityError, match=r"'saliency' needs gradients(.|\n)*occlusion"):
        inseq.load_model(packed, "saliency", tokenizer=tokenizer)


def test_an_object_that_nobody_knows_is_named_by_its_class():
    """A module prints all of its layers."""
    with pytest.raises(ModelLoadError, match=r"knows a Sequential: .*hf_transformers"):
        inseq.load_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), "saliency")


def test_a_tokenizer_may_be_that_of_a_model_that_a_package_carries():
    """Its id loads the model, so it loads the tokenizer."""
    mine = inseq.load_model("demo-lm").adapter.model
    assert (
        inseq.load_model(mine, tokenizer="demo-lm").encode("The keys").ids
        == inseq.load_model("demo-lm").encode("The keys").ids
    )
