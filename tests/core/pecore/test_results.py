from __future__ import annotations

import io
import json
import math
import re

import attrs
import pytest

from inseq_core.errors import FileFormatError, SavedFileExistsError, SavedFileMissingError
from inseq_core.pecore import AttributeContextOutput, CCIOutput, attribute_context
from inseq_core.view.terminal import console_for


def example(**changes):
    """Two contexts, one context-sensitive token, and text that is markup."""
    values = {
        "input_context": "<b>her</b> idea",
        "input_context_tokens": ("▁<b>her</b>", "▁idea"),
        "output_context": "Bonjour",
        "output_context_tokens": ("▁Bonjour",),
        "output_current": "la [red]conceptrice",
        "output_current_tokens": ("▁la", "▁[red]concep", "trice"),
        "cti_scores": (4.9, 0.25, 0.0),
        "cci_scores": (
            CCIOutput(
                cti_idx=0,
                cti_token="▁la",
                cti_score=4.9,
                contextual_output="Bonjour la",
                contrast_token="▁<i>le",
                contextless_output="<i>le",
                input_context_scores=(0.75, -0.125),
                output_context_scores=(0.0,),
            ),
        ),
        "info": {"model_name": "demo<script>", "attribution_std_threshold": 1.0, "input_current_text": "x"},
    }
    return AttributeContextOutput(**{**values, **changes})


def test_a_result_becomes_plain_data_and_back():
    """JSON and nothing else, equal afterwards."""
    out = example()
    data = json.loads(json.dumps(out.to_dict()))

    assert AttributeContextOutput.from_dict(data) == out
    assert data["cci_scores"][0]["input_context_scores"] == [0.75, -0.125]


def test_a_result_without_info_has_none_in_its_data():
    """add_output_info=False leaves it out."""
    assert "info" not in example(info=None).to_dict()
    assert AttributeContextOutput.from_dict(example(info=None).to_dict()) == example(info=None)


def test_info_is_left_out_where_it_is_not_wanted(lm):
    """And has everything needed to do it again where it is."""
    with_info = attribute_context(lm, "a cat", "the dog", output_current_text="it")
    without = attribute_context(lm, "a cat", "the dog", output_current_text="it", add_output_info=False)

    assert without.info is None
    assert with_info.info["input_context_text"] == "the dog"
    assert with_info.info["model_name"] == "toy-lm" and with_info.info["attribution_method"] == "leave_out"
    assert json.dumps(with_info.to_dict())


