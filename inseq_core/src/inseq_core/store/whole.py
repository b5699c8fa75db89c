"""Writing a file: all of it, or nothing.

A file appears under its name complete or not at all: it is written beside, flushed to the disk, and then
moved. A link is followed, so that what it points to is replaced and not the link; what is no ordinary file (a
pipe, a terminal, ``/dev/null``) is written to and never replaced.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from inseq_core.errors import (
    FileAccessError,
    InseqError,
    SavedFileExistsError,
    SavedFileMissingError,
    invalid,
)

PathLike = str | os.PathLike[str]


def as_path(path: PathLike) -> Path:
    """The path of a file.

    Raises:
        InvalidArgumentError: it is something else, or has no name.
    """
    if not isinstance(path, (str, os.PathLike)) or not Path(path).name:
        raise invalid("path", path, "the path of a file")
    return Path(path)


def write_whole(path: Path, content: Callable[[], bytes], overwrite: bool) -> Path:
    """Write all of it or nothing.

    Raises:
        SavedFileExistsError: there is something at ``path``, also if it appeared while this was written; or
            it is a folder.
        SavedFileMissingError: there is no folder to write in.
        FileAccessError: the disk is full, the folder is read-only, or the like.
    """
    with _failures_named(path):
        if not overwrite:
            refuse_existing(path)
        if path.is_dir():
            raise SavedFileExistsError(f"{path} is a folder.\n  Name a file in it, or another one.")
        if not path.parent.is_dir():
            raise SavedFileMissingError(
                f"There is no folder {path.parent} to save {path.name} in.\n"
                "  Make it first, or save elsewhere."
            )
        is_ordinary = path.is_file() or not path.exists()
        place = Path(os.path.realpath(path)) if is_ordinary and path.is_symlink() else path
    data = content()
    with _failures_named(path):
        if is_ordinary:
            _replace(place, data, overwrite)
        else:
            place.write_bytes(data)
    return path


def refuse_existing(path: Path) -> None:
    """Protect what is there.

    Raises:
        SavedFileExistsError: something is.
    """
    if os.path.lexists(path):
        advice = (
            "Name a file in it, or another one."
            if path.is_dir()
            else "Pass overwrite=True to replace it, or choose another name."
        )
        raise SavedFileExistsError(f"{path} {'is a folder' if path.is_dir() else 'exists'}.\n  {advice}")


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """An error of the operating system's with the file that was asked for, not the one beside it."""
    try:
        yield
    except InseqError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileAccessError(
            f"{path} could not be written: {reason}.\n"
            "  Nothing was changed. Make room, or save elsewhere or under another name."
        ) from error


def _replace(path: Path, data: bytes, overwrite: bool) -> None:
    beside = path.with_name(f".inseq-{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _move(beside, path, overwrite)
    finally:
        beside.unlink(missing_ok=True)
    _flush_folder(path.parent)


def _move(beside: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(beside, path)
        return
    try:
        os.link(beside, path)  # unlike a move, refuses to replace what has appeared since
    except FileExistsError:
        refuse_existing(path)
        raise
    except OSError:  # a file system without links
        refuse_existing(path)
        os.replace(beside, path)


def _flush_folder(folder: Path) -> None:
    """Make the new name itself durable, where folders can be flushed."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
