"""Files of the other package of the name inseq (versions 0.4 to 0.7), read as data.

That package stores the module and class of every object, and imports what a file names when it loads one.
Here the names are only compared with the few that occur: nothing is imported, and nothing is called.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inseq_core.axes import HEAD, HIDDEN, LAYER
from inseq_core.data.attribution import FeatureAttributionSequenceOutput, FeatureAttributionStepOutput
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreArray
from inseq_core.data.token import TokenSequence, TokenWithId
from inseq_core.errors import FileFormatError, InvalidArgumentError
from inseq_core.store import float8
from inseq_core.store.arrays import Budget
from inseq_core.store.document import info_from_plain

SOURCE_FORMAT = "inseq-json"

_OUTPUT = "FeatureAttributionOutput"
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_NUMPY = ("float64", "float32", "float16", "int64", "int32", "bool")

_STEP_AGGREGATION = {
    **dict.fromkeys(
        ("probability", "perplexity", "contrast_prob", "contrast_prob_diff", "mc_dropout_prob_avg"),
        "prod",
    ),
    **dict.fromkeys(("entropy", "crossentropy", "pcxmi", "kl_divergence"), "sum"),
}
"""How the step scores that such files hold follow merged steps; the files do not say."""


def is_peer_document(value: Any) -> bool:
    """Whether parsed JSON is such a file, with or without class names."""
    if not isinstance(value, dict):
        return False
    if "__instance_type__" in value:
        return _class_name(value) == _OUTPUT
    return "format" not in value and isinstance(value.get("sequence_attributions"), list)


def from_peer_document(value: Mapping[str, Any], budget: Budget) -> FeatureAttributionOutput:
    """The output of such a file.

    Raises:
        FileFormatError: a field that is missing or wrong.
    """
    fields = _attributes(value, "the file")
    info = fields.get("info") or {}
    if not isinstance(info, dict):
        raise FileFormatError(f"info is {type(info).__name__}, expected an object.")
    sequences = [
        _sequence(item, f"sequence_attributions[{i}]", budget)
        for i, item in enumerate(_list(fields.get("sequence_attributions"), "sequence_attributions"))
    ]
    steps = fields.get("step_attributions")
    return FeatureAttributionOutput(
        sequences,
        None
        if steps is None
        else [
            _step(item, f"step_attributions[{k}]", budget)
            for k, item in enumerate(_list(steps, "step_attributions"))
        ],
        info_from_plain({"created": "", **_plain(info), "source_format": SOURCE_FORMAT}),
    )


def _class_name(value: Any) -> str:
    """The class that an object is said to have; compared, never looked up."""
    given = value.get("__instance_type__") if isinstance(value, dict) else None
    if isinstance(given, list) and len(given) == 2 and isinstance(given[1], str):
        return given[1]
    return ""


def _attributes(value: Any, name: str) -> Mapping[str, Any]:
    if isinstance(value, dict) and "__instance_type__" in value:
        value = value.get("attributes")
    if not isinstance(value, dict):
        raise FileFormatError(f"{name} is {type(value).__name__}, expected an object.")
    return value


def _plain(value: Any) -> Any:
    """An info value without class names: the attributes of the objects in it."""
    if isinstance(value, dict):
        if "__instance_type__" in value:
            return _plain(value.get("attributes"))
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise FileFormatError(f"{name} is {type(value).__name__}, expected a list.")
    return value


def _sequence(item: Any, name: str, budget: Budget) -> FeatureAttributionSequenceOutput:
    fields = _attributes(item, name)
    source, target = (_tokens(fields.get(side) or [], f"{name}.{side}") for side in ("source", "target"))
    of_source = _optional_array(fields.get("source_attributions"), f"{name}.source_attributions", budget)
    of_target = _optional_array(fields.get("target_attributions"), f"{name}.target_attributions", budget)
    start, end = (fields.get(key) for key in ("attr_pos_start", "attr_pos_end"))
    end = len(target) if end is None else end
    if type(start) is not int or type(end) is not int:
        raise FileFormatError(f"{name}: attributed positions {start!r} to {end!r}, expected whole numbers.")
    if of_target is not None and of_target.ndim >= 2:
        of_target = _with_all_rows(of_target, len(target), budget, name)
    dimensions = max((a.ndim for a in (of_source, of_target) if a is not None), default=2)
    axes, functions = _axes(_class_name(item), dimensions - 2)
    step_scores = _arrays(fields.get("step_scores"), f"{name}.step_scores", budget)
    try:
        return FeatureAttributionSequenceOutput(
            source=source,
            target=target,
            source_attributions=of_source,
            target_attributions=of_target,
            step_scores=step_scores,
            sequence_scores=_arrays(fields.get("sequence_scores"), f"{name}.sequence_scores", budget),
            attr_pos_start=start,
            attr_pos_end=min(end, len(target)),
            axes=axes,
            default_aggregation=functions,
            normalize=bool(axes),
            step_aggregation={
                key: {"spans": _STEP_AGGREGATION[key]} for key in step_scores if key in _STEP_AGGREGATION
            },
        )
    except InvalidArgumentError as error:
        raise FileFormatError(f"{name}: {error}") from error


def _axes(kind: str, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Trailing axes and the functions that reduce them by default, by the kind of scores."""
    if count <= 0:
        return (), ()
    if count == 1 and not kind.startswith("MultiDimensional"):
        return (HIDDEN,), ("mean",) if kind and not kind.startswith("Granular") else ("vnorm",)
    known = (LAYER, HEAD, HIDDEN)[:count]
    return known + tuple(f"axis_{i}" for i in range(len(known), count)), ("mean",) * count


