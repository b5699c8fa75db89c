"""What the README of inseq-onnx tells its reader to type, with a model that is exported already."""

from __future__ import annotations

import shutil

import pytest
from support.documents import ROOT, Reader, blocks

README = ROOT / "plugins" / "inseq_onnx" / "README.md"


@pytest.mark.slow
def test_the_readme_does_what_it_says(exported, tmp_path, monkeypatch):
    """Only the export itself is left out: it was made for the session."""
    shutil.copytree(exported("demo-en-fr"), tmp_path / "demo-onnx")
    reader = Reader(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)

    told = [block for block in blocks(README) if block.language in ("python", "console")]
    exporting = [block for block in told if "export-onnx" in block.text]
    assert len(exporting) == 1 and len(told) > 1
    for block in told:
        if block not in exporting:
            reader.run(block)
