"""Backward rules: what the gradient is replaced by, function by function, while a forward pass is recorded.

A rule returns the same value as the function, with another graph behind it: a *surrogate* that is linear in
the inputs, whose coefficients are the rule's multipliers. What is linear already (linear layers, sums,
reshapes) keeps its derivative.

The rules here compare an input with a reference, so the two run as one batch: the first half of the leading
axis is the input, the second half the reference.
Axes: the leading axis holds 2 K entries, K of the input and K of the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import torch
from torch import Tensor


class RuleSet(Protocol):
    """What happens backward through the functions that are not linear. Each returns the function's value with
    a new graph.
    """

    def elementwise(self, fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """``fn(x)``, where each entry of the result depends on the same entry of ``x``."""
        ...

    def product(self, fn: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        """``fn(a, b)``, linear in each of two factors that both vary with the input."""
        ...

    def scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        """``x`` times one number for each vector of its last axis (a normalisation's inverse root)."""
        ...

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """The softmax of ``x``."""
        ...

    def logsumexp(self, x: Tensor, dim: int) -> Tensor:
        """The logarithm of the summed exponentials of ``x``, the axis kept."""
        ...

    def normalise(self, x: Tensor, dims: tuple[int, ...], eps: float, centre: bool) -> Tensor:
        """``x`` (less its mean, if ``centre``) over the root of its mean square."""
        ...


@attrs.frozen
class Rescale:
    """DeepLIFT's rescale rule (Shrikumar et al. 2017, section 3.5.1), with the midpoint rule for products.

    - elementwise: the multiplier is Δout / Δin between input and reference, the derivative where Δin
        vanishes;
    - products of two varying factors: Δ(ab) = ā Δb + b̄ Δa with the mean of each factor over input and
        reference, exact;
    - a vector times one number (normalisations): Δ(x s) = s̃ Δx + x̃ Δs with s̃ the harmonic mean of the
      scale and x̃ the mean of x weighted with the scale. As complete as the plain means, but finite where a
      reference of zeros makes its scale huge: plain means would send on two terms that are a thousand times
          their sum, at every layer;
    - softmax: exp by the elementwise rule, then the product with the reciprocal of the sum;
    - normalisation: centring (linear), the mean square, its inverse root and the product by the rules above.

    Every rule sends the whole difference on, so a step's scores sum to the difference of its attributed
    function.

    Args:
        smallest: |Δin| relative to the size of the entry under which the derivative is used.
    """

    smallest: float = 1e-6

    def elementwise(self, fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """The multiplier Δout / Δin on both halves."""
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(fn(at).sum(), at)
        with torch.no_grad():
            multiplier = self._secant(x, fn(x), slope)
        return straight(fn, x, multiplier)

    def product(self, fn: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        """Each factor is multiplied by the other's mean over input and reference."""
        with torch.no_grad():
            value, mean_a, mean_b = fn(a, b), midpoint(a), midpoint(b)
        return value + fn(zero(a), mean_b) + fn(mean_a, zero(b))

    def scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        """The vector is multiplied by the harmonic mean of the scale, the scale by the weighted mean of the
        vector.
        """
        with torch.no_grad():
            value = x * scale
            (x_now, x_then), (now, then) = halves(x), halves(scale)
            share = then.abs() / (now.abs() + then.abs()).clamp_min(
                torch.finfo(scale.dtype).tiny
            )  # of the input's scale
            mean_scale = share * now + (1 - share) * then
            mean_x = share * x_then + (1 - share) * x_now
        return (
            value + zero(x) * torch.cat([mean_scale, mean_scale]) + torch.cat([mean_x, mean_x]) * zero(scale)
        )

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """exp(x - logsumexp(x)): the difference is linear, exp by the elementwise rule.

        In logarithms nothing cancels, however far apart the scores of input and reference are.
        """
        with torch.no_grad():
            value, total = x.softmax(dim), x.logsumexp(dim, keepdim=True)
            is_open = torch.isfinite(x) & torch.isfinite(total)
            exponent = torch.where(is_open, x - total, torch.zeros_like(x))
            multiplier = self._secant(exponent, value, value) * is_open
        exponent_graph = zero(x) - zero(self.logsumexp(x, dim))
        return value + exponent_graph * multiplier

    def logsumexp(self, x: Tensor, dim: int) -> Tensor:
        """exp by the elementwise rule, the sum, and its logarithm by the elementwise rule."""
        with torch.no_grad():
            value = x.logsumexp(dim, keepdim=True)
            now, then = halves(value)
            top = torch.maximum(now, then)
            top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
            top = torch.cat([top, top])  # a constant shift of both halves: it changes no softmax
            is_open = torch.isfinite(x)  # masked scores are -inf in some models, very negative in others
            total = (value - top).exp()
            multiplier = self._secant(total, value, 1 / total.clamp_min(torch.finfo(x.dtype).tiny))
        powers = self.elementwise(torch.exp, torch.where(is_open, x - top, torch.zeros_like(x))) * is_open
        return value + zero(powers.sum(dim, keepdim=True)) * multiplier

    def _secant(self, inputs: Tensor, outputs: Tensor, slope: Tensor) -> Tensor:
        """Δout / Δin on both halves; where Δin vanishes, the mean of the slopes."""
        (now, then), (out_now, out_then) = halves(inputs), halves(outputs)
        change = torch.where(now == then, 0.0, now - then)  # also of equal infinities
        size = now.abs() + then.abs()
        tiny = change.abs() <= self.smallest * size + torch.finfo(inputs.dtype).tiny
        secant = (out_now - out_then) / torch.where(tiny, torch.ones_like(change), change)
        middle = sum(halves(slope)) / 2
        multiplier = torch.where(tiny, middle, secant)
        return torch.cat([multiplier, multiplier])

    def normalise(self, x: Tensor, dims: tuple[int, ...], eps: float, centre: bool) -> Tensor:
        """The statistic's inverse root by the elementwise rule, then the product with the (centred) input."""
        centred = x - x.mean(dims, keepdim=True) if centre else x
        square = self.elementwise(torch.square, centred).mean(dims, keepdim=True)
        inverse_root = self.elementwise(lambda v: torch.rsqrt(v + eps), square)
        return self.scaled(centred, inverse_root)


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The input's half and the reference's half."""
    middle = x.shape[0] // 2
    return x[:middle], x[middle:]


def midpoint(x: Tensor) -> Tensor:
    """The mean of input and reference, twice: (2 K, …)."""
    now, then = halves(x)
    mean = (now + then) / 2
    return torch.cat([mean, mean])


def zero(x: Tensor) -> Tensor:
    """0, with the graph of ``x``. Infinite entries (masked scores) have none."""
    finite = torch.where(torch.isfinite(x), x, torch.zeros_like(x)) if not torch.isfinite(x).all() else x
    return finite - finite.detach()


def straight(fn: Callable[[Tensor], Tensor], x: Tensor, multiplier: Tensor) -> Tensor:
    """The value of ``fn(x)`` with the gradient ``multiplier``."""
    with torch.no_grad():
        value = fn(x)
    return value + zero(x) * multiplier
