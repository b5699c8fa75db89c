"""Tables in a terminal."""

from __future__ import annotations

import io
import itertools
import re

import attrs
import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from support.view_examples import (
    HOSTILE,
    before_steps,
    chat,
    decoder_only,
    hostile,
    nothing,
    output,
    translation,
)

from inseq_core.data.scores import ScoreMeaning
from inseq_core.data.token import Segment
from inseq_core.view import show_attributions
from inseq_core.view.viewers import TerminalViewer

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def drawn(*texts: object, width: int = 100, **options: object) -> str:
    """The picture of some texts."""
    return TerminalViewer(width=width, **options).render(output(*texts))  # type: ignore[arg-type]


def line_of(picture: str, label: str) -> str:
    """The first line that begins with a label."""
    return next(line for line in picture.splitlines() if line.startswith(label))


def test_a_table_has_inputs_in_rows_and_steps_in_columns():
    """The numbers are those of the result, in their cells, with step scores below."""
    picture = drawn(translation())

    assert line_of(picture, "·her").split()[:2] == ["·her", "*0.61"]
    assert line_of(picture, "·developer").split()[:3] == ["·developer", "-0.25", "*0.48"]
    assert line_of(picture, "probability").split()[1] == "0.500"
    assert line_of(picture, "perplexity").split()[-1] == "52345"
    order = [picture.index(word) for word in ("\nSource", "\nTarget prefix", "\nprobability", "\nperplexity")]
    assert order == sorted(order)


def test_the_picture_says_what_it_shows():
    """Model, method, attributed function, the texts, and how to read signs also where there is no colour."""
    picture = drawn(translation())

    assert "model demo-en-fr   method integrated_gradients   explains probability" in picture
    assert "The developer argued because her idea" in picture
    assert "La développeuse s'est" in picture
    assert "above zero raised the probability" in " ".join(picture.split())


def test_unsigned_scores_claim_no_direction():
    """The magnitude of a gradient cannot say that an input spoke for the step."""
    words = " ".join(drawn(chat()).split())

    assert "in which direction is not known" in words and "raised" not in words
    assert "absolute scores of a step sum to 1" in words


def test_cells_after_their_input_are_blank():
    """A later token was not there to be scored; NaN must not appear as a number."""
    picture = drawn(chat())

    assert "nan" not in picture.lower()
    assert len(line_of(picture, "·A").split()) == 1 + 3
    assert len(line_of(picture, "·cat").split()) == 1 + 2


def test_a_missing_score_is_not_blank():
    """It is a fact about the method, and says so."""
    text = decoder_only("abcd", 2)
    scores = np.array(text.target_attributions)
    scores[1, 0] = np.nan
    picture = drawn(attrs.evolve(text, target_attributions=scores))

    assert line_of(picture, "b").split() == ["b", "n/a", "0.20"]
    assert "n/a: the method gave no score." in " ".join(picture.split())


@pytest.mark.parametrize("width", [20, 40, 63, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int):
    """A table that wraps by itself is unreadable; it is folded into blocks of columns instead."""
    many = decoder_only([f"Ġword{i}" for i in range(40)], 10)

    for line in drawn(many, translation(), width=width).splitlines():
        assert cell_len(line) <= width


def test_folded_blocks_hold_every_step_once():
    """Nothing is lost between two blocks."""
    picture = drawn(decoder_only([f"{i}" for i in range(100, 140)], 10), width=60)
    shown = re.findall(r"steps (\d+) to (\d+) of 30", picture)
    spans = [(int(a), int(b)) for a, b in shown]

    assert spans[0][0] == 1 and spans[-1][1] == 30
    assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(spans))


def test_wide_characters_do_not_shift_the_columns():
    """Chinese and emoji are two cells wide; the numbers behind them must stay in their column."""
    picture = drawn(decoder_only(["你好", "a", "🙂", "e\u0301", "b", "c"], 4))
    rows = [line_of(picture, label) for label in ("你好", "a", "🙂", "e\u0301")]

    assert len({cell_len(row) for row in rows}) == 1


def test_a_text_without_spaces_is_not_cut():
    """Chinese has none, and a long line of it must go on below."""
    picture = drawn(decoder_only(["我喜欢猫和狗"] * 20 + ["x"], 20), width=50)

    assert picture.split("\n\n")[1].count("我") == 20


def test_right_to_left_words_are_closed_by_a_mark():
    """Without it, terminals that reorder text move the numbers to the left of the word."""
    assert "שלום\u200e" in drawn(decoder_only(["שלום", "a", "b"], 1))


def test_hostile_tokens_are_drawn_and_do_nothing():
    """Tokens come from models and files: escapes, markup, overrides and control characters are shown."""
    picture = drawn(hostile())

    assert not set(picture) & set("\x1b\x00\x7f\x9b\r\u202e\ud800")
    assert "␛[31mred" in picture and "[bold]x[/bold]" in picture and "⟨U+202E⟩" in picture


