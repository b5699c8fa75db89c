"""What a folder of exported graphs holds: which file is which, and what is known about the model.

Our own exports say so in ``inseq_onnx.json``, plain data. Other exports are known by the names of their files
(those of
optimum: ``model.onnx``, or ``encoder_model.onnx`` and ``decoder_model.onnx``) and by transformers'
``config.json`` and ``generation_config.json``, where these lie beside them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from inseq_core.errors import ModelLoadError, listed

SETTINGS_FILE = "inseq_onnx.json"
FORMAT = 1
"""Version of ``inseq_onnx.json`` that is written, and the newest that is read."""

ENCODERS = ("encoder_model.onnx",)
DECODERS = ("decoder_model.onnx", "decoder_model_merged.onnx")
WHOLE = ("model.onnx",)
_OTHER_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.gguf")

_ADVICE = "Make one with: inseq export-onnx MODEL FOLDER"


@attrs.frozen(kw_only=True, eq=False)
class Layout:
    """The files of one exported model.

    Attributes:
        folder: where they lie, the tokenizer's among them.
        graph: the graph that gives logits: the whole model, or its decoder.
        encoder: the graph of the encoder, where it is one of its own.
        settings: ``inseq_onnx.json``; empty for other exports.
        config, generation: ``config.json`` and ``generation_config.json``; empty where there are none.
    """

    folder: Path
    graph: Path
    encoder: Path | None = None
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    config: Mapping[str, Any] = attrs.field(factory=dict)
    generation: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def name(self) -> str:
        """What to call the model: the name of its folder."""
        folder = self.folder.absolute()
        return folder.parent.name if folder.name == "onnx" else folder.name

    @property
    def model_class(self) -> str:
        """The class that was exported, as far as is known."""
        architectures = self.config.get("architectures") or ["ONNX graph"]
        return str(self.settings.get("model_class") or architectures[0])

    def setting(self, name: str) -> Any:
        """A number that ``generation_config.json`` has, or else ``config.json``; None where none has it."""
        found = self.generation.get(name)
        return self.config.get(name) if found is None else found

    def positions(self, part: str) -> int | None:
        """Positions of the "encoder" or the "decoder"; None where there is no limit, or none is known."""
        own = self.settings.get("positions")
        if isinstance(own, Mapping):
            return _positive(own.get(part))
        config = self.config
        has_no_limit = config.get("alibi") or "relative_attention_num_buckets" in config
        names = (f"max_{part}_position_embeddings", "max_position_embeddings", "n_positions")
        return None if has_no_limit else next((n for n in map(_positive, map(config.get, names)) if n), None)

    def frame(self, side: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Ids before and after a "source" or a "target", where the export has written them down."""
        frames = self.settings.get("frames")
        found = frames.get(side) if isinstance(frames, Mapping) else None
        if not isinstance(found, Mapping):
            return None
        return tuple(found.get("before", ())), tuple(found.get("after", ()))


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def holds_graphs(location: str | os.PathLike[str]) -> bool:
    """Whether a path leads to a graph, or to a folder of graphs that no other framework would load."""
    path = Path(location).expanduser()
    if path.suffix == ".onnx":
        return True
    if not path.is_dir():
        return False
    if (path / SETTINGS_FILE).is_file():
        return True
    return any(path.glob("*.onnx")) and not any(any(path.glob(pattern)) for pattern in _OTHER_WEIGHTS)


def read_layout(location: str | os.PathLike[str], file_name: str | None = None) -> Layout:
    """Find and read the files of an exported model.

    Args:
        location: a folder, or a graph in one.
        file_name: of the graph that gives logits, for folders with several.

    Raises:
        ModelLoadError: nothing is there, files are missing, damaged, or newer than this version.
    """
    path = Path(location).expanduser()
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ModelLoadError(f"There is no file {str(location)!r} (looked for {str(path.absolute())!r}).")
        path, file_name = path.parent, file_name or path.name
    if not path.is_dir():
        raise ModelLoadError(
            f"There is no folder {str(location)!r} (looked in {str(path.absolute())!r}).\n  {_ADVICE}"
        )
    if not any(path.glob("*.onnx")) and any((path / "onnx").glob("*.onnx")):
        path = path / "onnx"
    settings = _read(path / SETTINGS_FILE)
    if settings:
        _check_settings(settings, path)
    graph, encoder = _graphs(path, settings, file_name)
    beside = path.parent if path.name == "onnx" and not (path / "config.json").exists() else path
    return Layout(
        folder=beside,
        graph=graph,
        encoder=encoder,
        settings=settings,
        config=_read(beside / "config.json"),
        generation=_read(beside / "generation_config.json"),
    )


def _check_settings(settings: Mapping[str, Any], folder: Path) -> None:
    version = settings.get("format")
    if not isinstance(version, int) or not isinstance(settings.get("files"), Mapping):
        raise ModelLoadError(
            f"{SETTINGS_FILE} in {str(folder)!r} is damaged: it has no format or no files.\n  {_ADVICE}"
        )
    if version > FORMAT:
        raise ModelLoadError(
            f"{SETTINGS_FILE} in {str(folder)!r} has format {version}; this version reads up to {FORMAT}.\n"
            "  pip install --upgrade inseq-onnx"
        )


def _graphs(folder: Path, settings: Mapping[str, Any], file_name: str | None) -> tuple[Path, Path | None]:
    """The graph that gives logits, and the encoder's."""
    files = settings.get("files", {})
    encoder_name, graph_name = files.get("encoder"), file_name or files.get("graph")
    if not settings:
        encoder_name = next((name for name in ENCODERS if (folder / name).is_file()), None)
        known = (*DECODERS, *WHOLE) if encoder_name else (*WHOLE, *DECODERS)
        graph_name = graph_name or next((name for name in known if (folder / name).is_file()), None)
    if graph_name is None:
        found = sorted(path.name for path in folder.glob("*.onnx"))
        if not found:
            raise ModelLoadError(f"{str(folder)!r} holds no graphs (*.onnx).\n  {_ADVICE}")
        if len(found) > 1:
            raise ModelLoadError(
                f"{str(folder)!r} holds {listed(found)}; which one is the model is not known.\n"
                "  Name it: model_kwargs={'file_name': …}, or call it model.onnx."
            )
        graph_name = found[0]
    graph = _inside(folder, graph_name)
    if graph.name not in (*DECODERS, files.get("graph")):
        encoder_name = None  # a whole model beside an encoder that belongs to another graph
    return graph, None if encoder_name is None else _inside(folder, encoder_name)


def _inside(folder: Path, name: Any) -> Path:
    """A file of the folder itself: settings name files, never paths."""
    path = folder / str(name)
    if not isinstance(name, str) or Path(name).name != name or not path.is_file():
        raise ModelLoadError(f"{str(folder)!r} has no file {name!r}.\n  {_ADVICE}")
    return path


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file.

    Raises:
        ModelLoadError: something else is in it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{str(path)!r} cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise ModelLoadError(f"{str(path)!r} holds a JSON {type(found).__name__}, expected an object.")
    return found
