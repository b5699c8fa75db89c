from __future__ import annotations

import math

import numpy as np
import pytest

from inseq_core.contracts.step_function import BoundStepFunction, ForwardOutput, StepCall, StepFunctionArgs
from inseq_core.data.batch import EncodedText, TokenBatch
from inseq_core.data.steps import StepGrid
from inseq_core.hooks import step_functions
from inseq_core.run.request import find_function
from inseq_core.testing.toys import BagModel

PROBABILITIES = np.array([[0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4], [0.97, 0.01, 0.01, 0.01]])
TARGETS = [1, 3, 0]


def args_of(logits, targets=TARGETS):
    """Arguments of rows with these logits; one text a row."""
    texts = [EncodedText(target_ids=[0, target]) for target in targets]
    batch = TokenBatch.of(texts, 0)
    return StepFunctionArgs(
        call=StepCall(adapter=BagModel()),
        forward_output=ForwardOutput(logits=logits[:, None, :]),
        batch=batch,
        grid=StepGrid.of(batch, [(1, 2)] * len(texts)),
    )


def evaluate(name, logits, **own):
    """A step function by its id."""
    return find_function(name).function(args_of(logits), **own)


def test_each_likelihood_is_its_formula_on_probabilities_chosen_by_hand():
    """The logits are ln p + 7: a softmax takes the 7 away, a logit keeps it."""
    logits = np.log(PROBABILITIES) + 7.0
    p = np.array([0.25, 0.4, 0.97])

    np.testing.assert_allclose(evaluate("logit", logits), np.log(p) + 7.0, rtol=1e-12)
    np.testing.assert_allclose(evaluate("probability", logits), p, rtol=1e-12)
    np.testing.assert_allclose(evaluate("probability", logits, logprob=True), np.log(p), rtol=1e-12)
    np.testing.assert_allclose(evaluate("crossentropy", logits), -np.log(p), rtol=1e-12)
    np.testing.assert_allclose(evaluate("perplexity", logits), 1 / p, rtol=1e-12)


def test_what_goes_beyond_the_peer_s_functions_is_its_formula_too():
    """Bits, places and leads on the same probabilities: 1/4 of (1/2, 1/4, …), 0.4 and 0.97 the likeliest."""
    logits = np.log(PROBABILITIES) + 7.0

    np.testing.assert_allclose(evaluate("surprisal", logits), -np.log2([0.25, 0.4, 0.97]), rtol=1e-12)
    np.testing.assert_array_equal(evaluate("rank", logits), [2, 1, 1])
    np.testing.assert_allclose(evaluate("margin", logits), [-0.25, 0.1, 0.96], rtol=1e-12)
    leads = np.log([0.25 / 0.5, 0.4 / 0.3, 0.97 / 0.01])
    np.testing.assert_allclose(evaluate("margin", logits, logprob=True), leads, rtol=1e-12)


def test_tokens_as_likely_as_the_target_share_its_rank():
    """Greedy decoding could have chosen any of them."""
    np.testing.assert_array_equal(evaluate("rank", np.zeros((3, 4))), [1, 1, 1])
    np.testing.assert_array_equal(evaluate("margin", np.zeros((3, 4))), [0, 0, 0])


@pytest.mark.parametrize(
    ("top_p", "sizes"),
    [
        (0.5, [1, 2, 1]),
        (0.6, [2, 2, 1]),
        (0.75, [2, 3, 1]),
        (0.9, [4, 3, 1]),
        (0.97, [4, 4, 1]),
        (0.975, [4, 4, 2]),
        (1.0, [4, 4, 4]),
    ],
)
def test_a_nucleus_is_the_fewest_tokens_with_the_mass(top_p, sizes):
    """One value a row (the peer gives one in all); a nucleus whose mass is exactly top_p is enough."""
    np.testing.assert_array_equal(evaluate("top_p_size", np.log(PROBABILITIES), top_p=top_p), sizes)


