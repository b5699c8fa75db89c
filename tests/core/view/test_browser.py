"""The page in a real browser: its script runs under its own policy, and clicks and keys do what they say.

Needs Debian's ``chromium`` and ``chromium-driver``; skipped where they are missing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from support.view_examples import chat, decoder_only, granular, hostile, output, translation

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.view import html_fragment, save_html

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

ARROW_RIGHT, ARROW_DOWN, ENTER, ESCAPE = "\ue014", "\ue015", "\ue007", "\ue00c"


class Browser:
    """A headless Chromium, driven over the WebDriver protocol (w3.org/TR/webdriver2)."""

    def __init__(self, address: str, profile: Path) -> None:
        self.address = address
        flags = (
            "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
            " --disable-background-networking --disable-component-update --window-size=1200,900"
        )
        options = {"binary": CHROMIUM, "args": [*flags.split(), f"--user-data-dir={profile}"]}
        capabilities = {
            "alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        }
        self.session = self.send("POST", "/session", {"capabilities": capabilities})["sessionId"]

    def send(self, verb: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.address + path, data, method=verb)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def ask(self, path: str, body: Any = None) -> Any:
        return self.send("POST", f"/session/{self.session}/{path}", body or {})

    def open(self, page: Path) -> None:
        self.complaints()
        self.ask("url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.ask("execute/sync", {"script": script, "args": list(arguments)})

    def press(self, *keys: str) -> None:
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.ask("actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def width(self, pixels: int) -> None:
        """Of the window; 0 for its own."""
        size = {"width": pixels, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        name = "setDeviceMetricsOverride" if pixels else "clearDeviceMetricsOverride"
        self.ask("goog/cdp/execute", {"cmd": f"Emulation.{name}", "params": size if pixels else {}})

    def scheme(self, name: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": name}
        self.ask("goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": [feature]}})

    def complaints(self) -> list[str]:
        """What the console has said since the last time: errors, and violations of the policy."""
        return [entry["message"] for entry in self.ask("se/log", {"type": "browser"})]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    driver = subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True)
    opened = None
    try:
        started = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout or ())
        port = next(found[1] for found in started if found)
        opened = Browser(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("profile"))
        yield opened
    finally:
        if opened is not None:
            opened.send("DELETE", f"/session/{opened.session}")
        driver.terminate()
        driver.wait(timeout=20)


COLORS_OF_TEXT = """
const shade = (node) => [...node.classList].filter((name) => /^[pnu]\\d+$/.test(name))[0] || "";
return [...document.querySelectorAll(".text.source .k")].map(shade);
"""
COLUMN = """
const rows = [...document.querySelectorAll("tr.r")].slice(0, arguments[1]);
const classes = rows.map((row) => [...row.cells[arguments[0] + 1].classList]);
return classes.map((names) => names.filter((name) => /^[pnu]\\d+$/.test(name))[0] || "");
"""


def test_a_clicked_token_colours_the_text_before_it(browser: Browser, tmp_path: Path):
    """The picture that users asked for; its colours are those of the table's column, worked out twice."""
    browser.open(save_html(output(translation()), tmp_path / "page.html"))
    for step in range(7):
        browser.run("document.querySelectorAll('.k.g')[arguments[0]].click()", step)

        assert browser.run(COLORS_OF_TEXT) == browser.run(COLUMN, step, 7)
        assert browser.run("return document.querySelectorAll('.k.later').length") == 6 - step
    assert browser.complaints() == []


def test_the_first_step_is_open_from_the_start(browser: Browser, tmp_path: Path):
    """A picture without a click, and in words: the strongest inputs and the step's scores."""
    browser.open(save_html(output(translation()), tmp_path / "page.html"))
    words = browser.run("return document.querySelector('.readout').textContent")

    assert words.startswith("Explained by the inputs before it: La ← her 0.61 developer -0.25")
    assert "probability 0.500" in words


def test_a_clicked_input_shows_where_it_mattered(browser: Browser, tmp_path: Path):
    """The same table read along a row."""
    browser.open(save_html(output(translation()), tmp_path / "page.html"))
    browser.run("document.querySelectorAll('.text.source .k')[1].click()")
    words = browser.run("return document.querySelector('.readout').textContent")
    shades = browser.run("return [...document.querySelectorAll('.k.g')].map((node) => node.className)")

    assert words.startswith("Steps where it matters most: developer → dévelop 0.48 La -0.25")
    assert "n5" in shades[0] and "p9" in shades[1]


