from __future__ import annotations

import base64
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from inseq_core.errors import FileFormatError
from inseq_core.store import load_attributions

SAVED = Path(__file__).parent / "peer_saved"
EXPECTED = np.load(SAVED / "expected.npz")


def document(name="saliency.json"):
    """A saved file as plain data, to be spoilt."""
    return json.loads((SAVED / name).read_text(encoding="utf-8"))


def write(tmp_path, content):
    """A file with that content."""
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_saved_file_reads_as_it_was():
    """Tokens, ids, positions and scores, as the package that saved it had them."""
    output = load_attributions(SAVED / "saliency.json")
    first = output[0]

    assert len(output) == 2
    assert first.source == ["Hello", "Ġladies", "Ġand"]
    assert first.target == ["Hello", "Ġladies", "Ġand", "Ġgentlemen", ",", "Ġthis"]
    assert first.target[3].id == 313
    assert (first.attr_pos_start, first.attr_pos_end) == (3, 6)
    assert first.axes == ("hidden",)
    np.testing.assert_array_equal(first.target_attributions[:, :, :4], EXPECTED["saliency_raw"])
    assert output.info["attribution_method"] == "saliency"
    assert output.info["input_texts"] == ("Hello ladies and", "The cat sat")
    assert output.info["source_format"] == "inseq-json"


def test_compressed_files_hold_the_same():
    """Whether a file is compressed is seen from its first bytes."""
    assert load_attributions(SAVED / "saliency.json.gz") == load_attributions(SAVED / "saliency.json")


def test_our_aggregation_of_its_scores_is_its_own():
    """Two derivations of one definition: differences are float32 rounding of sums in another order."""
    saliency = load_attributions(SAVED / "saliency.json")[0]
    attention = load_attributions(SAVED / "attention.json")[0]
    t5 = load_attributions(SAVED / "input_x_gradient_t5.json")[0]

    np.testing.assert_allclose(saliency.aggregate().target_attributions, EXPECTED["saliency"], rtol=1e-5)
    np.testing.assert_allclose(attention.aggregate().target_attributions, EXPECTED["attention"], rtol=1e-5)
    np.testing.assert_allclose(t5.aggregate().source_attributions, EXPECTED["t5_source"], rtol=1e-5)
    np.testing.assert_allclose(t5.aggregate().target_attributions, EXPECTED["t5_target"], rtol=1e-5)
    assert attention.axes == ("layer", "head")


def test_our_word_pieces_and_slices_are_its_own():
    """Where it merges and cuts rightly, so do we: the same cells, NaN in the same places."""
    saliency = load_attributions(SAVED / "saliency.json")[0]
    merged = saliency.aggregate("subwords", special_chars=("Ġ", "Ċ"))

    assert merged.target == ["Hello", "Ġladies", "Ġand", "Ġgentlemen,", "Ġthis"]
    np.testing.assert_array_equal(merged.target_attributions, EXPECTED["subwords"])
    np.testing.assert_allclose(merged.step_scores["probability"], EXPECTED["subwords_probability"], rtol=1e-6)
    np.testing.assert_array_equal(saliency[1:3].target_attributions[:, :, :4], EXPECTED["sliced"])


@pytest.mark.parametrize(("name", "rounding"), [("float16", 2**-11), ("float8", 2**-4)])
def test_files_of_lower_precision_are_read(name, rounding):
    """Half of a unit in the last place, and nothing below the smallest number: these files have no scale."""
    smallest = {"float16": 2.0**-24, "float8": 2.0**-9}[name]
    scores = load_attributions(SAVED / f"saliency_{name}.json")[0].target_attributions[:, :, :4]

    np.testing.assert_allclose(scores, EXPECTED["saliency_raw"], rtol=rounding, atol=smallest)


def test_step_attributions_come_along():
    """Each step with its prefix and its scores."""
    steps = load_attributions(SAVED / "input_x_gradient_t5.json").step_attributions

    assert [len(step.prefix[0]) for step in steps] == [1, 2, 3]
    assert steps[1].source_attributions.shape == (1, 3, 32)
    assert steps[1].target_attributions.shape == (1, 2, 32)


