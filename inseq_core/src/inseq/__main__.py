"""``python -m inseq``: the ``inseq`` program."""

from __future__ import annotations

from inseq_core.cli.main import main

if __name__ == "__main__":
    main()
