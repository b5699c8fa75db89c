"""Saving and loading: which file, in which form, all or nothing."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import attrs

from inseq_core.data.attribution import FeatureAttributionStepOutput
from inseq_core.data.output import FeatureAttributionOutput, parts_together
from inseq_core.data.scores import ScoreArray
from inseq_core.errors import (
    FileAccessError,
    FileFormatError,
    InseqError,
    InvalidArgumentError,
    MergeError,
    SavedFileMissingError,
    invalid,
)
from inseq_core.store import json_file, peer, safetensors_file
from inseq_core.store.arrays import PRECISIONS, Budget, Encoding, Precision, from_record, to_record, to_stored
from inseq_core.store.document import Part, from_document, part_of, to_document
from inseq_core.store.whole import PathLike, as_path, remove, write_all_whole, write_whole

SUFFIXES = (".safetensors", ".json.gz", ".json")
_FREE = 256 << 20
_RATIO = 100


def save_attributions(
    output: FeatureAttributionOutput,
    path: PathLike,
    overwrite: bool = False,
    compress: bool = False,
    ndarray_compact: bool = True,
    use_primitives: bool = False,
    split_sequences: bool = False,
    scores_precision: Precision = "float32",
) -> list[Path]:
    """Write an output to ``name.json``, ``name.json.gz`` or ``name.safetensors``.

    Args:
        output: what to save.
        path: where to; the ending chooses the form, and any other ending is JSON.
        overwrite: replace what is there; otherwise it is protected.
        compress: gzip the JSON, whatever the ending (``.gz`` is compressed anyway).
        ndarray_compact: arrays as packed bytes; False writes nested lists of numbers.
        use_primitives: the same as ``ndarray_compact=False``, and loadable as well.
        split_sequences: one file a text, ``name_0.json``, ``name_1.json`` …; loading ``name.json`` finds
            them, all of one output or none. Overwriting removes parts of the old output that the new one has
            not. Step attributions come back as those of one batch.
        scores_precision: "float32" (default; only float64 is rounded), "float16" or "float8" (both with a
            scale for each step, so that small scores survive), "float64" for no rounding at all.

    Returns:
        The files that were written.

    Raises:
        SavedFileExistsError: there is something at ``path``, and ``overwrite`` is False; or it is a folder.
        FileAccessError: the disk is full, the folder is read-only, or the like.
        InvalidArgumentError: no such precision, or compression asked of safetensors.
    """
    path = as_path(path)
    for name, flag in (
        ("overwrite", overwrite),
        ("compress", compress),
        ("ndarray_compact", ndarray_compact),
        ("use_primitives", use_primitives),
        ("split_sequences", split_sequences),
    ):
        if not isinstance(flag, bool):
            raise invalid(name, flag, "True or False")
    if scores_precision not in PRECISIONS:
        raise invalid("scores_precision", scores_precision, "'float32', 'float16', 'float8' (or 'float64')")
    stem, suffix = _parts(path)
    is_safetensors = suffix.lower() == ".safetensors"
    if is_safetensors and compress:
        raise InvalidArgumentError(
            "compress=True: safetensors files are read as they lie on the disk, and not compressed.\n"
            "  Leave it out, or save as .json.gz."
        )
    is_compressed = compress or suffix.lower().endswith(".gz")
    is_listed = use_primitives or not ndarray_compact
    encoding: Encoding = "list" if is_listed else "planes" if is_compressed else "base64"

    def content(chosen: FeatureAttributionOutput, part: Part | None) -> bytes:
        if is_safetensors:
            return safetensors_file.dump(chosen, scores_precision, part)
        document = to_document(chosen, lambda _, a: to_record(to_stored(a, scores_precision), encoding), part)
        text = json_file.dump(document)
        return json_file.compress(text) if is_compressed else text

    if not split_sequences:
        return [write_whole(path, lambda: content(output, None), overwrite)]
    count = len(output)
    ending = ".json.gz" if is_compressed and suffix.lower() == ".json" else suffix
    paths = [path.with_name(f"{stem}_{i}{ending}") for i in range(count)]
    set_id = _set_id(output, scores_precision)
    surplus = _surplus(path, ending, count) if overwrite else []

    def part_content(i: int) -> bytes:
        return content(output.subset([i]), Part(index=i, count=count, set_id=set_id))

    write_all_whole({p: functools.partial(part_content, i) for i, p in enumerate(paths)}, overwrite)
    for old in surplus:
        remove(old)
    return paths


def _set_id(output: FeatureAttributionOutput, precision: Precision) -> str:
    """What tells the parts of this output from those of others, made of all that is in it: saved once more, it
    is the same.
    """
    digest = hashlib.sha256(precision.encode())

    def put(name: str, scores: ScoreArray) -> list[Any]:
        digest.update(scores.tobytes())
        return [scores.dtype.name, *scores.shape]

    digest.update(json_file.dump(to_document(output, put)))
    return digest.hexdigest()[:32]


def _surplus(path: Path, ending: str, count: int) -> list[Path]:
    """Files of the output saved under this name in more than ``count`` parts, from number ``count`` on."""
    stem, _ = _parts(path)
    first = _part_at(path.with_name(f"{stem}_0{ending}"))
    found: list[Path] = []
    if first is None:
        return found
    for i in range(count, first.count):
        one = path.with_name(f"{stem}_{i}{ending}")
        if _part_at(one) != attrs.evolve(first, index=i):
            break
        found.append(one)
    return found


def _part_at(path: Path) -> Part | None:
    """Which part of an output is there, if one is."""
    try:
        return _load(path, None)[0]
    except (InseqError, OSError):
        return None


def load_attributions(path: PathLike, max_bytes: int | None = None) -> FeatureAttributionOutput:
    """Read a saved output: our files, and those that the other package of the name inseq (0.4 to 0.7) saved
    as JSON.

    What kind of file it is, and whether it is compressed, is seen from its content. A name that was saved
    with ``split_sequences=True`` is put together from its parts.

    Args:
        path: the file.
        max_bytes: what it may unpack to; None: 256 MiB or 100 times its size, whichever is more.

    Raises:
        SavedFileMissingError: nothing is there.
        FileFormatError: damaged, cut off, not a saved attribution, newer than this version, or larger than
            allowed.
        FileAccessError: the file may not be read, or its disk fails.
        InvalidArgumentError: ``path`` is no path, or ``max_bytes`` no number.
    """
    path = as_path(path)
    if max_bytes is not None and (not isinstance(max_bytes, int) or isinstance(max_bytes, bool)):
        raise invalid("max_bytes", max_bytes, "a whole number, or None")
    try:
        return _load(path, max_bytes)[1] if path.is_file() else _load_parts(path, max_bytes)
    except InseqError:
        raise
    except OSError as error:
        raise FileAccessError(
            f"{path} could not be read: {error.strerror or error}.\n  Check who may read it."
        ) from error


def _load(path: Path, max_bytes: int | None) -> tuple[Part | None, FeatureAttributionOutput]:
    size = path.stat().st_size
    limit = max(_FREE, _RATIO * size) if max_bytes is None else max_bytes
    budget = Budget(
        limit, f"\n  If you trust it: load_attributions({str(path)!r}, max_bytes=…); it was {limit}."
    )
    try:
        with open(path, "rb") as file:
            head = file.read(16)
        if _looks_like_safetensors(head):
            document, output = safetensors_file.load(path, budget)
            return part_of(document), output
        return _from_json(path.read_bytes(), budget)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from error
    except (MemoryError, RecursionError) as error:
        raise FileFormatError(
            f"{path}: too large or too deep to be read ({type(error).__name__})."
        ) from error


def _from_json(data: bytes, budget: Budget) -> tuple[Part | None, FeatureAttributionOutput]:
    if data.startswith(json_file.GZIP):
        data = json_file.decompress(data, budget)
        budget.take(json_file.objects_cost(data), "What the compressed text describes")
    parsed = json_file.parse(data)
    if peer.is_peer_document(parsed.value):
        return None, peer.from_peer_document(parsed.value, budget)
    if not isinstance(parsed.value, dict):
        raise FileFormatError(f"Not a saved attribution: the file holds a {type(parsed.value).__name__}.")
    if parsed.has_literals:
        raise FileFormatError("NaN or Infinity stands in it as a literal, which is not JSON.")

    def get(name: str, record: Any) -> ScoreArray:
        return from_record(record, name, budget)

    output = from_document(parsed.value, get, budget)
    return part_of(parsed.value), output


def _looks_like_safetensors(head: bytes) -> bool:
    """Eight bytes of a header's length, then its opening brace."""
    return len(head) >= 9 and head[8:9] == b"{" and head[5:8] == b"\0\0\0"


