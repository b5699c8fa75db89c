"""The demo models as graphs give what they give in torch: texts, logits, outputs, attributions, views.

Logits agree to 1e-5 of their range (other kernels, other orders of summation), so scores that are differences
of probabilities agree to 1e-4.
"""

from __future__ import annotations

import attrs
import numpy as np
import pytest

import inseq
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.errors import CapabilityError
from inseq_core.hooks import methods, step_functions

pytestmark = pytest.mark.slow

TEXTS = {
    "demo-en-fr": [
        "The developer argued with the designer because her idea cannot be implemented.",
        "The nurse met the doctor because he was late.",
    ],
    "demo-lm": ["The capital of France is", "Once there was a small dog. The dog"],
}
DEMOS = pytest.mark.parametrize("name", list(TEXTS))
CHEAP = {
    "shapley": {"n_samples": 3},
    "reagent": {"max_probe_steps": 10, "num_probes": 2},
    "lime": {},
    "kernel_shap": {},
}
CAPABILITIES = frozenset({"scores", "generate"})
REMOVAL_METHODS = [e.name for e in methods().entries() if {str(n) for n in e.spec.needs} <= CAPABILITIES]


def largest_difference(first, second) -> float:
    """Of all scores of two outputs, relative to the largest score; NaN must be where NaN is."""
    worst = 0.0
    for a, b in zip(first.sequence_attributions, second.sequence_attributions, strict=True):
        assert (a.source, a.target, a.attr_pos_start) == (b.source, b.target, b.attr_pos_start)
        pairs = [
            (a.source_attributions, b.source_attributions),
            (a.target_attributions, b.target_attributions),
        ]
        pairs += [(a.step_scores[key], b.step_scores[key]) for key in a.step_scores]
        for x, y in pairs:
            if x is None or y is None:
                assert x is y
                continue
            assert np.array_equal(np.isnan(x), np.isnan(y))
            worst = max(
                worst, np.nanmax(np.abs(x - y), initial=0.0) / max(np.nanmax(np.abs(x), initial=0.0), 1e-3)
            )
    return worst


@DEMOS
def test_texts_have_the_same_ids_and_tokens(both, name):
    """Read by the library tokenizers alone, instead of by transformers."""
    torch_model, graphs = (model.adapter for model in both(name))
    for text in [*TEXTS[name], "", "x", "  a\n b ", "naïve 世界!", "it's  over"]:
        if text or not torch_model.is_encoder_decoder:
            given = torch_model.encode_input(text)
            assert graphs.encode_input(text).ids == given.ids
        ids = [*given.ids, torch_model.pad_id, *torch_model.start_ids(given)]
        for side in ("source", "target"):
            assert attrs.asdict(graphs.token_texts(ids, side)) == attrs.asdict(
                torch_model.token_texts(ids, side)
            )
            kept = [a.kept_in_baseline(np.array(ids), side, False).tolist() for a in (graphs, torch_model)]
            assert kept[0] == kept[1]
        for skip in (True, False):
            assert graphs.decode(ids, skip) == torch_model.decode(ids, skip)
        full = text if torch_model.is_encoder_decoder else f"{text} more words"
        assert graphs.encode_output(full, given).tolist() == torch_model.encode_output(full, given).tolist()
    for baseline in ("unk", "pad", "eos", 5):
        assert graphs.baseline_ids(baseline) == torch_model.baseline_ids(baseline)
    assert set(graphs.special_tokens) == set(torch_model.special_tokens)
    for fact in ("vocabulary_size", "max_source", "max_target", "dtype", "model_class"):
        assert getattr(graphs.profile, fact) == getattr(torch_model.profile, fact)


@DEMOS
def test_logits_of_rows_are_the_models(both, name):
    """Padded, with rows of different texts in one pass."""
    torch_model, graphs = (model.adapter for model in both(name))
    texts = both(name)[0].attribute(TEXTS[name], method="dummy", show_progress=False)
    begun = []
    for text, sequence in zip(TEXTS[name], texts.sequence_attributions, strict=True):
        given = graphs.encode_input(text)
        ids = [token.id for token in sequence.target]
        source = given.ids if graphs.is_encoder_decoder else None
        begun.append(EncodedText(target_ids=ids, source_ids=source))
    batch = TokenBatch.of(begun, graphs.pad_id)
    grid = StepGrid.of(batch, [(1, len(text.target_ids)) for text in begun])

    expected, found = (a.to_numpy(a.forward_rows(batch, grid).logits) for a in (torch_model, graphs))

    assert np.abs(found - expected).max() < 1e-5 * (expected.max() - expected.min())


@DEMOS
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_new_tokens": 5},
        {"num_beams": 4, "max_new_tokens": 12},
        {"num_beams": 3, "max_new_tokens": 12, "length_penalty": 2.0, "early_stopping": True},
        {"num_beams": 4, "max_new_tokens": 20, "length_penalty": 0.5, "early_stopping": "never"},
        {"repetition_penalty": 1.5, "max_new_tokens": 12},
        {"no_repeat_ngram_size": 2, "max_new_tokens": 12},
        {"min_new_tokens": 20, "max_new_tokens": 25},
    ],
    ids=lambda options: "-".join(options) or "defaults",
)
def test_outputs_are_those_of_generate(both, name, options):
    """transformers' own generate is the reference for what the options mean."""
    torch_model, graphs = both(name)

    assert graphs.generate(TEXTS[name], **options) == torch_model.generate(TEXTS[name], **options)


