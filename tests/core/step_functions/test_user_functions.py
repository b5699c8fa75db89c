from __future__ import annotations

import attrs
import numpy as np
import pytest

import inseq_core as ic
from inseq_core import errors
from inseq_core.hooks import MethodSpec, PluginHost, Provenance, get_host, step_functions, use_host
from inseq_core.hooks.registration import register_step_function
from inseq_core.model import AttributionModel
from inseq_core.run.request import find_function

TEXTS = ["the dog", "a woman sees the small cat"]


@pytest.fixture
def register():
    """``register_step_function`` for the time of a test."""
    names = []

    def add(fn, name="mine", **fields):
        names.append(name)
        return register_step_function(fn, name, **fields)

    yield add
    for name in names:
        get_host().step_functions.unregister(name)


def scores(model, function, texts=TEXTS, **arguments):
    """The values of one function at every step of every text."""
    results = model.attribute(texts, method="dummy", step_scores=[function], **arguments)
    return [next(iter(result.step_scores.values())) for result in results]


def test_the_documented_keyword_form_works_as_it_is_written(lm, register):
    """What tutorials show: keywords by their names, the rest in ``**kwargs``, own arguments in between."""

    def squared_probability(attribution_model, forward_output, target_ids, power=2, **kwargs):
        logits = attribution_model.output2logits(forward_output)
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        assert {"decoder_input_ids", "decoder_attention_mask", "is_attributed_fn"} <= set(kwargs)
        return np.take_along_axis(p, target_ids[:, None], -1)[:, 0] ** power

    register(squared_probability, aggregate_map={"spans": "prod"})
    found, p = scores(lm, "mine"), scores(lm, "probability")
    cubed = scores(lm, "mine", power=3)

    for mine, probability, third in zip(found, p, cubed, strict=True):
        np.testing.assert_allclose(mine, probability**2, rtol=1e-5)  # float32
        np.testing.assert_allclose(third, probability**3, rtol=1e-5)
    assert "mine" in step_functions()


def test_the_form_with_one_record_is_the_same_function(lm, register):
    """``fn(args, …)`` is what built-in functions are."""

    def by_record(args, power=1):
        return find_function("probability").function(args) ** power

    register(by_record)

    for mine, p in zip(scores(lm, "mine", power=2), scores(lm, "probability"), strict=True):
        np.testing.assert_allclose(mine, p**2, rtol=1e-6)


def test_a_function_need_not_be_registered(lm):
    """A callable will do, under its own name, explained or shown."""

    def last_token_id(decoder_input_ids, **kwargs):
        return decoder_input_ids[:, -1].astype(float)

    (result,) = lm.attribute("the dog sees", step_scores=[last_token_id], attributed_fn=last_token_id)

    before = [t.id for t in result.target[result.attr_pos_start - 1 : -1]]
    assert result.step_scores["last_token_id"].tolist() == before
    assert result.target_attributions is not None


def test_prefixes_end_at_the_last_token_before_each_step(lm):
    """Left-padded, whatever the lengths of texts and prefixes, with a mask that says where."""
    seen = []

    def look(decoder_input_ids, decoder_attention_mask, target_ids, **kwargs):
        seen.append((decoder_input_ids, decoder_attention_mask, target_ids))
        return np.zeros(len(target_ids))

    results = lm.attribute(TEXTS, method="dummy", step_scores=[look])
    ids, mask, _ = seen[0]
    rows = [(r, s) for r in results for s in range(r.attr_pos_start, r.attr_pos_end)]

    assert ids.shape == mask.shape == (len(rows), max(s for _, s in rows))
    for row, (result, s) in enumerate(rows):
        prefix = [t.id for t in result.target[:s]]
        assert ids[row, -s:].tolist() == prefix and mask[row].tolist() == [0] * (ids.shape[1] - s) + [1] * s


def test_a_function_that_mixes_rows_is_found_out_and_run_row_by_row(lm):
    """A mean over the batch would make a step's number depend on who else was in the call."""

    def centred(args):
        return args.logits[:, 5] - args.logits[:, 5].mean()

    with pytest.warns(errors.MeaningWarning, match=r"'centred' mixes rows.*\n.*rowwise=False"):
        found = scores(lm, centred)

    assert all((values == 0).all() for values in found)


@pytest.mark.parametrize("mixed", [np.cumsum, lambda x: np.cumsum(x[::-1])[::-1], np.sort])
def test_mixing_is_found_from_either_end(lm, mixed):
    """A running sum leaves its first row as it is, a reversed one its last."""

    def function(args):
        return mixed(args.logits[:, 5].copy())

    with pytest.warns(errors.MeaningWarning, match="mixes rows"):
        found = scores(lm, function)

    expected = scores(lm, lambda args: args.logits[:, 5] + 0)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b)


