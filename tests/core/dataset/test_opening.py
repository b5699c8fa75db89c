from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from inseq_core.dataset.opening import open_dataset
from inseq_core.errors import DatasetError, DatasetMissingError, InvalidArgumentError, MissingPackageError

ROWS = [{"text": f"the dog {i}", "output": f"a cat {i}", "n": i} for i in range(5)]


def write(path, rows=None):
    """The rows in a file of the kind that its name says."""
    rows = ROWS if rows is None else rows
    kind = path.suffix
    if kind in (".csv", ".tsv"):
        mark = "," if kind == ".csv" else "\t"
        lines = [mark.join(rows[0])] + [mark.join(map(str, row.values())) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif kind == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    elif kind == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def inputs(*arguments, **options):
    """The input texts of a dataset."""
    return [row.input for row in open_dataset(*arguments, **options)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_a_file_is_read_by_its_ending(tmp_path, kind):
    """Texts in their order, with their row numbers; and again from the beginning."""
    dataset = open_dataset(write(tmp_path / f"rows.{kind}"), "text", "output")

    for _ in range(2):
        rows = list(dataset)
        assert [row.input for row in rows] == [row["text"] for row in ROWS]
        assert [row.generated for row in rows] == [row["output"] for row in ROWS]
        assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert dataset.count == 5


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"text": ["a", "b"], "n": [1, 2]}, None),
        ({"version": 1, "data": [{"text": "a"}, {"text": "b"}]}, "data"),
        ({"data": {"text": ["a", "b"]}}, "data"),
    ],
)
def test_json_may_be_columns_or_stand_under_a_field(tmp_path, content, field):
    """As people write it."""
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(content))

    assert inputs(str(path), "text", dataset_kwargs={"field": field} if field else None) == ["a", "b"]


def test_lines_of_json_may_be_called_json(tmp_path):
    """The most frequent wrong ending."""
    path = tmp_path / "rows.json"
    path.write_text('{"text": "a"}\n{"text": "b"}\n')

    assert inputs(str(path), "text") == ["a", "b"]


def test_csv_cells_may_hold_commas_quotes_and_lines(tmp_path):
    """Quoted as spreadsheets do, after a byte order mark."""
    path = tmp_path / "rows.csv"
    path.write_text('\ufefftext,n\n"a, ""b""\nc",1\n', encoding="utf-8")

    assert inputs(str(path), "text") == ['a, "b"\nc']


def test_how_a_file_is_written_can_be_said(tmp_path):
    """Its delimiter and its encoding."""
    path = tmp_path / "rows.csv"
    path.write_bytes("text;n\nété, hiver;1\n".encode("latin-1"))

    options = {"delimiter": ";", "encoding": "latin-1"}
    assert inputs(str(path), "text", dataset_kwargs=options) == ["été, hiver"]
    with pytest.raises(DatasetError, match=r"not written in utf-8.*\n.*encoding"):
        open_dataset(str(path), "text")


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [0, 1, 2, 3, 4]),
        ("all", [0, 1, 2, 3, 4]),
        ("train[:2]", [0, 1]),
        ("train[3:]", [3, 4]),
        ("train[1:3]", [1, 2]),
        ("train[-2:]", [3, 4]),
        ("train[:-4]", [0]),
        ("train[20%:60%]", [1, 2]),
        ("train[:100]", [0, 1, 2, 3, 4]),
        (" train[ 1 : 2 ] ", [1]),
    ],
)
def test_a_part_of_a_file_is_chosen_like_a_split(tmp_path, split, expected):
    """The notation of the library datasets, for files too."""
    dataset = open_dataset(write(tmp_path / "rows.jsonl"), "text", dataset_split=split)

    assert [row.input for row in dataset] == [f"the dog {i}" for i in expected]
    assert [row.number for row in dataset] == [i + 1 for i in expected]
    assert dataset.count == len(expected)


@pytest.mark.parametrize(
    ("split", "message"), [("train[:x]", "expected a name and a part"), ("test", "are its split 'train'")]
)
def test_a_split_that_a_file_does_not_have_is_refused(tmp_path, split, message):
    """A file has one."""
    with pytest.raises(DatasetError, match=message):
        open_dataset(write(tmp_path / "rows.csv"), "text", dataset_split=split)


def test_files_of_a_kind_are_read_one_after_the_other(tmp_path):
    """The library's way of naming files: the kind, then the files, in a folder."""
    write(tmp_path / "a.csv", ROWS[:2])
    write(tmp_path / "b.csv", ROWS[2:])
    found = inputs("csv", "text", dataset_files=["a.csv", "b.csv"], dataset_dir=str(tmp_path))

    assert found == [row["text"] for row in ROWS]
    assert inputs("b.csv", "text", dataset_dir=str(tmp_path)) == [row["text"] for row in ROWS[2:]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a"}, {"text": None}], "row 2: 'text' is None (NoneType), not a text"),
        ([{"text": "a"}, {"text": 3}], "row 2: 'text' is 3 (int), not a text"),
        ([{"text": "a"}, {"other": "b"}], "no field 'text' in row 2.\n  Fields: other."),
        ([{"texts": "a"}], "no field 'text' in row 1. Did you mean 'texts'?\n  Fields: texts."),
        ([], "it has no rows"),
    ],
)
def test_a_row_that_has_no_text_is_named_before_anything_is_attributed(tmp_path, rows, message):
    """An hour later would be too late."""
    with pytest.raises(DatasetError) as raised:
        open_dataset(write(tmp_path / "rows.jsonl", rows), "text")

    assert message in str(raised.value)


