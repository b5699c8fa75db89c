"""The beginning of a cache of transformers: keys and values of a prefix, for several sequences that share it.

Only caches that keep every position can be cut; a window that has moved on, or a recurrent state, cannot.
Axes: B sequences, H heads, L positions, D head size.
"""

from __future__ import annotations

import copy
from typing import Any

import torch


def repeat_prefix(cache: Any, length: int, copies: int) -> Any | None:
    """A new cache with the first ``length`` positions of the first sequence of ``cache``, ``copies`` times.

    None where the cache is of a kind that cannot be cut. The given one stays as it is.
    """
    if cache is None:
        return None
    own = getattr(cache, "self_attention_cache", None)
    if own is None:
        return _cut(cache, length, copies)
    cut = _cut(own, length, copies)
    read = _cut(cache.cross_attention_cache, None, copies)
    return None if cut is None or read is None else type(cache)(cut, read)


def _cut(cache: Any, length: int | None, copies: int) -> Any | None:
    """A cache of one kind of attention, cut at ``length`` (None: whole)."""
    layers = getattr(cache, "layers", None)
    if layers is None or not all(_keeps_all(layer) for layer in layers):
        return None
    made = copy.copy(cache)
    made.layers = [copy.copy(layer) for layer in layers]
    first = [0] * copies
    for layer in made.layers:
        if not layer.is_initialized:
            continue
        index = torch.tensor(first, device=layer.keys.device)
        if length is not None:
            layer.crop(length - layer.get_seq_length())
        layer.batch_select_indices(index)
    return made


def _keeps_all(layer: Any) -> bool:
    """Whether a layer has the keys of every position it was given, and nothing else."""
    if (
        not getattr(layer, "is_croppable", False)
        or hasattr(layer, "recurrent_states")
        or hasattr(layer, "conv_states")
    ):
        return False
    return not layer.is_initialized or layer.keys.shape[-2] == layer.get_seq_length()