def _with_all_rows(scores: ScoreArray, length: int, budget: Budget, name: str) -> ScoreArray:
    """Such files may leave out rows after the last step; here every target position has one."""
    missing = length - len(scores)
    if missing <= 0:
        return scores
    shape = (missing, *scores.shape[1:])
    budget.take(math.prod(shape) * scores.dtype.itemsize, name)
    return np.concatenate([scores, np.full(shape, np.nan, dtype=scores.dtype)])


def _step(item: Any, name: str, budget: Budget) -> FeatureAttributionStepOutput:
    fields = _attributes(item, name)
    sides = {
        side: tuple(
            _tokens(tokens, f"{name}.{side}") for tokens in _list(fields.get(side) or [], f"{name}.{side}")
        )
        for side in ("source", "prefix", "target")
    }
    return FeatureAttributionStepOutput(
        **sides,
        source_attributions=_optional_array(fields.get("source_attributions"), name, budget),
        target_attributions=_optional_array(fields.get("target_attributions"), name, budget),
        step_scores=_arrays(fields.get("step_scores"), f"{name}.step_scores", budget),
        sequence_scores=_arrays(fields.get("sequence_scores"), f"{name}.sequence_scores", budget),
    )


def _tokens(values: Any, name: str) -> TokenSequence:
    tokens = []
    for value in _list(values, name):
        fields = _attributes(value, name)
        token, number = fields.get("token"), fields.get("id")
        if not isinstance(token, str) or type(number) is not int:
            raise FileFormatError(f"{name} holds something that is not a token with an id.")
        tokens.append(TokenWithId(token, number))
    return TokenSequence(tokens)


def _arrays(values: Any, name: str, budget: Budget) -> dict[str, ScoreArray]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise FileFormatError(f"{name} is {type(values).__name__}, expected an object.")
    return {str(key): _array(value, f"{name}.{key}", budget) for key, value in values.items()}


def _optional_array(value: Any, name: str, budget: Budget) -> ScoreArray | None:
    return None if value is None else _array(value, name, budget)


