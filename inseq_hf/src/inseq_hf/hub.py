"""Where models are: a folder, the local cache, or the hub; and what it means when they cannot be read from
there.

Without a network the answer comes at once: the hub is asked for a connection before transformers is asked for
    a file.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs

from inseq_core.errors import InseqError, MissingPackageError, ModelLoadError, UnknownArgumentError, invalid

T = TypeVar("T")

SECONDS_TO_CONNECT = 4.0
"""How long the hub may take to accept a connection."""


@attrs.frozen(kw_only=True)
class Location:
    """Where a model is.

    Attributes:
        path: folder or hub id, as transformers takes it.
        options: arguments of ``from_pretrained`` that follow from where it is.
        is_folder: whether it is on this machine.
    """

    path: str
    options: Mapping[str, Any]
    is_folder: bool = False


MODEL_FILES = ("config.json",)
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "config.json")
"""Any one of these tells that a folder holds a model, or a tokenizer."""


def located(
    location: str | os.PathLike[str], options: Mapping[str, Any], files: tuple[str, ...] = MODEL_FILES
) -> Location:
    """A folder or a hub id.

    Args:
        files: one of these is in a folder of the right kind.
        options: arguments of ``from_pretrained`` that the user gave.

    Raises:
        ModelLoadError: a folder that is not there or holds no model; a hub id that is neither cached nor
            reachable.
    """
    text = os.fspath(location)
    folder = Path(text).expanduser()
    if folder.is_file():
        raise ModelLoadError(
            f"{text!r} is a file; transformers loads the folder that it lies in.\n"
            f"  Load {str(folder.parent)!r}"
            + (f" with model_kwargs={{'gguf_file': {folder.name!r}}}." if _is_gguf(folder) else ".")
        )
    if folder.is_dir():
        _check_folder(folder, options, files)
        return Location(path=str(folder), options={}, is_folder=True)
    if _is_path(text):
        raise ModelLoadError(
            f"There is no folder {text!r} (looked in {str(folder.absolute())!r}).\n  {_HUB_HINT}"
        )
    if not _is_hub_id(text):
        raise invalid("model", text, "a folder, or a hub id such as 'gpt2' or 'Helsinki-NLP/opus-mt-en-fr'")
    if options.get("local_files_only") or is_reachable():
        return Location(path=text, options={})
    if not is_cached(text, options):
        raise _not_here(text)
    return Location(path=text, options={"local_files_only": True})


_HUB_HINT = (
    "A hub id looks like 'gpt2' or 'Helsinki-NLP/opus-mt-en-fr'; "
    "inseq.list_models() has the models that plugins carry."
)


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == ".gguf"


def _check_folder(folder: Path, options: Mapping[str, Any], files: tuple[str, ...]) -> None:
    """Refuse a folder without the files that make a model or a tokenizer, saying what is in it."""
    inside = folder / str(options.get("subfolder") or "")
    gguf = options.get("gguf_file")
    wanted = (str(gguf),) if gguf else files
    if any((inside / name).is_file() for name in wanted) or "config" in options:
        return
    names = sorted(p.name for p in inside.iterdir())[:8] if inside.is_dir() else []
    gguf_names = [name for name in names if _is_gguf(Path(name))]
    advice = (
        "A model folder is written by model.save_pretrained(folder) and tokenizer.save_pretrained(folder)."
    )
    if gguf_names and not gguf:
        advice = f"Load it with model_kwargs={{'gguf_file': {gguf_names[0]!r}}}."
    raise ModelLoadError(
        f"The folder {str(inside)!r} has no {' or '.join(wanted)}: {', '.join(names) or 'it is empty'}.\n"
        f"  {advice}"
    )


def _is_path(text: str) -> bool:
    """Whether a name can only be meant as a path."""
    return (
        text.startswith((".", "~", os.sep)) or text.count("/") > 1 or "\\" in text or Path(text).is_absolute()
    )


def _is_hub_id(text: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def is_offline() -> bool:
    """Whether the user's environment says not to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def is_reachable() -> bool:
    """Whether the hub accepts connections; a proxy is believed to know."""
    from huggingface_hub import constants

    if is_offline():
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=SECONDS_TO_CONNECT):
            return True
    except OSError:
        return False


