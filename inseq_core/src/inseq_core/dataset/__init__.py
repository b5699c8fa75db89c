"""Attributing the texts of a dataset: files on this machine, or whatever the library ``datasets`` finds.

Rows are read as they are needed, and attributed a few at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.lazy import lazy_names

if TYPE_CHECKING:
    from inseq_core.dataset.attribute import attribute_dataset as attribute_dataset
    from inseq_core.dataset.opening import open_dataset as open_dataset

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "attribute_dataset": "inseq_core.dataset.attribute",
        "open_dataset": "inseq_core.dataset.opening",
    },
)
