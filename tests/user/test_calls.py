"""What users do around a call: threads, torch's modes, numbers from numpy, odd arguments of the small verbs."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
import torch

import inseq
from inseq_core import errors
from inseq_core.hooks.registration import unregister

SENTENCE = "The nurse slept."
QUIET = {"show_progress": False}


@pytest.fixture(scope="module")
def translator():
    """The embedded translator."""
    return inseq.load_model("demo-en-fr", "saliency")


def scores(model, **arguments):
    """(S, T) of the sentence."""
    output = model.attribute(SENTENCE, attribute_target=True, **arguments, **QUIET)
    return output.aggregate()[0].source_attributions


def test_threads_that_share_a_model_get_what_one_alone_gets(translator):
    """Hooks and flags of one call are seen by every pass of the model: without turns, errors or wrong numbers."""
    methods = ("saliency", "occlusion", "attention")
    alone = {name: scores(translator, method=name) for name in methods}
    found: dict[str, object] = {}

    def work(name):
        try:
            found[name] = [scores(translator, method=name) for _ in range(2)]
        except Exception as error:
            found[name] = error

    threads = [threading.Thread(target=work, args=(name,)) for name in methods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name in methods:
        for again in found[name]:
            np.testing.assert_array_equal(again, alone[name])


def test_a_step_function_may_itself_call_the_model(translator):
    """Taking turns must not make a thread wait for itself."""

    def writes(args):
        assert translator.generate("The doctor slept.", max_new_tokens=1)
        return args.logits[:, 0]

    assert translator.attribute(SENTENCE, step_scores=[writes], **QUIET)[0].step_scores["writes"].size


@pytest.mark.parametrize(
    "method", ["saliency", "occlusion", "attention", "grad_x_attention", "value_zeroing", "deeplift"]
)
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_caller_in_another_mode_of_torch_gets_the_same(translator, method, mode):
    """Notebooks and servers run whole cells in inference mode, in which nothing can be differentiated."""
    expected = scores(translator, method=method)

    with mode():
        found = scores(translator, method=method)

    np.testing.assert_array_equal(found, expected)


def test_numbers_of_numpy_are_numbers(translator):
    """They come out of data frames and loops over arrays."""
    found = translator.attribute(
        [SENTENCE, SENTENCE],
        method="integrated_gradients",
        n_steps=np.int64(2),
        return_convergence_delta=np.bool_(True),
        batch_size=np.int32(1),
        seed=np.int64(3),
        generation_args={"max_new_tokens": np.int64(2)},
        **QUIET,
    )

    assert [s.n_steps for s in found] == [2, 2]
    assert (found.info.seed, type(found.info.seed)) == (3, int)
    assert found.info.attribution_args["n_steps"] == 2
    summed = translator.attribute(SENTENCE, steps=(np.int64(1), np.int64(3)), **QUIET)
    assert summed[0].n_steps == 1


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_generate_refuses_a_batch_size_that_is_none(translator, size):
    """Zero meant "all", and text a TypeError."""
    with pytest.raises(errors.InvalidArgumentError, match="batch_size"):
        translator.generate(["a", "b"], batch_size=size)


@pytest.mark.parametrize("wrong", ["a text", 5, None, [1, 2]])
def test_tokens_with_ids_are_of_an_encoding(translator, wrong):
    """A text is the likely mistake: said in words, not as a missing attribute."""
    with pytest.raises(errors.InvalidArgumentError, match=r"model\.encode"):
        translator.get_token_with_ids(wrong)


@pytest.mark.parametrize("wrong", [5, [[1, 2], [3]], [1.5], None])
def test_embeddings_are_of_texts_or_ids(translator, wrong):
    """Rows of different lengths are no array."""
    with pytest.raises(errors.InvalidArgumentError, match="inputs"):
        translator.embed(wrong)


def test_embeddings_of_ids_in_a_list_are_those_of_the_tensor(translator):
    """``model.embed(model.encode(text).ids)`` is what one types."""
    encoding = translator.encode(SENTENCE)

    np.testing.assert_array_equal(translator.embed(encoding.ids), translator.embed(encoding.input_ids))


def test_the_same_call_twice_gives_equal_outputs(translator):
    """That one took longer is no difference: ``==`` is how one checks that a result can be reproduced."""
    first, second = (translator.attribute(SENTENCE, method="lime", **QUIET) for _ in range(2))

    assert first == second
    assert first != translator.attribute(SENTENCE, method="lime", seed=1, **QUIET)


def test_generating_a_batch_gives_no_advice_on_masks_that_are_passed():
    """One text ends before the other, and its padding looks to the framework like a missing mask."""
    logger = logging.getLogger("transformers.modeling_utils")
    warned: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warned.append(record.getMessage())
    logger.addHandler(handler)
    try:
        inseq.load_model("demo-lm", "dummy").attribute(["a", "b"], **QUIET)
    finally:
        logger.removeHandler(handler)

    assert not [message for message in warned if "attention_mask" in message]


def test_a_mode_that_a_method_leaves_the_model_in_is_taken_back(translator):
    """A stranger's method that forgets ``eval()`` would make every later generation a random one."""

    class Forgetful:
        def attribute(self, ctx):
            ctx.adapter.model.train()
            return ctx.output(source=torch.zeros(ctx.source_shape))

    inseq.register_attribution_method(Forgetful, "forgetful")
    try:
        translator.attribute(SENTENCE, method="forgetful", **QUIET)
    finally:
        unregister("methods", "forgetful")

    assert not any(module.training for module in translator.adapter.model.modules())


@pytest.mark.parametrize("prompt", ["The keys\u0301\u0301 to", "<|endoftext|>The keys to", "The keys"])
def test_what_was_generated_can_be_given_back(prompt):
    """Results hold outputs as they are decoded: accents composed, special tokens left out."""
    model = inseq.load_model("demo-lm", "dummy")
    (first,) = generated = model.attribute(prompt, generation_args={"max_new_tokens": 3}, **QUIET)

    (again,) = model.attribute(prompt, generated.info.generated_texts, **QUIET)

    n = len(first.source)
    assert again.target[:n] == first.target[:n]
    assert [str(t) for t in again.target[n:]] == [str(t) for t in first.target[n:] if t != "<|endoftext|>"]
