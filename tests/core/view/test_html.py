"""The page to click, as markup. What its script does is tried in a browser (test_browser.py)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import attrs
import numpy as np
import pytest
from support.markup import Node, tree
from support.view_examples import (
    HOSTILE,
    chat,
    decoder_only,
    granular,
    hostile,
    nothing,
    output,
    translation,
)

from inseq_core.view import html_fragment
from inseq_core.view.viewers import HtmlViewer


def page(*texts: object, **options: object) -> str:
    """The whole page of some texts."""
    return HtmlViewer(**options).render(output(*texts))  # type: ignore[arg-type]


def cells(row: Node) -> list[str]:
    """What stands in a row."""
    return [cell.text for cell in row.every("td")]


def row_of(root: Node, label: str) -> Node:
    """The row of an input."""
    return next(row for row in root.every("tr", "r") if row.one("th").text == label)


def embedded(root: Node) -> Any:
    """What the script is given."""
    (data,) = [s for s in root.every("script") if s.attributes.get("type") == "application/json"]
    return json.loads(data.text)


def numbers(text: str, decimals: int) -> list[float]:
    """Scores as the script reads them."""
    return [float(n) / 10**decimals if n else float("nan") for n in text.split(",")]


def test_the_table_can_be_read_without_scripts():
    """Untrusted notebooks and mails run none; the numbers must be there all the same."""
    root = tree(page(translation()))

    assert [th.text for th in root.every("th", "c")][:3] == ["·La", "·dévelop", "peuse"]
    assert cells(row_of(root, "·her"))[0] == "0.61"
    assert cells(row_of(root, "·developer"))[:2] == ["-0.25", "0.48"]
    assert cells(root.one("tfoot").every("tr")[0])[0] == "0.500"


def test_cells_have_the_class_of_their_sign_and_size():
    """The strongest score gets the strongest shade, a negative one the other hue, a small one none."""
    root = tree(page(translation()))
    first = [row_of(root, label).every("td")[0] for label in ("·her", "·developer", "·because")]

    assert [cell.attributes.get("class") for cell in first] == ["p12", "n5", None]


def test_exact_scores_are_in_the_page_once():
    """Four significant digits, in the order of rows and columns; nothing where a score is absent."""
    text = translation()
    data = embedded(tree(page(text)))
    (only,) = data["texts"]
    decimals = data["scales"][0][3]
    expected = np.concatenate([text.source_attributions, text.target_attributions[:-1]])  # type: ignore[index]

    assert decimals == 4
    np.testing.assert_allclose(numbers(only["scores"][0], 4), expected.ravel(), atol=0.5e-4)
    assert only["rows"] == [[0, list(range(7))], [1, list(range(7))]]
    assert only["steps"] == [1, 7]


def test_the_text_can_be_clicked():
    """Each attributed token is a button in the text, the others are not."""
    root = tree(page(translation()))

    assert [b.text for b in root.every("button", "k")] == ["La", "dévelop", "peuse", "s", "'", "est", "</s>"]
    assert root.one("div", "source").text == "The developer argued because her idea</s>"
    assert root.one("div", "target").text == "<pad> Ladéveloppeuse s'est</s>".replace("<pad> La", "<pad> La ")


def test_the_page_says_what_it_shows():
    """Title, model, method, attributed function, all else that is known, and the meaning of colours."""
    root = tree(page(translation()))

    assert root.one("title").text == "integrated_gradients of demo-en-fr"
    facts = root.one("dl", "facts")
    assert {dt.text: dd.text for dt, dd in zip(facts.every("dt"), facts.every("dd"), strict=True)} == {
        "Model": "demo-en-fr",
        "Method": "integrated_gradients",
        "Explains": "probability",
    }
    assert "n_steps = 50" in root.one("dl", "details").text
    assert "Scores above zero (red) raised the probability" in root.one("div", "legend").text


def test_hostile_tokens_are_text():
    """Tokens, step scores and segments that hold markup, scripts and template code must do nothing."""
    html = page(hostile())
    root = tree(html)
    scripts = root.every("script")

    assert len(scripts) == 2 and not root.every("img")
    assert not [a for node in root.walk() for a in node.attributes if a.startswith("on")]
    assert "</script><script>alert(1)</script>" in root.one("div", "target").text
    assert "{{7*7}}" in root.one("div", "target").text
    assert not set(html) & set("\x1b\x00\x7f\x9b\r\u202e")
    html.encode("utf-8")


def test_a_segment_cannot_close_the_data():
    """Axis names go into the script's data; they are JSON there, and no ``<`` is left in it."""
    html = page(attrs.evolve(granular(), axes=("</script><b>", "head")), aggregate=False)
    root = tree(html)

    assert len(root.every("script")) == 2
    assert embedded(root)["texts"][0]["axes"][0][0] == "</script><b> 0"