def _array(value: Any, name: str, budget: Budget) -> ScoreArray:
    """An array in any of the three ways of such files: safetensors in base64, packed numpy, nested lists."""
    if isinstance(value, str):
        return _from_safetensors(value, name, budget)
    if isinstance(value, dict) and "__ndarray__" in value:
        return _from_numpy(value, name, budget)
    if isinstance(value, list):
        return _from_lists(value, name, budget)
    raise FileFormatError(f"{name} is {type(value).__name__}, expected an array.")


def _from_safetensors(text: str, name: str, budget: Budget) -> ScoreArray:
    from safetensors import SafetensorError, deserialize

    budget.take(len(text), name)
    try:
        tensors = dict(deserialize(base64.b64decode(text, validate=True)))
    except (binascii.Error, ValueError, SafetensorError) as error:
        raise FileFormatError(f"{name}: damaged data ({error}).") from error
    if len(tensors) != 1:
        raise FileFormatError(f"{name}: {len(tensors)} arrays, expected one.")
    tensor: Mapping[str, Any] = next(iter(tensors.values()))
    dtype, shape, data = tensor["dtype"], tensor["shape"], bytes(tensor["data"])
    if dtype in _DTYPES:
        return np.frombuffer(data, dtype=_DTYPES[dtype]).astype(_DTYPES[dtype][1:]).reshape(shape)
    budget.take(4 * len(data), name)
    if dtype == "F8_E4M3":
        return float8.decode(np.frombuffer(data, dtype=np.uint8)).reshape(shape)
    if dtype == "BF16":
        bits = np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    raise FileFormatError(f"{name}: numbers of type {dtype!r}, expected floats.")


def _from_numpy(record: Mapping[str, Any], name: str, budget: Budget) -> ScoreArray:
    data, dtype, shape = record["__ndarray__"], record.get("dtype"), record.get("shape")
    if dtype not in _NUMPY:
        raise FileFormatError(f"{name}: dtype {str(dtype)[:40]!r}, expected one of {', '.join(_NUMPY)}.")
    if not isinstance(shape, list) or len(shape) > 16 or not all(type(n) is int and n >= 0 for n in shape):
        raise FileFormatError(f"{name}: shape {str(shape)[:60]}, expected sizes.")
    if not isinstance(data, str):
        return _from_lists(data, name, budget).reshape(_fitting(shape, data, name))
    size = math.prod(shape) * np.dtype(dtype).itemsize
    budget.take(size, name)
    prefix, _, text = data.partition(":")
    try:
        packed = base64.b64decode(text, validate=True)
        if prefix == "b64.gz":
            packed = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(packed, size + 1)
        elif prefix != "b64":
            raise FileFormatError(f"{name}: data of kind {prefix[:20]!r}, expected b64 or b64.gz.")
    except (binascii.Error, ValueError, zlib.error) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{name}: damaged data ({error}).") from error
    if len(packed) != size:
        raise FileFormatError(f"{name}: {len(packed)} bytes of data, {size} expected.")
    numbers: NDArray[Any] = np.frombuffer(packed, dtype=np.dtype(dtype).newbyteorder("<")).reshape(shape)
    return numbers.astype(dtype if dtype.startswith("float") else np.float32)


def _fitting(shape: list[int], data: Any, name: str) -> list[int]:
    count = _count(data)
    if math.prod(shape) != count:
        raise FileFormatError(f"{name}: {count} numbers for shape {shape}.")
    return shape


def _count(data: Any) -> int:
    return sum(_count(item) for item in data) if isinstance(data, list) else 1


def _from_lists(data: Any, name: str, budget: Budget) -> ScoreArray:
    budget.take(16 * _count(data), name)
    try:
        numbers = np.array(data, dtype=object)
        if any(isinstance(item, (list, str, dict, bool)) for item in numbers.reshape(-1)):
            raise ValueError("not numbers of one shape")
        return np.array(data, dtype=np.float64).astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise FileFormatError(f"{name}: nested lists that are not an array of numbers ({error}).") from error
