"""Scores as stored arrays: precision, scale, bytes.

An array is stored as a record ``{"dtype", "shape", "encoding", "data"}``, with ``scale`` and ``infinite``
where needed:

- float16 and float8 hold ``score / scale`` with a power of two for each step, so that a step with small
  scores keeps them;
- ``encoding`` "base64" is the little-endian bytes in C order; "planes" is the same numbers regrouped so that
  they compress (sign bit moved last, then the first bytes of all numbers, then the second …), deflated;
  "list" is nested lists with null for NaN and "inf", "-inf".

A reader allocates nothing that it has not checked: a ``Budget`` bounds what one file may ask for.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from inseq_core.data.scores import ScoreArray
from inseq_core.errors import FileFormatError, invalid
from inseq_core.store import float8

Precision = Literal["float64", "float32", "float16", "float8"]
Encoding = Literal["base64", "planes", "list"]
Record = dict[str, Any]

PRECISIONS = ("float64", "float32", "float16", "float8")
_WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "float8_e4m3fn": 1}
_WORDS: dict[int, Any] = {8: np.uint64, 4: np.uint32, 2: np.uint16, 1: np.uint8}
_LARGEST = {"float16": 65504.0, "float8_e4m3fn": float8.LARGEST}
_MAX_DIMENSIONS = 16
_SMALL = 1 << 18


@attrs.define
class Budget:
    """What reading one file may still allocate, in bytes."""

    left: int
    hint: str = ""

    def take(self, size: int, what: str) -> None:
        """Reserve ``size`` bytes.

        Raises:
            FileFormatError: there is not so much left.
        """
        if size > self.left:
            raise FileFormatError(f"{what} asks for {size} bytes, more than this file may take.{self.hint}")
        self.left -= size


@attrs.frozen(kw_only=True, eq=False)
class StoredArray:
    """Numbers in the precision of a file.

    Attributes:
        dtype: "float64", "float32", "float16" or "float8_e4m3fn".
        numbers: the stored numbers; float8 as codes in bytes.
        scale: one number for everything, or one for each entry of axis 1; () for none.
        infinite: flat positions of (positive, negative) infinities, for types without them.
    """

    dtype: str
    numbers: NDArray[Any]
    scale: tuple[float, ...] = ()
    infinite: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


def to_stored(scores: ScoreArray, precision: Precision) -> StoredArray:
    """Scores in a precision; what has fewer bits already stays as it is.

    Raises:
        InvalidArgumentError: no such precision.
    """
    if precision not in PRECISIONS:
        raise invalid("scores_precision", precision, "'float32', 'float16', 'float8' (or 'float64')")
    if precision in ("float64", "float32"):
        narrow = precision == "float32" and scores.dtype == np.float64
        dtype = "float32" if narrow else scores.dtype.name
        with np.errstate(over="ignore"):
            return StoredArray(dtype=dtype, numbers=scores.astype(dtype))
    if precision == "float16" and scores.dtype == np.float16:
        return StoredArray(dtype="float16", numbers=scores)
    return _scaled(scores, "float16" if precision == "float16" else "float8_e4m3fn")


def _scaled(scores: ScoreArray, dtype: str) -> StoredArray:
    """``score / scale``, which brings the largest finite score of each step just below the type's largest."""
    finite = np.where(np.isfinite(scores), np.abs(scores), 0).astype(np.float64)
    others = tuple(i for i in range(scores.ndim) if i != 1) if scores.ndim >= 2 else None
    largest = np.atleast_1d(finite.max(axis=others, initial=0.0))
    exponents = np.where(largest > 0, np.ceil(np.log2(np.maximum(largest, 1e-300) / _LARGEST[dtype])), 0)
    scale = np.exp2(np.clip(exponents, -1000, 1000))
    values = scores.astype(np.float64) / _spread(scale, scores.ndim)
    if dtype == "float16":
        return StoredArray(dtype=dtype, numbers=values.astype(np.float16), scale=tuple(scale.tolist()))
    flat = scores.reshape(-1)
    infinite = tuple(tuple(np.flatnonzero(flat == sign).tolist()) for sign in (np.inf, -np.inf))
    return StoredArray(
        dtype=dtype,
        numbers=float8.encode(values),
        scale=tuple(scale.tolist()),
        infinite=(infinite[0], infinite[1]),
    )


