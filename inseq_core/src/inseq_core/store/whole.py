"""Writing a file: all of it, or nothing.

A file appears under its name complete or not at all: it is written beside, flushed to the disk, and then
moved, with the permissions of the file that it replaces. A link is followed, so that what it points to is
replaced and not the link; what is no ordinary file (a pipe, a terminal, ``/dev/null``) is written to and never
replaced.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from inseq_core.errors import (
    FileAccessError,
    InseqError,
    SavedFileExistsError,
    SavedFileMissingError,
    invalid,
)

PathLike = str | os.PathLike[str]
Content = Callable[[], bytes]

_UNCHANGED = "Nothing was changed."


def as_path(path: PathLike) -> Path:
    """The path of a file.

    Raises:
        InvalidArgumentError: it is something else, or has no name.
    """
    if not isinstance(path, (str, os.PathLike)) or not Path(path).name:
        raise invalid("path", path, "the path of a file")
    return Path(path)


def write_whole(path: Path, content: Content, overwrite: bool) -> Path:
    """Write all of it or nothing.

    Raises:
        SavedFileExistsError: there is something at ``path``, also if it appeared while this was written; or
            it is a folder.
        SavedFileMissingError: there is no folder to write in.
        FileAccessError: the disk is full, the folder is read-only, or the like.
    """
    write_all_whole({path: content}, overwrite)
    return path


def write_all_whole(contents: Mapping[Path, Content], overwrite: bool) -> None:
    """Write several files that belong together: all of them or none, each all of it or nothing.

    What can fail is done beside them; only when every file is on the disk are they moved, one after the
    other. Where that fails, those that are new are taken back; one that was replaced cannot be.

    Args:
        contents: path -> what makes its bytes, asked for when it is written.
        overwrite: replace what is there.

    Raises:
        SavedFileExistsError, SavedFileMissingError, FileAccessError: see ``write_whole``.
    """
    places = {path: _place(path, overwrite) for path in contents}
    moves: list[_Move] = []
    with contextlib.ExitStack() as leftovers:
        for path, place in places.items():
            if place is not None:
                data = contents[path]()
                with _failures_named(path):
                    moves.append(_Move(path, _beside(place, data, leftovers), place))
        for path, place in places.items():
            if place is None:
                data = contents[path]()
                with _failures_named(path):
                    path.write_bytes(data)
        _move_all(moves, overwrite)
    for folder in {move.place.parent for move in moves}:
        _flush_folder(folder)


def place_of(path: Path) -> Path | None:
    """Where the file of a path lies or will lie, a link followed; None where it is written to as it is.

    That is what is no ordinary file, and one without a name, to which only a link of the system leads
    (``/dev/stdout`` of a program whose output is a temporary file).
    """
    if path.exists() and not path.is_file():
        return None
    if not path.is_symlink():
        return path
    place = Path(os.path.realpath(path))
    return place if place.exists() or not path.exists() else None


def _place(path: Path, overwrite: bool) -> Path | None:
    """The same, of a path that may be written."""
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
        return place_of(path)


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
def _failures_named(path: Path, changed: str = _UNCHANGED) -> Iterator[None]:
    """An error of the operating system's with the file that was asked for, not the one beside it."""
    try:
        yield
    except InseqError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileAccessError(
            f"{path} could not be written: {reason}.\n"
            f"  {changed} Make room, or save elsewhere or under another name."
        ) from error


@attrs.frozen
class _Move:
    """A file that is written, and where it belongs.

    Attributes:
        path: as it was asked for.
        beside: where it lies.
        place: where it goes.
    """

    path: Path
    beside: Path
    place: Path


def _beside(place: Path, data: bytes, leftovers: contextlib.ExitStack) -> Path:
    """A new file beside ``place``, on the disk, that nobody may read who may not read the one it replaces."""
    beside = place.with_name(f".inseq-{secrets.token_hex(8)}.tmp")
    leftovers.callback(remove, beside)
    mode = _mode_of(place)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(beside, flags, 0o666 if mode is None else mode & 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if mode is not None:
        with contextlib.suppress(OSError):  # a file system without modes
            beside.chmod(mode)
    return beside


def _mode_of(place: Path) -> int | None:
    """Who may do what with the file there; None where there is none."""
    try:
        return stat.S_IMODE(place.stat().st_mode) & 0o777
    except FileNotFoundError:
        return None


def _move_all(moves: Sequence[_Move], overwrite: bool) -> None:
    """One after the other; where one fails, those that replaced nothing are taken back."""
    replaced = 0
    with contextlib.ExitStack() as taken_back:
        for move in moves:
            changed = f"{replaced} of {len(moves)} files were replaced already." if replaced else _UNCHANGED
            with _failures_named(move.path, changed):
                is_new = not os.path.lexists(move.place)
                _move(move.beside, move.place, overwrite)
            if is_new:
                taken_back.callback(remove, move.place)
            replaced += not is_new
        taken_back.pop_all()


def remove(path: Path) -> None:
    """Away with it, if it is there and may be removed."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


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