def test_a_function_that_says_it_mixes_rows_is_run_row_by_row_in_silence(lm, register, recwarn):
    """Then it is meant."""
    register(lambda args: args.logits[:, 5] - args.logits[:, 5].mean(), rowwise=False)
    found = scores(lm, "mine")

    assert all((values == 0).all() for values in found)
    assert not [w for w in recwarn if issubclass(w.category, errors.InseqWarning)]


def test_a_function_that_draws_at_random_is_not_taken_for_one_that_mixes_rows(lm, recwarn):
    """Its values differ from call to call, which no comparison can tell apart."""
    generator = np.random.default_rng(0)
    scores(lm, lambda args: generator.normal(size=len(args.target_ids)))

    assert not [w for w in recwarn if issubclass(w.category, errors.InseqWarning)]


@pytest.mark.parametrize("attributed", [True, False])
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda args: args.logits, "returned shape"),
        (lambda args: args.logits.max(), r"returned shape \(\)"),
        (lambda args: args.logits[:, :1], "returned shape"),
        (lambda args: [0.0] * len(args.target_ids), "returned list"),
        (lambda args: None, "returned NoneType"),
        (lambda args: args.logits[:, 0] + 1j, "complex"),
        (lambda args: args.logits[:, 0].astype(str), "real numbers"),
    ],
)
def test_what_is_not_one_number_a_row_is_refused_by_name(lm, function, said, attributed):
    """The peer broadcasts one number to all rows."""
    function.__name__ = "wrong"
    arguments = {"attributed_fn": function} if attributed else {"method": "dummy", "step_scores": [function]}

    with pytest.raises(errors.StepShapeError, match=f"'wrong'.*{said}"):
        lm.attribute(TEXTS, **arguments)


@pytest.mark.parametrize(
    ("values", "expected"), [(lambda a: a.target_ids, None), (lambda a: a.logits[:, 5] > 0, None)]
)
def test_whole_numbers_and_truth_values_are_numbers(lm, values, expected):
    """Counts, ranks, and whether something was the case."""
    found = scores(lm, values)

    assert all(v.dtype == np.float32 for v in found)


def test_a_function_that_changes_the_logits_is_stopped(lm):
    """The next function would read what this one left behind."""

    def zero(args):
        args.logits[:] = 0.0
        return args.logits[:, 0]

    with pytest.raises(errors.StepFunctionError, match=r"'zero' failed.*read-only"):
        scores(lm, zero)


def through_data(output):
    """torch does not count it."""
    output.logits.data.mul_(0.1)


def through_numpy(output):
    """Nor this, which shares the memory."""
    output.logits.detach().numpy()[...] *= 0.1


def through_raw(output):
    """The framework's own output holds the same numbers."""
    if output.raw is not None:
        output.raw.logits.data.mul_(0.1)


def through_flags(output):
    """numpy lets a view of what can be written to be written to again."""
    output.logits.setflags(write=True)
    output.logits[:] *= 0.1


@pytest.mark.parametrize("write", [through_data, through_numpy, through_raw, through_flags])
def test_a_function_that_changes_the_logits_unseen_changes_no_other_s(lm, write):
    """The next function gave a wrong number, without a word."""
    model = lm
    if write is not through_flags:
        pytest.importorskip("torch")
        from inseq_core.testing.torch_toys import TorchToy

        model = AttributionModel(TorchToy(), "leave_out")

    def evil(args):
        first = args.logits[:, 0] * 1.0
        write(args.forward_output)
        return first

    alone = model.attribute(TEXTS, method="dummy", step_scores=["probability"])
    beside = model.attribute(TEXTS, method="dummy", step_scores=[evil, "probability"])

    for expected, actual in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(actual.step_scores["probability"], expected.step_scores["probability"])


def test_a_function_that_fails_is_named_and_its_own_error_kept(lm):
    """A traceback through the engine says nothing about whose function it was."""

    def broken(args, divisor=0):
        return args.logits[:, 0] + 1 // divisor

    with pytest.raises(errors.StepFunctionError, match="'broken' failed: ZeroDivisionError") as error:
        scores(lm, broken)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_a_step_score_that_is_nan_names_the_function_and_the_step(lm):
    """Of the first step that has one."""

    def late(args):
        return np.where(args.grid.position > 4, np.nan, 1.0)

    with pytest.raises(errors.NonFiniteScoreError, match=r"step score 'late'.*position 5 of text 0"):
        scores(lm, late)


def test_an_explained_function_that_is_nan_is_named_too(lm):
    """The scores of the method are NaN then, but it is not the method's fault."""

    def undefined(args):
        with np.errstate(all="ignore"):
            return np.log(args.logits[:, 5] * 0.0) * 0.0

    with pytest.raises(
        errors.NonFiniteScoreError, match=r"attributed function 'undefined'.*\n.*division by zero"
    ):
        lm.attribute(TEXTS, attributed_fn=undefined)