def test_a_step_score_cannot_bring_an_escape_either():
    """Its name comes from a plugin or a file."""
    assert "\x1b[2J" not in drawn(hostile(), color=True)


def test_duplicate_tokens_have_rows_and_columns_of_their_own():
    """Tables are by position, not by token."""
    assert sum(line.startswith("x ") for line in drawn(decoder_only(["x"] * 5, 3)).splitlines()) == 3 + 1


def test_colours_are_there_only_when_asked_for():
    """A pipe or a file gets plain text."""
    plain, colored = drawn(translation()), drawn(translation(), color=True)

    assert "\x1b" not in plain
    assert "\x1b[" in colored
    assert line_of(ESCAPE.sub("", colored), "·her").split() == line_of(plain, "·her").replace("*", "").split()


def words(picture: str) -> str:
    """The words of a picture, as one line."""
    return " ".join(ESCAPE.sub("", picture).split())


def test_without_colours_nothing_speaks_of_them():
    """A bar of blanks, and a colour that is not there, would make a reader look for what is missing."""
    colored, plain = drawn(translation(), color=True), drawn(translation())

    assert "(red)" in words(colored) and "(blue)" in words(colored)
    assert not re.search(r"\b(red|blue|violet)\b", words(plain))
    assert "Numbers run from -0.25 to 0.61. *: the strongest of its column." in words(plain)
    assert not any(re.fullmatch(r"-?0\.61 .* 0\.61 *", line) for line in plain.splitlines())


def test_without_colours_a_star_marks_the_strongest_score_of_each_step():
    """Bold is gone in a pipe, and the strongest of forty numbers is not seen by itself."""
    scores = np.array(
        [[0.5, -0.2, 0.0], [-0.7, 0.1, 0.0], [0.1, 0.1, 0.0], [0.0, np.nan, 0.0], [0.0, 0.1, 0]]
    )
    text = attrs.evolve(decoder_only("abcde", 2), target_attributions=before_steps(scores, 2))
    rows = [line_of(drawn(text), label).split() for label in "abcd"]

    assert [[cell for cell in row if "*" in cell] for row in rows] == [["*-0.20"], ["*-0.70"], [], []]
    assert "*" not in drawn(text, color=True)


@pytest.mark.parametrize(("score", "said"), [(0.0, "All scores are zero."), (np.nan, "No scores.")])
@pytest.mark.parametrize("color", [True, False])
def test_scores_that_say_nothing_have_no_legend(score: float, said: str, color: bool):
    """A bar from zero to zero explains colours that no score can have."""
    text = decoder_only("abcd", 2, meaning=ScoreMeaning(signed=True))
    scores = before_steps(np.full((4, 2), score), 2)
    picture = drawn(attrs.evolve(text, target_attributions=scores), color=color)

    assert said in words(picture)
    assert not re.search(r"\bred\b|raised|run from|\*|▄", words(picture))
    assert not re.search(r"\x1b\[[0-9;]*48;2;", picture)


def test_blocks_of_columns_are_about_equally_wide():
    """One column alone in a last block repeats every row for it."""
    text = decoder_only([f"{i}" for i in range(100, 130)], 10)
    for width in range(40, 110):
        spans = [
            (int(a), int(b)) for a, b in re.findall(r"steps (\d+) to (\d+) of", drawn(text, width=width))
        ]
        sizes = [end - start + 1 for start, end in spans]

        assert sum(sizes) == 20 * bool(sizes)
        assert not sizes or max(sizes) - min(sizes) < len(sizes)


def test_a_block_of_one_column_is_one_step():
    """ "steps 2 to 2" is what a program says."""
    picture = drawn(decoder_only("abcd", 1), width=12)

    assert [line for line in picture.splitlines() if line.startswith("step") and "of 3" in line] == [
        f"step {k} of 3" for k in (1, 2, 3)
    ]


def test_the_whole_translation_is_shown_and_its_attributed_part_is_bold():
    """The end of a sentence alone reads like a translation that has lost its beginning."""
    part = attrs.evolve(
        translation(),
        source_attributions=np.array(translation().source_attributions)[:, 1:3],
        target_attributions=None,
        step_scores={},
        attr_pos_start=2,
        attr_pos_end=4,
    )

    assert line_of(drawn(part), "to ").split(maxsplit=1)[1] == "La développeuse s'est"
    assert "La\x1b[1m développeuse\x1b[0m s'est" in drawn(part, color=True)


