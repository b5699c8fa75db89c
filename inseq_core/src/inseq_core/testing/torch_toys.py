"""Toy models in torch: one that is linear in its embeddings, and a small transformer.

``PooledModel`` adds up token embeddings, each weighted by how far back it stands, and gives logits by one
linear layer: the logit of a token is a linear function of the embeddings before it, so that every signed
method has a closed form (``contributions``). ``AttentionModel`` is a transformer of two blocks with
everything that methods look at: attention, norms, a gated activation, dropout. Both come as language model
and as translator; embeddings of special tokens are zero, so that "zero" and "unk" are one baseline.
Axes: B sequences, S source positions, L target positions, R rows, D hidden, V vocabulary, H heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inseq_core.data.batch import EncodedText
from inseq_core.errors import CapabilityError
from inseq_core.hooks.specs import Capability
from inseq_core.testing.words import SPECIAL, WORDS, WordReader
from inseq_core.torch import TorchAdapter

HIDDEN, HEADS, LAYERS = 8, 2, 2
DECAY = 0.8
LONGEST = 64
"""Positions of the transformer."""


class PooledModel(nn.Module):
    """Linear from embeddings to logits: h_i = Σ_{j ≤ i} decay^(i - j) e_j + Σ_s M e_s, z = W h + b."""

    def __init__(self, vocabulary: int, has_source: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, HIDDEN)
        self.source_embedding = nn.Embedding(vocabulary, HIDDEN) if has_source else None
        self.encoder = nn.Linear(HIDDEN, HIDDEN, bias=False) if has_source else None
        self.head = nn.Linear(HIDDEN, vocabulary)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D) every source token by itself."""
        if self.source_embedding is None or self.encoder is None:
            raise CapabilityError("This toy has no encoder.")
        states: Tensor = self.encoder(self.source_embedding(ids))
        return states

    def decode(self, ids: Tensor, mask: Tensor, memory: Tensor | None, memory_mask: Tensor | None) -> Tensor:
        """(B, L, D) decaying sums."""
        embedded = self.embedding(ids)
        back = torch.arange(ids.shape[1], device=ids.device)
        back = back[:, None] - back[None, :]
        weights = torch.where(back >= 0, DECAY ** back.clamp_min(0).to(embedded.dtype), 0.0)
        states = weights @ (embedded * mask[..., None].to(embedded.dtype))
        if memory is not None and memory_mask is not None:
            states = states + (memory * memory_mask[..., None].to(memory.dtype)).sum(1, keepdim=True)
        return states