def test_a_row_without_an_output_is_named_too(tmp_path):
    """Of the other field."""
    rows = [{"text": "a", "output": "b"}, {"text": "a", "output": ["b"]}]
    with pytest.raises(DatasetError, match=r"row 2: 'output' is \['b'\] \(list\)"):
        open_dataset(write(tmp_path / "rows.jsonl", rows), "text", "output")


def test_chat_messages_are_texts_too(tmp_path):
    """A conversation a row."""
    chat = [{"role": "user", "content": "the dog"}]
    (row,) = open_dataset(write(tmp_path / "rows.jsonl", [{"text": chat}]), "text")

    assert row.input == chat


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", "expected a header"),
        ("rows.csv", "text,n\n", "it has no rows"),
        ("rows.csv", "text,text\na,b\n", "two fields are called 'text'"),
        ("rows.csv", "text\na,b\n", "line 2: more cells than the header"),
        ("rows.csv", 'text\n"a\n', "no csv file"),
        ("rows.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("rows.jsonl", "[1]\n", "line 1 is a JSON list"),
        ("rows.json", "[1]", "row 1 is a int"),
        ("rows.json", "3", "holds a JSON int"),
        ("rows.json", "{", "is not JSON"),
        ("rows.json", '{"text": ["a"], "n": []}', "different lengths"),
        ("rows.parquet", "text", "no parquet file"),
        ("rows.txt", "text", "cannot be seen from its name"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_one_message(tmp_path, name, content, message):
    """With the place where that was seen."""
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(content)

    with pytest.raises(DatasetError) as raised:
        open_dataset(str(tmp_path / name), "text")
    assert message in str(raised.value)


def test_a_path_is_a_name_too(tmp_path):
    """pathlib is how paths are written."""
    file = write(tmp_path / "rows.csv")

    assert list(open_dataset(Path(file), "text")) == list(open_dataset(file, "text"))
    found = open_dataset("csv", "text", dataset_dir=tmp_path, dataset_files=Path("rows.csv"))
    assert list(found) == list(open_dataset(file, "text"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((3, "text"), "dataset_name = 3"),
        (("rows.csv", 3), "input_text_field = 3"),
        (("rows.csv", ["text"]), "input_text_field = "),
        (("rows.csv", "text", 3), "generated_text_field = 3"),
        (("csv", "text"), r"dataset_files = \[\] .*the csv files"),
    ],
)
def test_an_argument_of_another_kind_is_named(arguments, said):
    """And a kind without files does not read whatever lies around."""
    with pytest.raises(InvalidArgumentError, match=said):
        open_dataset(*arguments)
    with pytest.raises(InvalidArgumentError, match="dataset_split = 3"):
        open_dataset("rows.csv", "text", dataset_split=3)


@pytest.mark.parametrize("name", ["nothing.csv", "./nothing", "/nowhere/at/all", "~/nothing-there"])
def test_a_missing_file_is_missing_and_no_dataset_of_the_hub(name):
    """What is written like a file is looked for here only."""
    with pytest.raises(DatasetMissingError) as raised:
        open_dataset(name, "text")
    assert isinstance(raised.value, FileNotFoundError)


@pytest.mark.parametrize(
    "options",
    [
        {"dataset_config": "en"},
        {"dataset_revision": "main"},
        {"dataset_auth_token": "secret"},
        {"dataset_kwargs": {"sep": ";"}},
        {"dataset_files": ["other.csv"]},
    ],
)
def test_what_a_file_has_no_use_for_is_refused(tmp_path, options):
    """An unused argument is a mistake somewhere; a token is not repeated."""
    with pytest.raises(InvalidArgumentError) as raised:
        open_dataset(write(tmp_path / "rows.csv"), "text", **options)
    assert "secret" not in str(raised.value)


class FakeDataset(list):
    """What the library gives."""

    column_names = ("text", "output")

    def select_columns(self, names):
        return FakeDataset([{n: row[n] for n in names} for row in self])


@pytest.fixture
def library(monkeypatch):
    """A library that notes what it is asked for."""
    asked = {}

    def load_dataset(path, **options):
        asked.update(options, path=path)
        return FakeDataset({"text": row["text"], "output": row["output"]} for row in ROWS)

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_everything_that_was_said_reaches_the_library(library):
    """Every option of the hub."""
    dataset = open_dataset(
        "someone/something",
        "text",
        "output",
        dataset_config="en",
        dataset_dir="folder",
        dataset_files=["a.csv"],
        dataset_split="test[:2]",
        dataset_revision="v1",
        dataset_auth_token="secret",
        dataset_kwargs={"num_proc": 1},
    )

    assert library == {
        "path": "someone/something",
        "name": "en",
        "data_dir": "folder",
        "data_files": ["a.csv"],
        "split": "test[:2]",
        "revision": "v1",
        "token": "secret",
        "num_proc": 1,
    }
    assert [row.input for row in dataset] == [row["text"] for row in ROWS]


def test_a_field_that_the_library_s_dataset_does_not_have_is_named(library):
    """With those that it has."""
    with pytest.raises(DatasetError, match=r"no field 'texts'\. Did you mean 'text'"):
        open_dataset("someone/something", "texts")


def test_a_library_that_fails_is_an_error_of_the_dataset(monkeypatch):
    """No connection, no such name: said in one line, the cause kept."""

    def load_dataset(path, **options):
        raise ConnectionError("no route to the hub")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        DatasetError, match="'someone/something' could not be loaded: ConnectionError"
    ) as raised:
        open_dataset("someone/something", "text")
    assert isinstance(raised.value.__cause__, ConnectionError)


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    """Files do without it."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'inseq-core\[datasets\]'"):
        open_dataset("someone/something", "text")


def test_without_pyarrow_parquet_says_what_to_install(monkeypatch, tmp_path):
    """Other files do without it."""
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="pip install pyarrow"):
        open_dataset(str(tmp_path / "rows.parquet"), "text")
