"""Which models generate text: told from the configuration, before weights are read."""

from __future__ import annotations

from typing import Any

from inseq_core.errors import ModelLoadError


def check_generates(config: Any, name: str, model: Any = None) -> None:
    """A decoder-only or encoder–decoder model of text, with the head that it was trained with.

    Args:
        config: the model's configuration.
        name: how to call it.
        model: the loaded model, if there is one.

    Raises:
        ModelLoadError: an encoder, a classifier, a model of images … .
    """
    import transformers as hf

    if model is not None:
        reads_text = getattr(model, "main_input_name", "input_ids") == "input_ids"
        writes = model.can_generate() and model.get_output_embeddings() is not None
        if not (reads_text and writes) or _is_two_sided(config):
            raise _does_not_generate(type(model).__name__, name)
        return
    kinds = [getattr(hf, str(kind), None) for kind in config.architectures or ()]
    known = [kind for kind in kinds if kind is not None and hasattr(kind, "can_generate")]
    generating = [kind for kind in known if kind.can_generate()]
    if known and not generating and not all(_is_headless(kind, config) for kind in known):
        raise _does_not_generate(known[0].__name__, name)
    is_remote = bool(getattr(config, "auto_map", None))
    if _is_two_sided(config) or not (is_remote or _has_text_head(config)):
        raise _does_not_generate(str((config.architectures or [type(config).__name__])[0]), name)


def _has_text_head(config: Any) -> bool:
    """Whether transformers has a generating head for this kind of configuration."""
    import transformers as hf

    table = (
        hf.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        if config.is_encoder_decoder
        else hf.MODEL_FOR_CAUSAL_LM_MAPPING
    )
    return type(config) in table


def _is_two_sided(config: Any) -> bool:
    """Whether the model looks at what follows, as encoders trained on gaps do."""
    import transformers as hf

    is_masked = type(config) in hf.MODEL_FOR_MASKED_LM_MAPPING
    return is_masked and not config.is_encoder_decoder and not getattr(config, "is_decoder", False)


def _is_headless(kind: Any, config: Any) -> bool:
    """Whether a class is the body alone, whose head (tied to its embeddings) is known all the same."""
    return kind.__name__.endswith("Model") and bool(getattr(config, "tie_word_embeddings", False))


def _does_not_generate(kind: str, name: str) -> ModelLoadError:
    named = f"{name!r} is a {kind}, which" if kind != name else f"{kind}"
    return ModelLoadError(
        f"{named} does not generate text, so there are no steps to attribute.\n"
        "  Load a decoder-only or an encoder–decoder model, such as 'gpt2' or 'Helsinki-NLP/opus-mt-en-fr'."
    )
