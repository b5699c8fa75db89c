"""Any class of ``captum.attr``, run literally: one attributed step after the other, on that step's own
prefix.

The class sees a module that takes the embeddings of the attributed sides, (1, S, D) and (1, L, D), and
returns the attributed function (1,). It is the slow way, and the oracle of the fast ones.
Axes: R rows, S source positions, L target positions, D hidden.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import attrs
import captum.attr
import numpy as np
import torch
from captum.attr._utils.attribution import Attribution, GradientAttribution, PerturbationAttribution
from torch import Tensor, nn

from inseq_captum.validators import arguments_by_name
from inseq_core.data.result import MethodOutput
from inseq_core.errors import CapabilityError, InseqError, closest, listed
from inseq_core.errors import InvalidArgumentError as Invalid
from inseq_core.torch import TorchContext
from inseq_core.torch.layers import named_module


def algorithms() -> dict[str, type[Attribution]]:
    """The attribution classes that captum exports, by name."""
    found = {name: getattr(captum.attr, name) for name in captum.attr.__all__}
    return {
        name: cls
        for name, cls in found.items()
        if inspect.isclass(cls) and issubclass(cls, (GradientAttribution, PerturbationAttribution))
    }


def _known(instance: Any, attribute: attrs.Attribute[str], value: Any) -> None:
    known = algorithms()
    if value not in known:
        guess = closest(str(value), known)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise Invalid(
            f"captum.attr has no attribution class {value!r}.{hint}\n  Known: {listed(sorted(known), 40)}."
        )


@attrs.frozen(kw_only=True)
class CaptumAlgorithm:
    """A captum attribution class on every step.

    Args:
        algorithm: name of the class in ``captum.attr``: what follows "captum:".
        target_layer: name of a module, for classes that work at a layer.
        init_args: arguments of the class's constructor.
        attribute_args: arguments of its ``attribute``; ``baselines`` and ``feature_mask`` are given where it
            takes them.
        baseline: see integrated_gradients.
    """

    algorithm: str = attrs.field(default="Saliency", validator=_known)
    target_layer: Any = None
    init_args: Mapping[str, Any] = attrs.field(factory=dict, validator=arguments_by_name)
    attribute_args: Mapping[str, Any] = attrs.field(factory=dict, validator=arguments_by_name)
    baseline: str | int = "unk"

    def __attrs_post_init__(self) -> None:
        if self.target_layer is not None and not self._works_at_a_layer:
            raise Invalid(
                f"target_layer = {self.target_layer!r}: {self.algorithm} works at the embeddings.\n"
                "  Use it without target_layer, or a class whose name begins with Layer."
            )

    @property
    def _works_at_a_layer(self) -> bool:
        return "layer" in inspect.signature(algorithms()[self.algorithm].__init__).parameters

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D), each row on its own prefix."""
        total = ctx.zeros()
        with torch.inference_mode(False), torch.enable_grad(), ctx.adapter.quiet():
            for row in range(ctx.n_rows):
                part = ctx.take(np.array([row]))
                sequence = int(part.grid.sequence[0])
                scores = self._one(part, sequence)
                for whole, piece in zip(total.sides(), scores, strict=True):
                    whole[row, : piece.shape[1]] = piece[0].to(whole.dtype)
        return ctx.output(total, notes={"algorithm": self.algorithm})

    def _one(self, ctx: TorchContext, sequence: int) -> tuple[Tensor, ...]:
        """Captum's attributions (1, positions, D) of a context's only row."""
        lengths = {"source": ctx.batch.source_lengths, "target": ctx.batch.target_lengths}
        ends = [int(lengths[side][sequence]) for side in lengths if getattr(ctx.inputs, side) is not None]
        inputs = tuple(
            x[sequence : sequence + 1, :end].clone().requires_grad_()
            for x, end in zip(ctx.inputs.sides(), ends, strict=True)
        )
        baselines = tuple(
            x[sequence : sequence + 1, :end]
            for x, end in zip(ctx.baseline(self.baseline).sides(), ends, strict=True)
        )
        cls = algorithms()[self.algorithm]
        model = ScoreOfEmbeddings(ctx, sequence)
        before: list[Any] = [model]
        if self._works_at_a_layer:
            before.append(named_module(ctx.adapter, self.target_layer)[1])
        arguments = dict(self.attribute_args)
        takes = inspect.signature(cls.attribute).parameters
        if "baselines" in takes:
            arguments.setdefault("baselines", baselines)
        if "feature_mask" in takes:
            arguments.setdefault("feature_mask", positions_as_features(inputs))
        try:
            result = cls(*before, **self.init_args).attribute(inputs, **arguments)
        except Exception as error:
            if isinstance(error, InseqError) or ctx.adapter.is_out_of_memory(error):
                raise
            raise CapabilityError(
                f"captum:{self.algorithm} does not run on {ctx.adapter.profile.name} with these arguments: "
                f"{type(error).__name__}: {error}"
            ) from error
        if isinstance(result, tuple) and arguments.get("return_convergence_delta"):
            result = result[0]
        result = result if isinstance(result, tuple) else (result,)
        if len(result) != len(inputs) or any(
            a.dim() != 3 or a.shape[:2] != x.shape[:2] for a, x in zip(result, inputs, strict=True)
        ):
            raise CapabilityError(
                f"captum:{self.algorithm} gave shapes {[tuple(a.shape) for a in result]} for inputs "
                f"{[tuple(x.shape) for x in inputs]}: only classes that score positions can be used here."
            )
        return tuple(a.detach() for a in result)


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