def test_a_nucleus_of_equal_tokens_is_not_one_too_large_by_rounding():
    """Ten tenths in float32 are a little more or less than 1."""
    for size in range(2, 40):
        logits = np.zeros((3, size), dtype=np.float32)
        for part in range(1, size + 1):
            assert (evaluate("top_p_size", logits, top_p=part / size) == part).all()


def test_entropy_of_a_dyadic_distribution_is_known():
    """1/2, 1/4, 1/8, 1/8 has 1.75 bits."""
    entropy = evaluate("entropy", np.log(PROBABILITIES))

    assert entropy[0] == pytest.approx(1.75 * math.log(2), rel=1e-12)


def test_entropy_ignores_forbidden_tokens():
    """A constraint sets logits to -inf; 0 · ln 0 counts as 0."""
    logits = np.array([[0.0, 0.0, -np.inf, -np.inf]] * 3)

    np.testing.assert_allclose(evaluate("entropy", logits), math.log(2), rtol=1e-12)


def test_far_logits_neither_overflow_nor_underflow():
    """exp(1000) is no float; the logarithm of a probability of exp(-2000) is."""
    logits = np.array([[1000.0, -1000.0, 0.0, 0.0]] * 3)

    assert evaluate("probability", logits, logprob=True)[0] == -2000.0
    assert evaluate("crossentropy", logits)[2] == 0.0


@pytest.mark.parametrize(
    "name",
    [
        "logit",
        "probability",
        "crossentropy",
        "perplexity",
        "entropy",
        "surprisal",
        "rank",
        "margin",
        "top_p_size",
    ],
)
def test_numpy_and_torch_agree(name):
    """One definition serves adapters of both; float64, so only the last digits may differ."""
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(size=(3, 4)) * 4
    args = args_of(torch.tensor(logits))

    class TorchToy(BagModel):
        def as_array(self, values):
            return torch.as_tensor(np.array(values))

    import attrs

    values = find_function(name).function(attrs.evolve(args, call=StepCall(adapter=TorchToy())))

    np.testing.assert_allclose(values.numpy(), evaluate(name, logits), rtol=1e-12)


@pytest.mark.parametrize("name", ["probability", "entropy", "crossentropy"])
def test_half_precision_logits_are_not_summed_in_half_precision(name):
    """A sum of 50,000 half-precision exponentials would lose the answer."""
    logits = np.zeros((3, 50_000), dtype=np.float16)

    expected = {"probability": 1 / 50_000, "entropy": math.log(50_000), "crossentropy": math.log(50_000)}
    np.testing.assert_allclose(evaluate(name, logits), expected[name], rtol=1e-5)  # float32 over 50,000 terms


@pytest.mark.parametrize("name", ["rank", "top_p_size", "mc_dropout_prob_avg"])
def test_counts_and_draws_say_that_they_have_no_derivative(name):
    """A gradient method would find zeros, or nothing."""
    assert not step_functions().get(name).spec.differentiable


def test_the_derivative_of_entropy_stays_finite_beside_forbidden_tokens():
    """Gradient methods may explain entropy; NaN would spread through the whole model."""
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[1.0, 0.0, -math.inf]] * 3, requires_grad=True)
    evaluate("entropy", logits).sum().backward()

    assert torch.isfinite(logits.grad).all()


def test_a_function_that_mixes_rows_is_run_row_by_row():
    """The mean over rows of one row is the row itself; over all rows it would be one number for all."""
    mixing = BoundStepFunction(
        name="mixing", function=lambda args: args.logits[:, 0] * 0 + args.logits.mean(), rowwise=False
    )

    np.testing.assert_allclose(mixing(args_of(PROBABILITIES)), PROBABILITIES.mean(axis=1), rtol=1e-12)


def test_every_built_in_function_says_what_explain_needs():
    """Unit, range, formula and how it follows merged steps are part of a function."""
    for entry in step_functions().entries():
        if entry.provenance.distribution == "inseq-core":
            spec = entry.spec
            assert spec.unit and spec.range and spec.formula and spec.aggregate_map.get("spans"), spec.name
