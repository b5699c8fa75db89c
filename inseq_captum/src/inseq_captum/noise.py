"""Noise tunnels: a gradient method averaged over noisy inputs.

Any method that runs on a torch context and scores every hidden dimension can be inside, also at a layer. The
arithmetic is that of Captum's NoiseTunnel ("smoothgrad": the mean, "smoothgrad_sq": the mean of squares);
noise is drawn from each text's own generator.
Axes: R rows, L positions (of either side), D hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from torch import Tensor

from inseq_captum.validators import arguments_by_name, at_least_one, not_negative
from inseq_core.data.result import MethodOutput
from inseq_core.errors import InseqError, InvalidArgumentError, listed, unknown_argument
from inseq_core.hooks import methods
from inseq_core.hooks.parameters import parameters_of
from inseq_core.hooks.specs import Capability, MethodSpec
from inseq_core.torch import TorchContext


@attrs.frozen(kw_only=True)
class SmoothGrad:
    """Mean of a gradient method's scores over noisy copies of the input (Smilkov et al. 2017, equation 1).

    What the method inside reports about each step (its convergence deltas, say) is averaged as well.

    Args:
        base: the gradient method inside ("saliency", "input_x_gradient", "integrated_gradients", …).
        n_samples: noisy copies, >= 1.
        stdevs: standard deviation of the noise, in units of the standard deviation of the vocabulary's
            embeddings, >= 0.
        base_args: parameters of the method inside.
    """

    base: str = "saliency"
    n_samples: int = attrs.field(default=5, validator=at_least_one)
    stdevs: float = attrs.field(default=0.15, validator=not_negative)
    base_args: dict[str, Any] = attrs.field(factory=dict, validator=arguments_by_name)

    def __attrs_post_init__(self) -> None:
        method_inside(self.base, self.base_args)

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D), or what the method inside gives."""
        return self._average(ctx, squared=False)

    def _average(self, ctx: TorchContext, squared: bool) -> MethodOutput:
        method = method_inside(self.base, self.base_args)
        scale = ctx.embedding_spread() * self.stdevs
        mean = Mean(self.n_samples)
        for i, noise in enumerate(ctx.draw(self.n_samples)):
            output: MethodOutput = method.attribute(ctx.at(ctx.inputs + noise * scale, copy=i))
            mean.add("source", _squared(output.source) if squared else output.source)
            mean.add("target", _squared(output.target) if squared else output.target)
            for name, values in output.step_scores.items():
                mean.add(f"step score {name}", values)
        found = mean.values
        return MethodOutput(
            source=found["source"],
            target=found["target"],
            step_scores={name: found[f"step score {name}"] for name in output.step_scores},
            axes=output.axes,
            notes={"base": self.base},
        )


@attrs.frozen(kw_only=True)
class SquareGrad(SmoothGrad):
    """Mean of a gradient method's squared scores over noisy copies of the input (Hooker et al. 2019, section
    3).

    What the method inside reports about each step (its convergence deltas, say) is averaged as it is.

    Args:
        base: the gradient method inside.
        n_samples: noisy copies, >= 1.
        stdevs: standard deviation of the noise, in units of the standard deviation of the vocabulary's
            embeddings, >= 0.
        base_args: parameters of the method inside.
    """

    def attribute(self, ctx: TorchContext) -> MethodOutput:
        """(R, S, D) and (R, L, D), or what the method inside gives; never below 0."""
        return self._average(ctx, squared=True)


class Mean:
    """Means of named tensors over ``n`` additions; None stays None."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.values: dict[str, Tensor | None] = {}

    def add(self, name: str, values: Tensor | None) -> None:
        """Add one of the n."""
        before = self.values.get(name)
        part = None if values is None else values / self.n
        self.values[name] = part if before is None or part is None else before + part


def _squared(values: Tensor | None) -> Tensor | None:
    return None if values is None else values * values


def method_inside(name: str, arguments: Mapping[str, Any]) -> Any:
    """The method called ``name`` with ``arguments``.

    Raises:
        UnknownNameError: there is none. UnknownArgumentError: it does not take one of the arguments.
        InvalidArgumentError: it has no gradients of hidden dimensions, or refuses a value.
    """
    entry = methods().get(name)
    if not _scores_hidden_dimensions(entry.spec):
        fitting = [e.spec.name for e in methods().entries() if _scores_hidden_dimensions(e.spec)]
        raise InvalidArgumentError(
            f"base = {name!r}: expected a gradient method that scores every hidden dimension.\n"
            f"  Those are {listed(fitting, 30)}."
        )
    factory = entry.load()
    names = [p.name for p in parameters_of(factory)]
    for argument in arguments:
        if argument not in names:
            raise unknown_argument(argument, "base_args", {f"method {name!r}": names})
    try:
        return factory(**{**entry.preset, **arguments})
    except InseqError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"base_args of {name!r}: {error.args[0] if error.args else error}"
        ) from error


def _scores_hidden_dimensions(spec: MethodSpec) -> bool:
    return Capability.GRADIENTS in spec.needs and spec.trailing_axes[-1:] == ("hidden",)
