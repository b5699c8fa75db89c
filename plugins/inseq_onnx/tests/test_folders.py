"""What is loaded from where: our exports, other exports, and what is none."""

from __future__ import annotations

import json
import shutil

import pytest

from inseq_core.errors import ModelLoadError
from inseq_onnx.layout import FORMAT, SETTINGS_FILE, read_layout
from inseq_onnx.plugin import inseq_choose_framework

SETTINGS = {
    "format": FORMAT,
    "files": {"graph": "model.onnx"},
    "positions": {"encoder": None, "decoder": 16},
    "model_class": "SumsForCausalLM",
    "frames": {"source": {"before": [1], "after": []}, "target": {"before": [1], "after": []}},
}


def settle(folder, **changes) -> None:
    """Write the settings of an export of ours."""
    (folder / SETTINGS_FILE).write_text(json.dumps({**SETTINGS, **changes}))


def test_graphs_are_known_by_their_files(workshop, tmp_path):
    """A folder with settings or graphs, or a graph; never an object, an id, or a folder of something else."""
    folder = workshop.decoder_only()
    (tmp_path / "empty").mkdir()

    assert inseq_choose_framework(str(folder)) == inseq_choose_framework(folder) == "onnx"
    assert inseq_choose_framework(str(folder / "model.onnx")) == "onnx"
    assert inseq_choose_framework(str(tmp_path / "empty")) is None
    assert inseq_choose_framework("gpt2") is None
    assert inseq_choose_framework(object()) is None


def test_weights_of_another_framework_come_first(workshop):
    """A folder of transformers with graphs beside its weights gives gradients too, if transformers loads
    it."""
    folder = workshop.decoder_only()
    (folder / "model.safetensors").write_bytes(b"")

    assert inseq_choose_framework(folder) is None
    settle(folder)
    assert inseq_choose_framework(folder) == "onnx"


def test_a_graph_and_its_folder_are_the_same_model(workshop, loaded):
    """Whatever somebody has at hand."""
    folder = workshop.decoder_only()

    assert loaded(folder).profile == loaded(folder / "model.onnx").profile
    assert loaded(str(folder)).profile.name == "lm"


def test_what_an_export_of_ours_says_is_taken(workshop, loaded):
    """Positions, class and frames need no guessing."""
    folder = workshop.decoder_only()
    settle(folder)

    adapter = loaded(folder)

    assert adapter.profile.max_target == 16
    assert adapter.profile.model_class == "SumsForCausalLM"
    assert adapter.encode_input("the dog").ids == (1, 4, 6)


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"n_positions": 64}, 64),
        ({"max_position_embeddings": 32, "n_positions": 64}, 32),
        ({"n_positions": 512, "relative_attention_num_buckets": 32}, None),  # T5's is a habit, no limit
        ({"max_position_embeddings": 32, "alibi": True}, None),
        ({}, None),
    ],
)
def test_positions_of_other_exports_come_from_their_configuration(workshop, loaded, config, positions):
    """None where the model has no limit, or does not tell."""
    folder = workshop.decoder_only()
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["SumsLM"]}))

    profile = loaded(folder).profile

    assert (profile.max_target, profile.model_class) == (positions, "SumsLM")


def test_graphs_in_a_folder_of_their_own_have_their_tokenizer_beside_it(workshop, loaded):
    """As the hub's repositories have it: ``onnx/model.onnx`` below ``tokenizer.json``."""
    folder = workshop.decoder_only()
    (folder / "onnx").mkdir()
    shutil.move(folder / "model.onnx", folder / "onnx" / "model.onnx")

    adapter = loaded(folder)

    assert adapter.profile.name == "lm"
    assert adapter.encode_input("the dog").ids == (1, 4, 6)


def test_one_of_several_graphs_is_chosen_by_name(workshop, loaded):
    """Quantised ones often lie beside each other."""
    folder = workshop.decoder_only()
    shutil.move(folder / "model.onnx", folder / "first.onnx")
    shutil.copy(folder / "first.onnx", folder / "second.onnx")

    with pytest.raises(ModelLoadError, match=r"holds first.onnx, second.onnx; which one .*\n.*file_name"):
        loaded(folder)
    assert loaded(folder, model_kwargs={"file_name": "second.onnx"}).network.graph.path.name == "second.onnx"


def test_a_whole_model_beside_an_encoder_is_the_whole_model(workshop, loaded):
    """The name of the graph that was asked for decides."""
    folder = workshop.translator(encoder="inside")
    shutil.copy(folder / "model.onnx", folder / "encoder_model.onnx")

    assert loaded(folder / "model.onnx").network.graph.path.name == "model.onnx"


def test_a_decoder_without_its_encoder_is_refused(workshop, loaded):
    """Half a model."""
    folder = workshop.translator()
    (folder / "encoder_model.onnx").unlink()

    with pytest.raises(ModelLoadError, match=r"is a decoder; its encoder is not beside it"):
        loaded(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "holds a JSON list"),
        ('{"format": 1}', "damaged"),
        ('{"format": "1", "files": {}}', "damaged"),
        ('{"format": 99, "files": {}}', r"format 99; .*\n.*pip install --upgrade"),
        ('{"format": 1, "files": {"graph": "other.onnx"}}', "has no file 'other.onnx'"),
        ('{"format": 1, "files": {"graph": "../lm/model.onnx"}}', "has no file '../lm/model.onnx'"),
        ('{"format": 1, "files": {"graph": 7}}', "has no file 7"),
    ],
)
def test_damaged_settings_are_refused(workshop, text, message):
    """Each with what is wrong; and no file outside of the folder is opened."""
    folder = workshop.decoder_only()
    (folder / SETTINGS_FILE).write_text(text)

    with pytest.raises(ModelLoadError, match=message):
        read_layout(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing", r"no folder .*\n.*export-onnx"), ("missing.onnx", "no file"), ("empty", "holds no graphs")],
)
def test_what_is_not_there_is_said(tmp_path, name, message):
    """With what makes one."""
    (tmp_path / "empty").mkdir()

    with pytest.raises(ModelLoadError, match=message):
        read_layout(tmp_path / name)
