"""What users hold: a model that can be attributed, and how to load one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from inseq_core.contracts.adapter import ModelAdapter
from inseq_core.contracts.memory import in_parts
from inseq_core.contracts.step_function import ForwardOutput
from inseq_core.data.batch import EncodedText
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.errors import InvalidArgumentError, invalid, listed
from inseq_core.hooks import Entry, methods, step_functions
from inseq_core.hooks.specs import MethodSpec
from inseq_core.run import encoding
from inseq_core.run.binding import argument_dict, share_out
from inseq_core.run.checks import check_capabilities
from inseq_core.run.encoding import Encoding, TextTools
from inseq_core.run.engine import attribute
from inseq_core.run.loading import load_adapter, optional_taker
from inseq_core.run.options import Options, as_count
from inseq_core.run.request import DEFAULT_FUNCTION, build_request, find_function
from inseq_core.run.turns import one_at_a_time


class AttributionModel(TextTools):
    """A loaded model with what ``attribute`` needs beside it. Made by ``inseq.load_model``.

    Args:
        adapter: the framework side.
        method: id of the default attribution method.
        method_args: arguments of the default method.
    """

    def __init__(
        self, adapter: ModelAdapter, method: str | None = None, method_args: Mapping[str, Any] | None = None
    ) -> None:
        self.adapter = adapter
        self._method: Entry[MethodSpec] | None = None
        self._method_args: dict[str, Any] = {}
        self._attributed_fn = DEFAULT_FUNCTION
        if method is not None:
            self._set_method(method, argument_dict("method_args", method_args))

    def __repr__(self) -> str:
        method = f", method={self._method.name!r}" if self._method else ""
        return f"AttributionModel({self.adapter.profile.name!r}, {self.adapter.profile.framework!r}{method})"

    def attribute(
        self,
        input_texts: Any,
        generated_texts: str | Sequence[str] | None = None,
        method: str | None = None,
        override_default_attribution: bool = False,
        attr_pos_start: int | Sequence[int | None] | None = None,
        attr_pos_end: int | Sequence[int | None] | None = None,
        show_progress: bool = True,
        pretty_progress: bool = True,
        output_step_attributions: bool = False,
        attribute_target: bool = False,
        step_scores: str | Sequence[str | Callable[..., Any]] = (),
        include_eos_baseline: bool = False,
        attributed_fn: str | Callable[..., Any] | None = None,
        device: Any = None,
        batch_size: int | None = None,
        generate_from_target_prefix: bool = False,
        skip_special_tokens: bool = False,
        clean_special_chars: bool = False,
        generation_args: Mapping[str, Any] | None = None,
        *,
        attribute_span: str | Sequence[str | None] | None = None,
        steps: str | tuple[int, int] = "each",
        weight_by: str | Callable[..., Any] | None = None,
        seed: int | None = None,
        features: Any = None,
        removal: Any = None,
        keep_granular: bool = False,
        truncation: bool = False,
        chat_template_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> FeatureAttributionOutput:
        """Which parts of the input made the model produce each token of its output.

        Args:
            input_texts: a text, chat messages, or a list of either.
            generated_texts: outputs to explain instead of generating them; for decoder-only models the full
                text, which must begin with the input. One for each input.
            method: id of the attribution method; the model's default otherwise.
            override_default_attribution: ``method`` becomes the model's default.
            attr_pos_start, attr_pos_end: target positions to attribute, the end exclusive, negative ones from
                the end of the text; one for all texts, or a list with one each. By default everything that
                was generated.
            show_progress, pretty_progress: a progress bar on a terminal, and whether it is coloured.
            output_step_attributions: fill ``step_attributions`` of the result.
            attribute_target: encoder–decoder models: attribute the target prefix too.
            step_scores: ids of step functions (or functions) whose values are shown beside the scores.
            include_eos_baseline: the end token has a baseline, and is a feature, like any other.
            attributed_fn: id of the step function (or a function) that is explained; the model's default
                otherwise.
            device: move the model there for this call.
            batch_size: texts at a time; all by default.
            generate_from_target_prefix: encoder–decoder models: ``generated_texts`` are beginnings that the
                model continues.
            skip_special_tokens: leave special tokens out of the input, and out of the end of the output.
            clean_special_chars: show tokens without the tokenizer's marks.
            generation_args: arguments of the model's ``generate``.
            attribute_span: instead of positions a piece of the output, whose tokens are attributed; one for
                all texts, or a list with one each. It must stand in the output once.
            steps: "each" attributed step is explained, or with "sum" one sum of the attributed function over
                all of them, at the cost of one step: one column, at the last of the positions. A pair (start,
                end) is "sum" over these positions.
            weight_by: multiply the aggregated scores of each step by this step score (such as "entropy"), as
                ``out.weight_attributions`` does.
            seed: what every random draw of the call derives from; 0 by default.
            features: what removal methods remove as a whole: "token", "word", "sentence", "segment", a kind
                of segment, spans of characters, or a function.
            removal: how removal methods remove: "token", "mask", "delete", "zero", "mean", "sample", a
                baseline token, or a ``RemovalWay``.
            keep_granular: keep layers, heads and hidden dimensions of the scores however large they are.
            truncation: cut inputs that are too long, instead of refusing them.
            chat_template_args: arguments of the chat template (``tools``, its own variables …).
            **kwargs: arguments of the method, of the attributed function and of the step scores; one that
                several take goes to all of them. ``attribution_args``, ``attributed_fn_args`` and
                ``step_scores_args`` are dicts of arguments for one of them alone.

        Returns:
            One attribution a text: scores (source tokens, steps) and (target tokens, steps), step scores; and
            how it was made.

        Raises:
            InvalidArgumentError: a value that an argument cannot take; UnknownArgumentError: an argument that
                nobody takes.
            UnknownNameError: no such method or step function.
            CapabilityError: the method needs what the model does not give.
            ForcedTextError, TextTooLongError, PositionError: texts and positions that do not fit.
            MethodOutputError, StepFunctionError, NonFiniteScoreError: a method, function or model that broke
                its contract.
        """
        options = Options(
            attr_pos_start=attr_pos_start,
            attr_pos_end=attr_pos_end,
            show_progress=show_progress,
            pretty_progress=pretty_progress,
            output_step_attributions=output_step_attributions,
            attribute_target=attribute_target,
            include_eos_baseline=include_eos_baseline,
            batch_size=batch_size,
            generate_from_target_prefix=generate_from_target_prefix,
            skip_special_tokens=skip_special_tokens,
            clean_special_chars=clean_special_chars,
            generation_args=generation_args,
            seed=seed,
            features=features,
            removal=removal,
            keep_granular=keep_granular,
            truncation=truncation,
            chat_template_args=chat_template_args,
            attribute_span=attribute_span,
            steps=steps,
            weight_by=weight_by,
        )
        with one_at_a_time:  # the checks of methods and step functions may look at the model too
            request = build_request(
                self,
                input_texts,
                generated_texts,
                method=method,
                attributed_fn=attributed_fn,
                step_scores=step_scores,
                options=options,
                keywords=kwargs,
                own=_ATTRIBUTE_KEYWORDS,
            )
            if override_default_attribution:
                if method is None:
                    raise InvalidArgumentError(
                        "override_default_attribution = True needs a method to make the default."
                    )
                self._set_method(method, {})
            with self._on_device(device):
                return attribute(request)

    def method_entry(self, method: str | None = None) -> tuple[Entry[MethodSpec], dict[str, Any]]:
        """The method of a call, and the arguments it was given when the model was loaded.

        Raises:
            UnknownNameError: no such method. InvalidArgumentError: none given, and the model has no default.
        """
        if method is not None:
            if not isinstance(method, str):
                raise invalid("method", method, "the id of an attribution method")
            is_default = self._method is not None and method == self._method.name
            return methods().get(method), dict(self._method_args) if is_default else {}
        if self._method is None:
            raise InvalidArgumentError(
                "No attribution method: give attribute(method=…), or load_model(model, method).\n"
                f"  Installed: {listed(methods().names(), 40)}."
            )
        return self._method, dict(self._method_args)

    def get_attribution_method(
        self, method: str | None = None, override_default_attribution: bool = False
    ) -> MethodSpec:
        """What the given (or default) method declares.

        Args:
            method: id of a method.
            override_default_attribution: it becomes the model's default.
        """
        entry, _ = self.method_entry(method)
        if override_default_attribution and method is not None:
            self._set_method(method, {})
        return entry.spec

    def _set_method(self, method: str, arguments: Mapping[str, Any]) -> None:
        entry = methods().get(method)
        check_capabilities(entry.spec, self.adapter)
        if arguments:
            share_out("AttributionModel()", arguments, [optional_taker(entry)])
        self._method, self._method_args = entry, dict(arguments)

    @property
    def default_attributed_fn_id(self) -> str:
        """Id of the function that is explained where a call names none; may be set."""
        return self._attributed_fn

    @default_attributed_fn_id.setter
    def default_attributed_fn_id(self, identifier: str) -> None:
        if not isinstance(identifier, str):
            raise invalid("default_attributed_fn_id", identifier, "the id of a step function")
        self._attributed_fn = step_functions().get(identifier).name

    def get_attributed_fn(self, attributed_fn: str | Callable[..., Any] | None = None) -> Callable[..., Any]:
        """The function behind an id; the model's default for None."""
        return find_function(attributed_fn if attributed_fn is not None else self._attributed_fn).function

    @property
    def device(self) -> str:
        """Where the model is; may be set."""
        return self.adapter.profile.device

    @device.setter
    def device(self, device: Any) -> None:
        self.adapter.to_device(str(device))

    @contextmanager
    def _on_device(self, device: Any) -> Iterator[None]:
        before = self.device
        if device is None or str(device) == before:
            yield
            return
        self.device = device
        try:
            yield
        finally:
            self.device = before

    @property
    def info(self) -> dict[str, Any]:
        """Plain facts about model and tokenizer."""
        profile = self.adapter.profile
        return {
            "model_name": profile.name,
            "model_class": profile.model_class,
            "tokenizer_name": profile.tokenizer_name,
            "tokenizer_class": profile.tokenizer_class,
            "framework": profile.framework,
            "dtype": profile.dtype,
            "device": profile.device,
        }

    @property
    def model(self) -> Any:
        """The framework's own model."""
        return self._of_adapter("model")

    @property
    def tokenizer(self) -> Any:
        """The framework's own tokenizer."""
        return self._of_adapter("tokenizer")

    def _of_adapter(self, name: str) -> Any:
        found = getattr(self.adapter, name, None)
        if found is None:
            raise AttributeError(f"{self.adapter.profile.framework} models have no {name!r} of their own.")
        return found

    @staticmethod
    def output2logits(forward_output: ForwardOutput | Any) -> Any:
        """(R, V) logits of a step function's ``forward_output``."""
        return forward_output.logits[:, -1, :]

    def generate(
        self,
        inputs: str | Sequence[str] | Encoding,
        return_generation_output: bool = False,
        skip_special_tokens: bool | None = None,
        output_generated_only: bool = False,
        batch_size: int | None = None,
        **generation_args: Any,
    ) -> Any:
        """What the model writes.

        Args:
            inputs: a text, texts, or an ``Encoding`` of them.
            return_generation_output: also give the ``EncodedText`` of each.
            skip_special_tokens: leave special tokens out of the text; by default yes.
            output_generated_only: decoder-only models: without the prompt.
            batch_size: texts at a time; all by default.
            **generation_args: arguments of the framework's own ``generate``.

        Returns:
            A list of texts; with ``return_generation_output``, a pair of it and the list of ``EncodedText``.
        """
        adapter = self.adapter
        texts = inputs if isinstance(inputs, Encoding) else encoding.as_texts("inputs", inputs)
        givens = (
            [encoding.EncodedInput(ids=ids) for ids in texts.ids]
            if isinstance(texts, Encoding)
            else [adapter.encode_input(text) for text in texts]
        )
        started = []
        for given in givens:
            start = adapter.start_ids(given)
            source = given.ids if adapter.is_encoder_decoder else None
            started.append(
                EncodedText(
                    target_ids=start, source_ids=source, prompt_length=len(start), input_text=given.text
                )
            )
        size = len(started) if batch_size is None else as_count("batch_size", batch_size)
        parts = [started[first : first + size] for first in range(0, len(started), size)]
        with one_at_a_time:
            ids = [
                i
                for part in in_parts(adapter, parts, lambda p: adapter.generate(p, generation_args))
                for i in part
            ]
        finished = [attrs.evolve(text, target_ids=i) for text, i in zip(started, ids, strict=True)]
        only = output_generated_only and not adapter.is_encoder_decoder
        skip = True if skip_special_tokens is None else skip_special_tokens
        decoded = [
            adapter.decode(t.target_ids[t.prompt_length if only else 0 :].tolist(), skip) for t in finished
        ]
        return (decoded, finished) if return_generation_output else decoded


