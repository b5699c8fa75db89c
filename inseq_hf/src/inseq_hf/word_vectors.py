"""Vectors of words in their context, from any encoder of transformers: what an alignment of two texts rests
on.

The words are read as one text; a word's vector is the mean of its pieces' states two thirds up the encoder,
where words of the same meaning are most alike (Jalili Sabet et al. 2020, figure 3).
Axes: n words, P pieces, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import torch

from inseq_core.errors import InvalidArgumentError, ModelLoadError, invalid
from inseq_core.torch import seams
from inseq_hf.hub import located


@attrs.frozen(kw_only=True, eq=False)
class WordEncoder:
    """An encoder with its tokenizer; called with the words of a text.

    Attributes:
        layer: whose states are taken: 0 for the embeddings, 1 for the first block.
    """

    model: Any
    tokenizer: Any
    layer: int

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        """(n, D); zeros for words that the tokenizer does not show, and beyond the encoder's length."""
        ids, owners = self._read(words)
        limit = min(getattr(self.tokenizer, "model_max_length", 512), 100_000)
        limit = min(limit, getattr(self.model.config, "max_position_embeddings", limit) or limit)
        ids, owners = ids[:limit], owners[:limit]
        device = next(self.model.parameters()).device
        with torch.no_grad(), seams.evaluating(self.model.modules()):
            output = self.model(input_ids=torch.tensor([ids], device=device), output_hidden_states=True)
        states = output.hidden_states[self.layer][0].float().cpu().numpy()  # (P, D)
        sums, counts = np.zeros((len(words), states.shape[1])), np.zeros(len(words))
        for state, owner in zip(states, owners, strict=True):
            if owner is not None:
                sums[owner] += state
                counts[owner] += 1
        return sums / np.maximum(counts, 1)[:, None]

    def _read(self, words: Sequence[str]) -> tuple[list[int], list[int | None]]:
        """(P,) ids of the words as one text, special tokens included, and the word that each piece is of."""
        if not self.tokenizer.is_fast:
            pieces = [self.tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in words]
            bare = [i for word in pieces for i in word]
            owners: list[int | None] = [n for n, word in enumerate(pieces) for _ in word]
            framed = self.tokenizer.build_inputs_with_special_tokens(bare)
            before = next(k for k in range(len(framed) + 1) if framed[k : k + len(bare)] == bare)
            after = len(framed) - len(bare) - before
            return framed, [None] * before + owners + [None] * after
        starts = np.cumsum([0, *(len(word) + 1 for word in words)])
        read = self.tokenizer(" ".join(words), return_offsets_mapping=True, verbose=False)
        owners = [
            None if end <= start else int(np.searchsorted(starts, end - 1, side="right")) - 1
            for start, end in read["offset_mapping"]
        ]
        return list(read["input_ids"]), owners


def word_encoder(encoder: Any) -> Callable[[Sequence[str]], np.ndarray]:
    """An encoder by its name or folder, as a pair (model, tokenizer), or as sentence-transformers loads it.

    Raises:
        ModelLoadError: no such encoder. InvalidArgumentError: something else, or a model without hidden
            states.
    """
    if isinstance(encoder, str):
        model, tokenizer = _loaded(encoder)
    elif isinstance(encoder, tuple) and len(encoder) == 2:
        model, tokenizer = encoder
    elif hasattr(encoder, "tokenizer") and hasattr(encoder, "__getitem__"):
        model, tokenizer = getattr(encoder[0], "auto_model", None), encoder.tokenizer
    else:
        model, tokenizer = None, None
    if not callable(getattr(model, "forward", None)) or not callable(tokenizer):
        raise invalid(
            "contrast_aligner",
            encoder,
            "the name of an encoder, a pair (model, tokenizer), or a sentence encoder",
        )
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    layers = getattr(model.config, "num_hidden_layers", None)
    if not layers:
        raise InvalidArgumentError(
            f"{type(model).__name__} does not say how many layers it has: it is no encoder."
        )
    return WordEncoder(model=model, tokenizer=tokenizer, layer=round(2 * layers / 3))


def _loaded(name: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    try:
        where = located(name, {})  # without a network the framework asks for half a minute
        return (
            AutoModel.from_pretrained(where.path, **where.options),
            AutoTokenizer.from_pretrained(where.path, **where.options),
        )
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"The encoder {name!r} cannot be loaded: {str(error).splitlines()[0]}\n"
            "  Give the name of one that is there, or contrast_aligner='embeddings', which needs none."
        ) from error
