"""Exports: proved before they are kept, whole or not at all, run without torch, from Python and the command
line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from inseq_core.cli.program import program
from inseq_core.errors import InvalidArgumentError, ModelLoadError, SavedFileExistsError, SelfCheckError
from inseq_demo import demo_lm_path
from inseq_onnx import comparison, tracing
from inseq_onnx.export import export

SENTENCE = "The developer argued with the designer because her idea cannot be implemented."
WITHOUT_TORCH = """
import sys
import inseq
model = inseq.load_model(sys.argv[1], "occlusion")
out = model.attribute(sys.argv[2], show_progress=False)
out.show(display=False, return_html=True)
print(out[0].target)
heavy = [name for name in ("torch", "transformers", "captum", "onnx") if name in sys.modules]
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


@pytest.fixture
def quick_graphs(monkeypatch, exported):
    """Tracing replaced by a copy of graphs that are there already; what surrounds it is what is tried."""

    def copied(model, folder, *, is_large):
        source = exported("demo-lm")
        (folder / "model.onnx").write_bytes((source / "model.onnx").read_bytes())
        return {"graph": "model.onnx"}

    monkeypatch.setattr(tracing, "write_graphs", copied)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text"), [("demo-en-fr", SENTENCE), ("demo-lm", "The capital of France is")]
)
def test_an_export_is_attributed_without_torch(exported, name, text):
    """On a machine that has onnxruntime and little else."""
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(exported(name)), text],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


@pytest.mark.slow
def test_an_export_is_plain_data_that_says_what_it_is(exported):
    """Anybody can read it, and another program can run it."""
    folder = exported("demo-en-fr")
    settings = json.loads((folder / "inseq_onnx.json").read_text())

    assert settings["files"] == {"graph": "decoder_model.onnx", "encoder": "encoder_model.onnx"}
    assert settings["positions"] == {"encoder": 128, "decoder": 128}
    assert settings["frames"]["source"] == {"before": [], "after": [0]}
    assert {path.suffix for path in folder.iterdir()} == {".json", ".onnx"}
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 0


@pytest.mark.slow
def test_the_command_line_attributes_an_exported_folder(exported, tmp_path):
    """As any other model: nothing names the framework."""
    viz, saved = tmp_path / "picture.html", tmp_path / "out.json"
    options = ["-a", "leave_one_out", "--viz_path", str(viz), "--save_path", str(saved)]

    run = CliRunner().invoke(
        program, ["attribute", "-m", str(exported("demo-en-fr")), "-i", SENTENCE, *options]
    )

    assert run.exit_code == 0, run.output
    assert "oppeur" in run.output
    assert viz.stat().st_size > 1000 and saved.exists()


@pytest.mark.slow
def test_the_other_commands_take_an_exported_folder_too(exported, tmp_path):
    """Datasets, and the use of context."""
    table, saved = tmp_path / "texts.csv", tmp_path / "out.json"
    table.write_text("text\nThe capital of France is\nThe capital of Italy is\n")
    dataset = ["attribute-dataset", "-m", str(exported("demo-lm")), "-a", "occlusion", "-d", str(table)]
    dataset += [
        "--input_text_field",
        "text",
        "--hide",
        "-o",
        str(saved),
        "--generation_kwargs",
        '{"max_new_tokens": 3}',
    ]
    context = ["attribute-context", "-m", str(exported("demo-en-fr")), "-a", "occlusion"]
    context += [
        "--input_context_text",
        "The nurse is a man.",
        "--input_current_text",
        "The nurse met the doctor.",
    ]
    context += ["--input_template", "{context} {current}"]

    for arguments in (dataset, context):
        run = CliRunner().invoke(program, arguments)
        assert run.exit_code == 0, run.output
    assert saved.exists() and "infirmier" in run.output


@pytest.mark.slow
def test_the_command_line_refuses_gradients_with_what_works(exported):
    """The default method of the command is a gradient method."""
    run = CliRunner().invoke(program, ["attribute", "-m", str(exported("demo-lm")), "-i", "The capital"])

    assert run.exit_code == 1
    assert "'saliency' needs gradients" in run.output and "occlusion" in run.output


@pytest.mark.slow
def test_the_command_exports_a_model_that_a_plugin_carries(quick_graphs, tmp_path):
    """By its id, without knowing where it lies."""
    folder = tmp_path / "graphs"

    run = CliRunner().invoke(program, ["export-onnx", "demo-lm", str(folder)])

    assert run.exit_code == 0, run.output
    assert f"demo-lm: model.onnx in {folder}" in run.output and "Logits equal" in run.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graphs"]


