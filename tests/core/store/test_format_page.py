from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import attrs
import numpy as np
import pytest
from support.results import decoder_only, encoder_decoder, output_of

from inseq_core.data.token import Segment
from inseq_core.store import save_attributions
from inseq_core.store.document import FORMAT, VERSION

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "file-format.md").read_text(encoding="utf-8")
SCHEMA = json.loads((DOCS / f"{FORMAT}-{VERSION}.schema.json").read_text(encoding="utf-8"))


def saved(tmp_path, name="out.json", **options):
    """The document of a saved output that uses most fields."""
    output = output_of(
        encoder_decoder(segments=[Segment(label="a", start=0, end=2)], source_special=[0, 0, 0, 1]),
        encoder_decoder(sequence_scores={"x": np.array([np.inf, np.nan])}),
        attribution_args={"x": float("nan")},
    )
    output = attrs.evolve(output, step_attributions=output[0].step_attributions)
    (path,) = save_attributions(output, tmp_path / name, **options)
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if name.endswith("gz") else data)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("out.json", {}),
        ("out.json", {"ndarray_compact": False}),
        ("out.json", {"scores_precision": "float8"}),
        ("out.json.gz", {"scores_precision": "float16"}),
    ],
)
def test_saved_documents_follow_the_published_schema(name, options, tmp_path):
    """The schema is what others write readers from."""
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(SCHEMA)
    document = saved(tmp_path, name, **options)

    validator.check_schema(SCHEMA)
    assert list(validator.iter_errors(document)) == []
    document["sequences"][0]["source"] = []
    assert list(validator.iter_errors(document))


def test_every_field_of_a_document_is_on_the_page(tmp_path):
    """A field that is not described is one that nobody can rely on."""
    document = saved(tmp_path)
    names = {*document, *document["sequences"][0], *document["sequences"][0]["source"]}
    names |= {*document["sequences"][0]["meaning"], *document["sequences"][0]["segments"][0], "part"}

    assert [name for name in sorted(names) if f"`{name}`" not in PAGE and f'"{name}"' not in PAGE] == []


@pytest.mark.parametrize("name", ["out.json", "out.json.gz"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_reader_on_the_page_reads(name, precision, tmp_path):
    """Twelve lines of numpy are enough, and they are true."""
    snippet = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "read_array" in code)
    names: dict = {}
    exec(snippet, names)
    scores = decoder_only(hidden=3).target_attributions
    save_attributions(output_of(decoder_only(hidden=3)), tmp_path / name, scores_precision=precision)
    data = (tmp_path / name).read_bytes()
    document = json.loads(gzip.decompress(data) if name.endswith("gz") else data)
    read = names["read_array"](document["sequences"][0]["target_attributions"])

    # float16 keeps 11 significant bits
    np.testing.assert_allclose(read, scores, rtol=0 if precision == "float32" else 2**-11)