def _spread(scale: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    return scale.reshape(1, -1, *[1] * (dimensions - 2)) if dimensions >= 2 else scale.reshape(())[()]


def from_stored(stored: StoredArray, name: str) -> ScoreArray:
    """The scores; scaled ones as float32.

    Raises:
        FileFormatError: a scale or infinities that do not fit the array.
    """
    if not stored.scale and stored.dtype != "float8_e4m3fn":
        return stored.numbers
    numbers = stored.numbers
    values = float8.decode(numbers) if stored.dtype == "float8_e4m3fn" else numbers.astype(np.float32)
    if stored.scale:
        expected = numbers.shape[1] if numbers.ndim >= 2 else 1
        if len(stored.scale) not in {expected, 1}:
            raise FileFormatError(f"{name}: {len(stored.scale)} scales for {expected} steps.")
        scale = np.array(stored.scale, dtype=np.float64)
        scale = np.broadcast_to(scale, (expected,)) if numbers.ndim >= 2 else scale
        wide = values * _spread(scale, numbers.ndim)
        # rounding up must not make the largest finite numbers infinite
        limit = np.finfo(np.float32).max
        values = np.where(np.isfinite(wide), np.clip(wide, -limit, limit), wide).astype(np.float32)
    flat = values.reshape(-1)
    for positions, sign in zip(stored.infinite, (np.inf, -np.inf), strict=True):
        if any(not 0 <= p < flat.size for p in positions):
            raise FileFormatError(f"{name}: infinite positions outside of {flat.size} numbers.")
        flat[list(positions)] = sign
    return values


def to_record(stored: StoredArray, encoding: Encoding) -> Record:
    """The array as plain data."""
    record: Record = {"dtype": stored.dtype, "shape": list(stored.numbers.shape), "encoding": encoding}
    if encoding == "list":
        numbers = float8.decode(stored.numbers) if stored.dtype == "float8_e4m3fn" else stored.numbers
        record["data"] = _listed(numbers.tolist())
    else:
        data = _little_endian(stored.numbers)
        data = _deflated(_planes(data, stored.numbers.itemsize)) if encoding == "planes" else data
        record["data"] = base64.b64encode(data).decode("ascii")
    return {**record, **extras_of(stored)}


def extras_of(stored: StoredArray) -> Record:
    """The parts of a record that are not the numbers: ``scale`` and ``infinite``, where there are any."""
    extras: Record = {}
    if stored.scale:
        extras["scale"] = list(stored.scale)
    if any(stored.infinite):
        extras["infinite"] = [list(positions) for positions in stored.infinite]
    return extras


def from_record(record: Any, name: str, budget: Budget) -> ScoreArray:
    """The scores of a record.

    Raises:
        FileFormatError: anything in it that does not fit, or is larger than the budget.
    """
    if not isinstance(record, dict):
        raise FileFormatError(f"{name} is {type(record).__name__}, expected an array record.")
    dtype, encoding, data = record.get("dtype"), record.get("encoding"), record.get("data")
    shape = _checked_shape(record.get("shape"), name)
    if not isinstance(dtype, str) or dtype not in _WIDTHS:
        raise FileFormatError(f"{name}: dtype {dtype!r}, expected one of {', '.join(_WIDTHS)}.")
    size = math.prod(shape) * _WIDTHS[dtype]
    budget.take(size * (4 if dtype == "float8_e4m3fn" else 1), name)
    if encoding == "list":
        numbers = _from_list(data, shape, dtype, name)
    elif encoding in ("base64", "planes") and isinstance(data, str):
        numbers = _from_text(data, shape, dtype, encoding, size, name)
    else:
        raise FileFormatError(f"{name}: encoding {encoding!r} with data of type {type(data).__name__}.")
    return from_stored(StoredArray(dtype=dtype, numbers=numbers, **checked_extras(record, name)), name)


def checked_extras(record: Record, name: str) -> dict[str, Any]:
    """``scale`` and ``infinite`` of a record, checked.

    Raises:
        FileFormatError: they are not numbers, or positions.
    """
    scale, infinite = record.get("scale", []), record.get("infinite", [[], []])
    if not isinstance(scale, list) or not all(_is_number(s) and math.isfinite(s) for s in scale):
        raise FileFormatError(f"{name}: scale is not a list of finite numbers.")
    is_pair = isinstance(infinite, list) and len(infinite) == 2
    if not is_pair or not all(isinstance(p, list) and all(type(i) is int for i in p) for p in infinite):
        raise FileFormatError(f"{name}: infinite is not two lists of positions.")
    return {"scale": tuple(scale), "infinite": (tuple(infinite[0]), tuple(infinite[1]))}


def _checked_shape(shape: Any, name: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise FileFormatError(
            f"{name}: shape {_short(shape)}, expected a list of at most {_MAX_DIMENSIONS} sizes."
        )
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise FileFormatError(f"{name}: shape {_short(shape)}, expected sizes of zero or more.")
    return tuple(shape)


def _from_text(
    text: str, shape: tuple[int, ...], dtype: str, encoding: str, size: int, name: str
) -> NDArray[Any]:
    try:
        data = base64.b64decode(text, validate=True)
        if encoding == "planes":
            # one byte more than expected is enough to see that it is too long
            inflater = zlib.decompressobj()
            data = inflater.decompress(data, size + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise FileFormatError(f"{name}: damaged data ({error}).") from error
    if len(data) != size:
        found = f"more than {size}" if len(data) > size else str(len(data))
        raise FileFormatError(f"{name}: {found} bytes of data for shape {shape} of {dtype} ({size} bytes).")
    width = _WIDTHS[dtype]
    data = _from_planes(data, width) if encoding == "planes" else data
    kind = np.dtype(np.uint8 if dtype == "float8_e4m3fn" else dtype).newbyteorder("<")
    return np.frombuffer(data, dtype=kind).reshape(shape).astype(kind.newbyteorder("="))


def _from_list(data: Any, shape: tuple[int, ...], dtype: str, name: str) -> NDArray[Any]:
    numbers: list[float] = []

    def collect(item: Any, level: int) -> None:
        if level == len(shape):
            numbers.append(_number(item, name))
            return
        if not isinstance(item, list) or len(item) != shape[level]:
            raise FileFormatError(f"{name}: nested lists do not have the shape {shape}.")
        for part in item:
            collect(part, level + 1)

    collect(data, 0)
    values = np.array(numbers, dtype=np.float64).reshape(shape)
    return float8.encode(values) if dtype == "float8_e4m3fn" else values.astype(dtype)


def _number(item: Any, name: str) -> float:
    if item is None:
        return math.nan
    if item in ("inf", "-inf") or _is_number(item):
        try:
            return float(item)
        except OverflowError:
            pass
    raise FileFormatError(f"{name}: {_short(item)} is not a number, null, 'inf' or '-inf'.")


def _listed(item: Any) -> Any:
    if isinstance(item, list):
        return [_listed(part) for part in item]
    return item if math.isfinite(item) else (None if math.isnan(item) else ("inf" if item > 0 else "-inf"))


def _little_endian(numbers: NDArray[Any]) -> bytes:
    return numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()


def _planes(data: bytes, width: int) -> bytes:
    """Sign bit moved to the end of each number, then first bytes, second bytes … of all numbers, highest
    first.

    The bits of the exponent vary little from number to number: side by side they compress, the others do not.
    """
    bits = np.frombuffer(data, dtype=np.dtype(_WORDS[width]).newbyteorder("<")).astype(_WORDS[width])
    rotated = (bits << 1) | (bits >> (8 * width - 1))
    return np.ascontiguousarray(
        rotated.astype(rotated.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, width).T
    ).tobytes()


def _from_planes(data: bytes, width: int) -> bytes:
    planes = np.frombuffer(data, dtype=np.uint8).reshape(width, -1)
    words = np.ascontiguousarray(planes.T).view(np.dtype(_WORDS[width]).newbyteorder(">")).reshape(-1)
    bits = words.astype(_WORDS[width])
    restored = (bits >> 1) | (bits << (8 * width - 1))
    return restored.astype(restored.dtype.newbyteorder("<")).tobytes()


def _deflated(data: bytes) -> bytes:
    """Deflated in the way that fits scores: chance repeats among their bytes disturb the usual one.

    Small data may repeat by more than chance, so both ways are tried.
    """
    filtered = _deflated_as(data, zlib.Z_FILTERED)
    if len(data) > _SMALL:
        return filtered
    return min(filtered, _deflated_as(data, zlib.Z_DEFAULT_STRATEGY), key=len)


def _deflated_as(data: bytes, strategy: int) -> bytes:
    deflater = zlib.compressobj(9, strategy=strategy)
    return deflater.compress(data) + deflater.flush()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
