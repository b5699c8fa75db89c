"""What attention carries, derived from the model's own ``output_attentions`` and autograd, for any architecture.

A branch's output at position i is linear in the weights that i gives: o_i = Σ_hj α_ij^h f_h(x_j) + b. So f_h(x_j)
is the derivative of o_i with respect to α_ij^h, and nothing needs to be known of values and projections. The
attention module is the one that returns the very weights that the library hands out. What stands between that
module and the residual stream is written down here for the architectures that have something there.
Axes: L queries, K keys, H heads, D hidden, S source positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import attrs
import networkx as nx
import numpy as np
import torch
from support.attention import model_inputs
from support.tiny_models import ENCODER_DECODER
from torch import Tensor, nn

from inseq_core.torch import TorchContext

POST_NORM = ("bart", "marian")
"""The sum of residual and attention is normalised before it goes on."""

BLOCK = re.compile(r"^.*?\b(?:h|layers|block|blocks)\.\d+")

# -- the graph of weights -------------------------------------------------------------------------


def mixed(weights: Tensor, residual: float = 0.5) -> np.ndarray:
    """(L, L) mean over heads and residual, rows of one (Abnar and Zuidema 2020, section 2)."""
    mean = weights[0].mean(0).detach().double().numpy()
    matrix = (1 - residual) * mean + residual * np.eye(len(mean), mean.shape[1])
    return matrix / matrix.sum(1, keepdims=True)


def mixed_cross(weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(L, S) shares of the source and (L,) of the residual, which together are one; half a row is residual."""
    mean = 0.5 * weights[0].mean(0).detach().double().numpy()
    total = mean.sum(1) + 0.5
    return mean / total[:, None], 0.5 / total


def rolled_out(own: dict[str, tuple[Tensor, ...]]) -> np.ndarray:
    """(L, S + L) rows over source and target, by stacking both sides in one graph of S + L nodes."""
    encoder = [mixed(layer) for layer in own.get("encoder", ())]
    decoder = [mixed(layer) for layer in own["decoder"]]
    cross = [mixed_cross(layer) for layer in own.get("cross", ())]
    return multiplied(encoder, decoder, cross)


