"""Text and token ids: what adapters of different frameworks have in common, whatever their tokenizer.

``pieces`` shows ids and finds where words begin, ``codec`` takes texts to ids and back, ``chat`` writes
messages with a template. A framework says what its tokenizer does in some ten short methods.
"""

from __future__ import annotations
