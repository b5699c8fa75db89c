from __future__ import annotations

import attrs
import numpy as np
import pytest

from inseq_core.data.result import MethodOutput
from inseq_core.errors import MethodOutputError
from inseq_core.hooks import MethodSpec, get_host
from inseq_core.run import assemble


@attrs.frozen(kw_only=True)
class AtAModule:
    """Scores the side of some module. side: "source" or "target". layers: how many at once."""

    side: str = "target"
    layers: int = 1

    def attribute(self, ctx):
        ids = ctx.batch.source_ids if self.side == "source" else ctx.batch.target_ids
        scores = np.ones((ctx.n_rows, ids.shape[1], *([self.layers] if self.layers > 1 else []), 3))
        axes = ("layer", "hidden") if self.layers > 1 else None
        return MethodOutput(**{self.side: scores}, axes=axes)


@pytest.fixture(autouse=True)
def at_a_module():
    """Registered as a method that scores one side, and as one that does not say so."""
    registry = get_host().methods
    for name, one_sided in (("at_a_module", True), ("at_a_module_unsaid", False)):
        registry.register(
            MethodSpec(
                name=name,
                factory=AtAModule,
                summary="Scores the side of a module.",
                trailing_axes=("hidden",),
                default_aggregation=("vnorm",),
                one_sided=one_sided,
            )
        )
    yield
    for name in ("at_a_module", "at_a_module_unsaid"):
        registry.unregister(name)


@pytest.mark.parametrize("attribute_target", [False, True])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_module_of_either_side_of_a_translator_can_be_attributed(translator, side, attribute_target):
    """A layer of the decoder has no scores of the source, and one of the encoder none of the target."""
    (result,) = translator.attribute(
        "the dog", method="at_a_module", side=side, attribute_target=attribute_target
    )

    other = "target" if side == "source" else "source"
    assert getattr(result, f"{side}_attributions").shape[1:] == (result.n_steps, 3)
    assert getattr(result, f"{other}_attributions") is None


def test_one_side_alone_is_refused_of_a_method_that_does_not_say_so(translator):
    """A side that was forgotten would otherwise look like one that has no scores."""
    with pytest.raises(MethodOutputError, match="gave no source scores"):
        translator.attribute("the dog", method="at_a_module_unsaid")


def test_several_layers_at_once_are_an_axis_of_the_result(lm):
    """What the method says about its axes counts, not what its spec says about one layer."""
    out = lm.attribute("the dog", method="at_a_module", layers=2)

    assert out[0].axes == ("layer", "hidden")
    np.testing.assert_allclose(out[0].target_attributions[0, 0], np.ones((2, 3)))
    assert out.aggregate()[0].axes == ()


def test_of_several_layers_the_axes_that_the_spec_can_reduce_are_reduced_where_they_would_not_fit(
    lm, monkeypatch
):
    """The axis that a list of layers adds has no default of its own: it stays, and the info says what went."""
    whole = lm.attribute("the dog", method="at_a_module", layers=2)
    monkeypatch.setattr(assemble, "GRANULAR_BUDGET", 100)
    reduced = lm.attribute("the dog", method="at_a_module", layers=2)

    assert reduced[0].axes == ("layer",)
    np.testing.assert_allclose(
        reduced[0].target_attributions, np.linalg.norm(whole[0].target_attributions, axis=-1), rtol=1e-6
    )
    assert [r["axis"] for r in reduced.info.reductions] == ["hidden"]
    assert reduced[0].default_aggregation == ()
    np.testing.assert_allclose(
        reduced.aggregate()[0].target_attributions, whole.aggregate()[0].target_attributions, rtol=1e-6
    )