class Attention(nn.Module):
    """Multi-head attention by ``scaled_dot_product_attention``."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(HIDDEN, HIDDEN)
        self.key_value = nn.Linear(HIDDEN, 2 * HIDDEN)
        self.output = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, states: Tensor, context: Tensor, allowed: Tensor) -> Tensor:
        """(B, L, D) queries over (B, K, D), where ``allowed`` (B, L, K)."""

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

        key, value = self.key_value(context).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(
            heads(self.query(states)), heads(key), heads(value), attn_mask=allowed[:, None]
        )
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class Block(nn.Module):
    """Attention, attention to a source where there is one, and a gated layer, each with a norm before it."""

    def __init__(self, has_source: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(HIDDEN)
        self.attention = Attention()
        self.cross_norm = nn.LayerNorm(HIDDEN) if has_source else None
        self.cross_attention = Attention() if has_source else None
        self.gate_norm = nn.LayerNorm(HIDDEN)
        self.gate = nn.Linear(HIDDEN, 2 * HIDDEN)
        self.value = nn.Linear(HIDDEN, 2 * HIDDEN)
        self.down = nn.Linear(2 * HIDDEN, HIDDEN)
        self.dropout = nn.Dropout(0.1)

    def forward(self, states: Tensor, allowed: Tensor, memory: Tensor | None, seen: Tensor | None) -> Tensor:
        """(B, L, D)."""
        normed = self.norm(states)
        states = states + self.dropout(self.attention(normed, normed, allowed))
        if (
            self.cross_norm is not None
            and self.cross_attention is not None
            and memory is not None
            and seen is not None
        ):
            states = states + self.dropout(self.cross_attention(self.cross_norm(states), memory, seen))
        normed = self.gate_norm(states)
        return states + self.dropout(self.down(F.silu(self.gate(normed)) * self.value(normed)))


class AttentionModel(nn.Module):
    """A transformer of two blocks (and two more in its encoder)."""

    def __init__(self, vocabulary: int, has_source: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, HIDDEN)
        self.positions = nn.Embedding(LONGEST, HIDDEN)
        self.blocks = nn.ModuleList(Block(has_source) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(HIDDEN)
        self.head = nn.Linear(HIDDEN, vocabulary)
        self.source_embedding = nn.Embedding(vocabulary, HIDDEN) if has_source else None
        self.encoder_blocks = nn.ModuleList(Block(False) for _ in range(LAYERS * has_source))
        self.encoder_norm = nn.LayerNorm(HIDDEN)

    def _placed(self, embedded: Tensor) -> Tensor:
        at: Tensor = self.positions(torch.arange(embedded.shape[1], device=embedded.device))
        return embedded + at

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D)."""
        if self.source_embedding is None:
            raise CapabilityError("This toy has no encoder.")
        states = self._placed(self.source_embedding(ids))
        allowed = _allowed(mask, ids.shape[1])
        for block in self.encoder_blocks:
            states = block(states, allowed, None, None)
        normed: Tensor = self.encoder_norm(states)
        return normed

    def decode(self, ids: Tensor, mask: Tensor, memory: Tensor | None, memory_mask: Tensor | None) -> Tensor:
        """(B, L, D)."""
        states = self._placed(self.embedding(ids))
        length = ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        seen = None if memory_mask is None else memory_mask.bool()[:, None, :].expand(-1, length, -1)
        for block in self.blocks:
            states = block(states, _allowed(mask, length) & causal, memory, seen)
        normed: Tensor = self.norm(states)
        return normed


def _allowed(mask: Tensor, queries: int) -> Tensor:
    """(B, L, L): every token looks at those that may be seen, and at itself, so that no query looks
    nowhere.
    """
    itself = torch.eye(queries, dtype=torch.bool, device=mask.device)
    return mask.bool()[:, None, :] | itself


