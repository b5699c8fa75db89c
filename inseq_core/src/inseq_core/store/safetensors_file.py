"""Safetensors: the scores as tensors, the document in the header's metadata. Needs no torch and no plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreArray
from inseq_core.errors import FileFormatError
from inseq_core.store import json_file
from inseq_core.store.arrays import (
    Budget,
    Precision,
    StoredArray,
    checked_extras,
    extras_of,
    from_stored,
    to_stored,
)
from inseq_core.store.document import Document, Part, check_version, from_document, to_document

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "U8": "float8_e4m3fn"}


def dump(output: FeatureAttributionOutput, precision: Precision, part: Part | None = None) -> bytes:
    """The file's content."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {}

    def put(name: str, scores: ScoreArray) -> dict[str, Any]:
        stored = to_stored(scores, precision)
        tensors[name] = np.ascontiguousarray(stored.numbers)
        return {"tensor": name, "dtype": stored.dtype, **extras_of(stored)}

    document = to_document(output, put, part)
    # one key only: the library writes several in no particular order, and the same output should give the
    # same file
    return save(tensors, {"document": json_file.dump(document).decode("utf-8")})


def load(path: Path, budget: Budget) -> tuple[Document, FeatureAttributionOutput]:
    """The document and the output of a file.

    Raises:
        FileFormatError: not such a file, damaged, or larger than the budget.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            document = _document(file.metadata())
            tensors = _Tensors(file, budget)
            return document, from_document(document, tensors.get, budget)
    except SafetensorError as error:
        raise FileFormatError(f"Not a safetensors file, or damaged: {error}.") from error


def _document(metadata: dict[str, str] | None) -> Document:
    if not metadata or "document" not in metadata:
        raise FileFormatError(
            "A safetensors file, but not a saved attribution: its header has no document.\n"
            "  Save with save_attributions(output, 'name.safetensors')."
        )
    parsed = json_file.parse(metadata["document"])
    if parsed.has_literals or not isinstance(parsed.value, dict):
        raise FileFormatError("The document in the header is not an object of plain JSON.")
    check_version(parsed.value)
    return parsed.value


class _Tensors:
    """Tensors of an open file, each read when the document asks for it, and only once."""

    def __init__(self, file: Any, budget: Budget) -> None:
        self._file = file
        self._budget = budget
        self._unread = set(file.keys())

    def get(self, name: str, record: Any) -> ScoreArray:
        """The scores of a record ``{"tensor": name, "dtype": …}``."""
        tensor = record.get("tensor") if isinstance(record, dict) else None
        if not isinstance(tensor, str) or tensor not in self._unread:
            raise FileFormatError(f"{name} is not a tensor of the file.")
        self._unread.discard(tensor)
        part = self._file.get_slice(tensor)
        dtype = _DTYPES.get(part.get_dtype())
        if dtype is None or dtype != record.get("dtype"):
            raise FileFormatError(
                f"{name} is stored as {part.get_dtype()}, said to be {json.dumps(record.get('dtype'))[:40]}."
            )
        size = (
            int(np.prod(part.get_shape(), dtype=np.float64))
            * np.dtype("uint8" if dtype == "float8_e4m3fn" else dtype).itemsize
        )
        self._budget.take(size, name)
        stored = StoredArray(
            dtype=dtype, numbers=self._file.get_tensor(tensor), **checked_extras(record, name)
        )
        return from_stored(stored, name)
