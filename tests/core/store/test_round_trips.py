from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.results import decoder_only, encoder_decoder, output_of

from inseq_core.data.attribution import FeatureAttributionSequenceOutput, FeatureAttributionStepOutput
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.data.scores import ScoreMeaning
from inseq_core.data.token import Segment, TokenWithId
from inseq_core.errors import (
    FileFormatError,
    InvalidArgumentError,
    SavedFileExistsError,
    SavedFileMissingError,
)
from inseq_core.store import load_attributions, save_attributions

FORMS = [".json", ".json.gz", ".safetensors"]


def there_and_back(output, form, **options):
    """Saved, and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"out{form}"
        save_attributions(output, path, **options)
        return load_attributions(path)


def everything():
    """An output that uses every field."""
    full = encoder_decoder(
        segments=[Segment(label="user", start=0, end=2, kind="turn", side="source")],
        source_word_starts=[True, True, False, True],
        source_special=[False, False, False, True],
        target_special=[True, False, False, False],
        sequence_scores={"encoder/self": np.eye(4)},
        feature_kind="word",
        is_spread=True,
        meaning=ScoreMeaning(signed=False, additive=True, complete=True, normalized=True),
        target=[TokenWithId("<s>", 0), TokenWithId("▁le", 7), "▁mon", "de"],
    )
    return output_of(
        full,
        decoder_only(hidden=4),
        versions={"python": "3.11"},
        attribution_args={"n": 3, "x": math.nan, "$float": [math.inf, None, True]},
        extras={"unknown": {"to": "us"}},
        input_texts=["a", [{"role": "user", "content": "b"}]],
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [True, False])
def test_nothing_is_lost(form, packed):
    """Every field of a result and of its info comes back, in every form."""
    output = everything()

    assert there_and_back(output, form, ndarray_compact=packed) == output


texts = st.text(st.characters(codec=None), max_size=8)
numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def results(draw):
    """Any result of one text: no tokens, one, or some; any Unicode; NaN and infinities."""
    n_source, length = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    start = draw(st.integers(0, length))
    end = draw(st.integers(start, length))
    trailing = draw(st.sampled_from([(), (1,), (2, 3)]))
    dtype = draw(st.sampled_from([np.float32, np.float16]))
    elements = st.floats(width=8 * np.dtype(dtype).itemsize)

    def scores(*shape):
        return draw(hnp.arrays(dtype, shape, elements=elements))

    return FeatureAttributionSequenceOutput(
        source=[TokenWithId(draw(texts), draw(st.integers(-1, 2**31))) for _ in range(n_source)],
        target=draw(st.lists(texts, min_size=length, max_size=length)),
        source_attributions=draw(st.none() | st.just(scores(n_source, end - start, *trailing))),
        target_attributions=draw(st.none() | st.just(scores(length, end - start, *trailing))),
        step_scores={draw(texts): scores(end - start)},
        attr_pos_start=start,
        attr_pos_end=end,
        axes=("layer", "head")[: len(trailing)],
        target_special=draw(st.none() | st.lists(st.booleans(), min_size=length, max_size=length)),
    )


@given(result=results(), form=st.sampled_from(FORMS), packed=st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_result_comes_back_bit_by_bit(result, form, packed):
    """Also empty ones, one by one, lone surrogates in tokens, NaN and infinities."""
    output = FeatureAttributionOutput([result])
    loaded = there_and_back(output, form, ndarray_compact=packed)

    assert loaded == output
    if result.target_attributions is not None:
        assert loaded[0].target_attributions.dtype == result.target_attributions.dtype


@pytest.mark.parametrize("form", FORMS)
def test_very_long_results_come_back(form):
    """Nothing in a file counts in small numbers."""
    length = 20_000
    long = FeatureAttributionSequenceOutput(
        target=[f"t{i}" for i in range(length)],
        target_attributions=np.linspace(0, 1, length, dtype=np.float32)[:, None],
        attr_pos_start=length - 1,
    )

    assert there_and_back(FeatureAttributionOutput([long]), form)[0] == long


def test_an_output_without_texts_comes_back():
    """A dataset may be empty after a filter."""
    assert there_and_back(FeatureAttributionOutput([]), ".json.gz").sequence_attributions == ()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["float16", "float8"])
def test_lower_precision_keeps_small_scores(form, precision):
    """Steps of very different sizes, down to 1e-12: each keeps its relative precision, whatever the others
    are.

    Relative error: half of a unit in the last of 11 or 4 significant bits, for scores within the type's
    range below the step's largest (2^-14 for both at this precision).
    """
    scores = np.random.default_rng(0).uniform(0.01, 1, size=(6, 3)).astype(np.float32)
    scores *= np.array([1e-12, 1, 1e9], dtype=np.float32)
    scores[4:, 0] = np.nan
    scores[0, 1], scores[1, 1], scores[2, 1] = np.inf, -np.inf, -0.5
    output = output_of(decoder_only(target_attributions=scores, step_scores={"p": [1e-20, 1e-21, 0.0]}))
    loaded = there_and_back(output, form, scores_precision=precision)[0]

    rounding = {"float16": 2**-11, "float8": 2**-4}[precision]
    np.testing.assert_allclose(loaded.target_attributions, scores, rtol=rounding)
    np.testing.assert_allclose(loaded.step_scores["p"], [1e-20, 1e-21, 0], rtol=2 * rounding)
    assert loaded.target_attributions.dtype == np.float32


@given(hnp.arrays(np.float32, (3, 2), elements=numbers), st.sampled_from(["float16", "float8"]))
@settings(max_examples=25, deadline=None)
def test_lower_precision_never_invents_nan_or_infinity(scores, precision):
    """Scores near the largest float32 must not overflow on the way."""
    one = FeatureAttributionSequenceOutput(source=["a"] * 3, target=["b"] * 2, source_attributions=scores)
    loaded = there_and_back(FeatureAttributionOutput([one]), ".json", scores_precision=precision)[0]

    assert (np.isnan(loaded.source_attributions) == np.isnan(scores)).all()
    assert (np.isinf(loaded.source_attributions) == np.isinf(scores)).all()


def test_double_precision_is_rounded_unless_asked_for():
    """float32 is what models compute in; tests of methods may need more."""
    exact = output_of(encoder_decoder(source_attributions=np.full((4, 3), 1 / 3)))

    assert there_and_back(exact, ".json") != exact
    assert there_and_back(exact, ".json", scores_precision="float64") == exact
    assert there_and_back(exact, ".safetensors", scores_precision="float64") == exact


def test_numbers_can_be_read_by_eye():
    """Without packing, a file is nested lists in JSON that any tool reads, null where there is no score."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.json"
        save_attributions(output_of(encoder_decoder()), path, ndarray_compact=False)
        document = json.loads(path.read_text(encoding="utf-8"))

    sequence = document["sequences"][0]
    assert sequence["source_attributions"]["data"][2] == [3, -3, 0]
    assert sequence["target_attributions"]["data"][1] == [None, -20, 0]
    assert sequence["source"]["tokens"] == ["▁the", "▁wo", "rld", "</s>"]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_output_gives_the_same_file(form, tmp_path):
    """Files can be compared, cached and put under version control."""
    output = everything()
    first, second = tmp_path / f"1{form}", tmp_path / f"2{form}"
    save_attributions(output, first)
    save_attributions(output, second)

    assert first.read_bytes() == second.read_bytes()