class TorchToy(WordReader, TorchAdapter):
    """A toy model of torch.

    Args:
        kind: ``PooledModel`` or ``AttentionModel``.
        is_encoder_decoder: a translator.
        words: vocabulary beside the special tokens.
        adds_bos: decoder-only prompts begin with ``<s>``.
        seed: of its weights.
        dtype: of its weights.
    """

    def __init__(
        self,
        kind: type[PooledModel] | type[AttentionModel] = AttentionModel,
        *,
        is_encoder_decoder: bool = False,
        words: Iterable[str] = WORDS,
        adds_bos: bool = True,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        words = tuple(words)
        TorchAdapter.__init__(
            self, _drawn(kind, len(SPECIAL) + len(words), is_encoder_decoder, seed).to(dtype).eval()
        )
        longest = LONGEST if kind is AttentionModel else None
        self.read_words(
            words,
            is_encoder_decoder=is_encoder_decoder,
            adds_bos=adds_bos,
            max_target=longest,
            dtype=str(dtype).removeprefix("torch."),
        )
        inside = {Capability.ATTENTIONS, Capability.HIDDEN_STATES, Capability.INTERVENTIONS}
        plain = {Capability.SCORES, Capability.GENERATE, Capability.GRADIENTS}
        self.capabilities = frozenset(plain | inside if kind is AttentionModel else plain)

    def embedding_module(self, side: str) -> nn.Module:
        """The embeddings of a side."""
        found: nn.Module = getattr(self.model, "source_embedding" if side == "source" else "embedding")
        return found

    def head_module(self) -> nn.Module:
        """The last linear layer."""
        head: nn.Module = getattr(self.model, "head")  # noqa: B009 (a plain attribute may be a tensor to type checkers)
        return head

    def attention_layers(self) -> Mapping[str, int] | None:
        """Blocks on each side."""
        if Capability.ATTENTIONS not in self.capabilities:
            return {}
        kinds = ("encoder", "decoder", "cross") if self.is_encoder_decoder else ("decoder",)
        return dict.fromkeys(kinds, LAYERS)

    def attention_heads(self) -> Mapping[str, int] | None:
        """Heads of each kind of attention."""
        return dict.fromkeys(self.attention_layers() or {}, HEADS)

    def run_encoder(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D)."""
        states: Tensor = self.model.encode(ids, mask)  # type: ignore[operator]
        return states

    def run_decoder(
        self,
        ids: Tensor,
        mask: Tensor,
        *,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: Any = None,
        use_cache: bool = False,
    ) -> Any:
        """Logits (B, L, V); nothing is cached."""
        states = self.model.decode(ids, mask, memory, memory_mask)  # type: ignore[operator]
        self.spend_pass()
        return SimpleNamespace(logits=self.head_module()(states), past_key_values=None)

    def next_logits(self, text: EncodedText) -> np.ndarray:
        """(V,) logits of the token after the text."""
        with torch.no_grad(), self.quiet():
            ids = torch.tensor(text.target_ids)[None]
            memory = memory_mask = None
            if text.source_ids is not None:
                source = torch.tensor(text.source_ids)[None]
                memory_mask = torch.ones_like(source)
                memory = self.run_encoder(source, memory_mask)
            output = self.run_decoder(ids, torch.ones_like(ids), memory=memory, memory_mask=memory_mask)
        logits: np.ndarray = output.logits[0, -1].double().numpy()
        return logits

    def contributions(self, text: EncodedText, position: int) -> tuple[np.ndarray | None, np.ndarray]:
        """What each token adds to the logit of the token at target ``position`` of a pooled model.

        Returns:
            (S,) or None, and (position,).

        Raises:
            CapabilityError: the transformer has no closed form.
        """
        model = self.model
        if not isinstance(model, PooledModel):
            raise CapabilityError("Only the pooled toy is linear in its embeddings.")
        weight = model.head.weight[int(text.target_ids[position])].detach()  # (D,)
        target = model.embedding.weight[torch.tensor(text.target_ids[:position])].detach() @ weight
        back = torch.arange(position - 1, -1, -1, dtype=target.dtype)
        source = None
        if text.source_ids is not None and model.source_embedding is not None and model.encoder is not None:
            states = model.encoder(model.source_embedding.weight[torch.tensor(text.source_ids)])
            source = (states.detach() @ weight).numpy()
        return source, (target * DECAY**back).numpy()


_SPREAD = {"positions": 1.0, "embedding": 0.7, "": 0.35}
"""Standard deviations of weights, by a part of their name: wide enough that outputs differ visibly, smooth enough that
fifty nodes integrate a gradient to 1e-5."""


def _drawn(
    kind: type[PooledModel] | type[AttentionModel], vocabulary: int, has_source: bool, seed: int
) -> PooledModel | AttentionModel:
    """A model whose weights are drawn wide enough that outputs differ visibly; the global generator is left
    alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(vocabulary, has_source)
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=_SPREAD[next(part for part in _SPREAD if part in name)])
    with torch.no_grad():
        model.embedding.weight[: len(SPECIAL)] = 0.0
        if model.source_embedding is not None:
            model.source_embedding.weight[: len(SPECIAL)] = 0.0
        model.head.bias[[0, 1, 3]] = -30.0  # padding, start and unknown are never likely
        model.head.weight[[0, 1, 3]] = 0.0
    return model