def test_the_text_can_be_walked_with_keys(browser: Browser, tmp_path: Path):
    """Tab to the first step, arrows along the text, escape to read it without colours."""
    browser.open(save_html(output(translation()), tmp_path / "page.html"))
    browser.run("document.querySelector('.k.g').focus()")
    browser.press(ARROW_RIGHT, ARROW_RIGHT)
    pressed = "return [...document.querySelectorAll('.k.g')].map((k) => k.getAttribute('aria-pressed'))"

    assert browser.run(pressed).index("true") == 2
    assert browser.run("return document.activeElement.textContent") == "peuse"
    browser.press(ESCAPE)
    assert browser.run("return document.querySelector('.readout').hidden") is True
    assert "true" not in browser.run(pressed)
    browser.press(ARROW_RIGHT)
    browser.run("document.querySelectorAll('.text.source .k')[1].click()")
    assert "true" not in browser.run(pressed)


def test_the_table_can_be_walked_with_keys(browser: Browser, tmp_path: Path):
    """One stop of the tab key; the cell that has the focus says its exact score, and why it has none."""
    browser.open(save_html(output(translation()), tmp_path / "page.html"))
    browser.run("document.querySelector('td[tabindex]').focus()")
    browser.press(ARROW_DOWN, ARROW_RIGHT)
    tip = "return document.querySelector('.tip').textContent"

    assert browser.run("return document.querySelectorAll('table [tabindex=\"0\"]').length") == 1
    assert browser.run(tip) == "developer → dévelop: 0.4800"
    browser.press(ENTER)
    assert browser.run("return document.querySelector('.k.now').textContent") == "dévelop"
    browser.run(
        "document.querySelectorAll('tr.r')[8].cells[1].dispatchEvent(new Event('mouseover', {bubbles: true}))"
    )
    assert browser.run(tip) == "La → La: comes at or after this step"


def test_axes_are_browsed(browser: Browser, tmp_path: Path):
    """Every combination of slider and box shows the scores of that slice: 1 + l + 10 h, or its means."""
    browser.open(save_html(granular(), tmp_path / "page.html", view="granular"))
    choose = """
    document.querySelectorAll(".axis").forEach((axis, a) => {
      const [slider, all] = axis.querySelectorAll("input");
      const entry = arguments[a];
      if (entry === null) { if (!all.checked) all.click(); return; }
      slider.value = entry;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    });
    return Number(document.querySelector("tr.r td").textContent);
    """
    for layer in (0, 1, 2, None):
        for head in (0, 1, None):
            expected = np.mean(
                [
                    1 + a + 10 * b
                    for a in (range(3) if layer is None else [layer])
                    for b in (range(2) if head is None else [head])
                ]
            )

            assert browser.run(choose, layer, head) == pytest.approx(float(expected))
    assert browser.run("return document.querySelectorAll('tr.r')[1].cells[1].textContent") == ""
    assert browser.complaints() == []


def test_texts_are_leafed_through(browser: Browser, tmp_path: Path):
    """One at a time, by buttons or from a list."""
    browser.open(save_html(output(translation(), chat()), tmp_path / "page.html"))
    hidden = "return [...document.querySelectorAll('.seq')].map((section) => section.hidden)"

    assert browser.run(hidden) == [False, True]
    browser.run("document.querySelector('.next').click()")
    assert browser.run(hidden) == [True, False]
    assert browser.run("return document.querySelector('.next').disabled") is True


def test_hostile_tokens_do_nothing_in_a_browser(browser: Browser, tmp_path: Path):
    """No script of theirs runs, no element of theirs exists, and nothing was tried against the policy."""
    browser.open(save_html(output(hostile()), tmp_path / "page.html"))
    browser.run("document.querySelectorAll('.k.g').forEach((button) => button.click())")

    assert browser.run("return document.scripts.length") == 2
    assert browser.run("return document.images.length") == 0
    assert browser.complaints() == []


