"""Batches of a dataset that are done, kept in a folder while the others are worked on.

One file a batch, complete or not there, and beside them what the run was: a folder is gone on from by the same run alone,
and a batch is taken from it only for the very texts that it was made of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.plain import as_plain, as_plain_dict, as_plain_tuple, same_plain
from inseq_core.dataset.opening import TextRow
from inseq_core.errors import CheckpointError, FileFormatError, invalid, listed
from inseq_core.store.files import load_attributions, save_attributions
from inseq_core.store.whole import write_whole

RUN_FILE = "run.json"


@attrs.frozen(eq=False)
class Checkpoint:
    """The batches of one run in a folder. Make it by ``Checkpoint.at``."""

    folder: Path

    @classmethod
    def at(cls, folder: str | os.PathLike[str], run: Mapping[str, Any]) -> Checkpoint:
        """Begin a run in a folder, or go on with it.

        Args:
            folder: made if it is not there; the folder around it has to be.
            run: everything that the scores depend on, the texts aside; plain data is kept of it.

        Raises:
            CheckpointError: the folder cannot be used, or holds something else or another run.
        """
        if not isinstance(folder, (str, os.PathLike)) or not str(folder):
            raise invalid("checkpoint_dir", folder, "the path of a folder")
        place = Path(folder)
        try:
            place.mkdir(exist_ok=True)
            names = [entry.name for entry in place.iterdir() if not entry.name.startswith(".inseq-")]
        except OSError as error:
            raise CheckpointError(
                f"checkpoint_dir {place}: {error.strerror or error}.\n"
                "  Name a folder that can be written, or a new one in a folder that is there."
            ) from error
        wanted = as_plain_dict(run)
        if RUN_FILE in names:
            _check_same(place, wanted)
        elif names:
            raise CheckpointError(
                f"checkpoint_dir {place} holds other files ({listed(sorted(names), 5)}), and no run of a dataset.\n"
                "  Name an empty folder, or a new one."
            )
        else:
            text = json.dumps(wanted, indent=1, ensure_ascii=False)
            write_whole(place / RUN_FILE, lambda: text.encode("utf-8"), overwrite=False)
        return cls(place)

    def kept(self, rows: Sequence[TextRow]) -> FeatureAttributionOutput | None:
        """The output of a batch; None where it is still to be made.

        Raises:
            CheckpointError: it was made of other texts, or its file is broken.
        """
        path = self._path(rows)
        if not path.exists():
            return None
        try:
            output = load_attributions(path)
        except FileFormatError as error:
            raise CheckpointError(
                f"{error}\n  Delete this file: its batch is then worked out again."
            ) from error
        inputs, outputs = _texts(rows)
        info = output.info
        if info.input_texts != inputs or (outputs is not None and info.generated_texts != outputs):
            raise CheckpointError(
                f"{path} was made of other texts than rows {rows[0].number} to {rows[-1].number} have now.\n"
                "  The dataset was changed: name another checkpoint_dir, or delete this one."
            )
        return output

    def keep(self, rows: Sequence[TextRow], output: FeatureAttributionOutput) -> None:
        """Keep the output of a batch, every score as it is."""
        save_attributions(output, self._path(rows), overwrite=True, scores_precision="float64")

    def _path(self, rows: Sequence[TextRow]) -> Path:
        return self.folder / f"rows-{rows[0].number:09d}-{rows[-1].number:09d}.json.gz"


def _texts(rows: Sequence[TextRow]) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
    """What goes into a batch, as its info writes it."""
    given = None if rows[0].generated is None else as_plain_tuple([row.generated for row in rows])
    return as_plain_tuple([row.input for row in rows]), given


def _check_same(place: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a folder of another run, with what differs."""
    path = place / RUN_FILE
    try:
        begun = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}\n  Name another checkpoint_dir.") from error
    begun = begun if isinstance(begun, dict) else {}
    other = [
        f"{name}: {_short(begun.get(name))} then, {_short(wanted.get(name))} now"
        for name in dict.fromkeys((*wanted, *begun))
        if not same_plain(begun.get(name), wanted.get(name))
    ]
    if other:
        differences = "\n  ".join(other)
        raise CheckpointError(
            f"checkpoint_dir {place} holds another run:\n  {differences}\n"
            "  Name another folder, or delete this one to begin anew."
        )


def _short(value: Any) -> str:
    text = repr(as_plain(value))
    return text if len(text) <= 60 else text[:57] + "…"
