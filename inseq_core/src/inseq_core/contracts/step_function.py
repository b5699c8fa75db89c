"""Step functions: the model's output at each step to one number a step.

A step function is called once for all R rows. Its first argument is a ``StepFunctionArgs``; the documented
keyword form ``fn(attribution_model, forward_output, target_ids, decoder_input_ids, …, **kwargs)`` is accepted
too, the signature decides. Arrays are the adapter's own (torch tensors, numpy arrays …).
Axes: R rows, V vocabulary, P longest prefix.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from array_api_compat import array_namespace

from inseq_core.contracts.guard import Guard
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import MeaningWarning, StepFunctionError, StepShapeError

if TYPE_CHECKING:
    from inseq_core.contracts.adapter import EncodedInput, ModelAdapter
    from inseq_core.hooks.specs import StepFunctionSpec


@attrs.frozen(kw_only=True, eq=False)
class ForwardOutput:
    """What the model said at the R rows.

    Attributes:
        logits: (R, 1, V) scores of the next token, the model's own post-processing included.
        raw: the framework's own output object, where there is one.
    """

    logits: Any
    raw: Any = None

    def copied(self) -> ForwardOutput:
        """The same with logits of its own, which share no memory with ``raw`` either."""
        logits = array_namespace(self.logits).asarray(self.logits, copy=True)
        return attrs.evolve(self, logits=logits)


@attrs.frozen(kw_only=True, eq=False)
class StepCall:
    """What every evaluation of a step function within one call of ``attribute`` shares.

    Attributes:
        adapter: the framework side.
        attribution_model: the user's ``AttributionModel`` (``output2logits``, ``encode``, …).
        inputs: what the user gave as inputs, texts or chats.
        texts: the same in ids, whole, with their outputs; rows know which is theirs by ``batch.origin``.
        spans: ``[start, end)`` of the attributed target positions of each text.
        encode: an input text or chat in ids, in the way of this call.
        show: target ids as the tokens that this call's results show.
        seed: what every draw of the call derives from.
        cache: see ``once``.
    """

    adapter: ModelAdapter
    attribution_model: Any = None
    inputs: tuple[Any, ...] = ()
    texts: tuple[EncodedText, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    encode: Callable[[Any], EncodedInput] | None = None
    show: Callable[[Sequence[int]], list[str]] | None = None
    seed: int = 0
    cache: MutableMapping[Any, Any] = attrs.field(factory=dict)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """``make()`` the first time ``key`` is asked for in a call; the same object after that."""
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]


@attrs.frozen(kw_only=True, eq=False)
class Prepared:
    """What a step function has to say about a call before it is evaluated.

    Attributes:
        labels: for each text, target position -> what results show in place of the token, where the function
            is the one that is explained ("she → he").
        notes: plain facts for the results' info.
    """

    labels: tuple[Mapping[int, str], ...] = ()
    notes: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False)
class StepFunctionArgs:
    """Everything a step function may look at; one row a step.

    Attributes:
        call: what the whole call shares: model, texts, cache.
        forward_output: ``logits`` (R, 1, V).
        batch, grid: texts in ids, and which (sequence, position) each row is. The batch may hold a part of
            the call's texts, cut to what the rows look at, or versions of them with features removed.
        is_attributed_fn: True while it is the function that is explained, False while it is a step score.
    """

    call: StepCall
    forward_output: ForwardOutput
    batch: TokenBatch
    grid: StepGrid
    is_attributed_fn: bool = False

    @property
    def attribution_model(self) -> Any:
        """The user's ``AttributionModel``."""
        return self.call.attribution_model

    @property
    def adapter(self) -> ModelAdapter:
        """The framework side."""
        return self.call.adapter

    @property
    def logits(self) -> Any:
        """(R, V) logits."""
        return self.forward_output.logits[:, 0, :]

    @property
    def target_ids(self) -> Any:
        """(R,) ids of the attributed tokens."""
        return self.adapter.as_array(self.grid.target_ids)

    @property
    def origin(self) -> np.ndarray:
        """(R,) which text of the whole call each row belongs to, in numpy."""
        return np.asarray(self.batch.origin, dtype=np.int64)[self.grid.sequence]

    @property
    def decoder_input_ids(self) -> Any:
        """(R, P) ids before each row's token, left-padded: ``[:, -1]`` is the last of each prefix."""
        return self.adapter.as_array(self._prefix(self.batch.target_ids, self.batch.pad_id))

    @property
    def decoder_attention_mask(self) -> Any:
        """(R, P) 1 where ``decoder_input_ids`` is a token, 0 in its left padding."""
        return self.adapter.as_array(self._prefix(self.batch.target_mask.astype(np.int64), 0))

    @property
    def encoder_input_ids(self) -> Any | None:
        """(R, S) encoder ids of each row's text, right-padded; None for decoder-only models."""
        if not self.batch.has_source:
            return None
        return self.adapter.as_array(self.batch.source_ids[self.grid.sequence])

    @property
    def encoder_attention_mask(self) -> Any | None:
        """(R, S) 1 where ``encoder_input_ids`` is a token."""
        if not self.batch.has_source:
            return None
        return self.adapter.as_array(self.batch.source_mask[self.grid.sequence].astype(np.int64))

    @property
    def encoder_input_embeds(self) -> Any | None:
        """(R, S, D) embeddings of ``encoder_input_ids``; None for decoder-only models."""
        ids = self.encoder_input_ids
        return None if ids is None else self.adapter.embed(ids, side="source")

    @property
    def decoder_input_embeds(self) -> Any:
        """(R, P, D) embeddings of ``decoder_input_ids``."""
        return self.adapter.embed(self.decoder_input_ids, side="target")

    def row(self, row: int) -> StepFunctionArgs:
        """The same for one row alone, as if its text were the only one and ended there."""
        grid = self.grid.take([row])
        batch = self.batch.take(grid.sequence).truncated(grid.prefix_length)
        output = ForwardOutput(logits=self.forward_output.logits[row : row + 1])
        return attrs.evolve(self, forward_output=output, batch=batch, grid=attrs.evolve(grid, sequence=[0]))

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """``make()`` the first time ``key`` is asked for in a call; the same object after that."""
        return self.call.once(key, make)

    def _prefix(self, values: np.ndarray, fill: int) -> np.ndarray:
        width = self.grid.prefix_length
        prefix = np.full((len(self.grid), width), fill, dtype=np.int64)
        for r, (b, s) in enumerate(zip(self.grid.sequence, self.grid.position, strict=True)):
            prefix[r, width - s :] = values[b, :s]
        return prefix