def _load_parts(path: Path, max_bytes: int | None) -> FeatureAttributionOutput:
    stem, suffix = _parts(path)
    endings = (suffix, ".json.gz") if suffix.lower() == ".json" else (suffix,)
    for ending in endings:
        first = path.with_name(f"{stem}_0{ending}")
        if not first.is_file():
            continue
        part, output = _load(first, max_bytes)
        if part is None:
            break
        if part.index != 0:
            raise FileFormatError(f"{first} is part {part.index} of {part.count}, not part 0.")
        outputs = [output]
        for i in range(1, part.count):
            one = path.with_name(f"{stem}_{i}{ending}")
            if not one.is_file():
                raise FileFormatError(f"{first} is part 0 of {part.count}: {one} is missing.")
            found, output = _load(one, max_bytes)
            if found is None or (found.index, found.count) != (i, part.count):
                raise FileFormatError(f"{one} is not part {i} of {part.count}.")
            if found.set_id != part.set_id:
                raise FileFormatError(
                    f"{one} is part {i} of another output than {first.name} is of.\n"
                    "  One was being replaced by the other and that was interrupted: save again."
                )
            outputs.append(output)
        try:
            merged = parts_together(outputs)
        except MergeError as error:
            raise FileFormatError(f"{path}: the parts do not belong together. {error}") from error
        # time, passes and the like are of the whole call, and stand in every part
        texts = {name: getattr(merged.info, name) for name in ("input_texts", "generated_texts")}
        steps = None if merged.step_attributions is None else FeatureAttributionStepOutput.batched(merged)
        return attrs.evolve(merged, step_attributions=steps, info=outputs[0].info.evolve(**texts))
    if path.is_dir():
        raise SavedFileMissingError(f"{path} is a folder.\n  Name a file in it.")
    raise SavedFileMissingError(f"There is no file {path}.")


def _parts(path: Path) -> tuple[str, str]:
    """``name.json.gz`` -> ``("name", ".json.gz")``; any other last ending -> itself."""
    name = path.name
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), path.suffix)
    return name[: len(name) - len(suffix)], name[len(name) - len(suffix) :]