def multiplied(
    encoder: list[np.ndarray], decoder: list[np.ndarray], cross: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """(L, S + L) product of the layers' matrices, each written out on all S + L nodes."""
    n_source = len(encoder[0]) if encoder else 0
    size = n_source + len(decoder[0])
    total = np.eye(size)
    for layer in encoder:
        step = np.eye(size)
        step[:n_source, :n_source] = layer
        total = step @ total
    for i, layer in enumerate(decoder):
        step = np.eye(size)
        step[n_source:, n_source:] = layer
        total = step @ total
        if cross:
            step = np.eye(size)
            step[n_source:, :n_source], residual = cross[i]
            step[n_source:, n_source:] = np.diag(residual)
            total = step @ total
    return total[n_source:]


def flow_graph(own: dict[str, tuple[Tensor, ...]]) -> nx.DiGraph:
    """The attention graph of one text: nodes (row of nodes, position), "e0" and "d0" the inputs, "d<N>" the last."""
    graph = nx.DiGraph()

    def connect(before: str, after: str, matrix: np.ndarray) -> None:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            graph.add_edge((before, j), (after, i), capacity=float(matrix[i, j]))

    for n, layer in enumerate(own.get("encoder", ())):
        connect(f"e{n}", f"e{n + 1}", mixed(layer))
    for n, layer in enumerate(own["decoder"]):
        if "cross" not in own:
            connect(f"d{n}", f"d{n + 1}", mixed(layer))
            continue
        connect(f"d{n}", f"c{n}", mixed(layer))
        shares, residual = mixed_cross(own["cross"][n])
        connect(f"c{n}", f"d{n + 1}", np.diag(residual))
        connect(f"e{len(own['encoder'])}", f"d{n + 1}", shares)
    return graph


# -- what weights carry ---------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False)
class Carried:
    """One attention branch of one text.

    Attributes:
        kind, layer: which.
        module, block: names of the attention module and of the block around it.
        raw: (L, K, D) what each key gives each query, where the attention module ends.
        vectors: (L, K, D) the same where it meets the stream, norms on the way at the scale that they had.
        residual: (L, D) the stream before.
        total: (L, D) their sum, with biases.
        post_norm: the norm of the sum, in post-norm models.
    """

    kind: str
    layer: int
    module: str
    block: str
    raw: Tensor
    vectors: Tensor
    residual: Tensor
    total: Tensor
    post_norm: nn.LayerNorm | None

    def behind_norm(self, x: Tensor) -> Tensor:
        """(…, D) parts of the sum, one for each query in the first axis, behind its norm; biases left out."""
        norm = self.post_norm
        if norm is None:
            return x
        deviation = (self.total.var(-1, unbiased=False) + norm.eps).sqrt()
        centred = x - x.mean(-1, keepdim=True)
        return centred / deviation.reshape(-1, *[1] * (x.dim() - 1)) * norm.weight.detach()

    def stream(self) -> Tensor:
        """(L, D) what goes on."""
        return self.total if self.post_norm is None else self.post_norm(self.total).detach()


def carried(name: str, ctx: TorchContext, sequence: int) -> list[Carried]:
    """Every branch of one text, run alone; the model must hand out weights ("eager")."""
    model = ctx.adapter.model
    inputs = model_inputs(ctx.batch.texts[sequence])
    given: dict[str, Tensor] = {}
    made: dict[str, Any] = {}

    def before(place: str) -> Any:
        def keep(_module: nn.Module, args: Any, kwargs: Any) -> None:
            tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            given.setdefault(place, tensors[0] if tensors else torch.empty(0))

        return keep

    def after(place: str) -> Any:
        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            made.setdefault(place, output)

        return keep

    with ExitStack() as stack:
        for place, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(before(place), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(after(place)).remove)
        output = model(**inputs, output_attentions=True, use_cache=False)
    if name in ENCODER_DECODER:
        weights = {"encoder": output.encoder_attentions, "decoder": output.decoder_attentions}
        weights["cross"] = output.cross_attentions
    else:
        weights = {"decoder": output.attentions}
    found = []
    for kind, layers in weights.items():
        for layer, own in enumerate(layers):
            place = _module_of(made, own)
            branch = made[place][0] if isinstance(made[place], tuple) else made[place]
            raw = _by_derivative(branch, own)
            found.append(_met(name, model, kind, layer, place, raw, branch.detach()[0], given, made))
    return found


def _module_of(made: dict[str, Any], weights: Tensor) -> str:
    """The innermost module that returned these weights."""
    places = [
        place
        for place, output in made.items()
        if isinstance(output, tuple) and any(x is weights for x in output)
    ]
    return max(places, key=len)


def _by_derivative(branch: Tensor, weights: Tensor) -> Tensor:
    """(L, K, D) Σ_h α_ij^h ∂o_i / ∂α_ij^h; o_i depends on no other row of weights, so one pass a channel does."""
    columns = []
    for channel in range(branch.shape[-1]):
        (gradient,) = torch.autograd.grad(branch[0, :, channel].sum(), weights, retain_graph=True)
        columns.append((gradient * weights)[0].sum(0).detach())
    return torch.stack(columns, dim=-1).to(branch.dtype)


def _met(
    name: str,
    model: nn.Module,
    kind: str,
    layer: int,
    place: str,
    raw: Tensor,
    branch: Tensor,
    given: dict[str, Tensor],
    made: dict[str, Any],
) -> Carried:
    """From the module's output to the stream, as the modelling files have it."""
    block = BLOCK.match(place).group()
    modules = dict(model.named_modules())
    residual = given[block].detach()[0]
    post_norm = None
    if kind == "cross":
        if name in ("t5", "mt5"):
            residual = given[place.rpartition(".")[0]].detach()[0]
        elif name in POST_NORM:
            residual = made[f"{block}.self_attn_layer_norm"].detach()[0]
        else:
            residual = given[f"{block}.encoder_attn_layer_norm"].detach()[0]
    if name == "bloom_normed_residual":
        residual = made[f"{block}.input_layernorm"].detach()[0]
        post_norm = modules[f"{block}.post_attention_layernorm"]
    if name == "gemma3n":
        residual = given[f"{block}.input_layernorm"].detach()[0]  # one of the block's four streams
    if name in POST_NORM:
        post_norm = modules[f"{block}.{'encoder' if kind == 'cross' else 'self'}_attn_layer_norm"]
    if name.startswith("bloom"):
        branch = branch - residual  # added inside the module
    factor = torch.ones_like(branch[:, None])
    if name == "granite":
        factor = factor * 0.5
    if name in ("gemma2", "gemma3", "gemma3n"):
        norm = modules[f"{block}.post_attention_layernorm"]
        scale = (branch.square().mean(-1, keepdim=True) + norm.eps).rsqrt()
        weight = norm.weight.detach() + (0.0 if name == "gemma3n" else 1.0)
        factor = (scale * weight)[:, None]
    return Carried(
        kind=kind,
        layer=layer,
        module=place,
        block=block,
        raw=raw,
        vectors=raw * factor,
        residual=residual,
        total=residual + branch * factor[:, 0],
        post_norm=post_norm,
    )


# -- alti -----------------------------------------------------------------------------------------


def shares_by_hand(stream: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(K,) Ferrando et al. 2022, eqs. 9 and 10, one token after the other."""
    length = np.abs(stream).sum()
    near = [max(0.0, length - np.abs(stream - v).sum()) for v in vectors]
    return np.array(near) / np.sum(near)


def alti_rows(branches: list[Carried]) -> np.ndarray:
    """(L, S + L) ALTI and ALTI+: shares of every layer, position by position, then their product."""
    matrices: dict[str, list[Any]] = {"encoder": [], "decoder": [], "cross": []}
    for branch in branches:
        own = branch.residual
        stream = branch.stream().double().numpy()
        if branch.kind == "cross":
            parts = branch.behind_norm(torch.cat([branch.vectors, own[:, None]], dim=1)).double().numpy()
            shares = np.stack([shares_by_hand(y, v) for y, v in zip(stream, parts, strict=True)])
            matrices["cross"].append((shares[:, :-1], shares[:, -1]))
            continue
        vectors = branch.vectors.clone()
        vectors[torch.arange(len(own)), torch.arange(len(own))] += own
        parts = branch.behind_norm(vectors).double().numpy()
        shares = np.stack([shares_by_hand(y, v) for y, v in zip(stream, parts, strict=True)])
        matrices[branch.kind].append(shares)
    return multiplied(matrices["encoder"], matrices["decoder"], matrices["cross"])


# -- value zeroing --------------------------------------------------------------------------------


def zeroed(ctx: TorchContext, sequence: int, branch: Carried) -> np.ndarray:
    """(L, K) 1 − cosine of each position's state behind the block, with each key's value zeroed; rows sum to one.

    One run of the whole model with a copy of the text for each key: a key's copy lacks what that key gave, at
    every query at once, for nothing else in a block mixes positions.
    """
    model = ctx.adapter.model
    modules = dict(model.named_modules())
    states: list[Tensor] = []

    def without(_module: nn.Module, _args: Any, output: Any) -> Any:
        first = (output if isinstance(output, Tensor) else output[0]).clone()
        first[1:] -= branch.raw.transpose(0, 1)
        return first if isinstance(output, Tensor) else (first, *output[1:])

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        states.append((output if isinstance(output, Tensor) else output[0]).detach())

    copies = branch.raw.shape[1] + 1
    inputs = {k: x.repeat(copies, 1) for k, x in model_inputs(ctx.batch.texts[sequence]).items()}
    with torch.no_grad(), ExitStack() as stack:
        stack.callback(modules[branch.module].register_forward_hook(without).remove)
        stack.callback(modules[branch.block].register_forward_hook(keep).remove)
        model(**inputs, use_cache=False)
    unit = torch.nn.functional.normalize(states[0].double(), dim=-1)
    distances = (0.5 * (unit[1:] - unit[:1]).square().sum(-1)).T.numpy()  # (L, K)
    total = distances.sum(1, keepdims=True)
    return np.divide(distances, total, out=np.zeros_like(distances), where=total > 0)


def of_kind(branches: list[Carried], kind: str) -> Iterator[Carried]:
    """Branches of "encoder", "decoder" or "cross", first layer first."""
    return (b for b in branches if b.kind == kind)