@DEMOS
@pytest.mark.parametrize("method", REMOVAL_METHODS)
def test_every_method_that_needs_scores_gives_the_same_scores(both, name, method):
    """Whatever is installed: the list is the registry's."""
    torch_model, graphs = both(name)
    keywords = {
        "method": method,
        "generation_args": {"max_new_tokens": 4},
        "step_scores": ["probability", "entropy"],
        "show_progress": False,
        **CHEAP.get(method, {}),
    }

    first, second = (model.attribute(TEXTS[name][:1], **keywords) for model in (torch_model, graphs))

    # coordinate descent of the sparse model stops within 1e-4 of its optimum, from where the scores lead it
    assert largest_difference(first, second) < (2e-2 if method == "context_cite" else 1e-4)


@DEMOS
@pytest.mark.parametrize("removal", ["token:unk", "delete", "sample", "mask"])
def test_every_way_of_removal_gives_the_same_scores(both, name, removal):
    """Draws come from the texts and the seed, so they are the same too; the target prefix is explained as
    well."""
    torch_model, graphs = both(name)
    keywords = {"method": "occlusion", "removal": removal, "attribute_target": True, "show_progress": False}

    first, second = (model.attribute(TEXTS[name], **keywords) for model in (torch_model, graphs))

    assert removal.partition(":")[0] in graphs.adapter.removals
    assert largest_difference(first, second) < 1e-4


PAIRS = {
    "demo-en-fr": ("L'infirmier a rencontré le médecin.", "L'infirmière a rencontré le médecin."),
    "demo-lm": ("The capital of France is Paris.", "The capital of France is Rome."),
}
WITH_DROPOUT = {"mc_dropout_prob_avg"}


@DEMOS
def test_every_step_function_gives_the_same_values(both, name):
    """Each of the registry's, on forced outputs; those with a contrast encode texts of their own."""
    torch_model, graphs = both(name)
    names = [e.name for e in step_functions().entries() if e.name not in WITH_DROPOUT]
    good, bad = PAIRS[name]
    text = TEXTS[name][-1 if name == "demo-en-fr" else 0]
    keywords = {"method": "dummy", "step_scores": names, "contrast_targets": bad, "show_progress": False}

    first, second = (model.attribute(text, good, **keywords) for model in (torch_model, graphs))

    assert set(names) <= set(first[0].step_scores)
    assert largest_difference(first, second) < 1e-4


@DEMOS
def test_a_contrast_can_be_explained(both, name):
    """The attributed function of removed versions."""
    torch_model, graphs = both(name)
    good, bad = PAIRS[name]
    text = TEXTS[name][-1 if name == "demo-en-fr" else 0]
    keywords = {"method": "occlusion", "attributed_fn": "contrast_prob_diff", "contrast_targets": bad}

    first, second = (
        model.attribute(text, good, show_progress=False, **keywords) for model in (torch_model, graphs)
    )

    assert largest_difference(first, second) < 1e-4


@pytest.mark.parametrize("function", sorted(WITH_DROPOUT))
def test_dropout_is_refused(both, function):
    """An exported graph has none."""
    _, graphs = both("demo-lm")

    with pytest.raises(CapabilityError, match="cannot switch dropout on"):
        graphs.attribute(*PAIRS["demo-lm"][:1], *PAIRS["demo-lm"][:1], method="dummy", step_scores=[function])


def test_a_chat_gives_the_same_turns_and_scores(both):
    """The template is rendered without transformers."""
    torch_model, graphs = both("demo-lm")
    chat = [{"role": "user", "content": "What is the capital of France?"}]

    assert graphs.adapter.encode_chat(chat).ids == torch_model.adapter.encode_chat(chat).ids
    first, second = (
        model.attribute(
            [chat], method="leave_one_out", generation_args={"max_new_tokens": 4}, show_progress=False
        )
        for model in (torch_model, graphs)
    )
    assert [s.segments for s in first.sequence_attributions] == [
        s.segments for s in second.sequence_attributions
    ]
    assert largest_difference(first, second) < 1e-4


@DEMOS
def test_results_can_be_shown_saved_and_read_like_any_others(both, name, tmp_path):
    """Views and files know nothing of frameworks."""
    _, graphs = both(name)
    out = graphs.attribute(TEXTS[name], method="occlusion", show_progress=False)

    page = out.show(display=False, return_html=True)
    out.save(tmp_path / "out.json")

    assert "<html" in page or "<div" in page
    assert inseq.load_attributions(tmp_path / "out.json") == out
    assert out.aggregate("subwords").sequence_attributions
    assert (out.info.framework, out.info.model_class) == ("onnx", graphs.adapter.profile.model_class)


@DEMOS
def test_one_pass_serves_every_step_of_every_version(both, name):
    """A decoder pass for all versions of a text, and an encoder pass where sources differ."""
    _, graphs = both(name)
    out = graphs.attribute(
        TEXTS[name][:1], method="occlusion", generation_args={"max_new_tokens": 4}, show_progress=False
    )

    assert out.info.notes["counts"]["forward"] == (2 if graphs.is_encoder_decoder else 1)