def test_fragments_on_one_page_do_not_meet(browser: Browser, tmp_path: Path):
    """A notebook holds the same picture twice; a click in one changes nothing in the other."""
    page = tmp_path / "notebook.html"
    fragment = html_fragment(output(translation()))
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8><p>before</p>{fragment}<p>between</p>{fragment}")
    browser.open(page)
    now = "return [...document.querySelectorAll('.k.now')].map((node) => node.textContent)"

    assert browser.run(now) == ["La", "La"]
    browser.run("document.querySelectorAll('.inseq-view')[1].querySelectorAll('.k.g')[3].click()")
    assert browser.run(now) == ["La", "s"]
    assert browser.run("return getComputedStyle(document.querySelector('p')).fontFamily") != browser.run(
        "return getComputedStyle(document.querySelector('.inseq-view')).fontFamily"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_the_browsers_own_colours(browser: Browser, tmp_path: Path, scheme: str):
    """Contrast of each text with the background it really stands on, as the browser computed both."""
    browser.scheme(scheme)
    browser.open(save_html(output(translation()), tmp_path / "page.html"))
    contrasts = browser.run("""
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (node) => {
      for (; node; node = node.parentElement) {
        const rgb = parse(getComputedStyle(node).backgroundColor);
        if (rgb.length < 4 || rgb[3] > 0) return rgb;
      }
      return [255, 255, 255];
    };
    const nodes = [...document.querySelectorAll("td, th, .k, h1, dt, dd, .chip, em, p, label, .cap")];
    return nodes.filter((node) => node.textContent.trim()).map((node) => {
      const pair = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => a - b);
      return [node.tagName + "." + node.className, (pair[1] + 0.05) / (pair[0] + 0.05)];
    });
    """)
    browser.scheme("light")

    assert len(contrasts) > 100
    assert [entry for entry in contrasts if entry[1] < 4.5] == []


def holed(n_tokens: int = 80, first: int = 10) -> FeatureAttributionSequenceOutput:
    """Many columns; the first input has no score, the second one of zero, the third a negative one."""
    text = decoder_only(
        [f"w{i}" for i in range(n_tokens)], first, step_scores={"probability": np.ones(n_tokens - first)}
    )
    scores = np.array(text.target_attributions)
    scores[0], scores[1], scores[2] = np.nan, 0.0, -0.7
    return attrs.evolve(text, target_attributions=scores)


def test_a_number_keeps_its_sign_on_the_left_of_tokens_written_to_the_left(browser: Browser, tmp_path: Path):
    """One text node of an Arabic word and -0.7 is drawn as ``0.7-``: where each character lies is measured."""
    text = decoder_only(["كتاب", "جلس", "على"], 2)
    browser.open(
        save_html(attrs.evolve(text, target_attributions=-text.target_attributions), tmp_path / "p.html")
    )
    browser.run("document.querySelector('td').dispatchEvent(new Event('mouseover', {bubbles: true}))")
    lefts = browser.run("""
    return [".chip [dir]", ".tip [dir]"].map((where) => {
      const text = document.querySelector(where).firstChild, range = document.createRange();
      return [0, 1].map((i) => (range.setStart(text, i), range.setEnd(text, i + 1), range.getBoundingClientRect().left));
    });
    """)

    assert len(lefts) == 2 and all(sign < digit for sign, digit in lefts)
    assert browser.run("return document.querySelector('.chip').textContent") == "جلس -0.20"


def test_tokens_that_stand_twice_are_told_apart(browser: Browser, tmp_path: Path):
    """By their positions; and a click on one shows where it stands."""
    browser.open(save_html(output(decoder_only(["the", "a", "the", "b"], 3)), tmp_path / "page.html"))
    chips = "return [...document.querySelectorAll('.chip')].map((chip) => chip.textContent)"

    assert browser.run(chips) == ["the2 0.30", "a 0.20", "the0 0.10"]
    browser.run("document.querySelector('.chip').click()")
    flashed = "return [...document.querySelectorAll('.k')].map((k) => k.classList.contains('flash'))"
    assert browser.run(flashed) == [False, False, True, False]


@pytest.mark.parametrize(("score", "words"), [(0.0, "all scores are zero"), (np.nan, "no scores")])
def test_nothing_is_said_in_words(browser: Browser, tmp_path: Path, score: float, words: str):
    """Five inputs of 0.00 are no explanation."""
    text = decoder_only("abcd", 2)
    blank = attrs.evolve(
        text, target_attributions=np.where(np.isnan(text.target_attributions), np.nan, score)
    )
    browser.open(save_html(output(blank), tmp_path / "page.html"))

    assert browser.run("return document.querySelector('.readout').textContent").strip().endswith(words)
    assert browser.run("return document.querySelectorAll('.chip').length") == 0
    assert browser.run("return document.querySelector('.bar').offsetWidth") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_zero_no_score_and_not_yet_there_look_different(browser: Browser, tmp_path: Path, scheme: str):
    """Squares have no numbers that would tell; the step scores below them are not hidden either."""
    browser.scheme(scheme)
    browser.open(save_html(output(holed()), tmp_path / "page.html"))
    looks = browser.run("""
    const rows = [...document.querySelectorAll("tr.r")];
    const look = ({ backgroundColor: color, backgroundImage: image }) => color + image;
    return [rows[0].cells[1], rows[1].cells[1], rows.at(-1).cells[1]].map((cell) => look(getComputedStyle(cell)));
    """)
    browser.scheme("light")

    assert len(set(looks)) == 3
    assert browser.run("return document.querySelector('tfoot td').offsetHeight") > 0


def test_the_selected_column_has_the_colours_of_the_others(browser: Browser, tmp_path: Path):
    """Blue is for scores below zero: a number that is selected must not turn blue."""
    browser.open(save_html(output(translation()), tmp_path / "page.html"))
    colors = browser.run("""
    const row = [...document.querySelectorAll("tr.r")][3];
    return [row.cells[1], row.cells[4]].map((cell) => [cell.className, getComputedStyle(cell).color]);
    """)

    assert colors[0][0] == "on" and colors[1][0] == ""
    assert colors[0][1] == colors[1][1]


def test_the_frame_leaves_short_neighbours_to_be_seen(browser: Browser, tmp_path: Path):
    """It reaches no further than the space that every token has around its letters."""
    browser.open(save_html(output(translation()), tmp_path / "page.html"))
    frame = browser.run("""
    const style = getComputedStyle(document.querySelector(".k.now"));
    return ["outlineWidth", "outlineOffset", "paddingRight"].map((name) => parseFloat(style[name]));
    """)

    assert frame[0] + frame[1] <= frame[2]


def test_a_page_fits_a_phone(browser: Browser, tmp_path: Path):
    """Long tokens, the two-sided bar and the list of texts stay inside; only the table is scrolled."""
    long = decoder_only(["a", "b" * 80, "c"], 1)
    browser.width(390)
    for at, texts in enumerate(([long], [holed()], [translation(), chat(), long])):
        for view in ("table", "tokens"):
            browser.open(save_html(output(*texts), tmp_path / f"{at}{view}.html", view=view))
            outside = browser.run("""
            const nodes = [...document.querySelectorAll(".inseq-view *")].filter((node) => !node.closest(".scroll"));
            return nodes.filter((node) => node.getBoundingClientRect().right > 390).map((node) => node.className);
            """)

            assert browser.run("return document.documentElement.scrollWidth") == 390
            assert outside == []
            browser.run("(document.querySelectorAll('.k.g')[0] || document.body).click()")
    browser.width(0)


def test_wide_tables_are_printed_in_blocks_of_columns(browser: Browser, tmp_path: Path):
    """Each step is on paper once, in a block with the names of all rows; on the screen nothing changes."""
    browser.open(save_html(output(chat(), holed()), tmp_path / "page.html"))
    printed = """
    const blocks = [...document.querySelectorAll(".block")];
    return blocks.map((block) => ({
      caption: block.caption.textContent,
      heads: [...block.querySelectorAll("thead th.c")].map((cell) => cell.textContent),
      rows: [...block.querySelectorAll("tr.r")].map((row) => row.cells.length),
      titles: [...block.querySelectorAll("tr.h th")].map((cell) => cell.colSpan),
    }));
    """
    assert browser.run(printed) == []
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    blocks = browser.run(printed)

    assert [block["caption"] for block in blocks] == ["Steps 1 to 56 of 70", "Steps 57 to 70 of 70"]
    assert [head for block in blocks for head in block["heads"]] == [f"w{i}" for i in range(10, 80)]
    assert [set(block["rows"]) for block in blocks] == [{57}, {15}]
    assert blocks[1]["titles"] == [15, 15]
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert browser.run(printed) == []
    assert browser.complaints() == []


def test_on_paper_names_of_columns_are_repeated_and_texts_may_be_parted(browser: Browser, tmp_path: Path):
    """A text that must stay on one page leaves the page before it empty."""
    browser.open(save_html(output(holed()), tmp_path / "page.html"))
    browser.ask("goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"media": "print"}})
    styles = browser.run("""
    const of = (where) => getComputedStyle(document.querySelector(where));
    return [of(".seq").breakInside, of("thead").display, of("thead").position, of(".scroll").overflow];
    """)
    browser.ask("goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"media": ""}})

    assert styles == ["auto", "table-header-group", "static", "visible"]


def test_a_step_stands_on_the_line_of_its_text(browser: Browser, tmp_path: Path):
    """Above it, it seems to belong to the step before."""
    browser.open(save_html(output(translation()), tmp_path / "page.html", view="tokens"))
    bottoms = browser.run("""
    const step = [...document.querySelectorAll("ol.steps>li")].at(-1);
    return [".step .k", ".text .k"].map((where) => {
      const probe = document.createElement("span");  // of no height, it stands on the line
      probe.style.display = "inline-block";
      step.querySelector(where).append(probe);
      return probe.getBoundingClientRect().bottom;
    });
    """)

    assert abs(bottoms[0] - bottoms[1]) < 1