def test_the_policy_admits_our_script_and_nothing_else():
    """Hashes of exactly what is there: an injected script would not run, and nothing can be fetched."""
    root = tree(page(translation()))
    (meta,) = [m for m in root.every("meta") if m.attributes.get("http-equiv") == "Content-Security-Policy"]
    policy = meta.attributes["content"]
    (script,) = [s for s in root.every("script") if "type" not in s.attributes]

    assert "default-src 'none'" in policy and "unsafe" not in policy
    for element in (script, root.one("style")):
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_page_needs_no_network():
    """It is opened from disks, mails and notebooks."""
    html = page(translation(), chat())

    assert not re.findall(r"https?://|//[a-z]|@import|url\(|\bsrc=|\bhref=", html)
    assert not [n for n in tree(html).walk() if n.tag in ("link", "img", "iframe", "object")]


def test_headers_have_scopes_and_controls_have_names():
    """A screen reader says which input and which step a number belongs to."""
    root = tree(page(granular(), aggregate=False))
    table = root.one("table")

    assert {th.attributes.get("scope") for th in table.one("thead").every("th")} == {"col"}
    assert all(row.one("th").attributes["scope"] == "row" for row in table.every("tr", "r"))
    assert table.one("caption").text
    assert all(
        node.attributes.get("aria-label") or node.attributes.get("type") == "checkbox"
        for node in root.every("input")
    )
    assert root.one("html").attributes["lang"] == "en"


def test_colours_are_given_for_light_and_for_dark():
    """And older browsers, which do not know ``light-dark()``, get the light ones."""
    style = tree(page(translation())).one("style").text

    assert re.search(r"\.p12\{background:#\w{6};background:light-dark\(#\w{6},#\w{6}\)\}", style)
    assert ".u12" not in style
    assert "color-scheme:light dark" in style and '[data-jp-theme-light="false"]' in style


def test_a_fragment_can_stand_many_times_on_one_page():
    """Notebooks show many: no ids that could meet, no rule that reaches outside, no document inside."""
    html = html_fragment(output(translation()))
    root = tree(html)

    assert not [
        node for node in root.walk() if "id" in node.attributes or node.tag in ("html", "body", "head")
    ]
    rules = re.sub(r"@supports \([^{]*\)\{(.*?\})\}", r"\1", root.one("style").text)
    rules = re.sub(r"@media [^{]*\{((?:[^{}]*\{[^{}]*\})*)\}", r"\1", rules)
    for selectors in re.findall(r"([^{}]+)\{[^{}]*\}", rules):
        for selector in selectors.split(","):
            assert ".inseq-view" in selector or ".inseq-page" in selector


def test_notebooks_show_results_by_themselves():
    """A result that is the value of a cell is a picture, of one text or of many."""
    assert "inseq-view" in output(translation())._repr_html_()
    assert "inseq-view" in translation()._repr_html_()


def test_a_large_result_does_not_flood_a_notebook():
    """A cell whose value is a result of hundreds of texts shows some, and says so."""
    root = tree(output(*[chat()] * 50)._repr_html_())

    assert len(root.every("section")) == 20
    assert "The first 20 of 50 texts" in root.one("div", "legend").text


def test_no_text_is_a_sentence_in_a_notebook():
    """An empty result is the value of a cell too; an error would be shown in its place."""
    assert "no text" in output()._repr_html_()


def test_several_texts_have_a_list_to_choose_from():
    """A batch is one page, not one page a text."""
    root = tree(page(translation(), chat(), nothing()))

    assert [o.text for o in root.every("option")] == [
        "1 · The developer argued because her idea",
        "2 · What is it?↵",
        "3 · no text",
    ]
    assert len(root.every("section")) == 3 and len(embedded(root)["texts"]) == 3
    assert "No step was attributed." in root.every("section")[2].text


def test_nothing_at_all_is_still_a_page():
    """No data, no script."""
    root = tree(page(nothing()))

    assert not root.every("script") and "No step was attributed." in root.text


def test_absent_and_missing_cells_differ():
    """Blank is not there yet, n/a is not known."""
    text = decoder_only("abcd", 2)
    scores = np.array(text.target_attributions)
    scores[1, 0] = np.nan
    root = tree(page(attrs.evolve(text, target_attributions=scores)))

    assert cells(row_of(root, "b")) == ["n/a", "0.20"]
    assert cells(row_of(root, "c")) == ["", "0.30"]
    assert "n/a: the method gave no score." in root.one("div", "legend").text


