"""Files: results as plain data, readable by anyone, without torch and without plugins.

``.json`` and ``.json.gz`` hold a versioned document (docs/file-format.md), ``.safetensors`` the same
document in its header and the scores as tensors. Nothing in a file is ever executed, and no class is named
in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.lazy import lazy_names

if TYPE_CHECKING:
    from inseq_core.store.files import load_attributions as load_attributions
    from inseq_core.store.files import save_attributions as save_attributions

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "load_attributions": "inseq_core.store.files",
        "save_attributions": "inseq_core.store.files",
    },
)
