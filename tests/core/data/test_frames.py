from __future__ import annotations

import sys

import attrs
import numpy as np
import pytest
from support.results import decoder_only, encoder_decoder, output_of

from inseq_core.errors import InvalidArgumentError, MissingPackageError


def test_scores_dicts_are_keyed_by_position_and_token():
    """The same word may occur twice; its position tells which."""
    scores = encoder_decoder().get_scores_dicts(do_aggregation=False)

    assert scores["source_attributions"][(2, "▁mon")][(2, "rld")] == -3
    assert scores["target_attributions"][(2, "▁mon")][(1, "▁le")] == -20
    assert np.isnan(scores["target_attributions"][(2, "▁mon")][(2, "▁mon")])
    assert scores["step_scores"][(3, "de")] == {"probability": 0.25, "entropy": 3.0, "mine": 2.0}


def test_scores_dicts_of_granular_scores_need_an_aggregation():
    """A dict has one number a cell."""
    granular = decoder_only(hidden=4)

    assert granular.get_scores_dicts()["target_attributions"][(3, "Ġd")][(0, "Ġa")] >= 0
    with pytest.raises(InvalidArgumentError, match="hidden"):
        granular.get_scores_dicts(do_aggregation=False)


def test_an_aggregator_of_tokens_leaves_one_number_a_token():
    """Of words the dicts and tables are asked for, not of each dimension of them."""
    granular, whole = decoder_only(hidden=4), decoder_only(hidden=4).aggregate("subwords").aggregate()

    assert granular.get_scores_dicts(aggregator="subwords") == whole.get_scores_dicts()
    pandas = pytest.importorskip("pandas")
    for value in (granular, output_of(granular)):
        frame = value.to_dataframe(aggregator="subwords")
        pandas.testing.assert_frame_equal(frame, whole.to_dataframe())


def test_a_dataframe_has_one_row_for_each_score():
    """Long form: 12 source cells and 1 + 2 + 3 target cells, told apart by their columns."""
    pytest.importorskip("pandas")
    frame = output_of(encoder_decoder(), encoder_decoder()).to_dataframe(do_aggregation=False)

    assert len(frame) == 2 * (12 + 6)
    row = frame[(frame.sequence == 1) & (frame.side == "source") & (frame.position == 2) & (frame.step == 1)]
    assert row.score.item() == -3
    assert row.token.item() == "rld"
    assert row.step_token.item() == "▁mon"
    assert row.step_position.item() == 2
    assert row.entropy.item() == 2


def test_a_dataframe_of_granular_scores_has_a_column_for_each_axis():
    """Nothing is aggregated that was not asked for."""
    pytest.importorskip("pandas")
    granular = decoder_only(hidden=4)
    frame = granular.to_dataframe(do_aggregation=False)

    assert set(frame.hidden) == {0, 1, 2, 3}
    cell = frame[(frame.position == 1) & (frame.step == 0) & (frame.hidden == 2)]
    assert cell.score.item() == granular.target_attributions[1, 0, 2]


def test_a_dataframe_of_step_scores_alone_has_one_row_for_each_step():
    """A method that attributes nothing still measures steps."""
    pytest.importorskip("pandas")
    frame = encoder_decoder(source_attributions=None, target_attributions=None).to_dataframe()

    assert list(frame.step_token) == ["▁le", "▁mon", "de"]
    assert list(frame.entropy) == [1, 2, 3]


def test_polars_serves_where_pandas_is_not_installed(monkeypatch):
    """The same columns, text as text."""
    polars = pytest.importorskip("polars")
    monkeypatch.setitem(sys.modules, "pandas", None)
    frame = encoder_decoder().to_dataframe(do_aggregation=False)

    assert isinstance(frame, polars.DataFrame)
    assert len(frame) == 12 + 6
    assert frame["token"].dtype == polars.String


def test_without_a_dataframe_library_the_error_says_what_to_install(monkeypatch):
    """pandas is nobody's duty."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(MissingPackageError, match="pip install pandas"):
        encoder_decoder().to_dataframe()


def test_xarray_has_labelled_dimensions():
    """Labels travel with the numbers."""
    pytest.importorskip("xarray")
    dataset = decoder_only(hidden=4).to_xarray(do_aggregation=False)

    assert dataset.target_attributions.dims == ("target", "step", "hidden")
    assert list(dataset.step_token.values) == ["Ġd", "e", "f"]
    assert list(dataset.step.values) == [3, 4, 5]


def test_a_token_that_is_half_a_character_has_its_row():
    """Tables hold text, and half of a pair of UTF-16 is none."""
    pytest.importorskip("xarray")
    scores = encoder_decoder()
    broken = attrs.evolve(scores, source=["\ud83d", *scores.source[1:]])

    assert list(broken.to_dataframe(do_aggregation=False).token[:3]) == ["?", "?", "?"]
    assert broken.to_xarray(do_aggregation=False).source_token.values[0] == "?"


def test_without_xarray_the_error_says_what_to_install(monkeypatch):
    """xarray is nobody's duty either."""
    monkeypatch.setitem(sys.modules, "xarray", None)

    with pytest.raises(MissingPackageError, match="pip install xarray"):
        encoder_decoder().to_xarray()