def is_cached(name: str, options: Mapping[str, Any]) -> bool:
    """Whether the configuration of a hub model is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    wanted = str(options.get("gguf_file") or "config.json")
    subfolder = options.get("subfolder")
    found = try_to_load_from_cache(
        name,
        f"{subfolder}/{wanted}" if subfolder else wanted,
        cache_dir=options.get("cache_dir"),
        revision=options.get("revision"),
    )
    return isinstance(found, str)


def _not_here(name: str) -> ModelLoadError:
    from huggingface_hub import constants

    reason = (
        "the environment says not to ask the hub (HF_HUB_OFFLINE)"
        if is_offline()
        else (f"there is no network to {constants.ENDPOINT}")
    )
    return ModelLoadError(
        f"{name!r} is no folder, has no cached copy in {constants.HF_HUB_CACHE}, and {reason}.\n"
        f"  With a network, `hf download {name}` fetches it; or load a folder, or one of inseq.list_models()."
    )


def read(where: Location, what: str, action: Callable[[], T], advice: str = "") -> T:
    """``action()``, with failures of transformers said in terms of what was asked for.

    Args:
        what: "configuration", "tokenizer" or "weights".
        advice: what to do, where the failure does not say.

    Raises:
        ModelLoadError: it is not there, not allowed, or damaged.
        MissingPackageError: it needs a package. UnknownArgumentError: it takes no such argument.
    """
    try:
        with _progress_on_terminals():
            return action()
    except InseqError:
        raise
    except ImportError as error:
        raise MissingPackageError(
            f"The {what} of {where.path!r} cannot be read: {_first_line(error)}"
        ) from error
    except ValueError as error:
        if "pip install" not in _first_line(error):
            raise _explained(where, what, error, advice) from error
        raise MissingPackageError(
            f"The {what} of {where.path!r} cannot be read: {_first_line(error)}"
        ) from error
    except Exception as error:  # transformers, the hub, safetensors and json each raise their own
        raise _explained(where, what, error, advice) from error


@contextmanager
def _progress_on_terminals() -> Iterator[None]:
    """Progress bars of transformers only where somebody looks at them."""
    from transformers.utils import logging

    if not logging.is_progress_bar_enabled() or sys.stderr.isatty():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _explained(where: Location, what: str, error: Exception, advice: str) -> InseqError:
    from huggingface_hub import errors

    causes = tuple(_chain(error))
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes):
        return ModelLoadError(
            f"{where.path!r} is a gated model: ask for access on its page, then log in.\n"
            "  hf auth login, or model_kwargs={'token': …}."
        )
    if any(isinstance(cause, errors.RepositoryNotFoundError) for cause in causes):
        return ModelLoadError(
            f"The hub has no model {where.path!r}, or it is private.\n"
            f"  Check the spelling, or log in: hf auth login. {_HUB_HINT}"
        )
    if any(isinstance(cause, errors.RevisionNotFoundError) for cause in causes):
        return ModelLoadError(f"{where.path!r} has no such revision.\n  See its page for branches and tags.")
    if any(isinstance(cause, errors.LocalEntryNotFoundError) for cause in causes):
        return ModelLoadError(
            f"The {what} of {where.path!r} is not in the local cache, and the hub cannot be asked.\n"
            f"  With a network: hf download {where.path}"
        )
    if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
        name = str(error).rpartition("argument ")[2].strip()
        given = "tokenizer_kwargs" if what == "tokenizer" else "model_kwargs"
        return UnknownArgumentError(
            f"{where.path!r} takes no argument {name} (given in {given}).\n  Leave it out."
        )
    place = "folder" if where.is_folder else "model"
    return ModelLoadError(
        f"The {what} of the {place} {where.path!r} cannot be read: {type(error).__name__}: "
        f"{_first_line(error)}\n"
        f"  {advice or _advice(what, where)}"
    )


def _advice(what: str, where: Location) -> str:
    if what == "weights" and where.is_folder:
        return "Is the file whole? Write it again with model.save_pretrained(folder)."
    if what == "weights":
        return f"Is the download whole? Fetch it again: hf download {where.path} --force-download"
    return "Is it a model of transformers? inseq.list_supported_frameworks() has what loads others."


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