_ATTRIBUTE_KEYWORDS = tuple(
    p.name
    for p in inspect.signature(AttributionModel.attribute).parameters.values()
    if p.name != "self" and p.kind is not p.VAR_KEYWORD
)


def load_model(
    model: Any, attribution_method: str | None = None, framework: str | None = None, **kwargs: Any
) -> AttributionModel:
    """Load a model to attribute.

    Args:
        model: a hub id, a folder, an id that a plugin carries (``inseq.list_models()``), or a loaded model.
        attribution_method: id of the method that ``attribute`` uses by default.
        framework: who loads the model (``inseq.list_supported_frameworks()``); found out by default.
        **kwargs: arguments of the framework's loader (``device``, ``tokenizer``, ``model_kwargs``,
            ``tokenizer_kwargs`` …) and of the method.

    Raises:
        ModelLoadError: no such model, or it cannot be loaded.
        MissingPackageError: no framework that could load it is installed.
        UnknownNameError: no such method or framework. UnknownArgumentError: an argument that nobody takes.
        CapabilityError: the method needs what the framework's models do not give.
    """
    if isinstance(model, AttributionModel):
        raise invalid("model", model, "an id, a folder or a framework's model: this one is loaded already")
    adapter, arguments = load_adapter(model, attribution_method, framework, kwargs)
    return AttributionModel(adapter, attribution_method, arguments)
