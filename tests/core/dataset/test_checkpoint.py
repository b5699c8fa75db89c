from __future__ import annotations

import json

import pytest

from inseq_core.dataset import attribute_dataset
from inseq_core.errors import CheckpointError, InvalidArgumentError

TEXTS = ["the dog", "a cat sees", "she likes the red dog", "he", "it is small"]


@pytest.fixture
def path(tmp_path):
    """Five texts in a file."""
    return write(tmp_path / "rows.jsonl", TEXTS)


def write(file, texts):
    """The texts in a file, which is given back."""
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return file


class Interrupted:
    """``lm.attribute`` that is interrupted at a call, and counts those before."""

    def __init__(self, lm, monkeypatch, at=None):
        self.usual, self.calls, self.at = type(lm).attribute.__get__(lm), 0, at
        monkeypatch.setattr(lm, "attribute", self)

    def __call__(self, *arguments, **keywords):
        if self.calls == self.at:
            raise KeyboardInterrupt
        self.calls += 1
        return self.usual(*arguments, **keywords)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("aggregate", [False, True, "words"])
def test_an_interrupted_run_is_gone_on_with(lm, path, tmp_path, monkeypatch, at, aggregate):
    """The result is that of a run without interruption, and no batch is worked out twice."""
    keywords = {"batch_size": 2, "step_scores": ["probability"], "aggregate": aggregate}
    whole = attribute_dataset(lm, path, "text", **keywords)
    Interrupted(lm, monkeypatch, at)
    with pytest.raises(KeyboardInterrupt):
        attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "kept", **keywords)
    rest = Interrupted(lm, monkeypatch)

    out = attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "kept", **keywords)

    assert rest.calls == 3 - at
    assert list(out) == list(whole) and out.info == whole.info


def test_a_finished_run_is_read(lm, path, tmp_path, monkeypatch):
    """Nothing is left to do."""
    first = attribute_dataset(lm, path, "text", checkpoint_dir=str(tmp_path / "kept"))
    again = Interrupted(lm, monkeypatch)

    assert list(attribute_dataset(lm, path, "text", checkpoint_dir=str(tmp_path / "kept"))) == list(first)
    assert again.calls == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 3}, "batch_size: 2 then, 3 now"),
        ({"attributed_fn": "logit"}, "attributed_fn: 'probability' then, 'logit' now"),
        ({"step_scores": ["entropy"]}, "keywords: "),
        ({"aggregate": True}, "aggregate: False then, True now"),
        ({"dataset_split": "train[:2]"}, "dataset: "),
    ],
)
def test_a_folder_of_another_run_is_refused(lm, path, tmp_path, change, said):
    """With what differs; what it holds stays."""
    attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "kept", batch_size=2)
    before = {file.name: file.read_bytes() for file in (tmp_path / "kept").iterdir()}

    with pytest.raises(CheckpointError, match="holds another run") as raised:
        attribute_dataset(
            lm, path, "text", **{"checkpoint_dir": tmp_path / "kept", "batch_size": 2, **change}
        )

    assert said in str(raised.value)
    assert {file.name: file.read_bytes() for file in (tmp_path / "kept").iterdir()} == before


def test_batches_of_other_texts_are_refused(lm, path, tmp_path):
    """The file was changed in between."""
    attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "kept", batch_size=2)
    write(path, [*TEXTS[:2], "the small dog", *TEXTS[3:]])
    with pytest.raises(CheckpointError, match="other texts than rows 3 to 4"):
        attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "kept", batch_size=2)


def test_a_broken_batch_is_named(lm, path, tmp_path):
    """Half of it, as a disk may leave it."""
    attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "kept", batch_size=2)
    part = tmp_path / "kept" / "rows-000000003-000000004.json.gz"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"rows-000000003-000000004(.|\n)*Delete this file"):
        attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "kept", batch_size=2)


def test_a_folder_of_other_things_is_refused(lm, path, tmp_path):
    """Nothing of it is touched."""
    with pytest.raises(CheckpointError, match=r"holds other files \(rows.jsonl\)"):
        attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointError, match="No such file"):
        attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "a" / "b")
    with pytest.raises(CheckpointError, match="File exists"):
        attribute_dataset(lm, path, "text", checkpoint_dir=path)
    with pytest.raises(InvalidArgumentError, match="checkpoint_dir = 3"):
        attribute_dataset(lm, path, "text", checkpoint_dir=3)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("[" * 9)
    with pytest.raises(CheckpointError, match="cannot be read"):
        attribute_dataset(lm, path, "text", checkpoint_dir=tmp_path / "run")
