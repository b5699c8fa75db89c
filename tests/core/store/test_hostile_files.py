from __future__ import annotations

import base64
import contextlib
import gzip
import json
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from safetensors.numpy import save as save_tensors
from support.results import decoder_only, encoder_decoder, output_of

from inseq_core.errors import FileFormatError, InseqError, InvalidArgumentError
from inseq_core.store import files, load_attributions, save_attributions


def document():
    """A saved document, to be spoilt."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        save_attributions(output_of(encoder_decoder()), path)
        return json.loads(path.read_text(encoding="utf-8"))


def refused(tmp_path, content, match=None):
    """The typed error that a file of this content gives."""
    path = tmp_path / "file.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(FileFormatError, match=match) as caught:
        load_attributions(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("form", [".json", ".json.gz", ".safetensors"])
def test_a_file_cut_anywhere_gives_a_typed_error(form, tmp_path):
    """Downloads break off wherever they like."""
    path = tmp_path / f"a{form}"
    save_attributions(output_of(encoder_decoder()), path)
    whole = path.read_bytes()

    for length in sorted({0, 1, 7, 8, 9, 20, *range(0, len(whole), max(1, len(whole) // 40))} - {len(whole)}):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            load_attributions(path)


@pytest.mark.parametrize("form", [".json", ".json.gz", ".safetensors"])
def test_a_file_with_flipped_bits_loads_or_gives_a_typed_error(form, tmp_path):
    """Damage in a number cannot be seen; damage in anything else never gives an unexpected exception."""
    path = tmp_path / f"a{form}"
    save_attributions(output_of(decoder_only(hidden=2)), path)
    whole = path.read_bytes()
    draw = random.Random(0)

    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(InseqError):
            load_attributions(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "Not JSON"),
        (b"hello", "Not JSON"),
        (b"[]", "holds a list"),
        (b'"text"', "holds a str"),
        (b"{}", "Not a saved attribution"),
        (b'{"format": "something-else", "version": 1}', "something-else"),
        (b'{"format": "inseq-attribution", "version": 2}', "version 2.*\n.*upgrade"),
        (b'{"format": "inseq-attribution", "version": "1"}', "version"),
        (b'{"format": "inseq-attribution", "version": true}', "version"),
        (b'{"format": "a", "format": "inseq-attribution"}', "'format' occurs twice"),
        (b'{"format": "inseq-attribution", "version": 1, "x": NaN}', "NaN"),
        (b"\xff\xfe\x00", "Not JSON"),
        (b"[" * 100_000, "deep|Not JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "deep"),
        (b'{"n": ' + b"9" * 10_000 + b"}", None),
        (b"PK\x03\x04 a zip", "Not JSON"),
        (b"\x80\x04\x95 a pickle", "Not JSON"),
        (b"\x1f\x8bgarbage", "damaged"),
        (gzip.compress(b"{}", mtime=0) + b"more", "after the end"),
        (struct.pack("<Q", 1 << 40) + b"{}", "Not JSON|safetensors"),
        (struct.pack("<Q", 10) + b"{garbage..", "safetensors"),
        (save_tensors({"a": np.ones(3)}), "header has no document"),
        (save_tensors({"a": np.ones(3)}, {"document": "[]"}), "not an object"),
    ],
)
def test_what_is_no_saved_attribution_is_named(content, match, tmp_path):
    """Truncated, foreign, newer, or made to hurt: one kind of error, which says what is wrong."""
    refused(tmp_path, content, match)


def spoil(path, value):
    """A change of one field of the document."""

    def change(content):
        at = content
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        return content

    return change


SEQUENCE = ("sequences", 0)
ARRAY = (*SEQUENCE, "source_attributions")


@pytest.mark.parametrize(
    "change",
    [
        spoil(("sequences",), {}),
        spoil(("sequences",), [3]),
        spoil(("info",), None),
        spoil(("info",), {"$float": "nan"}),
        spoil(("info", "input_texts"), "not a list"),
        spoil(("info", "exec_time"), "long"),
        spoil(("info", "attribution_args"), [1]),
        spoil(("steps",), "later"),
        spoil(("steps",), [{"source": [{"tokens": [1]}]}]),
        spoil((*SEQUENCE, "source"), []),
        spoil((*SEQUENCE, "source", "tokens"), [1, 2, 3, 4]),
        spoil((*SEQUENCE, "source", "ids"), [1]),
        spoil((*SEQUENCE, "source", "ids"), [1, 2, 3, 1.5]),
        spoil((*SEQUENCE, "source", "special"), [9]),
        spoil((*SEQUENCE, "source", "special"), ["a"]),
        spoil((*SEQUENCE, "attr_pos_start"), -1),
        spoil((*SEQUENCE, "attr_pos_start"), 2**70),
        spoil((*SEQUENCE, "attr_pos_end"), True),
        spoil((*SEQUENCE, "axes"), ["layer"]),
        spoil((*SEQUENCE, "axes"), "layer"),
        spoil((*SEQUENCE, "default_aggregation"), [1]),
        spoil((*SEQUENCE, "normalize"), "yes"),
        spoil((*SEQUENCE, "meaning"), {"signed": 1}),
        spoil((*SEQUENCE, "step_aggregation"), {"p": "prod"}),
        spoil((*SEQUENCE, "step_aggregation"), {"p": {"spans": 1}}),
        spoil((*SEQUENCE, "segments"), [{"label": "a", "start": 0, "end": 99}]),
        spoil((*SEQUENCE, "segments"), [{"label": "a", "start": 0, "end": 1, "side": "top"}]),
        spoil((*SEQUENCE, "feature_kind"), 1),
        spoil((*SEQUENCE, "is_spread"), "yes"),
        spoil((*SEQUENCE, "step_scores"), [1]),
        spoil((*SEQUENCE, "step_scores", "entropy"), None),
        spoil(ARRAY, 5),
        spoil((*ARRAY, "dtype"), "object"),
        spoil((*ARRAY, "dtype"), ["float32"]),
        spoil((*ARRAY, "dtype"), "float64"),
        spoil((*ARRAY, "shape"), [4, 3, 1]),
        spoil((*ARRAY, "shape"), [3, 4]),
        spoil((*ARRAY, "shape"), [-4, -3]),
        spoil((*ARRAY, "shape"), [10**9, 10**9]),
        spoil((*ARRAY, "shape"), [2**60]),
        spoil((*ARRAY, "shape"), [1] * 40),
        spoil((*ARRAY, "shape"), "4,3"),
        spoil((*ARRAY, "encoding"), "pickle"),
        spoil((*ARRAY, "encoding"), "list"),
        spoil((*ARRAY, "data"), "!!!!"),
        spoil((*ARRAY, "data"), 12),
        spoil((*ARRAY, "data"), "AAAA"),
        spoil((*ARRAY, "scale"), ["x"]),
        spoil((*ARRAY, "scale"), [1.0, 2.0]),
        spoil((*ARRAY, "infinite"), [[0]]),
        spoil((*ARRAY, "infinite"), [[0], ["a"]]),
        spoil(
            ARRAY,
            {
                "dtype": "float8_e4m3fn",
                "shape": [4, 3],
                "encoding": "list",
                "data": [[0] * 3] * 4,
                "infinite": [[99], []],
            },
        ),
        spoil(ARRAY, {"dtype": "float32", "shape": [4, 3], "encoding": "list", "data": [[10**400] * 3] * 4}),
        spoil(ARRAY, {"dtype": "float32", "shape": [4, 3], "encoding": "list", "data": [["nan"] * 3] * 4}),
        spoil(ARRAY, {"dtype": "float32", "shape": [4, 3], "encoding": "list", "data": [[True] * 3] * 4}),
        spoil(("part",), {"index": "a"}),
        spoil(("part",), 3),
        spoil(("part",), {"index": 5, "count": 2}),
        spoil(("part",), {"index": -1, "count": 2}),
        spoil(("sequences", 0, "source", "ids", 0), -2),
        spoil(("sequences", 0, "source", "ids", 0), 1 << 70),
    ],
)
def test_a_field_that_is_wrong_is_refused(change, tmp_path):
    """Every field is checked before it is used."""
    refused(tmp_path, change(document()))


def test_a_compressed_bomb_is_refused_before_it_unpacks(tmp_path, monkeypatch):
    """A kilobyte of gzip may claim gigabytes; the limit is lowered here to keep the test small."""
    monkeypatch.setattr(files, "_FREE", 1 << 20)
    deflater = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    zeros = bytes(1 << 20)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(b"".join([*(deflater.compress(zeros) for _ in range(8)), deflater.flush()]))

    with pytest.raises(FileFormatError, match="max_bytes"):
        load_attributions(path)
    with pytest.raises(FileFormatError, match="it was 50000"):
        load_attributions(path, max_bytes=50_000)


def test_a_compressed_text_of_brackets_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """It is within the limit as text, and thirty times as large as lists."""
    monkeypatch.setattr(files, "_FREE", 1 << 22)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b"[" + b"[]," * (1 << 19) + b"[]]"))
    assert path.stat().st_size * files._RATIO < 1 << 22

    tracemalloc.start()
    with pytest.raises(FileFormatError, match="What the compressed text describes asks for 33554"):
        load_attributions(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 23


def one_long_text(content):
    """A text of 4,000 steps without scores."""
    (text,) = content["sequences"]
    text["target"] = {"tokens": ["a"] * 4000, "ids": [1] * 4000}
    text |= {"attr_pos_start": 1, "attr_pos_end": 4000, "source_attributions": None}
    return [text | {"target_attributions": None, "step_scores": {}}]


def many_short_texts_and_a_wide_one(content):
    """3,000 texts of one score and one of a thousand, to which the steps of all are padded."""
    (text,) = content["sequences"]
    text |= {"attr_pos_end": 2, "target_attributions": None, "step_scores": {}}
    text["target"] = {"tokens": ["a", "b"], "ids": [1, 2]}

    def with_source(count):
        scores = {"dtype": "float32", "shape": [count, 1], "encoding": "list", "data": [[1.0]] * count}
        return {"source": {"tokens": ["a"] * count, "ids": [1] * count}, "source_attributions": scores}

    return [text | with_source(1)] * 3000 + [text | with_source(1000)]


@pytest.mark.parametrize("texts", [one_long_text, many_short_texts_and_a_wide_one])
def test_steps_that_follow_from_the_texts_are_within_the_limit_too(texts, tmp_path):
    """A kilobyte says "derived", and every prefix of its text, or a wide grid of padding, is made of it."""
    content = document()
    path = tmp_path / "file.json.gz"
    path.write_bytes(gzip.compress(json.dumps(content | {"sequences": texts(content)}).encode()))
    assert len(load_attributions(path, max_bytes=1 << 24)) == len(texts(document()))
    path.write_bytes(
        gzip.compress(json.dumps(content | {"sequences": texts(content), "steps": "derived"}).encode())
    )

    tracemalloc.start()
    with pytest.raises(FileFormatError, match=r"Step \d+ of the texts asks for \d+ bytes"):
        load_attributions(path, max_bytes=1 << 24)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 25


@pytest.mark.parametrize("wrong", ["1", 1.5, True])
def test_a_limit_is_a_number(wrong, tmp_path):
    """Not an error about comparing text with numbers, in the middle of a file."""
    save_attributions(output_of(encoder_decoder()), tmp_path / "a.json")
    with pytest.raises(InvalidArgumentError, match="max_bytes"):
        load_attributions(tmp_path / "a.json", max_bytes=wrong)


def test_an_array_cannot_unpack_to_more_than_its_shape(tmp_path):
    """Deflated numbers are inflated to the size that the shape says, and not one byte further."""
    bomb = base64.b64encode(zlib.compress(bytes(1 << 26), 9)).decode()
    content = spoil((*ARRAY, "data"), bomb)(spoil((*ARRAY, "encoding"), "planes")(document()))

    tracemalloc.start()
    refused(tmp_path, content, "more than 48 bytes")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 23


def test_parts_are_found_by_number_and_never_by_what_a_file_says(tmp_path):
    """A part has an index and a count; there is no path in a file that could lead elsewhere."""
    save_attributions(
        output_of(encoder_decoder(), decoder_only()), tmp_path / "out.json", split_sequences=True
    )
    assert len(load_attributions(tmp_path / "out.json")) == 2
    for change in (
        spoil(("part",), {"index": "../secret", "count": 2}),
        spoil(("part",), {"index": 0, "count": 10**9}),
    ):
        (tmp_path / "out_0.json").write_text(json.dumps(change(document())), encoding="utf-8")
        with pytest.raises(FileFormatError):
            load_attributions(tmp_path / "out.json")


def test_a_safetensors_document_cannot_ask_for_one_tensor_twice(tmp_path):
    """A small file would otherwise fill a large memory, name by name."""
    path = tmp_path / "a.safetensors"
    save_attributions(output_of(encoder_decoder(), encoder_decoder()), path)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    twice = metadata["document"].replace('"tensor":"1/', '"tensor":"0/')
    path.write_bytes(save_tensors(tensors, {**metadata, "document": twice}))

    with pytest.raises(FileFormatError, match="is not a tensor of the file"):
        load_attributions(path)


def test_a_safetensors_array_of_another_type_is_refused(tmp_path):
    """What the document says of a tensor and what it is must be the same."""
    path = tmp_path / "a.safetensors"
    save_attributions(output_of(encoder_decoder()), path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"dtype\\":\\"float32\\"', b'\\"dtype\\":\\"float99\\"', 1))

    with pytest.raises(FileFormatError, match="stored as F32, said to be"):
        load_attributions(path)