def test_files_without_class_names_are_read(tmp_path):
    """``use_primitives=True`` of the package that wrote it, which cannot read these itself."""

    def bare(value):
        if isinstance(value, dict):
            value = value["attributes"] if "__instance_type__" in value else value
            return {key: bare(item) for key, item in value.items()}
        return [bare(item) for item in value] if isinstance(value, list) else value

    read = load_attributions(write(tmp_path, bare(document())))
    assert read == load_attributions(SAVED / "saliency.json")


def test_a_class_that_a_file_names_is_never_looked_up(tmp_path, monkeypatch):
    """The package that wrote such files imports what they name; importing is running."""
    canary = tmp_path / "canary_module.py"
    canary.write_text("raise SystemExit('the file was executed')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    content = document()
    content["attributes"]["sequence_attributions"][0]["__instance_type__"] = ["canary_module", "Canary"]
    content["attributes"]["info"]["model_name"] = {
        "__instance_type__": ["canary_module", "Canary"],
        "attributes": {"x": 1},
    }

    with pytest.raises(FileFormatError):
        load_attributions(write(tmp_path, {"__instance_type__": ["canary_module", "Canary"]}))
    load_attributions(write(tmp_path, content))
    assert "canary_module" not in sys.modules


def spoilt(change):
    """The saved file with one thing wrong."""
    content = document()
    change(content["attributes"], content["attributes"]["sequence_attributions"][0]["attributes"])
    return content


def packed(data, shape, dtype="float32", prefix="b64.gz:"):
    """An array as older versions of the package pack it."""
    return {"__ndarray__": prefix + base64.b64encode(data).decode(), "dtype": dtype, "shape": shape}


BOMB = gzip.compress(bytes(1 << 26))


@pytest.mark.parametrize(
    "change",
    [
        lambda file, text: file.update(sequence_attributions="x"),
        lambda file, text: file.update(info=[1]),
        lambda file, text: file["info"].update(input_texts=3),
        lambda file, text: text.update(target_attributions="bm90IHNhZmV0ZW5zb3Jz"),
        lambda file, text: text.update(target_attributions="not base64!"),
        lambda file, text: text.update(target_attributions=5),
        lambda file, text: text.update(target_attributions=[[1, 2], [3]]),
        lambda file, text: text.update(target_attributions=[["a"]]),
        lambda file, text: text.update(target_attributions=packed(b"abc", [10**9, 10**9])),
        lambda file, text: text.update(target_attributions=packed(BOMB, [6, 3, 32])),
        lambda file, text: text.update(target_attributions=packed(b"abc", [-1])),
        lambda file, text: text.update(target_attributions=packed(b"abc", [1], dtype="object")),
        lambda file, text: text.update(target_attributions=packed(b"abc", [1], prefix="pickle:")),
        lambda file, text: text.update(attr_pos_start="3"),
        lambda file, text: text.update(attr_pos_end=4),
        lambda file, text: text.update(target=[{"token": 3, "id": 4}]),
        lambda file, text: text.update(target=3),
        lambda file, text: text.update(step_scores=[]),
        lambda file, text: text.update(step_scores={"p": [1.0]}),
    ],
)
def test_a_field_that_is_wrong_gives_a_typed_error(change, tmp_path):
    """Whoever wrote it: an error that says where, and no memory for what is only claimed."""
    with pytest.raises(FileFormatError, match=r"file\.json"):
        load_attributions(write(tmp_path, spoilt(change)))


def test_older_ways_to_store_arrays_are_read(tmp_path):
    """Versions before 0.7 packed numpy arrays, or wrote nested lists."""
    scores = np.arange(18, dtype=np.float32).reshape(6, 3)
    content = document()
    texts = content["attributes"]["sequence_attributions"]
    texts[0]["attributes"]["target_attributions"] = packed(gzip.compress(scores.tobytes()), [6, 3])
    texts[1]["attributes"]["target_attributions"] = packed(scores.tobytes(), [6, 3], prefix="b64:")
    texts.append(json.loads(json.dumps(texts[0])))
    texts[2]["attributes"]["target_attributions"] = scores.tolist()

    output = load_attributions(write(tmp_path, content))
    for sequence in output:
        np.testing.assert_array_equal(sequence.target_attributions, scores)
