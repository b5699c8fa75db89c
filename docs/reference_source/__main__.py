"""``python docs/reference_source``: write the reference pages to docs/reference."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
sys.path[:] = [str(DOCS), *(path for path in sys.path if Path(path).resolve() != DOCS / "reference_source")]

from reference_source import write_pages  # noqa: E402

write_pages(DOCS / "reference")
