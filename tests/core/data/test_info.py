from __future__ import annotations

import numpy as np

from inseq_core.data.info import AttributionInfo


def test_info_reads_by_attribute_and_by_key():
    """Scripts of the peer read a dict."""
    info = AttributionInfo(attribution_method="saliency", extras={"mood": "good"})

    assert info["attribution_method"] == info.attribution_method == "saliency"
    assert info.get("nothing", 3) == 3
    assert info["mood"] == "good"
    assert "model_name" in info
    assert dict(info)["mood"] == "good"


def test_info_becomes_plain_data_when_it_is_made():
    """It goes into files as it is, and an array or a function in it could not."""

    def my_score():
        pass

    info = AttributionInfo(
        attribution_args={"n": np.int64(3), "fn": my_score, 4: (1, 2), "set": {"b", "a"}},
        input_texts="one text",
        seed=np.float32(2),
    )

    assert info.attribution_args["n"] == 3
    assert type(info.attribution_args["n"]) is int
    assert "my_score" in info.attribution_args["fn"]
    assert info.attribution_args["4"] == [1, 2]
    assert info.attribution_args["set"] == ["a", "b"]
    assert info.input_texts == ("one text",)
    assert type(info.seed) is float


def test_infos_with_nan_in_them_can_be_equal():
    """A parameter may be NaN; a file that holds one is not another file."""
    one, other = (AttributionInfo(created="", attribution_args={"x": float("nan")}) for _ in range(2))

    assert one == other
    assert one == dict(other)
    assert one != one.evolve(seed=1)


def test_unknown_keys_of_a_mapping_are_kept():
    """A newer writer knows fields that this version does not."""
    info = AttributionInfo.from_mapping({"model_name": "m", "phase_of_moon": "full"})

    assert info.model_name == "m"
    assert info["phase_of_moon"] == "full"
