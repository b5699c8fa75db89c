"""One exported graph, run by onnxruntime.

What the graph asks for is known before it runs: inputs that nobody can give, and sizes that are fixed, are
refused when it is loaded. Arrays are cast to the types that it declares.
Axes: B sequences, L positions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from inseq_core.errors import MissingPackageError, ModelLoadError, ModelRunError, invalid, listed

_TYPES: Mapping[str, Any] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_OUT_OF_MEMORY = (
    "failed to allocate memory",
    "bad allocation",
    "bad_alloc",
    "out of memory",
    "available memory of",
)


def runtime() -> Any:
    """The module onnxruntime.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            f"Running ONNX graphs needs onnxruntime, which cannot be imported: {error}.\n"
            "  pip install onnxruntime (onnxruntime-gpu for CUDA)"
        ) from error
    return onnxruntime


def providers_for(device: Any) -> list[Any]:
    """Execution providers for a device; the CPU's always last.

    Args:
        device: "cpu", "cuda", "cuda:1"; None: CUDA where onnxruntime has it.

    Raises:
        InvalidArgumentError: a device that this onnxruntime cannot use.
    """
    available = runtime().get_available_providers()
    has_cuda = "CUDAExecutionProvider" in available
    kind, _, number = str("cuda" if device is None and has_cuda else device or "cpu").partition(":")
    if kind == "cpu" and number in ("", "0"):
        return ["CPUExecutionProvider"]
    if kind == "cuda" and has_cuda and (number or "0").isdigit():
        return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
    shown = "'cpu', 'cuda' or 'cuda:0'" if has_cuda else "'cpu': this onnxruntime runs on nothing else"
    raise invalid("device", device, f"{shown} (its providers: {listed(available)})")


def session_options(given: Mapping[str, Any]) -> Any:
    """onnxruntime's ``SessionOptions`` with the attributes given by name.

    Raises:
        InvalidArgumentError: an attribute that there is not, or a value that it does not take.
    """
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 3  # warnings are about the exporter's work, which a user cannot change
    known = [
        name for name in dir(options) if not name.startswith("_") and not callable(getattr(options, name))
    ]
    for name, value in given.items():
        if name not in known:
            raise invalid(
                "session_options", name, f"attributes of onnxruntime.SessionOptions: {listed(known, 30)}"
            )
        if name == "graph_optimization_level" and value in _LEVELS:
            value = getattr(ort.GraphOptimizationLevel, _LEVELS[value])
        try:
            setattr(options, name, value)
        except TypeError as error:
            raise invalid(
                f"session_options: {name}", value, f"another type ({type(getattr(options, name))})"
            ) from error
    return options


@attrs.frozen(kw_only=True)
class Port:
    """An input or output of a graph.

    Attributes:
        shape: sizes; a name or None where the size is free.
        type: as onnxruntime writes it ("tensor(int64)").
    """

    name: str
    shape: tuple[Any, ...]
    type: str

    def fixed(self, axis: int) -> int | None:
        """The size of an axis, None where it is free."""
        size = self.shape[axis] if len(self.shape) > axis else None
        return size if isinstance(size, int) and size > 0 else None

    def cast(self, values: np.ndarray) -> np.ndarray:
        """Values in the type that the graph wants."""
        return np.ascontiguousarray(values, dtype=_TYPES.get(self.type, values.dtype))


class Graph:
    """A graph and its session.

    Args:
        path: the file.
        providers: where it runs, in the order of preference.
        options: onnxruntime's ``SessionOptions``.

    Attributes:
        inputs, outputs: by name.
    """

    def __init__(self, path: Path, providers: Sequence[Any], options: Any) -> None:
        self.path = path
        try:
            self._session: Any = runtime().InferenceSession(
                os.fspath(path), options, providers=list(providers)
            )
        except Exception as error:  # onnxruntime has a kind of exception for each of its status codes
            raise ModelLoadError(
                f"onnxruntime {runtime().__version__} cannot load {str(path)!r}: {_first_line(error)}"
            ) from error
        self.inputs = {port.name: port for port in map(_port, self._session.get_inputs())}
        self.outputs = {port.name: port for port in map(_port, self._session.get_outputs())}

    @property
    def device(self) -> str:
        """The first device that it runs on."""
        return "cuda" if self._session.get_providers()[0].startswith("CUDA") else "cpu"

    def check(self, *, needs: Iterable[str], fills: Callable[[str], bool], gives: str) -> None:
        """Refuse a graph that asks for what nobody can give, or does not give what is needed.

        Args:
            needs: inputs that it must have.
            fills: whether an input can be given.
            gives: the output that is read.

        Raises:
            ModelLoadError: it has other inputs or outputs.
        """
        missing = [name for name in needs if name not in self.inputs]
        foreign = [name for name in self.inputs if not fills(name)]
        if missing or foreign or gives not in self.outputs:
            wrong = [
                *(f"has no input {name!r}" for name in missing),
                *(f"asks for {name!r}, which nobody can give" for name in foreign),
                *([] if gives in self.outputs else [f"has no output {gives!r}"]),
            ]
            raise ModelLoadError(
                f"{str(self.path)!r} {', and '.join(wrong)}.\n"
                f"  Its inputs: {listed(self.inputs)}; its outputs: {listed(self.outputs)}. "
                "The README of inseq-onnx says what a graph needs."
            )
        for name in needs:
            port = self.inputs[name]
            if port.fixed(1) is not None or (port.fixed(0) or 1) != 1:
                raise ModelLoadError(
                    f"{str(self.path)!r} takes {name!r} of the fixed shape {port.shape} only; "
                    "texts have any length.\n  Export it with dynamic shapes: inseq export-onnx does."
                )

    @property
    def takes_one(self) -> bool:
        """Whether it takes one sequence at a time."""
        return any(port.fixed(0) == 1 for name, port in self.inputs.items() if name.endswith("input_ids"))

    def run(self, output: str, feed: Mapping[str, np.ndarray]) -> np.ndarray:
        """One output.

        Args:
            feed: an array for each input; those of other names are left out.

        Raises:
            ModelRunError: the graph failed.
        """
        given = {name: port.cast(feed[name]) for name, port in self.inputs.items()}
        try:
            (values,) = self._session.run([output], given)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
            raise ModelRunError(f"{self.path.name} failed on {shapes}: {_first_line(error)}") from error
        found: np.ndarray = np.asarray(values)
        return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at once could succeed."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)


def _port(node: Any) -> Port:
    return Port(name=node.name, shape=tuple(node.shape or ()), type=node.type)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 300 else lines[0][:299] + "…"
