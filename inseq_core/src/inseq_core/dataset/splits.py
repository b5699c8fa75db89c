"""Parts of a dataset in the notation of the library ``datasets``: ``train``, ``train[:20]``, ``train[10%:50%]``."""

from __future__ import annotations

import re

import attrs

from inseq_core.errors import DatasetError

_SPLIT = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")
_NAMES = ("train", "all")


@attrs.frozen(kw_only=True)
class Slice:
    """A part of the rows.

    Attributes:
        start, stop: as they are written, percent signs included; None for the ends.
    """

    start: str | None = None
    stop: str | None = None

    @property
    def needs_count(self) -> bool:
        """Whether the number of rows has to be known: positions from the end, and per cent."""
        return any(end is not None and (end.startswith("-") or end.endswith("%")) for end in self._ends())

    def _ends(self) -> tuple[str | None, str | None]:
        return self.start, self.stop

    def bounds(self, count: int | None) -> tuple[int, int | None]:
        """First row, and the row to stop before (None: none).

        Args:
            count: rows there are; may be None unless ``needs_count``.
        """
        start, stop = (None if end is None else _resolved(end, count) for end in self._ends())
        return start or 0, stop


def _resolved(end: str, count: int | None) -> int:
    if end.endswith("%"):
        value = round((count or 0) * int(end[:-1]) / 100)
    else:
        value = int(end)
    return value if value >= 0 else max(value + (count or 0), 0)


def parse_split(split: str) -> Slice:
    """Which rows of a file a split means; a file's only split is called ``train``, or ``all``.

    Raises:
        DatasetError: it cannot be read so, or names another split.
    """
    match = _SPLIT.fullmatch(split.replace(" ", ""))
    if match is None:
        raise DatasetError(
            f"dataset_split = {split!r}: expected a name and a part, such as 'train', 'train[:20]' or "
            f"'train[10%:50%]'."
        )
    if match["name"] not in _NAMES:
        raise DatasetError(
            f"dataset_split = {split!r}: the rows of a file are its split 'train'.\n"
            "  Name another file for another split."
        )
    return Slice(start=match["start"], stop=match["stop"])