def test_segments_are_bands_of_rows_columns_and_text():
    """Chat turns are what a reader looks for first."""
    root = tree(page(chat()))

    assert [b.text for b in root.every("div", "band")] == ["user", "bot"]
    assert [row.text.strip() for row in root.every("tr", "b")] == ["user", "bot", "bot"]
    (bands,) = root.every("tr", "cb")
    assert [(th.text, th.attributes["colspan"]) for th in bands.every("th")] == [("bot", "4")]


def test_what_is_no_score_is_explained_beside_the_colours():
    """A cell that is hatched or grey has nothing in it that would say why; marks that are not there have no words."""
    text = decoder_only("abcd", 2)
    scores = np.array(text.target_attributions)
    scores[1, 0] = np.nan
    holed = attrs.evolve(text, target_attributions=scores)

    assert [k.text.strip() for k in tree(page(holed)).every("span", "key")] == [
        "no score",
        "at or after the step",
    ]
    assert [k.text.strip() for k in tree(page(text)).every("span", "key")] == ["at or after the step"]


@pytest.mark.parametrize("score", [0.0, np.nan])
def test_scores_without_colours_have_no_bar(score: float):
    """From 0.00 to 0.00 there is nothing to tell apart."""
    text = decoder_only("abcd", 2)
    blank = attrs.evolve(
        text, target_attributions=np.where(np.isnan(text.target_attributions), np.nan, score)
    )

    assert "hidden" in tree(page(blank)).one("div", "bar").attributes
    assert "hidden" not in tree(page(text)).one("div", "bar").attributes


def test_step_scores_of_squares_are_colours_and_say_their_range():
    """There is no room for numbers; what was asked for must not go without a word."""
    measured = {"probability": np.linspace(0.2, 0.8, 70)}
    root = tree(page(decoder_only([f"{i}" for i in range(80)], 10, step_scores=measured)))
    (row,) = root.one("tfoot").every("tr")
    cells = row.every("td")

    assert (cells[0].attributes.get("class"), cells[-1].attributes["class"]) == (None, "h12")
    assert row.one("th").one("small").text == "0.200 to 0.800"
    assert ".h12{" in root.one("style").text and ".b12{" not in root.one("style").text


def test_names_of_columns_lie_where_there_is_room():
    """Three columns can be read without turning the head; thirty cannot stand side by side."""
    few, many = decoder_only(["developer"] * 4, 1), decoder_only(["developer"] * 31, 1)

    assert "tall" not in tree(page(few)).one("table").classes
    assert "tall" in tree(page(many)).one("table").classes


def test_a_wide_page_is_printed_on_its_side_and_a_notebook_is_left_alone():
    """A rule for the paper holds for everything on it."""
    many = output(decoder_only(["developer"] * 31, 1))

    assert "@page{size:landscape" in HtmlViewer().render(many)
    assert "@page" not in page(chat()) and "@page" not in html_fragment(many)
    assert (
        "cut off" in tree(HtmlViewer().render(many)).one("p", "cut").text
    )  # where no script cuts it in blocks


def test_texts_have_headings_where_there_is_no_script():
    """Without one, and on paper, they all stand one below the other."""
    root = tree(page(translation(), chat()))

    assert [h.text for h in root.every("h2")][1] == "2 of 2 · What is it?↵"


def test_many_columns_are_squares_with_numbers_at_hand():
    """Two hundred columns of digits are not a picture."""
    root = tree(page(decoder_only([f"{i}" for i in range(80)], 10)))

    assert "wide" in root.one("table").classes
    assert "checked" not in root.one("label", "numbers").one("input").attributes


def test_what_is_left_out_is_counted():
    """A silent cut would look like the whole."""
    root = tree(page(decoder_only([f"{i}" for i in range(60)], 30), max_show_size=10))

    assert "left out" in root.one("section").every("p")[-1].text
    assert [row.text.strip() for row in root.every("tr", "gap")]


def test_a_large_page_stays_small():
    """200 inputs by 150 steps: some 30 bytes a score, all included."""
    rng = np.random.default_rng(0)
    text = decoder_only([f"w{i}" for i in range(200)], 50)
    text = attrs.evolve(text, target_attributions=text.target_attributions * rng.random((200, 150)))  # type: ignore[operator]
    html = page(text)

    assert len(html) < 30 * 200 * 150


def test_the_same_result_makes_the_same_page():
    """No ids or times of its own: pages can be compared and kept under version control."""
    out = output(translation(), chat())  # it says when it was made
    assert HtmlViewer().render(out) == HtmlViewer().render(out)


@pytest.mark.parametrize("token", HOSTILE)
def test_every_hostile_token_has_a_label(token: str):
    """None is empty, none is lost."""
    root = tree(page(decoder_only([token, "a"], 1)))

    assert root.every("tr", "r")[0].one("th").text.strip()
