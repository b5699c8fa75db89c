"""Parameters: what a user may set, read from classes and signatures."""

from __future__ import annotations

import attrs
import pytest

from inseq_core.errors import PluginError
from inseq_core.hooks.parameters import documented, parameters_of


@attrs.frozen(kw_only=True)
class Frozen:
    """Expected gradients (Erion et al. 2021, eq. 3). n_samples: references drawn for each text, >= 1.

    Attributes:
        stdevs: noise of the references; see ``n_samples``.
        shift, scale: of the input.
    """

    n_samples: int = attrs.field(default=20, validator=attrs.validators.ge(1))
    stdevs: float | None = None
    shift: tuple[float, ...] = attrs.field(factory=tuple)
    scale: float
    said: int = attrs.field(default=1, metadata={"doc": "in the field itself."})
    _hidden: int = attrs.field(default=0, init=False)


def test_an_attrs_class_gives_its_fields():
    """Methods are frozen records; their fields are the parameters."""
    found = {p.name: p for p in parameters_of(Frozen)}

    assert list(found) == ["n_samples", "stdevs", "shift", "scale", "said"]
    assert (found["n_samples"].type, found["n_samples"].default) == ("int", 20)
    assert found["shift"].default == ()
    assert found["scale"].is_required and not found["stdevs"].is_required
    assert str(found["n_samples"]) == "n_samples: int = 20"
    assert str(found["scale"]) == "scale: float"


def test_documentation_is_read_from_docstring_and_metadata():
    """Said once, where the code is."""
    docs = {p.name: p.doc for p in parameters_of(Frozen)}

    assert docs == {
        "n_samples": "references drawn for each text, >= 1.",
        "stdevs": "noise of the references; see ``n_samples``.",
        "shift": "of the input.",
        "scale": "of the input.",
        "said": "in the field itself.",
    }


def test_a_name_within_a_sentence_ends_no_entry():
    """What is said of ``layers`` as "which layers: one, or a list" is one sentence."""
    docstring = """Attention.

    Attributes:
        layers: which layers: one, or a list.
        pick: entries of the layers: an index.
    """

    assert documented(docstring, ["layers", "pick"]) == {
        "layers": "which layers: one, or a list.",
        "pick": "entries of the layers: an index.",
    }


def test_a_plain_class_gives_its_constructors_parameters():
    """Nobody has to use attrs."""

    class Plain:
        """A method."""

        def __init__(self, window: int = 1, *, stride=None, **rest):
            """Args:
            window: how many tokens at once,
                and no more.
            """

    found = parameters_of(Plain)

    assert [str(p) for p in found] == ["window: int = 1", "stride = None"]
    assert found[0].doc == "how many tokens at once, and no more."


def test_a_step_function_gives_its_own_parameters():
    """What the engine gives is not the user's to set."""

    def record_form(args, logprob: bool = False):
        """p. logprob: its logarithm."""

    def documented_form(attribution_model, forward_output, target_ids, weight=2.0, **kwargs):
        """p."""

    assert [str(p) for p in parameters_of(record_form)] == ["logprob: bool = False"]
    assert [str(p) for p in parameters_of(documented_form)] == ["weight = 2.0"]


def test_text_of_an_entry_ends_at_a_blank_line_and_at_the_next_section():
    """Or the last parameter would swallow the rest of the docstring."""
    text = """Sum.

    Args:
        a: first
            of two
        b (int, optional): second.

    Returns:
        c: no parameter.
    """

    assert documented(text, ["a", "b"]) == {"a": "first of two", "b": "second."}


def test_a_word_that_ends_like_a_parameter_is_none():
    """``n_steps: 5`` documents no ``steps``."""
    assert documented("n_steps: 5", ["steps"]) == {}


def test_a_factory_without_signature_is_a_typed_error():
    """Some built-in functions have none."""
    with pytest.raises(PluginError, match="cannot be read"):
        parameters_of(iter)