_FORM = "It is given arrays of one row a step, which it must not change in place."

_LATEST = "the values that the attributed function gave last"

DOCUMENTED_KEYWORDS = (
    "attribution_model",
    "forward_output",
    "target_ids",
    "encoder_input_ids",
    "decoder_input_ids",
    "encoder_input_embeds",
    "decoder_input_embeds",
    "encoder_attention_mask",
    "decoder_attention_mask",
    "is_attributed_fn",
)


@attrs.frozen(kw_only=True, eq=False)
class BoundStepFunction:
    """A step function with its own arguments filled in.

    Attributes:
        name: id shown in results; a callable's ``__name__`` for unregistered functions.
        function: the function itself, in either form.
        arguments: its own keyword arguments.
        aggregate_map: aggregator -> aggregation function for its values.
        rowwise: see ``StepFunctionSpec``.
        differentiable: gradient methods may explain it.
        origin: the plugin that it is from, in words; "" for functions of this session.
        keeps_inputs: it is known to leave what it is given as it is, so that it needs no copy of its own.
    """

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    aggregate_map: Mapping[str, str] = attrs.field(factory=dict)
    rowwise: bool | None = None
    differentiable: bool = True
    spec: StepFunctionSpec | None = None
    origin: str = ""
    keeps_inputs: bool = False

    @property
    def whence(self) -> str:
        """The last line of an error that is the function's own."""
        return f"\n  The function is from {self.origin}." if self.origin else ""

    @functools.cached_property
    def takes_args_record(self) -> bool:
        """True for ``fn(args, …)``, False for the documented keyword form."""
        return takes_args_record(self.function)

    def __call__(self, args: StepFunctionArgs) -> Any:
        """(R,) values, each of its own row alone.

        A function that does not say whether it mixes rows is tried on its first and last row alone, once a
        call, and run row by row from then on if that gives other values.

        Raises:
            StepShapeError: the function returned something else than one number a row.
            StepFunctionError: it failed, or changed what it was given.
        """
        with self.guard("", args.adapter):
            values = self._of_rows(args)
            if args.is_attributed_fn:  # read by ``was_finite``, when the device is waited for anyway
                args.call.cache[_LATEST] = values.detach() if hasattr(values, "detach") else values
            return values

    def guard(self, part: str, adapter: ModelAdapter) -> Guard:
        """What names the function, where it or a part of it ("check") fails; memory is the planner's."""
        what = f"the {part} of step function" if part else "step function"
        return Guard(
            StepFunctionError,
            f"{what} {self.name!r} failed",
            advice=self.whence.strip() if part else f"{_FORM}{self.whence}",
            passes=adapter.is_out_of_memory,
        )

    def _of_rows(self, args: StepFunctionArgs) -> Any:
        if len(args.grid) <= 1 or self.rowwise:
            return self._evaluate(args)
        keeps_rows_apart = ("keeps rows apart", self)
        if self.rowwise is None and args.call.cache.get(keeps_rows_apart, True):
            values = self._evaluate(args)
            if args.once(keeps_rows_apart, lambda: not self._mixes_rows(args, values)):
                return values
        rows = [self._evaluate(args.row(r)) for r in range(len(args.grid))]
        return array_namespace(rows[0]).concat(rows)

    def _mixes_rows(self, args: StepFunctionArgs, values: Any) -> bool:
        """Whether the first or last row alone has another value than among the others."""
        among = args.adapter.to_numpy(values).astype(np.float64)
        for row in (0, len(args.grid) - 1):
            alone = [
                args.adapter.to_numpy(self._evaluate(args.row(row))).astype(np.float64)[0] for _ in range(2)
            ]
            is_random = not np.isclose(alone[0], alone[1], equal_nan=True)
            if not is_random and not np.isclose(alone[0], among[row], rtol=1e-3, atol=1e-6, equal_nan=True):
                warnings.warn(
                    f"Step function {self.name!r} mixes rows: its value at a step depends on the other steps "
                    f"({among[row]:.4g} among {len(args.grid)}, {alone[0]:.4g} alone). It is run step by "
                    f"step.\n"
                    "  Register it with rowwise=False if that is meant.",
                    MeaningWarning,
                    stacklevel=2,
                )
                return True
        return False

    def _evaluate(self, args: StepFunctionArgs) -> Any:
        is_shared = not args.is_attributed_fn and not self.keeps_inputs
        args = attrs.evolve(args, forward_output=_protected(args.forward_output, is_shared))
        logits = args.forward_output.logits
        version = _version(logits)
        if self.takes_args_record:
            values = self.function(args, **self.arguments)
        else:
            values = self.function(**documented_keywords(self.function, args), **self.arguments)
        if _version(logits) != version:
            raise StepFunctionError(
                f"step function {self.name!r} changed the model's logits in place, which other functions "
                f"read too.\n"
                f"  Work on a copy: logits.clone().{self.whence}"
            )
        return self._checked(values, len(args.grid))

    def _checked(self, values: Any, n_rows: int) -> Any:
        """One real number a row, as floating point.

        Raises:
            StepShapeError: anything else.
        """
        if not hasattr(values, "shape"):
            raise StepShapeError(
                f"step function {self.name!r} returned {type(values).__name__}, expected an array of shape "
                f"({n_rows},): one value per attributed step.{self.whence}"
            )
        if tuple(values.shape) != (n_rows,):
            raise StepShapeError(
                f"step function {self.name!r} returned shape {tuple(values.shape)}, expected ({n_rows},): "
                f"one value per attributed step.{self.whence}"
            )
        if getattr(values, "is_meta", False) or getattr(values, "is_sparse", False):  # torch's
            kind = "without data, on the meta device" if values.is_meta else "that is sparse"
            raise StepShapeError(
                f"step function {self.name!r} returned an array {kind}: expected one with a number at each "
                f"step.{self.whence}"
            )
        xp = array_namespace(values)
        if xp.isdtype(values.dtype, "real floating"):
            return values
        if xp.isdtype(values.dtype, ("bool", "integral")):
            return xp.astype(values, xp.float32)
        raise StepShapeError(
            f"step function {self.name!r} returned values of type {values.dtype}, expected real numbers."
            f"{self.whence}"
        )


