"""Exporting: a model of transformers to graphs that give its logits, for any batch, length and mask.

Decoder-only models become one graph, encoder–decoder models two, so that a source is encoded once for all its
targets. The graphs take the flat indices of the wanted ``rows``, and run the output head on those alone. An
export is compared with the model before it is kept, and appears in its folder all at once or not at all.
Axes: B sequences, S source positions, L target positions, R rows, D hidden, V vocabulary.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from inseq_core.errors import (
    InvalidArgumentError,
    MissingPackageError,
    ModelLoadError,
    SavedFileExistsError,
)
from inseq_onnx.layout import FORMAT, SETTINGS_FILE
from inseq_onnx.tokenizer import TOKENIZER_FILE

EXTERNAL_DATA_FROM = 1_500_000_000
"""Bytes of weights from which they lie in a file beside the graph; a graph itself can hold 2 GB."""

TEXTS = (
    "The developer argued with the designer because her idea cannot be implemented.",
    "x",
    "Hello, ladies & gentlemen:\n 42 naïve cafés?",
    " 你好 …",
)
"""Texts that the stored tokenizer has to write as the model's own does."""


@attrs.frozen(kw_only=True)
class ExportReport:
    """What was written.

    Attributes:
        folder: where.
        files: names of the graphs.
        difference: the largest difference of a logit from the model's, relative to the range of its logits.
        n_batches: how many were compared.
    """

    folder: Path
    files: tuple[str, ...]
    difference: float
    n_batches: int


def export(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model as graphs, with its tokenizer and settings, into a folder of their own.

    Args:
        model: a hub id or a folder, as transformers takes it.
        folder: to be made. One that is there is replaced only if it is an earlier export and ``overwrite`` is
            set.
        tokenizer: a hub id or a folder; the model's own by default.
        model_kwargs: arguments of the model's ``from_pretrained``.
        tokenizer_kwargs: arguments of the tokenizer's (``src_lang``, ``tgt_lang`` …).

    Raises:
        MissingPackageError: torch, transformers, onnx or onnxscript is not installed.
        ModelLoadError: the model cannot be read, has no fast tokenizer, or cannot be exported.
        SavedFileExistsError: something stands where the folder is to be.
        SelfCheckError: the graphs give other logits than the model.
    """
    _check_packages()
    place = Path(folder).expanduser().absolute()
    _check_place(place, overwrite)
    from inseq_onnx import comparison, tracing
    from inseq_onnx.loading import load

    loaded = tracing.read_model(model, dict(model_kwargs or {}))
    own = tracing.read_tokenizer(tokenizer or model, dict(tokenizer_kwargs or {}))
    with _written_at_once(place, overwrite) as unfinished:
        _write_tokenizer(own, unfinished)
        files = tracing.write_graphs(loaded, unfinished, is_large=_bytes(loaded) >= EXTERNAL_DATA_FROM)
        _write_settings(loaded, own, files, unfinished)
        adapter = load(unfinished, device="cpu")
        difference = comparison.compare(loaded, adapter)
        adapter.close()
    return ExportReport(
        folder=place,
        files=tuple(files.values()),
        difference=difference,
        n_batches=len(comparison.SHAPES),
    )


def _check_packages() -> None:
    needed = ("torch", "transformers", "onnx", "onnxscript")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"Exporting a model needs {' and '.join(missing)}; running an exported one does not.\n"
            "  pip install 'inseq-onnx[export]'"
        )


def _check_place(place: Path, overwrite: bool) -> None:
    if not place.parent.is_dir():
        raise InvalidArgumentError(f"The folder {str(place.parent)!r}, in which to write, does not exist.")
    if not place.exists():
        return
    is_export = (place / SETTINGS_FILE).is_file()
    if not is_export and place.is_dir() and not any(place.iterdir()):
        return
    if not is_export or not overwrite:
        advice = "Let it be replaced: --overwrite." if is_export else "Name a folder that does not exist yet."
        raise SavedFileExistsError(f"{str(place)!r} exists already.\n  {advice}")


@contextmanager
def _written_at_once(place: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside the place, which takes its name when everything in it is right."""
    unfinished = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        yield unfinished
        unfinished.chmod(0o777 & ~_umask())  # mkdtemp made it the owner's alone
        _check_place(place, overwrite)
        if place.exists():
            replaced = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
            os.replace(place, replaced / "old")
            os.replace(unfinished, place)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.replace(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


# -- what lies beside the graphs -------------------------------------------------------------------


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Store it, and see that what was stored writes texts as it does.

    Raises:
        ModelLoadError: it has no ``tokenizer.json``, or that does not do what the tokenizer does.
    """
    from inseq_onnx.tokenizer import read_tokenizer

    tokenizer.save_pretrained(folder)
    kind = type(tokenizer).__name__
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelLoadError(
            f"{kind} has no {TOKENIZER_FILE}, which is all that is read when the graphs are run.\n"
            "  Export with a fast tokenizer of the same vocabulary: --tokenizer FOLDER."
        )
    stored = read_tokenizer(folder, {})["tokenizer"]
    for text in TEXTS:
        own = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        ids = stored.encode(text, add_special_tokens=False).ids
        if own != ids:
            raise ModelLoadError(
                f"{TOKENIZER_FILE} of {kind} writes {text!r} as {ids}, the tokenizer itself as {own}.\n"
                "  Export with a tokenizer whose file says all that it does: --tokenizer FOLDER."
            )


def _frames(tokenizer: Any, is_encoder_decoder: bool) -> dict[str, Any]:
    """Side -> ids that the tokenizer puts before and after a text of that side."""
    sides = (
        {"source": "text", "target": "text_target"}
        if is_encoder_decoder
        else {"source": "text", "target": "text"}
    )
    frames = {}
    for side, name in sides.items():
        for text in ("x", "a", "1"):
            bare = list(tokenizer(**{name: text}, add_special_tokens=False)["input_ids"])
            framed = list(tokenizer(**{name: text})["input_ids"])
            start = next((k for k in range(len(framed)) if bare and framed[k : k + len(bare)] == bare), None)
            if start is not None:
                frames[side] = {"before": framed[:start], "after": framed[start + len(bare) :]}
                break
    return frames


def _write_settings(model: Any, tokenizer: Any, files: Mapping[str, str], folder: Path) -> None:
    import onnxscript
    import torch
    import transformers

    from inseq_onnx import tracing

    generation = json.loads(model.generation_config.to_json_string(use_diff=True))
    settings = {
        "format": FORMAT,
        "files": dict(files),
        "model_class": type(model).__name__,
        "positions": tracing.positions(model),
        "frames": _frames(tokenizer, bool(model.config.is_encoder_decoder)),
        "starts_with_last_label": tracing.starts_with_last_label(model, tokenizer),
        "made_with": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "onnxscript": onnxscript.__version__,
        },
    }
    model.config.to_json_file(folder / "config.json", use_diff=False)
    _write_json(folder / "generation_config.json", generation)
    _write_json(folder / SETTINGS_FILE, settings)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
