"""Rows of a file: csv, tsv, JSON, JSON lines and parquet, one after the other.

A row is a mapping from field names to values. Only JSON, which has no lines, is held as a whole.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from inseq_core.errors import DatasetError, MissingPackageError, listed

Row = Mapping[str, Any]
Reader = Callable[[Path, Mapping[str, Any]], Iterator[Row]]

_CELL = 1 << 30
"""Characters that a cell may have: texts are longer than what the csv module expects of one."""


def read_csv(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """Rows below a header. Options: ``delimiter``, ``encoding``."""
    delimiter = options.get("delimiter", "\t" if path.suffix.lower() == ".tsv" else ",")
    before = csv.field_size_limit(_CELL)
    try:
        with _opened(path, options, newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            if reader.fieldnames is None:
                raise DatasetError(f"{path} is empty: expected a header with the names of the fields.")
            twice = [name for i, name in enumerate(reader.fieldnames) if name in reader.fieldnames[:i]]
            if twice:
                raise DatasetError(
                    f"{path}: two fields are called {twice[0]!r}, so that one would hide the other.\n"
                    "  Give each a name of its own in the first line."
                )
            for row in reader:
                if None in row:
                    raise DatasetError(
                        f"{path}, line {reader.line_num}: more cells than the header has names "
                        f"({listed(reader.fieldnames)}).\n  Put texts with {delimiter!r} in double quotes."
                    )
                yield row
    except (csv.Error, TypeError) as error:
        raise DatasetError(f"{path} is no csv file: {error}.") from error
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    finally:
        csv.field_size_limit(before)


def read_jsonl(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """One JSON object a line. Option: ``encoding``."""
    try:
        with _opened(path, options) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DatasetError(f"{path}, line {number} is not JSON: {error}.") from error
                if not isinstance(row, dict):
                    raise DatasetError(
                        f"{path}, line {number} is a JSON {type(row).__name__}: expected an object with fields."
                    )
                yield row
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error


def read_json(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """A list of objects, an object of columns, or either under ``field``. Options: ``encoding``, ``field``."""
    try:
        with _opened(path, options) as file:
            content = json.load(file)
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except json.JSONDecodeError as error:
        if error.msg.startswith("Extra data"):  # lines of objects in a file called .json
            yield from read_jsonl(path, options)
            return
        raise DatasetError(f"{path} is not JSON: {error}.") from error
    except RecursionError as error:
        raise DatasetError(f"{path} is nested too deeply.") from error
    field = options.get("field")
    if field is not None:
        if not isinstance(content, dict) or field not in content:
            names = listed(content) if isinstance(content, dict) else "none"
            raise DatasetError(f"{path} has no field {field!r}. Fields: {names or 'none'}.")
        content = content[field]
    if isinstance(content, dict) and content and all(isinstance(v, list) for v in content.values()):
        lengths = {len(v) for v in content.values()}
        if len(lengths) > 1:
            raise DatasetError(f"{path}: its columns have different lengths ({listed(map(str, lengths))}).")
        yield from (dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True))
        return
    if not isinstance(content, list):
        raise DatasetError(f"{path} holds a JSON {type(content).__name__}: expected a list of objects.")
    for number, row in enumerate(content, start=1):
        if not isinstance(row, dict):
            raise DatasetError(
                f"{path}, row {number} is a {type(row).__name__}: expected an object with fields."
            )
        yield row


def read_parquet(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of a parquet file, a few at a time.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingPackageError("Parquet files need pyarrow.\n  pip install pyarrow") from error
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except ArrowException as error:
        raise DatasetError(f"{path} is no parquet file: {error}.") from error


READERS: Mapping[str, Reader] = MappingProxyType(
    {"csv": read_csv, "tsv": read_csv, "json": read_json, "jsonl": read_jsonl, "parquet": read_parquet}
)
"""Ending of a file's name -> what reads it."""

OPTIONS: Mapping[Reader, tuple[str, ...]] = MappingProxyType(
    {
        read_csv: ("delimiter", "encoding"),
        read_json: ("encoding", "field"),
        read_jsonl: ("encoding",),
        read_parquet: (),
    }
)
"""What a reader may be told."""


def _opened(path: Path, options: Mapping[str, Any], newline: str | None = None) -> Any:
    """The file as text; a byte order mark at its beginning is no part of it."""
    encoding = options.get("encoding", "utf-8-sig")
    try:
        return open(path, encoding=encoding, newline=newline)
    except (LookupError, TypeError) as error:
        raise DatasetError(f"encoding = {encoding!r}: {error}.") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error


def _not_text(path: Path, error: UnicodeDecodeError) -> DatasetError:
    return DatasetError(
        f"{path} is not written in {error.encoding}: {error.reason} at byte {error.start}.\n"
        '  Say in what it is written: --dataset_kwargs \'{"encoding": "latin-1"}\'.'
    )