def test_weak_scores_have_no_block_where_the_background_is_unknown(monkeypatch: pytest.MonkeyPatch):
    """Blocks that begin at a sixth of the scale make a picture in which everything is strong."""
    for name in ("INSEQ_THEME", "COLORFGBG"):
        monkeypatch.delenv(name, raising=False)
    rows = drawn(decoder_only("abcdefghijkl", 12 - 1), color=True).splitlines()
    blocks = {ESCAPE.sub("", row)[:1]: bool(re.search(r"\x1b\[[0-9;]*48;2;", row)) for row in rows if row}

    assert not any(blocks[token] for token in "abcd")
    assert all(blocks[token] for token in "efghijk")


@pytest.mark.parametrize(
    ("environ", "has_codes", "has_colors"),
    [
        ({}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_the_environment_decides_on_colours(
    environ: dict[str, str], has_codes: bool, has_colors: bool, monkeypatch: pytest.MonkeyPatch, capsys
):
    """no-color.org and force-color.org; bold stays, so that the strongest score of a step is still marked."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    show_attributions(translation())
    picture = capsys.readouterr().out

    assert ("\x1b[" in picture) is has_codes
    assert bool(re.search(r"\x1b\[[0-9;]*(38|48);", picture)) is has_colors


def test_a_terminal_without_unicode_gets_question_marks(monkeypatch: pytest.MonkeyPatch):
    """An old console must not end a long run with an encoding error."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    show_attributions(decoder_only(["你好", "a", "b"], 1))

    assert b"0.20" in raw.getvalue() and b"?" in raw.getvalue()


def test_a_terminal_without_unicode_keeps_its_columns(monkeypatch: pytest.MonkeyPatch):
    """Characters two cells wide become two question marks, or every number behind them moves."""
    raw = io.BytesIO()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    show_attributions(decoder_only(["你好", "ab", "é", "x", "b", "c"], 4))
    rows = [
        line
        for line in map(str.rstrip, raw.getvalue().decode("ascii").splitlines())
        if line.endswith(("0.10", "0.20", "0.30", "0.40", "0.50"))
    ]

    assert len(rows) == 5 and len({len(row) for row in rows}) == 1
    assert rows[0].startswith("???? ")


def test_several_texts_share_one_scale_and_are_numbered():
    """Equal colours mean equal scores, wherever they stand."""
    picture = drawn(translation(), chat(), nothing())

    assert [f"{i} of 3" in picture for i in (1, 2, 3)] == [True] * 3
    assert " ".join(picture.split()).count("raised the probability") == 1
    assert "No step was attributed." in picture


def test_step_scores_alone_are_a_table_too():
    """The method that attributes nothing is how step scores are asked for; colours would explain nothing."""
    alone = attrs.evolve(translation(), source_attributions=None, target_attributions=None)
    picture = drawn(alone)

    assert "from  The developer argued" in picture
    assert line_of(picture, "probability").split()[1] == "0.500"
    assert "no input was attributed" in picture and "red" not in picture


def test_what_is_left_out_is_counted():
    """A silent cut would look like the whole."""
    picture = drawn(decoder_only([f"{i}" for i in range(100, 150)], 30), max_show_size=5)

    assert "⋮" in picture
    assert "Left out: the 29 inputs with the smallest scores and the last 15 steps" in " ".join(
        picture.split()
    )


def test_segments_are_named_where_they_begin():
    """Chat turns are what a prompt is made of."""
    lines = drawn(chat()).splitlines()

    assert lines.index("▌user") + 1 == next(i for i, line in enumerate(lines) if line.startswith("<|user|>"))
    assert sum(line == "▌bot" for line in lines) == 2


def test_a_segment_label_is_text():
    """It comes from a chat template or a user."""
    text = decoder_only("abc", 1, segments=[Segment(label="[red]\x1b[5m", start=0, end=2)])

    assert "▌[red]␛[5m" in drawn(text)


def test_long_column_labels_are_broken_into_lines():
    """One long word must not make its column as wide as ten others."""
    picture = drawn(decoder_only(["a", "b", "Donaudampfschifffahrtsgesellschaft"], 1), width=60)

    header = picture.split("\n\n")[2].splitlines()[:3]
    assert [line.split()[-1] for line in header] == ["Donauda", "mpfschi", "fffahr…"]


def test_the_viewer_shows_nothing_by_itself(capsys: pytest.CaptureFixture[str]):
    """``render`` returns; commands decide where it goes."""
    assert drawn(translation())
    assert capsys.readouterr().out == ""


def test_rich_does_not_touch_what_tokens_say():
    """Emoji codes, markup and links in tokens are text."""
    tokens = (":smile:", "[link=x]y[/]", "https://example.org", *HOSTILE[1:2])
    console = Console(file=io.StringIO(), width=200)

    assert console.encoding
    picture = drawn(decoder_only(tokens, 1), width=200)
    assert all(token in picture for token in tokens[:3])