def was_finite(call: StepCall) -> bool:
    """Whether the attributed function gave only finite values when it was last evaluated in this call."""
    values = call.cache.pop(_LATEST, None)
    return values is None or bool(np.isfinite(call.adapter.to_numpy(values)).all())


def _protected(output: ForwardOutput, is_shared: bool) -> ForwardOutput:
    """The same output; numpy arrays as views that cannot be written to.

    Args:
        is_shared: other functions read the logits too. They become a copy: not every way to write into an
            array can be noticed (torch does not count those through ``.data`` or numpy).
    """
    output = output.copied() if is_shared else output
    if not isinstance(output.logits, np.ndarray):
        return output
    logits = output.logits.view()
    logits.setflags(write=False)
    return attrs.evolve(output, logits=logits)


def _version(array: Any) -> Any:
    """How often a framework's array was changed in place, where the framework counts that."""
    try:
        return getattr(array, "_version", None)
    except RuntimeError:  # torch: inference tensors are not counted
        return None


def takes_args_record(function: Callable[..., Any]) -> bool:
    """Whether ``function`` is called as ``fn(args, **own)``; otherwise it takes the documented keywords."""
    parameters = list(inspect.signature(function).parameters.values())
    named = {p.name for p in parameters}
    return (
        bool(parameters)
        and not named.intersection(DOCUMENTED_KEYWORDS)
        and parameters[0].kind
        in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
    )


def own_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that belong to the function itself: what a user may set."""
    parameters = dict(inspect.signature(function).parameters)
    if takes_args_record(function):
        parameters.pop(next(iter(parameters)))
    return {
        name: p
        for name, p in parameters.items()
        if name not in DOCUMENTED_KEYWORDS and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }


def documented_keywords(function: Callable[..., Any], args: StepFunctionArgs) -> dict[str, Any]:
    """The documented keywords that ``function`` names (embeddings only where it does), from ``args``."""
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    cheap = [k for k in DOCUMENTED_KEYWORDS if not k.endswith("embeds")]
    wanted = [k for k in DOCUMENTED_KEYWORDS if k in parameters or (takes_any and k in cheap)]
    return {k: getattr(args, k) for k in wanted}
