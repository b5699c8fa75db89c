"""What cannot work is refused by name, with what to do."""

from __future__ import annotations

import sys

import pytest

from inseq_core.errors import (
    CapabilityError,
    InvalidArgumentError,
    MissingPackageError,
    ModelLoadError,
    ModelRunError,
    UnknownArgumentError,
)
from inseq_onnx.loading import load


@pytest.mark.parametrize(("module", "advice"), [("onnxruntime", "onnxruntime"), ("tokenizers", "tokenizers")])
def test_a_missing_package_is_named(workshop, monkeypatch, module, advice):
    """A plugin that is installed alone, or an installation that is broken."""
    folder = workshop.decoder_only()
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingPackageError, match=rf"\n  pip install {advice}"):
        load(folder)


def test_missing_packages_of_an_export_are_named_together(tmp_path, monkeypatch):
    """Before anything is loaded."""
    from inseq_onnx.export import export

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(MissingPackageError, match=r"needs torch and onnxscript; .*\n.*inseq-onnx\[export\]"):
        export("gpt2", tmp_path / "graphs")


@pytest.mark.parametrize("content", [b"", b"not a graph at all"])
def test_a_file_that_is_no_graph_is_named(workshop, loaded, content):
    """onnxruntime's own words are kept short."""
    folder = workshop.decoder_only()
    (folder / "model.onnx").write_bytes(content)

    with pytest.raises(ModelLoadError, match=r"onnxruntime .* cannot load '.*model.onnx'"):
        loaded(folder)


def test_a_graph_that_was_cut_off_is_named(workshop, loaded):
    """An interrupted download."""
    folder = workshop.decoder_only()
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ModelLoadError, match="cannot load"):
        loaded(folder)


def test_foreign_inputs_are_refused_with_those_that_there_are(workshop, loaded):
    """A model of images, or an export with a cache of another kind."""
    from onnx import TensorProto

    extra = {"pixel_values": (TensorProto.FLOAT, ["batch", 3, "height", "width"])}

    with pytest.raises(ModelLoadError, match=r"asks for 'pixel_values', .*\n  Its inputs: input_ids, "):
        loaded(workshop.decoder_only(extra=extra))


def test_a_graph_without_logits_is_refused(workshop, loaded):
    """An encoder, say."""
    with pytest.raises(ModelLoadError, match=r"has no output 'logits'.*\n.*its outputs: scores"):
        loaded(workshop.decoder_only(output="scores"))


def test_a_missing_tokenizer_is_named(workshop, loaded):
    """With what to pass."""
    folder = workshop.decoder_only()
    (folder / "tokenizer.json").unlink()

    with pytest.raises(ModelLoadError, match=r"no tokenizer.json in .*\n.*tokenizer=…"):
        loaded(folder)


@pytest.mark.parametrize("text", ["", "{}", '{"model": {"type": "Nothing"}}'])
def test_a_damaged_tokenizer_is_named(workshop, loaded, text):
    """The library's exceptions have no type of their own."""
    folder = workshop.decoder_only()
    (folder / "tokenizer.json").write_text(text)

    with pytest.raises(ModelLoadError, match=r"tokenizer.json' is no tokenizer"):
        loaded(folder)


def test_a_tokenizer_of_another_model_is_refused(workshop, loaded):
    """Its ids are beyond the vocabulary of the graph."""
    from tokenizers import Tokenizer, models

    folder = workshop.decoder_only()
    other = workshop.place / "other"
    other.mkdir()
    Tokenizer(models.WordLevel({"far": 5000, "<unk>": 0}, unk_token="<unk>")).save(
        str(other / "tokenizer.json")
    )

    adapter = loaded(folder, tokenizer=other)
    with pytest.raises(InvalidArgumentError, match="embeddings for 14 ids only"):
        adapter.encode_input("far")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "cuda"}, InvalidArgumentError, "device = 'cuda'"),
        ({"device": "tpu:0"}, InvalidArgumentError, "device = 'tpu:0'"),
        (
            {"device": "cpu", "model_kwargs": {"providers": ["CPUExecutionProvider"]}},
            InvalidArgumentError,
            "twice",
        ),
        ({"model_kwargs": {"provider": []}}, UnknownArgumentError, "Did you mean 'providers'"),
        ({"model_kwargs": {"session_options": {"threads": 2}}}, InvalidArgumentError, "intra_op_num_threads"),
        ({"model_kwargs": {"session_options": {"intra_op_num_threads": "two"}}}, InvalidArgumentError, "two"),
        ({"model_kwargs": []}, InvalidArgumentError, "model_kwargs = "),
        ({"tokenizer": 3}, InvalidArgumentError, "tokenizer = 3"),
        ({"tokenizer_kwargs": {"eos_token": "<end>"}}, InvalidArgumentError, "'<end>' is no token"),
    ],
)
def test_options_that_cannot_be_are_refused(workshop, options, error, message):
    """Devices and options of this onnxruntime, by their names."""
    with pytest.raises(error, match=message):
        load(workshop.decoder_only(), **options)


def test_an_object_is_no_exported_model():
    """A session has no tokenizer, so a folder is needed."""
    with pytest.raises(InvalidArgumentError, match="a folder of exported graphs"):
        load(object())


def test_a_graph_that_fails_is_named_with_what_it_was_given(workshop, loaded):
    """Ids beyond the vocabulary, say, which a user's own code may pass."""
    from inseq_core.data.batch import EncodedText, TokenBatch
    from inseq_core.data.steps import StepGrid

    adapter = loaded(workshop.decoder_only())
    batch = TokenBatch.of([EncodedText(target_ids=[1, 4000, 5])], 0)

    with pytest.raises(ModelRunError, match=r"model.onnx failed on input_ids \(1, 2\)"):
        adapter.forward_rows(batch, StepGrid.of(batch, [(1, 3)]))


def test_gradients_are_refused_with_the_methods_that_work(workshop):
    """When the method is asked for with the model, and when it is asked for later."""
    import inseq_core.model as core

    folder = workshop.decoder_only()
    with pytest.raises(CapabilityError, match=r"'saliency' needs gradients.*\n.*occlusion"):
        core.load_model(str(folder), "saliency")
    model = core.load_model(str(folder))
    with pytest.raises(CapabilityError, match=r"'attention' needs attentions.*\n.*occlusion"):
        model.attribute("the dog", method="attention")


def test_embeddings_and_dropout_are_refused(workshop, loaded):
    """A graph has neither to offer."""
    adapter = loaded(workshop.decoder_only())

    for ask in (adapter.embedding_matrix, lambda: adapter.embed([1]), adapter.dropout):
        with pytest.raises(CapabilityError, match="onnx models"):
            ask()