@pytest.mark.slow
def test_graphs_that_give_other_logits_are_not_kept(quick_graphs, tmp_path, monkeypatch):
    """Whatever went wrong in the exporter: the original is the judge, and nothing is left behind."""
    own = comparison.logits
    monkeypatch.setattr(comparison, "logits", lambda *given: own(*given) * 1.01)

    with pytest.raises(SelfCheckError, match=r"(?s)GPT2LMHeadModel give other logits .*nothing was written"):
        export(demo_lm_path(), tmp_path / "graphs")
    assert not list(tmp_path.iterdir())


def test_an_exporter_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """Its long report stays in the cause."""
    import torch

    def fail(*args, **options):
        raise RuntimeError("\nunsupported operator: aten::magic\nand a hundred lines more")

    monkeypatch.setattr(torch.onnx, "export", fail)

    with pytest.raises(
        ModelLoadError, match=r"cannot export model of this model: unsupported operator: aten::magic\n"
    ):
        export(demo_lm_path(), tmp_path / "graphs")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_only_an_earlier_export_is_replaced_and_only_when_asked(quick_graphs, tmp_path):
    """A folder with something else in it is somebody's work."""
    folder = tmp_path / "graphs"
    export(demo_lm_path(), folder)
    (folder / "stale.txt").write_text("from before")

    with pytest.raises(SavedFileExistsError, match=r"exists already.\n  Let it be replaced: --overwrite"):
        export(demo_lm_path(), folder)
    export(demo_lm_path(), folder, overwrite=True)
    assert not (folder / "stale.txt").exists() and (folder / "model.onnx").exists()

    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("…")
    with pytest.raises(SavedFileExistsError, match="Name a folder that does not exist"):
        export(demo_lm_path(), other, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graphs", "other"]


def test_what_cannot_be_exported_is_refused_before_anything_is_traced(tmp_path):
    """No such model, no folder to write in, no tokenizer file."""
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        export(demo_lm_path(), tmp_path / "missing" / "graphs")
    with pytest.raises(ModelLoadError, match="cannot be loaded for export"):
        export(tmp_path / "nothing", tmp_path / "graphs")
    with pytest.raises(ModelLoadError, match="no tokenizer that can be loaded"):
        export(demo_lm_path(), tmp_path / "graphs", tokenizer=tmp_path / "nothing")


def test_a_tokenizer_whose_file_says_something_else_is_refused(tmp_path, monkeypatch):
    """What writes the texts at run time has to write them as the model's own tokenizer does."""
    own = tracing.read_tokenizer

    def read(location, options):
        tokenizer = own(location, options)
        call = type(tokenizer).__call__
        kind = type(
            "Shouting", (type(tokenizer),), {"__call__": lambda s, text, **o: call(s, text.upper(), **o)}
        )
        tokenizer.__class__ = kind
        return tokenizer

    monkeypatch.setattr(tracing, "read_tokenizer", read)

    with pytest.raises(ModelLoadError, match=r"tokenizer.json of Shouting writes '.*' as \["):
        export(demo_lm_path(), tmp_path / "graphs")


@pytest.mark.parametrize("name", ["marian", "m2m100"])
def test_a_tokenizer_without_a_file_of_its_own_is_refused(tmp_path, name):
    """Tokenizers of SentencePiece models alone: graphs of them could not read texts."""
    from support.tiny_models import tiny_model

    model, tokenizer = tiny_model(name)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")

    with pytest.raises(ModelLoadError, match=r"has no tokenizer.json"):
        export(tmp_path / "model", tmp_path / "graphs")
    assert not (tmp_path / "graphs").exists()


@pytest.mark.slow
def test_a_translator_with_languages_keeps_its_frames(tmp_path):
    """mBART: the language of a source stands behind it, that of an output is where its decoder starts."""
    from support.tiny_models import tiny_model

    import inseq

    model, tokenizer = tiny_model("mbart")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    languages = {"src_lang": tokenizer.src_lang, "tgt_lang": tokenizer.tgt_lang}

    folder = export(tmp_path / "model", tmp_path / "graphs", tokenizer_kwargs=languages).folder

    graphs = inseq.load_model(str(folder)).adapter
    torch_model = inseq.load_model(model, tokenizer=tokenizer).adapter
    for text in ("Hello ladies", "She said that"):
        given = torch_model.encode_input(text)
        assert graphs.encode_input(text).ids == given.ids
        assert graphs.encode_output(text, given).tolist() == torch_model.encode_output(text, given).tolist()
        assert graphs.start_ids(given).tolist() == torch_model.start_ids(given).tolist()
    assert graphs.generate([_begun(graphs)], {"max_new_tokens": 4})[0].tolist() == (
        torch_model.generate([_begun(torch_model)], {"max_new_tokens": 4})[0].tolist()
    )


def _begun(adapter):
    from inseq_core.data.batch import EncodedText

    given = adapter.encode_input("Hello ladies")
    start = adapter.start_ids(given)
    return EncodedText(target_ids=start, source_ids=given.ids, prompt_length=len(start))