def test_files_are_read_back_equal_and_not_replaced_unasked(tmp_path):
    """NaN is null in the file, since JSON has none."""
    out = example(cti_scores=(4.9, math.nan, 0.0))
    path = out.save(tmp_path / "out.json")

    assert AttributeContextOutput.load(path) == out
    assert "NaN" not in path.read_text()
    with pytest.raises(SavedFileExistsError):
        out.save(path)
    assert out.save(path, overwrite=True) == path
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_a_file_of_the_peer_is_read(tmp_path):
    """Its shape is ours without a format; names that we do not know are left out."""
    path = tmp_path / "peer.json"
    path.write_text(
        json.dumps(
            {
                "input_context": "George was sick",
                "input_context_tokens": ["George", "Ġwas", "Ġsick"],
                "output_context": None,
                "output_context_tokens": None,
                "output_current": "he",
                "output_current_tokens": ["he"],
                "cti_scores": [1.5],
                "cci_scores": [
                    {
                        "cti_idx": 0,
                        "cti_token": "he",
                        "contrast_token": None,
                        "cti_score": 1.5,
                        "contextual_output": "George was sick he",
                        "contextless_output": None,
                        "input_context_scores": [0.5, 0.25, 0.25],
                        "output_context_scores": None,
                    }
                ],
                "info": {"model_name_or_path": "gpt2", "attribution_std_threshold": 1.0},
            }
        )
    )
    out = AttributeContextOutput.load(path)

    assert out.cci_scores[0].input_context_scores == (0.5, 0.25, 0.25)
    assert [cue.token for cue in out.cues(out.cci_scores[0])] == ["George"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cci_scores": None}, "no list 'cci_scores'"),
        ({"cti_scores": [1.0]}, "1 scores for 3 tokens"),
        ({"cti_scores": "abc"}, "cti_scores is a str"),
        ({"cti_scores": [True, 0.0, 0.0]}, "holds True"),
        ({"output_current": None}, "has no output_current"),
        ({"output_current_tokens": [1, 2, 3]}, "holds 1"),
        ({"cci_scores": [1]}, "cci_scores[0] is a int"),
        ({"info": [1]}, "info is a list"),
        ({"format": "inseq-attribution"}, "is no context attribution"),
        ({"version": 2}, "has version 2"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    """Nothing is guessed at."""
    path = tmp_path / "out.json"
    path.write_text(json.dumps({**example().to_dict(), **change}))

    with pytest.raises(FileFormatError, match=re.escape(message)):
        AttributeContextOutput.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cti_idx": 3}, "cti_idx = 3, of 3 tokens"),
        ({"cti_idx": "0"}, "cti_idx holds '0'"),
        ({"input_context_scores": [1.0]}, "1 scores for 2 tokens"),
        ({"cti_token": None}, "has no cti_token"),
    ],
)
def test_damaged_cues_are_refused(change, message):
    """With the place where they stand."""
    data = example().to_dict()
    data["cci_scores"][0].update(change)

    with pytest.raises(FileFormatError, match=r"cci_scores\[0\]") as raised:
        AttributeContextOutput.from_dict(data)
    assert message in str(raised.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    """As everywhere."""
    with pytest.raises(SavedFileMissingError):
        AttributeContextOutput.load(tmp_path / "nothing.json")


def test_cues_are_those_of_both_contexts_together():
    """One threshold over all context tokens: |0.75|, |0.125|, |0| have mean 0.29 and deviation 0.40."""
    out = example()
    (cue,) = out.cues(out.cci_scores[0])

    assert (cue.side, cue.index, cue.token, cue.score) == ("input", 0, "▁<b>her</b>", 0.75)
    assert out.cci_threshold(out.cci_scores[0]) == pytest.approx(0.2917 + 0.4018, abs=1e-3)
    assert (out.cci_scores[0].minimum, out.cci_scores[0].maximum) == (-0.125, 0.75)


def drawn(out, color=False):
    """What a terminal shows."""
    from inseq_core.pecore.pictures import drawing

    console = console_for(100, color=color)
    with console.capture() as captured:
        console.print(drawing(out))
    return captured.get()


def test_the_terminal_shows_tokens_cues_and_scores_without_colours_too():
    """Markup of the console's own is text; scores of what stands out are written."""
    shown = drawn(example())

    for part in ("la(4.90)", "rather than <i>le", "<b>her</b>(0.750)", "[red]conceptrice", "Bonjour"):
        assert part in shown
    assert "\x1b[" in drawn(example(), color=True)


def test_the_legend_speaks_of_the_colours_that_there_are():
    """Both colours have a bar where there are colours; elsewhere only numbers are explained."""
    colored, plain = (
        " ".join(re.sub(r"\x1b\[[0-9;]*m", "", drawn(example(), color)).split()) for color in (True, False)
    )

    assert "4.90 Context sensitivity" in colored and "0.75 Attribution" in colored
    assert "Green" in colored and "underlined" in colored
    for word in ("Green", "red raised", "blue", "violet", "underlined", "Context sensitivity"):
        assert word not in plain
    assert "Behind an output token: how much it depends on the context, from" in plain


def test_a_context_without_spaces_is_not_cut():
    """Chinese has none, and a long line of it must go on below."""
    tokens = ("我喜欢猫和狗",) * 20
    (cci,) = example().cci_scores
    longer = attrs.evolve(cci, input_context_scores=(0.5,) * 20)
    out = example(input_context="".join(tokens), input_context_tokens=tokens, cci_scores=(longer,))

    assert drawn(out).count("我") == 40


def test_a_terminal_without_unicode_shows_it_too(monkeypatch):
    """An old console must not end a long run with an encoding error."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    example(output_current_tokens=("▁la", "▁réglé", "你")).show()

    assert b"r?gl???" in raw.getvalue()


def test_a_result_in_which_nothing_depends_on_the_context_says_so():
    """In words, not by silence."""
    none = example(cci_scores=(), cti_scores=(0.0, 0.0, 0.0))

    assert "No token depends on the context." in drawn(none)
    assert "No token depends on the context." in none.show(display=False, return_html=True)
    assert "No token reaches the threshold of 4.48." in drawn(example(cci_scores=()))  # 1.717 + 2.760


def test_the_page_stands_alone_and_runs_nothing_of_the_texts(tmp_path):
    """No address is fetched, no script runs, and markup of texts and files is text."""
    page = example().save_html(tmp_path / "out.html").read_text()

    assert "&lt;b&gt;her&lt;/b&gt;" in page and "demo&lt;script&gt;" in page
    assert "<b>her" not in page and "<script" not in page and "<i>le" not in page
    assert "http://" not in page and "https://" not in page and "src=" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert 'Cues: <bdi>&lt;b&gt;her&lt;/b&gt;</bdi> <span dir="ltr">0.750</span>' in page


def test_the_page_begins_with_its_legend():
    """A reader meets green and violet before the first token; the bars begin at the same place."""
    page = example().show(display=False, return_html=True)

    assert page.index('<div class="bars">') < page.index("Output, by context sensitivity")
    assert 'aria-label="Context sensitivity: colours from' in page


def test_a_notebook_gets_a_part_of_a_page():
    """Without a document around it."""
    assert "<!DOCTYPE" not in example()._repr_html_() and "conceptrice" in example()._repr_html_()


def test_intermediate_outputs_are_shown_on_demand(lm, capsys):
    """The step scores of the first stage, and the attributions of the second."""
    arguments = {"output_current_text": "it sees", "context_sensitivity_std_threshold": 0.0}
    attribute_context(lm, "a cat", "the dog", **arguments)
    assert capsys.readouterr().out == ""
    attribute_context(lm, "a cat", "the dog", show_intermediate_outputs=True, **arguments)
    shown = capsys.readouterr().out
    assert "kl_divergence" in shown and "leave_out" in shown