def test_a_step_score_that_is_nan_on_sound_logits_is_the_function_s(lm):
    """To load the model otherwise would change nothing; whoever wrote the function has to know."""

    class Plugin:
        @ic.hookimpl
        def inseq_step_functions(self):
            yield ic.StepFunctionSpec(
                name="undefined", function=lambda args: args.logits[:, 0] * np.nan, summary="Broken."
            )

    host = PluginHost()
    host.register_plugin(Plugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))
    with (
        use_host(host),
        pytest.raises(
            errors.NonFiniteScoreError, match=r"(?s)'undefined'.*division.*acme-inseq 1\.0"
        ) as raised,
    ):
        scores(lm, "undefined")
    assert "overflow" not in str(raised.value)


def test_an_explained_function_that_is_infinite_is_refused_though_its_slope_is_zero(lm):
    """A method that gives finite scores for it explains nothing."""

    def endless(args):
        return args.logits[:, 0] * 0.0 + np.inf

    @attrs.frozen
    class Flat:
        """Asks for the scores as a gradient method does, and gives their slope."""

        def attribute(self, ctx):
            ctx.scores()
            return ctx.output(target=np.zeros(ctx.target_shape))

    get_host().methods.register(MethodSpec(name="flat", factory=Flat, summary="Flat."))
    try:
        assert len(lm.attribute(TEXTS, method="flat")) == len(TEXTS)
        with pytest.raises(errors.NonFiniteScoreError, match="attributed function 'endless'"):
            lm.attribute(TEXTS, method="flat", attributed_fn=endless)
    finally:
        get_host().methods.unregister("flat")


def test_nan_of_the_model_is_not_blamed_on_the_function(lm):
    """Half precision overflows; the advice is another one."""
    lm.adapter.weights.bias[:] = np.inf

    with (
        np.errstate(all="ignore"),
        pytest.raises(errors.NonFiniteScoreError, match=r"'probability'.*\n.*may overflow"),
    ):
        lm.attribute("the dog", "the dog sees")


def test_two_functions_of_one_name_are_refused(lm):
    """Results would show the last of them only."""
    with pytest.raises(errors.InvalidArgumentError, match="called '<lambda>'"):
        lm.attribute("the dog", step_scores=[lambda args: args.logits[:, 0], lambda args: args.logits[:, 1]])


def test_a_function_may_use_others_contrasts_too(lm):
    """Composition: what they need from the call is in the arguments."""
    probability, contrast = (find_function(n).function for n in ("probability", "contrast_prob"))

    def ratio(args, contrast_targets):
        return probability(args) / contrast(args, contrast_targets=contrast_targets)

    other = ["the dog hears the", "a woman sees the small cat is a"]
    outputs = ["the dog sees a", "a woman sees the small cat was a"]
    found = lm.attribute(TEXTS, outputs, method="dummy", step_scores=[ratio, "pcxmi"], contrast_targets=other)

    for result in found:
        np.testing.assert_allclose(
            -np.log2(result.step_scores["ratio"]), result.step_scores["pcxmi"], rtol=1e-4, atol=1e-5
        )


def test_a_function_may_label_and_annotate_results(lm, register):
    """What built-in contrasts do is open to others."""
    from inseq_core.contracts.step_function import Prepared

    def prepare(call, arguments, is_attributed_fn):
        assert len(call.texts) == len(call.spans) == 1 and call.inputs == ("the dog",)
        return Prepared(labels=({call.spans[0][0]: f"first {arguments['word']}"},), notes={"word": "noted"})

    register(lambda args, word: args.logits[:, 0] * 1.0, prepare=prepare)
    explained = lm.attribute("the dog", attributed_fn="mine", word="token")
    shown = lm.attribute("the dog", step_scores=["mine"], word="token")

    assert str(explained[0].target[3]) == "first token" and explained.info.notes["word"] == "noted"
    assert str(shown[0].target[3]) != "first token" and shown.info.notes["word"] == "noted"


def test_an_error_names_the_plugin_that_the_function_is_from(lm):
    """Whoever installed three packages has to know whom to write to."""

    class Plugin:
        @ic.hookimpl
        def inseq_step_functions(self):
            for name, function in (("short", lambda args: args.logits[:1, 0]), ("bad", lambda args: 1 / 0)):
                yield ic.StepFunctionSpec(name=name, function=function, summary="Broken.")
            yield ic.StepFunctionSpec(
                name="lost", function=len, summary="Merged by nothing.", aggregate_map={"spans": "nope"}
            )

    host = PluginHost()
    host.register_plugin(Plugin(), Provenance(plugin="acme", distribution="acme-inseq", version="1.0"))
    with use_host(host):
        for name, error in (("short", errors.StepShapeError), ("bad", errors.StepFunctionError)):
            with pytest.raises(error, match=r"from acme-inseq 1\.0 \(plugin 'acme'\)"):
                scores(lm, name)
        with pytest.raises(
            errors.StepFunctionError, match=r"'lost' of acme-inseq 1\.0 .* by 'nope': No aggreg"
        ):
            scores(lm, "lost")
        assert scores(lm, "probability")
