"""Any class of ``captum.attr``, run literally: one attributed step after the other, on that step's own
prefix.

The class sees a module that takes the embeddings of the attributed sides, (1, S, D) and (1, L, D), and
returns the attributed function (1,). It is the slow way, and the oracle of the fast ones.
Axes: R rows, S source positions, L target positions, D hidden (or the width of a module's output).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from inseq_captum.classes import (
    SHUFFLES,
    algorithms,
    constructor_takes,
    in_short,
    left_as_it_was,
    scores_a_layer,
    seeded,
    takes,
    works_at_a_layer,
)
from inseq_captum.validators import arguments_by_name, baselines
from inseq_core.data.result import MethodOutput
from inseq_core.errors import CapabilityError, InseqError, closest, listed
from inseq_core.errors import InvalidArgumentError as Invalid
from inseq_core.torch import TorchContext
from inseq_core.torch.gradients import LayerPoint
from inseq_core.torch.layers import layer_output, named_module


def _known(instance: Any, attribute: attrs.Attribute[str], value: Any) -> None:
    known = algorithms()
    if not isinstance(value, str) or value not in known:
        guess = closest(str(value), known)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise Invalid(
            f"captum.attr has no attribution class {value!r} that runs on embeddings.{hint}\n"
            f"  Known: {listed(sorted(known), 60)}."
        )


@attrs.frozen(kw_only=True)
class CaptumAlgorithm:
    """A captum attribution class on every step.

    What a class draws comes from the call's seed, for each step anew.

    Args:
        algorithm: name of the class in ``captum.attr``: what follows "captum:".
        target_layer: name of a module, or the module, for classes that work at one.
        init_args: arguments of the class's constructor. For classes around another one
            ("captum:NoiseTunnel"), its name: {"attribution_method": "Saliency"}.
        attribute_args: arguments of its ``attribute``. Where it takes them and nothing else is given, it gets
            ``baselines``, a ``feature_mask`` that makes each position a feature, and a window of one position.
            ``return_convergence_delta`` becomes the step score "deltas".
        baseline: see integrated_gradients; a list of them for classes that want a distribution of baselines.
    """

    algorithm: str = attrs.field(default="Saliency", validator=_known)
    target_layer: Any = None
    init_args: Mapping[str, Any] = attrs.field(factory=dict, validator=arguments_by_name)
    attribute_args: Mapping[str, Any] = attrs.field(factory=dict, validator=arguments_by_name)
    baseline: Any = attrs.field(default="unk", validator=baselines)

    def __attrs_post_init__(self) -> None:
        layered = works_at_a_layer(self._class)
        if self.target_layer is not None and not layered:
            raise Invalid(
                f"target_layer = {self.target_layer!r}: {self.algorithm} works at the embeddings.\n"
                "  Use it without target_layer, or a class whose name begins with Layer."
            )
        if isinstance(self.target_layer, (list, tuple)):
            raise Invalid(
                f"target_layer = {self.target_layer!r}: {self.algorithm} is run at one module.\n"
                "  Give its name, or use layer_integrated_gradients, layer_gradient_x_activation or layer_deeplift."
            )
        if self.target_layer is None and layered:
            raise Invalid(
                f"target_layer = None: {self.algorithm} works at a module of the model.\n"
                "  Give target_layer= the module, or its name."
            )
        if issubclass(self._class, SHUFFLES):
            raise Invalid(
                f"captum:{self.algorithm} shuffles features between the texts of a batch; a step is run alone, so there "
                "is nothing to shuffle.\n  Use captum:FeatureAblation, or occlusion."
            )
        _ = self._inside

    @property
    def _class(self) -> type:
        return algorithms()[self.algorithm]

    @property
    def _inside(self) -> type | None:
        """The class inside a class around another one."""
        if constructor_takes(self._class)[0] != "attribution_method":
            return None
        name = self.init_args.get("attribution_method", "Saliency")
        known = algorithms()
        if name not in known or works_at_a_layer(known[name]) or known[name] is self._class:
            raise Invalid(
                f"init_args: attribution_method = {name!r}: expected the name of a class that works at the embeddings, "
                'such as "Saliency" or "IntegratedGradients".'
            )
        return known[name]

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D), each row on its own prefix; of one side for classes that score a module."""
        point = layer_output(ctx, self.target_layer)[0] if scores_a_layer(self._class) else None
        there = [side for side in ("source", "target") if getattr(ctx.inputs, side) is not None]
        sides = there if point is None else [point.positions]
        totals: dict[str, Tensor] = {}
        deltas: list[Tensor] = []
        with torch.inference_mode(False), torch.enable_grad(), ctx.adapter.quiet():
            for row in range(ctx.n_rows):
                part = ctx.take(np.array([row]))
                scores, delta = self._one(part, int(part.grid.sequence[0]), point)
                deltas.extend([] if delta is None else [delta])
                for side, piece in zip(sides, scores, strict=True):
                    if side not in totals:
                        totals[side] = self._blank(ctx, side, piece)
                    totals[side][row, : piece.shape[1]] = piece[0].to(totals[side].dtype)
        return MethodOutput(
            source=totals.get("source"),
            target=totals.get("target"),
            step_scores={"deltas": torch.stack(deltas)} if deltas else {},
            notes={"algorithm": self.algorithm},
        )

    @staticmethod
    def _blank(ctx: TorchContext, side: str, piece: Tensor) -> Tensor:
        ids = ctx.batch.source_ids if side == "source" else ctx.batch.target_ids
        wide = torch.float64 if piece.dtype == torch.float64 else torch.float32
        return torch.zeros(ctx.n_rows, ids.shape[1], piece.shape[2], dtype=wide, device=piece.device)

    def _one(
        self, ctx: TorchContext, sequence: int, point: LayerPoint | None
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Captum's attributions (1, positions, D) of a context's only row, and its convergence delta ()."""
        ends = {"source": int(ctx.batch.source_lengths[sequence]), "target": ctx.grid.prefix_length}
        there = [side for side in ends if getattr(ctx.inputs, side) is not None]
        inputs = tuple(
            getattr(ctx.inputs, side)[[sequence], : ends[side]].clone().requires_grad_() for side in there
        )
        before: list[Any] = [ScoreOfEmbeddings(ctx, sequence)]
        shapes = [x.shape[:2] for x in inputs]
        if works_at_a_layer(self._class):
            before.append(named_module(ctx.adapter, self.target_layer)[1])
        if point is not None:
            shapes = [torch.Size((1, ends[point.positions]))]
        arguments = self._arguments(ctx, sequence, inputs, there, ends, point)
        position = int(ctx.grid.position[0])
        try:
            with (
                left_as_it_was(ctx.adapter.model),
                seeded([*ctx.text_key(sequence), 13, position], ctx.adapter.device),
            ):
                result = self._made(before).attribute(inputs, **arguments)
        except Exception as error:
            if isinstance(error, InseqError) or ctx.adapter.is_out_of_memory(error):
                raise
            raise CapabilityError(
                f"captum:{self.algorithm} does not run on {ctx.adapter.profile.name} with these arguments: "
                f"{type(error).__name__}: {in_short(error)}\n"
                "  Its own arguments go into init_args={…} (constructor) and attribute_args={…} (attribute)."
            ) from error
        delta = None
        if isinstance(result, tuple) and arguments.get("return_convergence_delta"):
            result, delta = result[0], result[1].detach().double().mean()
        result = result if isinstance(result, tuple) else (result,)
        result = tuple(a[None] if isinstance(a, Tensor) and a.dim() == 2 else a for a in result)
        if (
            not all(isinstance(a, Tensor) for a in result)
            or [a.shape[:2] for a in result] != shapes
            or any(a.dim() != 3 for a in result)
        ):
            raise CapabilityError(
                f"captum:{self.algorithm} gave shapes {[tuple(getattr(a, 'shape', ())) for a in result]} for inputs "
                f"{[tuple(x.shape) for x in inputs]}: only classes that score positions can be used here."
            )
        return tuple(a.detach() for a in result), delta

    def _made(self, before: list[Any]) -> Any:
        given = dict(self.init_args)
        inside = self._inside
        if inside is not None:
            given.pop("attribution_method", None)
            before = [inside(*before)]
        return self._class(*before, **given)

    def _arguments(
        self,
        ctx: TorchContext,
        sequence: int,
        inputs: tuple[Tensor, ...],
        sides: list[str],
        ends: Mapping[str, int],
        point: LayerPoint | None,
    ) -> dict[str, Any]:
        """What ``attribute`` is given: the user's own, and what it takes and the user said nothing about."""
        arguments = dict(self.attribute_args)
        known = takes(self._class, self._inside)
        if "baselines" in known and "baselines" not in arguments:
            several = self.baseline if isinstance(self.baseline, (list, tuple)) else [self.baseline]
            found = [ctx.baseline(baseline) for baseline in several]
            arguments["baselines"] = tuple(
                torch.cat([getattr(b, side)[[sequence], : ends[side]] for b in found]) for side in sides
            )
        if "feature_mask" in known:
            arguments.setdefault("feature_mask", positions_as_features(inputs))
        if "sliding_window_shapes" in known:
            arguments.setdefault("sliding_window_shapes", tuple((1, x.shape[2]) for x in inputs))
        if "layer_mask" in known and point is not None:
            mask = torch.arange(ends[point.positions], device=inputs[0].device)
            arguments.setdefault("layer_mask", mask[None, :, None])
        return arguments


class ScoreOfEmbeddings(nn.Module):
    """The attributed function of one row as a module of embeddings: (K, S, D), (K, L, D) -> (K,)."""

    def __init__(self, ctx: TorchContext, sequence: int) -> None:
        super().__init__()
        self.model = ctx.adapter.model
        self._ctx = ctx
        self._sequence = sequence

    def forward(self, *embeddings: Tensor) -> Tensor:
        """(K,) attributed function for K copies of the row's text."""
        return self._ctx.scores_with_graph(self._sequence, embeddings)


def positions_as_features(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Captum's feature masks that make every position one feature, over both sides."""
    masks, first = [], 0
    for x in inputs:
        masks.append(
            (torch.arange(x.shape[1], device=x.device) + first)[None, :, None].repeat(1, 1, x.shape[2])
        )
        first += x.shape[1]
    return tuple(masks)
