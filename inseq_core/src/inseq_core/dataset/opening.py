"""Finding a dataset by its name: a file here, or what the library ``datasets`` knows.

Everything that can be seen to be wrong with it (fields, rows without a text, no rows at all) is said before
any model is loaded.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from inseq_core.dataset.readers import OPTIONS, READERS, Reader, Row
from inseq_core.dataset.splits import Slice, parse_split
from inseq_core.errors import DatasetError, DatasetMissingError, MissingPackageError, closest, invalid, listed


@attrs.frozen(kw_only=True)
class TextRow:
    """One row.

    Attributes:
        number: counted from 1, in the whole dataset.
        input: a text, or chat messages.
        generated: the output to explain; None where the dataset gives none.
    """

    number: int
    input: Any
    generated: str | None = None


@attrs.frozen(kw_only=True, eq=False)
class TextDataset:
    """Texts that are read when they are needed.

    Attributes:
        name: for messages.
        input_field, generated_field: where the texts are.
        first: number of the first row, counted from 1.
        count: rows there are; None where that is not known before the end.
        read: the rows, from the beginning each time.
    """

    name: str
    input_field: str
    generated_field: str | None
    first: int
    count: int | None
    read: Callable[[], Iterator[Row]] = attrs.field(repr=False)

    def __iter__(self) -> Iterator[TextRow]:
        """Rows in their order.

        Raises:
            DatasetError: a row without the fields, or with something else than a text in them.
        """
        for number, row in enumerate(self.read(), start=self.first):
            generated = None
            if self.generated_field is not None:
                generated = self._value(row, self.generated_field, number)
                if not isinstance(generated, str):
                    raise self._no_text(self.generated_field, number, generated)
            given = self._value(row, self.input_field, number)
            if not isinstance(given, str) and not _is_chat(given):
                raise self._no_text(self.input_field, number, given)
            yield TextRow(number=number, input=given, generated=generated)

    def _value(self, row: Row, field: str, number: int) -> Any:
        if field in row:
            return row[field]
        guess = closest(field, row)
        raise DatasetError(
            f"{self.name} has no field {field!r} in row {number}.{f' Did you mean {guess!r}?' if guess else ''}"
            f"\n  Fields: {listed(map(str, row), 30) or 'none'}."
        )

    def _no_text(self, field: str, number: int, value: Any) -> DatasetError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        return DatasetError(
            f"{self.name}, row {number}: {field!r} is {shown} ({type(value).__name__}), not a text.\n"
            "  Leave the row out, or choose another part of the dataset."
        )


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, Mapping) for m in value)


def open_dataset(
    dataset_name: str | os.PathLike[str],
    input_text_field: str,
    generated_text_field: str | None = None,
    *,
    dataset_config: str | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    dataset_files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    dataset_split: str = "train",
    dataset_revision: str | None = None,
    dataset_auth_token: str | None = None,
    dataset_kwargs: Mapping[str, Any] | None = None,
) -> TextDataset:
    """A dataset by its name, checked row by row where it is here.

    Args:
        dataset_name: a csv, tsv, json, jsonl or parquet file; the kind of the files in ``dataset_files``; or
            a name that ``datasets.load_dataset`` takes (hub id, folder).
        input_text_field, generated_text_field: names of the fields with the texts.
        dataset_config, dataset_revision, dataset_auth_token: of a dataset on the hub.
        dataset_dir: the folder that files lie in.
        dataset_files: files, read one after the other.
        dataset_split: which part, as ``datasets`` writes it: "train[:20]".
        dataset_kwargs: for files ``delimiter``, ``encoding``, ``field``; else arguments of
            ``datasets.load_dataset``.

    Raises:
        DatasetMissingError: no such file. DatasetError: no such field, no rows, rows without a text, a file
            that cannot be read. MissingPackageError: ``datasets`` (or pyarrow) is needed, and not installed.
        InvalidArgumentError: arguments that would not be used.
    """
    dataset_name = _as_path("dataset_name", dataset_name, "a file, or the name of a dataset")
    dataset_dir = None if dataset_dir is None else _as_path("dataset_dir", dataset_dir, "a folder")
    every = (dataset_files,) if isinstance(dataset_files, (str, os.PathLike)) else dataset_files
    files = tuple(_as_path("dataset_files", file, "names of files") for file in every)
    fields = (input_text_field, generated_text_field)
    for argument, field in zip(("input_text_field", "generated_text_field"), fields, strict=True):
        if not isinstance(field, str) and (field is not None or argument == "input_text_field"):
            raise invalid(argument, field, "the name of a field")
    if not isinstance(dataset_split, str):
        raise invalid("dataset_split", dataset_split, "text such as 'train' or 'train[:20]'")
    if dataset_kwargs is not None and not isinstance(dataset_kwargs, Mapping):
        raise invalid("dataset_kwargs", dataset_kwargs, "a dict of arguments by name")
    if dataset_name in READERS and not files and dataset_dir is None and not Path(dataset_name).exists():
        raise invalid(
            "dataset_files", list(files), f"the {dataset_name} files: dataset_name is only their kind"
        )
    paths = _local_files(dataset_name, dataset_dir, files)
    if paths is None:
        return _from_library(
            dataset_name,
            fields,
            dataset_split,
            {
                "name": dataset_config,
                "data_dir": dataset_dir,
                "data_files": list(files) or None,
                "revision": dataset_revision,
                "token": dataset_auth_token,
                **dict(dataset_kwargs or {}),
            },
        )
    for name, value in (
        ("dataset_config", dataset_config),
        ("dataset_revision", dataset_revision),
        ("dataset_auth_token", dataset_auth_token),
    ):
        if value is not None:
            shown = "…" if name == "dataset_auth_token" else value
            raise invalid(name, shown, f"nothing: {str(paths[0])!r} is a file here")
    readers = [_reader(path, dataset_name) for path in paths]
    return _from_files(paths, readers, fields, parse_split(dataset_split), dict(dataset_kwargs or {}))


def _as_path(argument: str, value: Any, expected: str) -> str:
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise invalid(argument, value, expected)
    return os.fspath(value)


def _local_files(name: str, folder: str | None, files: Sequence[str]) -> list[Path] | None:
    """The files that are meant; None where a dataset of the library is."""
    base = Path(folder or ".").expanduser()
    if files:
        paths = [base / Path(file).expanduser() for file in files]
        if _kind(Path(name)) is not None:
            raise invalid(
                "dataset_files", list(files), f"none, since dataset_name = {name!r} is a file itself"
            )
        if name not in READERS:
            return None
        is_remote = any("://" in file or "*" in file for file in files)
    else:
        paths = [base / Path(name).expanduser()]
        is_remote = "://" in name or not (
            paths[0].is_file() or _kind(paths[0]) is not None or name.startswith((".", "/", "~"))
        )
    if is_remote or (not files and paths[0].is_dir()):
        return None
    for path in paths:
        if not path.is_file():
            raise DatasetMissingError(f"There is no file {str(path)!r}.")
    return paths


def _kind(path: Path) -> str | None:
    kind = path.suffix.lower().removeprefix(".")
    return kind if kind in READERS else None


def _reader(path: Path, name: str) -> Reader:
    kind = _kind(path) or (name if name in READERS else None)
    if kind is None:
        raise DatasetError(
            f"{path}: what kind of file it is cannot be seen from its name.\n  Known endings: {listed(READERS)}."
        )
    return READERS[kind]


def _from_files(
    paths: Sequence[Path],
    readers: Sequence[Reader],
    fields: tuple[str, str | None],
    part: Slice,
    options: Mapping[str, Any],
) -> TextDataset:
    for reader, path in zip(readers, paths, strict=True):
        for option in options:
            if option not in OPTIONS[reader]:
                raise invalid(
                    "dataset_kwargs", dict(options), f"of {path.name}: {listed(OPTIONS[reader]) or 'none'}"
                )

    def every() -> Iterator[Row]:
        for reader, path in zip(readers, paths, strict=True):
            yield from reader(path, options)

    total = sum(1 for _ in every()) if part.needs_count else None
    start, stop = part.bounds(total)
    name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    found = TextDataset(
        name=name,
        input_field=fields[0],
        generated_field=fields[1],
        first=start + 1,
        count=None,
        read=lambda: itertools.islice(every(), start, stop),
    )
    return _checked(found, is_part=part != Slice())


def _from_library(
    name: str, fields: tuple[str, str | None], split: str, keywords: Mapping[str, Any]
) -> TextDataset:
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError(
            f"{name!r} is no file here; datasets of the hub need the package datasets.\n"
            "  pip install 'inseq-core[datasets]'"
        ) from error
    try:
        loaded = datasets.load_dataset(name, split=split, **keywords)
    except Exception as error:
        raise DatasetError(f"{name!r} could not be loaded: {type(error).__name__}: {error}") from error
    columns = getattr(loaded, "column_names", None)
    if isinstance(loaded, Mapping):
        raise DatasetError(f"{name!r} has several splits: {listed(map(str, loaded))}.\n  Choose one.")
    used = [field for field in fields if field is not None]
    if columns is not None:
        for field in used:
            if field not in columns:
                guess = closest(field, columns)
                raise DatasetError(
                    f"{name!r} has no field {field!r}.{f' Did you mean {guess!r}?' if guess else ''}\n"
                    f"  Fields: {listed(columns, 30)}."
                )
        loaded = loaded.select_columns(used)
    found = TextDataset(
        name=name,
        input_field=fields[0],
        generated_field=fields[1],
        first=1,
        count=None,
        read=lambda: iter(loaded),
    )
    # A stream is not read twice.
    return _checked(found, is_part="[" in split) if hasattr(loaded, "__len__") else found


def _checked(dataset: TextDataset, *, is_part: bool) -> TextDataset:
    """The dataset, every row looked at, and counted.

    Raises:
        DatasetError: a row without texts, or no row.
    """
    count = sum(1 for _ in dataset)
    if not count:
        what = "the chosen part of it has" if is_part else "it has"
        raise DatasetError(f"{dataset.name}: {what} no rows.")
    return attrs.evolve(dataset, count=count)
