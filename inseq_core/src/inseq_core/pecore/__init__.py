"""Which words of a context a model relied on (PECoRe, Sarti et al. 2024).

First, which generated tokens change with the context (context-sensitive target identification, CTI); then,
for each of these, which context tokens made the difference (contextual cues imputation, CCI).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inseq_core.lazy import lazy_names

if TYPE_CHECKING:
    from inseq_core.pecore.attribute import attribute_context as attribute_context
    from inseq_core.pecore.result import AttributeContextOutput as AttributeContextOutput
    from inseq_core.pecore.result import CCIOutput as CCIOutput

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "attribute_context": "inseq_core.pecore.attribute",
        "AttributeContextOutput": "inseq_core.pecore.result",
        "CCIOutput": "inseq_core.pecore.result",
    },
)