def test_step_attributions_come_back(tmp_path):
    """Those that follow from the texts are not stored twice; others are stored as they are."""
    output = output_of(encoder_decoder(), encoder_decoder())
    derived = attrs.evolve(output, step_attributions=FeatureAttributionStepOutput.batched(output))
    own = attrs.evolve(output, step_attributions=output[0].step_attributions)

    for form in FORMS:
        assert there_and_back(derived, form) == derived
        assert there_and_back(own, form) == own


@pytest.mark.parametrize("form", FORMS)
def test_split_sequences_are_found_under_one_name(form, tmp_path):
    """One file a text, and one output again."""
    output = everything()
    written = save_attributions(output, tmp_path / f"out{form}", split_sequences=True)

    assert [p.name for p in written] == [f"out_0{form}", f"out_1{form}"]
    assert load_attributions(tmp_path / f"out{form}") == output
    assert load_attributions(written[1])[0] == output[1]
    assert load_attributions(written[1]).info["input_texts"] == output.info["input_texts"][1:]


@pytest.mark.parametrize("form", FORMS)
def test_step_attributions_come_back_from_several_files(form, tmp_path):
    """They were left out of every part, without a word."""
    output = output_of(encoder_decoder(), encoder_decoder())
    output = attrs.evolve(output, step_attributions=FeatureAttributionStepOutput.batched(output))
    written = save_attributions(output, tmp_path / f"out{form}", split_sequences=True)

    assert load_attributions(tmp_path / f"out{form}") == output
    assert load_attributions(written[0]).step_attributions == output[0].step_attributions


def test_a_missing_or_foreign_part_is_noticed(tmp_path):
    """Half a dataset must not pass for a whole one."""
    first, second = save_attributions(everything(), tmp_path / "out.json", split_sequences=True)
    second.rename(tmp_path / "kept")
    with pytest.raises(FileFormatError, match=r"part 0 of 2: .*out_1\.json is missing"):
        load_attributions(tmp_path / "out.json")

    save_attributions(output_of(decoder_only()), second)
    with pytest.raises(FileFormatError, match="is not part 1 of 2"):
        load_attributions(tmp_path / "out.json")
    assert load_attributions(first)[0] == everything()[0]


def test_methods_of_an_output_save_and_load(tmp_path):
    """``out.save`` and ``FeatureAttributionOutput.load`` are what scripts call."""
    path = tmp_path / "out.json"
    everything().save(path, compress=True)

    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert FeatureAttributionOutput.load(path, decompress=True) == everything()
    assert FeatureAttributionOutput.load(str(path)) == everything()


def test_what_is_there_is_protected(tmp_path):
    """Yesterday's results cost money."""
    path = tmp_path / "out.json"
    path.write_text("precious", encoding="utf-8")

    with pytest.raises(SavedFileExistsError, match="overwrite=True"):
        save_attributions(everything(), path)
    with pytest.raises(FileExistsError):
        save_attributions(everything(), path)
    assert path.read_text(encoding="utf-8") == "precious"
    save_attributions(everything(), path, overwrite=True)
    assert load_attributions(path) == everything()


def test_parts_are_protected_before_any_is_written(tmp_path):
    """All or nothing, as far as can be known beforehand."""
    (tmp_path / "out_1.json").write_text("precious", encoding="utf-8")

    with pytest.raises(SavedFileExistsError):
        save_attributions(everything(), tmp_path / "out.json", split_sequences=True)
    assert sorted(os.listdir(tmp_path)) == ["out_1.json"]


def test_arguments_that_do_not_go_together_are_refused(tmp_path):
    """Before anything is written."""
    with pytest.raises(InvalidArgumentError, match="scores_precision"):
        save_attributions(everything(), tmp_path / "a.json", scores_precision="float4")
    with pytest.raises(InvalidArgumentError, match=r"\.json\.gz"):
        save_attributions(everything(), tmp_path / "a.safetensors", compress=True)
    with pytest.raises(SavedFileMissingError):
        load_attributions(tmp_path / "nothing.json")
    assert not list(tmp_path.iterdir())
